#include "ingest/parse/out.h"

#include "engine/base/mem.h"
#include "ingest/parse/normal.h"

void cn_out_init(cn_out *o) {
    *o = (cn_out){0};
    cn_buf_init(&o->text, CN_TEXT_MAX);
    cn_buf_init(&o->title, 1 << 20);
    cn_buf_init(&o->front, 1 << 20);
}

void cn_out_done(cn_out *o) {
    cn_buf_done(&o->text);
    cn_buf_done(&o->title);
    cn_buf_done(&o->front);
    cn_free(o->blocks);
    o->blocks = NULL;
}

void cn_out_begin(cn_out *o, cn_block_kind kind, unsigned level, bool keep) {
    cn_out_end(o);
    if (o->text.n)
        cn_buf_add(&o->text, "\n\n", 2);
    o->from = o->text.n;
    o->open = true;
    o->keep = keep;
    o->space = false;
    o->kind = (uint8_t)kind;
    o->level = (uint8_t)level;
}

static bool is_space(char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r' || c == '\f'; }

/* Bytes at p that part words: ASCII white space, or U+00A0. */
static size_t space_at(const char *p, size_t n) {
    if (is_space(*p))
        return 1;
    return n > 1 && p[0] == '\xc2' && p[1] == '\xa0' ? 2 : 0;
}

void cn_out_add(cn_out *o, cn_str s) {
    if (!s.n)
        return;
    if (!o->open)
        cn_out_begin(o, CN_BLOCK_PARA, 0, false);
    if (o->keep) {
        cn_buf_add(&o->text, s.p, s.n);
        return;
    }
    for (size_t i = 0; i < s.n;) {
        size_t gap = space_at(s.p + i, s.n - i);
        if (gap) {
            o->space = true;
            i += gap;
            continue;
        }
        size_t from = i;
        while (i < s.n && !space_at(s.p + i, s.n - i))
            i++;
        if (o->space && o->text.n > o->from && !is_space(o->text.p[o->text.n - 1]))
            cn_buf_putc(&o->text, ' ');
        o->space = false;
        cn_buf_add(&o->text, s.p + from, i - from);
    }
}

static void separator(cn_out *o, char c) {
    if (!o->open || o->text.failed)
        return;
    o->space = false;
    if (o->text.n > o->from)
        cn_buf_putc(&o->text, c);
}

void cn_out_line(cn_out *o) { separator(o, '\n'); }
void cn_out_tab(cn_out *o) { separator(o, '\t'); }

/* Puts text[from..] into the normal form. */
static void normalise_tail(cn_out *o) {
    if (o->text.n == o->from)
        return;
    cn_str raw = {o->text.p + o->from, o->text.n - o->from};
    if (cn_normal_is(raw))
        return;
    cn_buf made;
    cn_buf_init(&made, CN_TEXT_MAX);
    cn_normal_add(&made, raw);
    if (made.failed)
        o->text.failed = true;
    o->text.n = o->from;
    cn_buf_add(&o->text, made.p, made.n);
    cn_buf_done(&made);
}

/* Blank lines and trailing white space off both ends; the first line of code keeps its indentation. */
static void trim(cn_out *o) {
    const char *p = o->text.p;
    while (o->text.n > o->from && is_space(p[o->text.n - 1]))
        o->text.n--;
    size_t at = o->from, line = at;
    while (at < o->text.n && is_space(p[at]))
        if (p[at++] == '\n')
            line = at;
    size_t cut = (o->keep ? line : at) - o->from;
    memmove(o->text.p + o->from, p + o->from + cut, o->text.n - o->from - cut);
    o->text.n -= cut;
}

static void add_block(cn_out *o) {
    if (o->n == CN_BLOCKS_MAX) {
        o->blocks[o->n - 1].to = o->text.n;
        return;
    }
    if (!cn_grow(o->blocks, o->n, o->room)) {
        o->failed = true;
        return;
    }
    o->blocks[o->n++] = (cn_block){.from = o->from, .to = o->text.n, .page = o->page, .kind = o->kind, .level = o->level};
}

void cn_out_end(cn_out *o) {
    if (!o->open || o->text.failed)
        return;
    o->open = false;
    normalise_tail(o);
    if (o->text.failed)
        return;
    if (o->text.n > o->from)
        trim(o);
    if (o->text.n > o->from)
        add_block(o);
    else
        o->text.n = o->from >= 2 ? o->from - 2 : 0; /* nothing was in it: take the blank line back */
}

static cn_err take(cn_arena *a, const cn_buf *b, cn_str *ret) {
    CN_TRY(cn_buf_check(b));
    *ret = cn_arena_str(a, cn_buf_str(b));
    return ret->p ? CN_OK : cn_fail_memory();
}

cn_err cn_out_finish(cn_out *o, cn_arena *a, cn_parsed *ret) {
    cn_out_end(o);
    if (o->text.failed && o->text.n >= CN_TEXT_MAX / 2)
        return cn_fail(CN_INVALID, "its text is over the limit of %u bytes; split it", CN_TEXT_MAX);
    if (o->failed || o->text.failed)
        return cn_fail_memory();
    CN_AUTO_BUF cn_buf title;
    cn_buf_init(&title, 1 << 20);
    cn_normal_line(&title, cn_buf_str(&o->title));
    cn_parsed made = {.n_blocks = o->n};
    CN_TRY(take(a, &o->text, &made.text));
    CN_TRY(take(a, &title, &made.title));
    CN_TRY(take(a, &o->front, &made.front));
    cn_block *blocks = cn_arena_alloc(a, o->n * sizeof *blocks);
    if (!blocks)
        return cn_fail_memory();
    if (o->n)
        memcpy(blocks, o->blocks, o->n * sizeof *blocks);
    made.blocks = blocks;
    *ret = made;
    return CN_OK;
}
