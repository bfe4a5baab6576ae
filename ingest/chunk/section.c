#include "ingest/chunk/section.h"

#include "engine/base/utf8.h"

/* White space to single spaces, cut at CN_HEADING_BYTES. */
static cn_err one_line(cn_arena *a, cn_str s, cn_str *ret) {
    size_t n = 0, most = s.n < CN_HEADING_BYTES ? s.n : CN_HEADING_BYTES;
    char *p = cn_arena_alloc(a, most + 1);
    if (!p)
        return cn_fail_memory();
    for (size_t i = 0; i < s.n && n < most; i++) {
        char c = s.p[i];
        if (c != ' ' && c != '\n' && c != '\t' && c != '\r')
            p[n++] = c;
        else if (n && p[n - 1] != ' ')
            p[n++] = ' ';
    }
    n = cn_utf8_valid_to((cn_str){p, n}); /* the cut may have gone through a character */
    while (n && p[n - 1] == ' ')
        n--;
    *ret = (cn_str){p, n};
    return CN_OK;
}

static cn_err push(cn_sections *s, cn_str text, uint8_t level) {
    cn_heading h = {.level = level};
    cn_splitter whole = s->split;
    CN_TRY(one_line(s->keep, text, &h.text));
    while (s->n_stack && s->stack[s->n_stack - 1].level >= level)
        s->n_stack--;
    if (!h.text.n)
        return CN_OK;
    whole.text = h.text;
    CN_TRY(cn_split_count(&whole, 0, h.text.n, UINT32_MAX, &h.cost));
    if (s->n_stack == 1 && s->stack[0].level == 0 && cn_str_eq(s->stack[0].text, h.text))
        s->n_stack = 0; /* the title again */
    if (s->n_stack == CN_HEADING_LEVELS)
        s->n_stack--;
    s->stack[s->n_stack++] = h;
    return CN_OK;
}

/* The innermost headings of the first n that fit a third of the budget, one a line, and what is left for the passage. */
static cn_err set_path(cn_sections *s, uint32_t n) {
    uint32_t cost = 0, from = n;
    size_t bytes = 0;
    while (from > 0 && (!s->tokens || cost + s->stack[from - 1].cost <= s->tokens / 3)) {
        from--;
        cost += s->stack[from].cost;
        bytes += s->stack[from].text.n + 1;
    }
    char *p = cn_arena_alloc(s->keep, bytes + 1);
    if (!p)
        return cn_fail_memory();
    s->path = (cn_str){p, bytes ? bytes - 1 : 0};
    for (uint32_t i = from; i < n; i++) {
        memcpy(p, s->stack[i].text.p, s->stack[i].text.n);
        p += s->stack[i].text.n;
        *p++ = '\n';
    }
    s->path_cost = cost;
    s->pack.headings = s->path;
    s->pack.budget = s->tokens - cost;
    s->pack.overlap = s->overlap < s->pack.budget / 2 ? s->overlap : s->pack.budget / 2;
    s->split.most = s->pack.budget;
    s->split.unit = s->overlap >= 16 ? s->overlap : 16;
    if (s->split.unit > s->pack.budget)
        s->split.unit = s->pack.budget;
    return CN_OK;
}

cn_err cn_sections_init(cn_sections *s, const cn_chunker *c, cn_embedder *e, const cn_parsed *doc, cn_arena *keep, cn_chunk_list *out) {
    *s = (cn_sections){.doc = doc, .tokens = c->tokens, .overlap = c->overlap, .keep = keep, .out = out};
    cn_arena_init(&s->scratch, 128 << 10, (size_t)64 << 20);
    s->split = (cn_splitter){.e = e, .text = doc->text, .scratch = &s->scratch, .fn = cn_packer_add, .ctx = &s->pack};
    s->pack.out = out;
    if (doc->title.n)
        CN_TRY(push(s, doc->title, 0));
    return set_path(s, s->n_stack);
}

void cn_sections_done(cn_sections *s) {
    cn_packer_done(&s->pack);
    cn_arena_done(&s->scratch);
}

/* A run of rows, or a block of code: one piece when it fits a chunk, else its lines. */
static cn_err put_together(cn_sections *s, uint64_t from, uint64_t to, uint32_t page) {
    uint32_t cost = UINT32_MAX;
    cn_trim(s->doc->text, &from, &to);
    if (to - from <= (uint64_t)s->pack.budget * CN_TOKEN_BYTES)
        CN_TRY(cn_split_count(&s->split, from, to, s->pack.budget, &cost));
    if (cost > s->pack.budget)
        return cn_split(&s->split, CN_SPLIT_LINES, from, to, page);
    cn_atom a = {.from = from, .to = to, .cost = cost, .page = page, .rank = CN_RANK_BLOCK, .whole = true};
    return cost ? cn_packer_add(&s->pack, &a) : CN_OK;
}

/* The body of a section: blocks [i, end), none a heading. */
static cn_err put_body(cn_sections *s, uint32_t i, uint32_t end) {
    const cn_block *b = s->doc->blocks;
    while (i < end) {
        uint32_t k = i + 1;
        if (b[i].kind == CN_BLOCK_ROW)
            while (k < end && b[k].kind == CN_BLOCK_ROW)
                k++;
        if (b[i].kind == CN_BLOCK_ROW || b[i].kind == CN_BLOCK_CODE)
            CN_TRY(put_together(s, b[i].from, b[k - 1].to, b[i].page));
        else
            CN_TRY(cn_split(&s->split, CN_SPLIT_PROSE, b[i].from, b[i].to, b[i].page));
        i = k;
    }
    return cn_packer_end(&s->pack);
}

/* Nothing stands under the heading: it is a passage itself, under the headings above it. */
static cn_err put_bare(cn_sections *s, const cn_block *b) {
    CN_TRY(set_path(s, s->n_stack ? s->n_stack - 1 : 0));
    CN_TRY(cn_split(&s->split, CN_SPLIT_PROSE, b->from, b->to, b->page));
    return cn_packer_end(&s->pack);
}

static bool is_bare(const cn_parsed *d, uint32_t i, uint32_t next) {
    return next == i + 1 && (next == d->n_blocks || d->blocks[next].level <= d->blocks[i].level);
}

cn_err cn_sections_run(cn_sections *s) {
    const cn_parsed *d = s->doc;
    if (!d->n_blocks) {
        CN_TRY(cn_split(&s->split, CN_SPLIT_PROSE, 0, d->text.n, 0));
        return cn_packer_end(&s->pack);
    }
    for (uint32_t i = 0; i < d->n_blocks;) {
        bool heading = d->blocks[i].kind == CN_BLOCK_HEADING;
        uint32_t next = heading ? i + 1 : i;
        while (next < d->n_blocks && d->blocks[next].kind != CN_BLOCK_HEADING)
            next++;
        if (heading)
            CN_TRY(push(s, (cn_str){d->text.p + d->blocks[i].from, d->blocks[i].to - d->blocks[i].from}, d->blocks[i].level ? d->blocks[i].level : 1));
        CN_TRY(set_path(s, s->n_stack));
        if (heading && is_bare(d, i, next))
            CN_TRY(put_bare(s, &d->blocks[i]));
        else
            CN_TRY(put_body(s, heading ? i + 1 : i, next));
        i = next;
    }
    return CN_OK;
}
