/* Markdown (CommonMark with tables and strike-through) by md4c's events. Front matter between two lines of --- at the very
 * start is split off: it is the author's word about the document, no part of its text. */
#include <libxml/HTMLparser.h>
#include <md4c.h>
#include <stdlib.h>

#include "ingest/parse/out.h"

typedef struct md {
    cn_out *o;
    uint32_t items, quotes;
    bool h1, h1_done, tag;  /* writing the first heading to the title; inside an HTML tag */
    bool cells;
} md;

static cn_str line_at(cn_str s, size_t at, size_t *ret_next) {
    const char *nl = memchr(s.p + at, '\n', s.n - at);
    size_t end = nl ? (size_t)(nl - s.p) : s.n;
    *ret_next = nl ? end + 1 : end;
    if (end > at && s.p[end - 1] == '\r')
        end--;
    return (cn_str){s.p + at, end - at};
}

static cn_str split_front(cn_str s, cn_out *o) {
    size_t at, next;
    if (!cn_str_is(line_at(s, 0, &at), "---"))
        return s;
    for (size_t from = at; at < s.n && at - from < 1 << 16; at = next) {
        cn_str line = line_at(s, at, &next);
        if (cn_str_is(line, "---") || cn_str_is(line, "...")) {
            cn_buf_add(&o->front, s.p + from, at - from);
            return (cn_str){s.p + next, s.n - next};
        }
    }
    return s;
}

static void begin(md *m, cn_block_kind as, unsigned level, bool keep) {
    if (as == CN_BLOCK_PARA && m->items)
        as = CN_BLOCK_ITEM;
    else if (as == CN_BLOCK_PARA && m->quotes)
        as = CN_BLOCK_QUOTE;
    cn_out_begin(m->o, as, level, keep);
}

static int enter_block(MD_BLOCKTYPE type, void *detail, void *ctx) {
    md *m = ctx;
    m->tag = false;
    switch ((int)type) {
    case MD_BLOCK_H:
        begin(m, CN_BLOCK_HEADING, ((MD_BLOCK_H_DETAIL *)detail)->level, false);
        m->h1 = !m->h1_done && ((MD_BLOCK_H_DETAIL *)detail)->level == 1;
        break;
    case MD_BLOCK_LI:
        m->items++;
        begin(m, CN_BLOCK_ITEM, 0, false);
        break;
    case MD_BLOCK_QUOTE: m->quotes++; break;
    case MD_BLOCK_CODE: begin(m, CN_BLOCK_CODE, 0, true); break;
    case MD_BLOCK_P:
    case MD_BLOCK_HTML: begin(m, CN_BLOCK_PARA, 0, false); break;
    case MD_BLOCK_TR:
        begin(m, CN_BLOCK_ROW, 0, false);
        m->cells = false;
        break;
    case MD_BLOCK_TH:
    case MD_BLOCK_TD:
        if (m->cells)
            cn_out_tab(m->o);
        m->cells = true;
        break;
    default: break;
    }
    return m->o->text.failed ? -1 : 0;
}

static int leave_block(MD_BLOCKTYPE type, void *detail, void *ctx) {
    md *m = ctx;
    (void)detail;
    if (type == MD_BLOCK_TH || type == MD_BLOCK_TD)
        return 0;
    m->items -= type == MD_BLOCK_LI && m->items;
    m->quotes -= type == MD_BLOCK_QUOTE && m->quotes;
    m->h1_done = m->h1_done || m->h1;
    m->h1 = false;
    cn_out_end(m->o);
    return 0;
}

static int span(MD_SPANTYPE type, void *detail, void *ctx) {
    (void)type;
    (void)detail;
    (void)ctx;
    return 0;
}

static void add(md *m, cn_str s) {
    if (m->h1)
        cn_buf_add(&m->o->title, s.p, s.n);
    if (!m->o->open)
        begin(m, CN_BLOCK_PARA, 0, false);
    cn_out_add(m->o, s);
}

static void add_character(md *m, unsigned long c) {
    char utf8[5];
    if (c == 0 || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
        c = 0xfffd;
    if (c < 0x80) {
        utf8[0] = (char)c;
        add(m, (cn_str){utf8, 1});
        return;
    }
    size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t i = n - 1; i > 0; i--, c >>= 6)
        utf8[i] = (char)(0x80 | (c & 0x3f));
    utf8[0] = (char)((n == 2 ? 0xc0u : n == 3 ? 0xe0u : 0xf0u) | c);
    add(m, (cn_str){utf8, n});
}

/* "&amp;", "&#233;", "&#xe9;" */
static void add_entity(md *m, cn_str s) {
    char name[40];
    if (s.n < 3 || s.n >= sizeof name) {
        add(m, s);
        return;
    }
    memcpy(name, s.p + 1, s.n - 2);
    name[s.n - 2] = 0;
    const htmlEntityDesc *e = name[0] == '#' ? NULL : htmlEntityLookup((const xmlChar *)name);
    if (e)
        add_character(m, e->value);
    else if (name[0] == '#')
        add_character(m, name[1] == 'x' || name[1] == 'X' ? strtoul(name + 2, NULL, 16) : strtoul(name + 1, NULL, 10));
    else
        add(m, s);
}

/* Text between the tags. */
static void add_html(md *m, cn_str s) {
    size_t from = 0;
    for (size_t i = 0; i < s.n; i++) {
        if (!m->tag && s.p[i] == '<') {
            add(m, (cn_str){s.p + from, i - from});
            m->tag = true;
        } else if (m->tag && s.p[i] == '>') {
            m->tag = false;
            from = i + 1;
        }
    }
    if (!m->tag)
        add(m, (cn_str){s.p + from, s.n - from});
}

static int on_text(MD_TEXTTYPE type, const MD_CHAR *text, MD_SIZE size, void *ctx) {
    md *m = ctx;
    cn_str s = {text, size};
    if (type == MD_TEXT_BR)
        cn_out_line(m->o);
    else if (type == MD_TEXT_SOFTBR)
        add(m, CN_STR(" "));
    else if (type == MD_TEXT_ENTITY)
        add_entity(m, s);
    else if (type == MD_TEXT_HTML)
        add_html(m, s);
    else if (type != MD_TEXT_NULLCHAR)
        add(m, s);
    return m->o->text.failed ? -1 : 0;
}

cn_err cn_parse_md(cn_str utf8, cn_out *o) {
    md m = {.o = o};
    cn_str body = split_front(utf8, o);
    const MD_PARSER p = {.flags = MD_FLAG_TABLES | MD_FLAG_STRIKETHROUGH | MD_FLAG_TASKLISTS, .enter_block = enter_block, .leave_block = leave_block,
                         .enter_span = span, .leave_span = span, .text = on_text};
    int got = md_parse(body.p, (MD_SIZE)body.n, &p, &m);
    return got == 0 || o->text.failed ? CN_OK : cn_fail_memory();
}
