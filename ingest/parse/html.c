/* HTML by libxml2's push parser and its events; no tree is made, so nesting costs no stack and little memory.
 *
 * What dresses a page (scripts, navigation, footers, hidden parts) is left out. Where the page marks its main part, and
 * that part holds a fair share of the text, only it counts. */
#include <libxml/HTMLparser.h>
#include <stdlib.h>
#include <strings.h>

#include "ingest/parse/html_feed.h"
#include "ingest/parse/out.h"

typedef enum kind { INLINE, SKIP, TITLE, HEADING, PARA, ITEM, CODE, QUOTE, TABLE, ROW, CELL, BREAK, MAIN } kind;
typedef struct element {
    const char *name;
    uint8_t kind;
} element;

static const element elements[] = { /* sorted */
    {"address", PARA}, {"article", PARA}, {"aside", PARA}, {"audio", SKIP}, {"blockquote", QUOTE}, {"body", PARA}, {"br", BREAK},
    {"button", SKIP}, {"canvas", SKIP}, {"caption", PARA}, {"center", PARA}, {"datalist", SKIP}, {"dd", ITEM}, {"details", PARA},
    {"div", PARA}, {"dl", PARA}, {"dt", ITEM}, {"embed", SKIP}, {"fieldset", PARA}, {"figcaption", PARA}, {"figure", PARA},
    {"footer", SKIP}, {"form", PARA}, {"h1", HEADING}, {"h2", HEADING}, {"h3", HEADING}, {"h4", HEADING}, {"h5", HEADING},
    {"h6", HEADING}, {"header", PARA}, {"hr", PARA}, {"iframe", SKIP}, {"legend", PARA}, {"li", ITEM}, {"main", MAIN}, {"map", SKIP},
    {"nav", SKIP}, {"noframes", SKIP}, {"noscript", SKIP}, {"object", SKIP}, {"ol", PARA}, {"p", PARA}, {"pre", CODE}, {"rp", SKIP}, {"rt", SKIP}, {"script", SKIP},
    {"section", PARA}, {"select", SKIP}, {"style", SKIP}, {"summary", PARA}, {"svg", SKIP}, {"table", TABLE}, {"td", CELL},
    {"template", SKIP}, {"textarea", CODE}, {"th", CELL}, {"title", TITLE}, {"tr", ROW}, {"ul", PARA}, {"video", SKIP}};

typedef struct html {
    cn_out *o;
    htmlParserCtxtPtr ctx;
    uint64_t depth;
    uint64_t skip, main, pre, title; /* the depth at which each began; 0: not in one */
    uint32_t items, quotes;          /* how many of them are open */
    bool row, cells;                 /* in a row of a table; it has had a cell */
    bool h1, h1_done;                /* writing the first h1 to the title */
} html;

static int by_name(const void *a, const void *b) { return strcasecmp(((const element *)a)->name, ((const element *)b)->name); }

static kind kind_of(const char *name) {
    const element want = {name, 0}, *e = bsearch(&want, elements, sizeof elements / sizeof *elements, sizeof *elements, by_name);
    return e ? (kind)e->kind : INLINE;
}

/* --- what is left out --- */
static bool has_word(const char *list, const char *const *words) {
    for (const char *p = list; *p;) {
        size_t n = strcspn(p, " \t\n");
        for (size_t i = 0; words[i]; i++)
            if (strlen(words[i]) == n && strncasecmp(p, words[i], n) == 0)
                return true;
        p += n;
        p += strspn(p, " \t\n");
    }
    return false;
}

static bool hides(const char *style) {
    const char *p = strcasestr(style, "display");
    if (!p)
        return false;
    p += strlen("display");
    p += strspn(p, " :\t");
    return strncasecmp(p, "none", 4) == 0;
}

static bool left_out(const xmlChar **atts, bool *ret_main) {
    static const char *const classes[] = {"sphinxsidebar", "headerlink", "navheader", "navfooter", "navbar", "breadcrumb", "breadcrumbs", "skip-link", NULL};
    static const char *const roles[] = {"navigation", "search", "contentinfo", NULL};
    static const char *const main[] = {"main", NULL};
    for (; atts && atts[0]; atts += 2) {
        const char *name = (const char *)atts[0], *value = atts[1] ? (const char *)atts[1] : "";
        if (strcasecmp(name, "hidden") == 0 || (strcasecmp(name, "class") == 0 && has_word(value, classes)) ||
            (strcasecmp(name, "style") == 0 && hides(value)))
            return true;
        if (strcasecmp(name, "role") == 0) {
            if (has_word(value, roles))
                return true;
            *ret_main = *ret_main || has_word(value, main);
        }
    }
    return false;
}

/* --- events --- */
static void begin(html *h, cn_block_kind as, unsigned level, bool keep) {
    if (as == CN_BLOCK_PARA && h->items)
        as = CN_BLOCK_ITEM;
    else if (as == CN_BLOCK_PARA && h->quotes)
        as = CN_BLOCK_QUOTE;
    cn_out_begin(h->o, as, level, keep);
}

/* A row whose cells hold headings, lists or tables is a page's layout, not data: its parts are blocks of their own. */
static void leave_row(html *h) {
    h->row = false;
    cn_out_end(h->o);
}

static void start_cell(html *h) {
    if (!h->row) {
        cn_out_end(h->o);
        return;
    }
    if (h->cells)
        cn_out_tab(h->o);
    h->cells = true;
}

static void start_block(html *h, kind k, const char *name) {
    if (h->row && (k == HEADING || k == ITEM || k == CODE || k == TABLE))
        leave_row(h);
    if (h->row && (k == PARA || k == QUOTE || k == MAIN)) {
        cn_out_add(h->o, CN_STR(" "));
        return;
    }
    switch (k) {
    case HEADING:
        begin(h, CN_BLOCK_HEADING, (unsigned)(name[1] - '0'), false);
        h->h1 = name[1] == '1' && !h->h1_done;
        break;
    case ITEM:
        h->items++;
        begin(h, CN_BLOCK_ITEM, 0, false);
        break;
    case CODE:
        h->pre = h->pre ? h->pre : h->depth;
        begin(h, CN_BLOCK_CODE, 0, true);
        break;
    case QUOTE:
        h->quotes++;
        cn_out_end(h->o);
        break;
    default:
        cn_out_end(h->o);
        break;
    }
}

static void on_start(void *ctx, const xmlChar *xname, const xmlChar **atts) {
    html *h = ctx;
    const char *name = (const char *)xname;
    h->depth++;
    if (h->skip)
        return;
    kind k = kind_of(name);
    bool main = k == MAIN;
    if (k == SKIP || (k == TITLE && h->o->title.n) || left_out(atts, &main)) {
        h->skip = h->depth;
        return;
    }
    if (main && !h->main) {
        h->main = h->depth;
        cn_out_end(h->o);
        h->o->page = 1; /* marks blocks of the main part until the end */
    }
    if (k == TITLE)
        h->title = h->depth;
    else if (k == BREAK && !h->row)
        cn_out_line(h->o);
    else if (k == BREAK)
        cn_out_add(h->o, CN_STR(" "));
    else if (k == CELL)
        start_cell(h);
    else if (k == ROW) {
        cn_out_begin(h->o, CN_BLOCK_ROW, 0, false);
        h->row = true;
        h->cells = false;
    } else if (k != INLINE)
        start_block(h, k, name);
}

static void end_block(html *h, kind k) {
    if (h->row && k != ROW && k != TABLE)
        return;
    h->items -= k == ITEM && h->items;
    h->quotes -= k == QUOTE && h->quotes;
    h->h1_done = h->h1_done || (k == HEADING && h->h1);
    if (k == HEADING)
        h->h1 = false;
    leave_row(h);
}

static void on_end(void *ctx, const xmlChar *xname) {
    html *h = ctx;
    uint64_t depth = h->depth;
    h->depth -= depth > 0;
    if (h->skip) {
        h->skip = h->skip == depth ? 0 : h->skip;
        return;
    }
    kind k = kind_of((const char *)xname);
    h->pre = h->pre == depth ? 0 : h->pre;
    h->title = h->title == depth ? 0 : h->title;
    if (k != INLINE && k != BREAK && k != TITLE && k != CELL)
        end_block(h, k);
    if (h->main == depth && depth) {
        cn_out_end(h->o);
        h->main = 0;
        h->o->page = 0;
    }
}

static bool all_space(const char *p, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (!(p[i] == ' ' || (p[i] >= '\t' && p[i] <= '\r')))
            return false;
    return true;
}

static void on_text(void *ctx, const xmlChar *text, int len) {
    html *h = ctx;
    cn_str s = {(const char *)text, (size_t)len};
    if (h->skip)
        return;
    if (h->title) {
        cn_buf_add(&h->o->title, s.p, s.n);
        return;
    }
    if (!h->o->open && all_space(s.p, s.n))
        return;
    if (!h->o->open)
        begin(h, h->pre ? CN_BLOCK_CODE : CN_BLOCK_PARA, 0, h->pre != 0);
    if (h->h1)
        cn_buf_add(&h->o->front, s.p, s.n); /* the title, should there be no other */
    cn_out_add(h->o, s);
    if (h->o->text.failed)
        xmlStopParser(h->ctx);
}

/* --- the main part --- */
static void keep_main(cn_out *o) {
    uint64_t main = 0, all = 0;
    for (uint32_t i = 0; i < o->n; i++) {
        uint64_t n = o->blocks[i].to - o->blocks[i].from;
        all += n;
        main += o->blocks[i].page ? n : 0;
    }
    bool only = main * 8 >= all && main;
    size_t to = 0;
    uint32_t n = 0;
    for (uint32_t i = 0; i < o->n; i++) {
        cn_block b = o->blocks[i];
        if (only && !b.page)
            continue;
        size_t len = b.to - b.from;
        if (to)
            memcpy(o->text.p + to, "\n\n", 2);
        to += to ? 2 : 0;
        memmove(o->text.p + to, o->text.p + b.from, len);
        b.from = to;
        b.to = to += len;
        b.page = 0;
        o->blocks[n++] = b;
    }
    o->text.n = to;
    o->n = n;
}

static void take_piece(void *ctx, cn_str s) { htmlParseChunk(((html *)ctx)->ctx, s.p, (int)s.n, 0); }

cn_err cn_parse_html(cn_str utf8, cn_out *o) {
    html h = {.o = o};
    xmlSAXHandler sax = {.startElement = on_start, .endElement = on_end, .characters = on_text, .ignorableWhitespace = on_text};
    h.ctx = htmlCreatePushParserCtxt(&sax, &h, NULL, 0, NULL, XML_CHAR_ENCODING_UTF8);
    if (!h.ctx)
        return cn_fail_memory();
    htmlCtxtUseOptions(h.ctx, HTML_PARSE_NONET | HTML_PARSE_IGNORE_ENC | HTML_PARSE_NOERROR | HTML_PARSE_NOWARNING | HTML_PARSE_NODEFDTD);
    cn_err e = cn_html_feed(utf8, take_piece, &h);
    htmlParseChunk(h.ctx, NULL, 0, 1);
    bool memory = e != CN_OK || h.ctx->errNo == XML_ERR_NO_MEMORY;
    if (h.ctx->myDoc)
        xmlFreeDoc(h.ctx->myDoc);
    htmlFreeParserCtxt(h.ctx);
    cn_out_end(o);
    if (memory)
        return cn_fail_memory();
    if (!o->text.failed && !o->failed)
        keep_main(o);
    if (!o->title.n)
        cn_buf_add(&o->title, o->front.p, o->front.n);
    cn_buf_reset(&o->front);
    return CN_OK;
}
