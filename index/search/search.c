/* search.c -- one question: the permitted set, each segment's best, merged. */
#include <math.h>

#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "index/search/searcher.h"

cn_err cn_searcher_new(cn_searcher **ret) {
    cn_searcher *s = cn_calloc(1, sizeof *s);
    if (!s)
        return cn_fail_memory();
    cn_err e = cn_scratch_new(&s->scratch);
    if (e == CN_OK)
        e = cn_cells_scratch_new(&s->cells);
    if (e != CN_OK) {
        cn_searcher_free(s);
        return e;
    }
    *ret = s;
    return CN_OK;
}

void cn_searcher_free(cn_searcher *s) {
    if (!s)
        return;
    cn_scratch_free(s->scratch);
    cn_cells_scratch_free(s->cells);
    cn_lexical_done(&s->lexical);
    cn_free(s->fused);
    cn_free(s->scored);
    cn_free(s->best);
    cn_free(s->part);
    cn_free(s->next);
    cn_free(s->told);
    cn_free(s->told_texts);
    cn_free(s->texts);
    cn_free(s);
}

static cn_err make_room(cn_searcher *s, uint32_t k) {
    if (k <= s->room)
        return CN_OK;
    if (!cn_resize(s->scored, k) || !cn_resize(s->best, k) || !cn_resize(s->part, k) || !cn_resize(s->next, k) || !cn_resize(s->fused, 2ull * k) || !cn_resize(s->texts, k))
        return cn_fail_memory();
    while (s->room_told < 4 * k) { /* a fused list is twice as long */
        uint32_t more = s->room_told ? 2 * s->room_told : 64;
        if (!cn_resize(s->told, more) || !cn_resize(s->told_texts, more))
            return cn_fail_memory();
        s->room_told = more;
    }
    s->room = k;
    return CN_OK;
}

/* ---------- order ---------- */
/* Hits of two segments: higher scores first, ties by source, id, chunk. */
cn_err cn_hit_first(const cn_hit *x, const cn_hit *y, bool *ret) {
    cn_doc a, b;
    if (x->score != y->score) {
        *ret = x->score > y->score;
        return CN_OK;
    }
    CN_TRY(cn_seg_doc_brief(x->seg, x->doc, &a));
    CN_TRY(cn_seg_doc_brief(y->seg, y->doc, &b));
    int c = cn_str_cmp(a.source, b.source);
    c = c ? c : cn_str_cmp(a.id, b.id);
    *ret = c ? c < 0 : x->chunk < y->chunk;
    return CN_OK;
}

/* The best k of `best` (n) and `part` (more), both in order, become `best`. */
static cn_err merge(cn_searcher *s, uint32_t k, uint32_t *n, uint32_t more) {
    uint32_t i = 0, j = 0, out = 0;
    while (out < k && (i < *n || j < more)) {
        bool first = i < *n;
        if (first && j < more)
            CN_TRY(cn_hit_first(&s->best[i], &s->part[j], &first));
        s->next[out++] = first ? s->best[i++] : s->part[j++];
    }
    cn_hit *t = s->best;
    s->best = s->next;
    s->next = t;
    *n = out;
    return CN_OK;
}

/* ---------- one segment ---------- */
static bool late(void *ctx) {
    const cn_query *q = ctx;
    return q->deadline_ns && cn_mono_ns() > q->deadline_ns;
}

/* By cells, or by FAISS, as far as that pays. */
static cn_err probe(const cn_view_part *p, const cn_scan *scan, double recall, cn_searcher *s, uint32_t *ret_n) {
    cn_cells_told told;
    CN_TRY(p->faiss ? cn_faiss_search(p->faiss, scan, recall, s->scratch, s->scored, ret_n, &told)
                    : cn_cells_search(p->cells, scan, recall, s->scratch, s->cells, s->scored, ret_n, &told));
    *(p->faiss ? &s->probed.by_faiss : &s->probed.by_cells) += told.way != CN_WAY_SCAN;
    s->probed.abandoned += told.way == CN_WAY_ABANDONED;
    s->probed.cells += told.cells;
    s->probed.expected += told.way == CN_WAY_SCAN ? 0 : told.expected;
    s->probed.scored += told.rows + (told.way == CN_WAY_CELLS ? 0 : scan->n_permitted);
    return CN_OK;
}

static cn_err scan_vectors(const cn_view_part *p, const cn_query *q, uint32_t k, cn_row_set rows, cn_searcher *s, uint32_t *ret_n) {
    union {
        const cn_query *in;
        void *out;
    } ctx = {q};
    cn_scan scan = {q->vector, k, rows.bits, rows.n, cn_seg_row_rank(p->seg), late, ctx.out};
    bool exact = q->mode == CN_MODE_EXACT || q->exact;
    if (rows.n == 0 || !p->flat)
        return CN_OK;
    if (!exact && (p->cells || p->faiss) && q->recall > 0)
        return probe(p, &scan, q->recall, s, ret_n);
    s->probed.scored += rows.n;
    return exact ? cn_flat_exact(p->flat, &scan, s->scratch, s->scored, ret_n) : cn_flat_staged(p->flat, &scan, s->scratch, s->scored, ret_n);
}

typedef struct looking {
    const cn_lookup *lookup;
    cn_searcher *s;
    const cn_phrase_look *phrases;
    uint32_t n;
} looking;

/* Rows that cannot be read for phrases say nothing of the postings. */
static cn_err look_in(void *ctx, const cn_postings *p) {
    looking *l = ctx;
    cn_err e = cn_postings_search(p, l->lookup, l->s->lexical.scratch, l->s->scored, &l->n);
    return l->phrases->failed != CN_OK ? CN_OK : e;
}

static cn_err look_up(cn_view *v, const cn_view_part *p, const cn_query *q, uint32_t k, float floor, cn_row_set rows, cn_searcher *s, uint32_t *ret_n) {
    union {
        const cn_query *in;
        void *out;
    } ctx = {q};
    cn_lexical *l = &s->lexical;
    cn_phrase_look phrases = {q, &v->analyser, p->seg, l, CN_OK};
    cn_lookup lookup = {.terms = l->wanted, .n = l->n_wanted, .k1 = CN_BM25_K1, .b = CN_BM25_B, .mean = l->mean, .k = k, .floor = floor, .permitted = rows,
                        .rank = cn_seg_row_rank(p->seg), .stop = late, .stop_ctx = ctx.out,
                        .fits = l->asked.phrases ? cn_phrases_stand : NULL, .fits_ctx = &phrases};
    if (rows.n == 0 || lookup.n == 0)
        return CN_OK;
    looking look = {&lookup, s, &phrases, 0};
    CN_TRY(cn_seg_use_postings(p->seg, &v->analyser, q->deadline_ns, look_in, &look));
    CN_TRY(phrases.failed);
    *ret_n = look.n;
    return CN_OK;
}

/* s->scored to hits, as far as they are good enough. */
static uint32_t keep(const cn_view_part *p, uint32_t n, float least, cn_searcher *s) {
    uint32_t kept = 0;
    const uint32_t *row_doc = cn_seg_row_doc(p->seg), *doc_row = cn_seg_doc_row(p->seg);
    for (; kept < n && s->scored[kept].score >= least; kept++) {
        uint32_t row = s->scored[kept].row, doc = row_doc[row];
        s->part[kept] = (cn_hit){.score = s->scored[kept].score, .seg = p->seg, .row = row, .doc = doc, .chunk = row - doc_row[doc]};
    }
    return kept;
}

/* The best k of all segments into s->best, by vectors or by words. */
static cn_err search_parts(cn_view *v, const cn_query *q, bool by_words, const cn_permit *permit, uint32_t k, cn_searcher *s, uint32_t *ret_n) {
    uint32_t n = 0;
    if (!by_words)
        s->probed = (cn_probed){0};
    for (uint32_t i = 0; i < v->n_parts; i++) {
        const cn_view_part *p = &v->parts[i];
        cn_row_set rows = {permit->rows[i], permit->n_rows[i]};
        uint32_t found = 0;
        float floor = n == k ? s->best[k - 1].score : -INFINITY;
        CN_TRY(by_words ? look_up(v, p, q, k, floor, rows, s, &found) : scan_vectors(p, q, k, rows, s, &found));
        CN_TRY(cn_seg_sound(p->seg));
        CN_TRY(merge(s, k, &n, keep(p, found, by_words ? -INFINITY : q->min_score, s)));
    }
    *ret_n = n;
    return CN_OK;
}

/* Both halves, to the same depth, and one list of them. */
static cn_err search_both(cn_view *v, const cn_query *q, const cn_permit *permit, uint32_t k, cn_searcher *s, uint32_t *ret_n) {
    uint32_t dense, lexical;
    uint64_t permitted = cn_permit_rows(permit);
    CN_TRY(search_parts(v, q, false, permit, k, s, &dense));
    memcpy(s->fused, s->best, dense * sizeof *s->fused);
    CN_TRY(search_parts(v, q, true, permit, k, s, &lexical));
    return cn_fuse(s, dense, lexical, permitted, q->rrf, ret_n);
}

static cn_err find_all(cn_view *v, const cn_query *q, const cn_permit *permit, uint32_t k, cn_searcher *s, cn_hit **ret, uint32_t *ret_n) {
    CN_TRY(make_room(s, k));
    cn_err e = q->mode == CN_MODE_HYBRID ? search_both(v, q, permit, k, s, ret_n) : search_parts(v, q, q->mode == CN_MODE_LEXICAL, permit, k, s, ret_n);
    *ret = q->mode == CN_MODE_HYBRID ? s->fused : s->best; /* merging swaps s->best */
    return e;
}

cn_err cn_search_permitted(cn_view *v, const cn_query *q, const cn_permit *permit, cn_searcher *s, cn_hit *hits, uint32_t *ret_n) {
    uint64_t permitted = cn_permit_rows(permit);
    uint32_t depth = q->mode == CN_MODE_HYBRID && q->k < CN_HYBRID_DEPTH ? CN_HYBRID_DEPTH : q->k;
    bool leaves_out = q->per_doc || q->distinct;
    for (uint32_t k = depth;;) { /* where some are left out more are fetched until k are left, or there are no more */
        uint32_t n, out;
        cn_hit *found;
        CN_TRY(find_all(v, q, permit, k, s, &found, &n));
        CN_TRY(cn_take(s, q, found, n, hits, &out));
        if (out == q->k || !leaves_out || k >= permitted || k >= CN_K_MAX) {
            *ret_n = out;
            return CN_OK;
        }
        k = k > CN_K_MAX / 4 ? CN_K_MAX : k * 4;
    }
}

cn_err cn_search(cn_view *v, const cn_query *q, cn_searcher *s, cn_hit *hits, uint32_t *ret_n, cn_search_stats *stats) {
    cn_permit *permit;
    cn_search_stats st = {.segments = v->n_parts, .coded = true};
    uint64_t t0 = cn_mono_ns();
    CN_TRY(cn_permit_get(v, &q->who, q->filter, q->deadline_ns, &permit));
    cn_err e = q->mode == CN_MODE_LEXICAL || q->mode == CN_MODE_HYBRID ? cn_lexical_prepare(v, q, &s->lexical) : CN_OK;
    for (uint32_t i = 0; i < v->n_parts; i++) {
        st.coded &= v->parts[i].coded;
        st.without_cells += v->ix.set.cells && v->parts[i].flat && !v->parts[i].cells && cn_seg_rows(v->parts[i].seg) >= cn_cells_from();
        st.without_faiss += v->ix.set.faiss.n && v->parts[i].flat && !v->parts[i].faiss && cn_seg_rows(v->parts[i].seg) >= cn_cells_from();
        st.any_coded |= v->parts[i].coded && permit->n_rows[i];
    }
    uint64_t t1 = cn_mono_ns();
    if (e == CN_OK)
        e = cn_search_permitted(v, q, permit, s, hits, ret_n);
    st.permitted = (uint32_t)cn_permit_rows(permit);
    cn_permit_unref(permit);
    st.scored = q->mode == CN_MODE_LEXICAL ? st.permitted : s->probed.scored;
    if (q->mode != CN_MODE_LEXICAL) {
        st.by_cells = s->probed.by_cells;
        st.by_faiss = s->probed.by_faiss;
        st.abandoned = s->probed.abandoned;
        st.cells_read = s->probed.cells;
        st.rows_expected = s->probed.expected;
    }
    if (q->mode == CN_MODE_LEXICAL || q->mode == CN_MODE_HYBRID) {
        const cn_asked *a = &s->lexical.asked;
        st.terms = s->lexical.terms;
        st.words_cut = a->cut;
        st.prefix_cut = s->lexical.prefix_cut;
        st.known = s->lexical.terms_known;
        st.phrases = a->phrases;
        st.looked_at = s->lexical.looked_at;
        st.prefixes = a->n_prefixes;
        st.expanded = s->lexical.n_expanded;
        st.lexical_most = s->lexical.most;
    }
    st.permit_ns = t1 - t0;
    st.search_ns = cn_mono_ns() - t1;
    if (e == CN_OK && stats)
        *stats = st;
    return e;
}

float cn_hit_cosine(const cn_hit *hit, const float *vector) {
    cn_vecs vecs;
    if (cn_seg_vecs(hit->seg, &vecs) != CN_OK)
        return 0;
    float c = cn_score(CN_COSINE, vector, cn_vec(&vecs, hit->row), vecs.dim);
    return isfinite(c) ? c : 0; /* one of zeros, where the metric allows that */
}
