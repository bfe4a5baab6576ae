/* expand.c -- the terms that a prefix stands for. All of them are counted in what the principal may read before the most frequent
 * are taken, so that which are taken tells nothing of the rest. */
#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "index/search/searcher.h"

typedef struct gathering {
    cn_lexical *l;
    cn_str beginning;
    cn_row_set rows;
    uint64_t deadline_ns;
    uint32_t calls;
} gathering;

typedef struct same {
    const cn_lexical *l;
    cn_str term;
} same;

static bool is_same(void *ctx, uint32_t i) {
    const same *x = ctx;
    return cn_str_eq((cn_str){x->l->begun[i].term, x->l->begun[i].bytes}, x->term);
}

static cn_err in_time(const gathering *g) {
    bool late = g->deadline_ns && g->calls % 1024 == 0 && cn_mono_ns() > g->deadline_ns;
    return late ? cn_fail(CN_DEADLINE, "the time was over before the words of a prefix were found") : CN_OK;
}

static cn_err add(cn_lexical *l, cn_str term, uint32_t rows) {
    uint32_t hash = cn_crc32c(0, term.p, term.n), i = cn_table_find(&l->begun_at, hash, is_same, &(same){l, term});
    if (i == UINT32_MAX) {
        i = l->n_begun;
        if (i == CN_BEGUN_MAX)
            return cn_fail(CN_INVALID, "more than %u different words begin as a prefix of the question; give more of its letters", CN_BEGUN_MAX);
        if (!cn_grow(l->begun, i, l->room_begun))
            return cn_fail_memory();
        CN_TRY(cn_table_add(&l->begun_at, hash, i));
        l->begun[i] = (cn_begun){.bytes = (uint8_t)term.n};
        memcpy(l->begun[i].term, term.p, term.n);
        l->n_begun++;
    }
    l->begun[i].more += rows;
    return CN_OK;
}

static cn_err take(void *ctx, cn_str term, uint32_t rows) {
    gathering *g = ctx;
    g->calls++;
    CN_TRY(in_time(g));
    if (rows == 0 || term.n > CN_TERM_MAX || cn_terms_stop(g->l->asked.terms, term))
        return CN_OK;
    return add(g->l, term, rows);
}

/* From its beginning, should the postings have to be made anew. */
static cn_err gather_in(void *ctx, const cn_postings *p) {
    gathering *g = ctx;
    for (uint32_t i = 0; i < g->l->n_begun; i++)
        g->l->begun[i].more = 0;
    return cn_postings_begun(p, g->beginning, g->rows, take, g);
}

static cn_err gather(cn_view *v, const cn_query *q, const cn_permit *p, cn_str beginning, cn_lexical *l) {
    cn_table_clear(&l->begun_at);
    l->n_begun = 0;
    for (uint32_t i = 0; i < v->n_parts; i++) {
        gathering g = {l, beginning, {p->rows[i], p->n_rows[i]}, q->deadline_ns, 0};
        if (g.rows.n == 0)
            continue;
        CN_TRY(in_time(&g));
        CN_TRY(cn_seg_use_postings(v->parts[i].seg, &v->analyser, q->deadline_ns, gather_in, &g));
        CN_TRY(cn_seg_sound(v->parts[i].seg));
        for (uint32_t j = 0; j < l->n_begun; j++) {
            l->begun[j].rows += l->begun[j].more;
            l->begun[j].more = 0;
        }
    }
    return CN_OK;
}

/* The stem of the prefix, where it does not itself begin so. */
static cn_err add_stem(cn_view *v, const cn_query *q, cn_permit *p, const cn_asked_prefix *prefix, cn_lexical *l) {
    cn_str stem = {prefix->stem, prefix->n_stem};
    uint64_t n;
    if ((stem.n >= prefix->n_folded && memcmp(stem.p, prefix->folded, prefix->n_folded) == 0) || cn_terms_stop(l->asked.terms, stem))
        return CN_OK;
    CN_TRY(cn_lexical_counted(v, q, p, stem, &n));
    if (n == 0)
        return CN_OK;
    CN_TRY(add(l, stem, 0));
    l->begun[l->n_begun - 1].rows = n;
    return CN_OK;
}

static bool goes_before(const cn_begun *a, const cn_begun *b) {
    return a->rows != b->rows ? a->rows > b->rows : cn_str_cmp((cn_str){a->term, a->bytes}, (cn_str){b->term, b->bytes}) < 0;
}

/* The first `most` in that order; their numbers into best. */
static uint32_t choose(const cn_lexical *l, uint32_t most, uint32_t *best) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < l->n_begun; i++) {
        bool full = n == most;
        if (l->begun[i].rows == 0 || (full && (n == 0 || !goes_before(&l->begun[i], &l->begun[best[n - 1]]))))
            continue;
        n += !full;
        uint32_t j = n - 1;
        for (; j > 0 && goes_before(&l->begun[i], &l->begun[best[j - 1]]); j--)
            best[j] = best[j - 1];
        best[j] = i;
    }
    return n;
}

static uint32_t held(const cn_lexical *l) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < l->n_begun; i++)
        n += l->begun[i].rows > 0;
    return n;
}

cn_err cn_expand(cn_view *v, const cn_query *q, cn_permit *p, const cn_asked_prefix *prefix, cn_lexical *l, uint32_t *ret_n, uint64_t *ret_rows) {
    uint32_t best[CN_PREFIX_WORDS], room = CN_TERMS_MAX - l->n_wanted;
    if (!l->expanded && !cn_resize(l->expanded, (size_t)CN_PREFIXES_MAX * CN_PREFIX_WORDS * CN_TERM_MAX))
        return cn_fail_memory();
    CN_TRY(gather(v, q, p, (cn_str){prefix->folded, prefix->n_folded}, l));
    CN_TRY(add_stem(v, q, p, prefix, l));
    uint32_t n = choose(l, room < CN_PREFIX_WORDS ? room : CN_PREFIX_WORDS, best);
    for (uint32_t i = 0; i < n; i++) {
        const cn_begun *b = &l->begun[best[i]];
        char *term = l->expanded + (size_t)CN_TERM_MAX * l->n_expanded++;
        memcpy(term, b->term, b->bytes);
        l->wanted[l->n_wanted++] = (cn_wanted){.term = {term, b->bytes}};
    }
    l->prefix_cut |= held(l) > n;
    *ret_n = n;
    *ret_rows = n ? l->begun[best[0]].rows : 0;
    return CN_OK;
}
