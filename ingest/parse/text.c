/* Plain text: kept as it is but for its normal form; runs of lines that are not blank are its paragraphs. */
#include "engine/base/mem.h"
#include "ingest/parse/normal.h"
#include "ingest/parse/out.h"

typedef struct walk {
    cn_str text;
    size_t at;
    uint32_t page;
} walk;

static size_t line_end(cn_str s, size_t at) {
    const char *nl = memchr(s.p + at, '\n', s.n - at);
    return nl ? (size_t)(nl - s.p) : s.n;
}

static bool blank(cn_str s, size_t from, size_t to) {
    while (from < to && (s.p[from] == ' ' || s.p[from] == '\t'))
        from++;
    return from == to;
}

/* The next paragraph; its first line's indentation and its last line's trailing blanks stand outside. */
static bool next_block(walk *w, cn_block *ret) {
    size_t end;
    while (w->at < w->text.n && blank(w->text, w->at, end = line_end(w->text, w->at)))
        w->at = end + 1;
    if (w->at >= w->text.n)
        return false;
    size_t from = w->at, to = from;
    while (w->at < w->text.n && !blank(w->text, w->at, end = line_end(w->text, w->at))) {
        to = end;
        w->at = end + 1;
    }
    while (w->text.p[from] == ' ' || w->text.p[from] == '\t')
        from++;
    while (w->text.p[to - 1] == ' ' || w->text.p[to - 1] == '\t')
        to--;
    *ret = (cn_block){.from = from, .to = to, .page = w->page, .kind = CN_BLOCK_PARA};
    return true;
}

static cn_err blocks_of(cn_str text, cn_arena *a, cn_parsed *ret) {
    uint32_t n = 0;
    cn_block b, *v;
    for (walk w = {.text = text}; n < CN_BLOCKS_MAX && next_block(&w, &b);)
        n++;
    if (!(v = cn_arena_alloc(a, n * sizeof *v)))
        return cn_fail_memory();
    walk w = {.text = text};
    for (uint32_t i = 0; i < n; i++)
        next_block(&w, &v[i]);
    while (n == CN_BLOCKS_MAX && next_block(&w, &b)) /* the rest joins the last */
        v[n - 1].to = b.to;
    *ret = (cn_parsed){.text = text, .title = CN_STR(""), .front = CN_STR(""), .blocks = v, .n_blocks = n};
    return CN_OK;
}

static cn_err one_run(cn_str utf8, cn_arena *a, cn_parsed *ret) {
    cn_str text;
    if (cn_normal_is(utf8)) {
        text = cn_arena_str(a, utf8);
    } else {
        CN_AUTO_BUF cn_buf made;
        cn_buf_init(&made, CN_TEXT_MAX);
        cn_normal_add(&made, utf8);
        if (made.failed)
            return cn_fail(CN_INVALID, "its text is over the limit of %u bytes; split it", CN_TEXT_MAX);
        text = cn_arena_str(a, cn_buf_str(&made));
    }
    return text.p ? blocks_of(text, a, ret) : cn_fail_memory();
}

/* A page of pdftotext's output: paragraphs through `o`, lines joined, a word cut at a line's end made whole again. */
static void add_page(cn_out *o, cn_str page) {
    cn_block b;
    for (walk w = {.text = page}; next_block(&w, &b);) {
        cn_out_begin(o, CN_BLOCK_PARA, 0, false);
        cn_out_add(o, (cn_str){page.p + b.from, b.to - b.from});
    }
    cn_out_end(o);
}

static cn_err paged(cn_str utf8, cn_arena *a, cn_parsed *ret) {
    CN_AUTO_OUT cn_out o;
    cn_out_init(&o);
    while (utf8.n) {
        const char *ff = memchr(utf8.p, '\f', utf8.n);
        size_t n = ff ? (size_t)(ff - utf8.p) : utf8.n;
        o.page++;
        add_page(&o, (cn_str){utf8.p, n});
        n += ff ? 1 : 0;
        utf8.p += n;
        utf8.n -= n;
    }
    return cn_out_finish(&o, a, ret);
}

cn_err cn_parse_text(cn_str utf8, bool pages, cn_arena *a, cn_parsed *ret) {
    if (utf8.n > CN_TEXT_MAX)
        return cn_fail(CN_INVALID, "its text is over the limit of %u bytes; split it", CN_TEXT_MAX);
    return pages ? paged(utf8, a, ret) : one_run(utf8, a, ret);
}
