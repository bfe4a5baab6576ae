/* search.c -- one question: the permitted set, each segment's best, merged. */
#include <math.h>
#include <stdlib.h>

#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "index/search/view_inside.h"

struct cn_searcher {
    cn_scratch *scratch;
    cn_scored *scored;   /* one segment's */
    cn_hit *all;         /* every segment's */
    uint32_t room_scored, room_all;
};

cn_err cn_searcher_new(cn_searcher **ret) {
    cn_searcher *s = cn_calloc(1, sizeof *s);
    if (!s)
        return cn_fail_memory();
    cn_err e = cn_scratch_new(&s->scratch);
    if (e != CN_OK) {
        cn_free(s);
        return e;
    }
    *ret = s;
    return CN_OK;
}

void cn_searcher_free(cn_searcher *s) {
    if (!s)
        return;
    cn_scratch_free(s->scratch);
    cn_free(s->scored);
    cn_free(s->all);
    cn_free(s);
}

static cn_err make_room(cn_searcher *s, uint32_t k, uint32_t parts) {
    if (k > s->room_scored) {
        cn_scored *p = cn_realloc(s->scored, k * sizeof *p);
        if (!p)
            return cn_fail_memory();
        s->scored = p;
        s->room_scored = k;
    }
    uint64_t all = (uint64_t)k * parts;
    if (all > UINT32_MAX)
        return cn_fail(CN_REFUSED, "%u hits from each of %u segments are too many", k, parts);
    if (all > s->room_all) {
        cn_hit *p = cn_realloc(s->all, all * sizeof *p);
        if (!p)
            return cn_fail_memory();
        s->all = p;
        s->room_all = (uint32_t)all;
    }
    return CN_OK;
}

/* ---------- order ---------- */
static int by_place(const cn_hit *x, const cn_hit *y) {
    cn_doc a, b;
    cn_arena none;
    cn_arena_init(&none, 1024, 4096);
    int c = 0;
    if (cn_seg_doc(x->seg, x->doc, &none, &a) == CN_OK && cn_seg_doc(y->seg, y->doc, &none, &b) == CN_OK) {
        c = cn_str_cmp(a.source, b.source);
        c = c ? c : cn_str_cmp(a.id, b.id);
    }
    cn_arena_done(&none);
    return c ? c : (x->chunk > y->chunk) - (x->chunk < y->chunk);
}

static int by_score(const void *a, const void *b) {
    const cn_hit *x = a, *y = b;
    if (x->score != y->score)
        return x->score > y->score ? -1 : 1;
    if (x->seg == y->seg) {
        const uint32_t *rank = cn_seg_row_rank(x->seg);
        return (rank[x->row] > rank[y->row]) - (rank[x->row] < rank[y->row]);
    }
    return by_place(x, y);
}

/* ---------- one segment ---------- */
static bool late(void *ctx) {
    const cn_query *q = ctx;
    return q->deadline_ns && cn_mono_ns() > q->deadline_ns;
}

static cn_err search_part(const cn_view_part *p, const cn_query *q, uint32_t k, const uint64_t *rows, uint32_t n_rows, cn_searcher *s, uint32_t *all) {
    uint32_t n = 0;
    union {
        const cn_query *in;
        void *out;
    } ctx = {q};
    cn_scan scan = {q->vector, k, rows, n_rows, cn_seg_row_rank(p->seg), late, ctx.out};
    if (n_rows == 0 || !p->flat)
        return CN_OK;
    CN_TRY(q->mode == CN_MODE_EXACT ? cn_flat_exact(p->flat, &scan, s->scratch, s->scored, &n) : cn_flat_staged(p->flat, &scan, s->scratch, s->scored, &n));
    const uint32_t *row_doc = cn_seg_row_doc(p->seg), *doc_row = cn_seg_doc_row(p->seg);
    for (uint32_t i = 0; i < n && s->scored[i].score >= q->min_score; i++) {
        uint32_t row = s->scored[i].row, doc = row_doc[row];
        s->all[(*all)++] = (cn_hit){s->scored[i].score, p->seg, row, doc, row - doc_row[doc]};
    }
    return CN_OK;
}

static cn_err search_parts(cn_view *v, const cn_query *q, const cn_permit *permit, uint32_t k, cn_searcher *s, uint32_t *ret_n) {
    uint32_t n = 0;
    CN_TRY(make_room(s, k, v->n_parts));
    for (uint32_t i = 0; i < v->n_parts; i++)
        CN_TRY(search_part(&v->parts[i], q, k, permit->rows[i], permit->n_rows[i], s, &n));
    if (n > 1 && v->n_parts > 1)
        qsort(s->all, n, sizeof *s->all, by_score);
    *ret_n = n;
    return CN_OK;
}

/* At most per_doc hits of a document, in order. */
static uint32_t take(const cn_hit *all, uint32_t n, uint32_t k, uint32_t per_doc, cn_hit *hits) {
    uint32_t out = 0;
    for (uint32_t i = 0; i < n && out < k; i++) {
        uint32_t same = 0;
        for (uint32_t j = 0; per_doc && j < out; j++)
            same += hits[j].seg == all[i].seg && hits[j].doc == all[i].doc;
        if (!per_doc || same < per_doc)
            hits[out++] = all[i];
    }
    return out;
}

static cn_err search(cn_view *v, const cn_query *q, const cn_permit *permit, uint64_t permitted, cn_searcher *s, cn_hit *hits, uint32_t *ret_n) {
    for (uint32_t k = q->k;;) { /* with per_doc more are fetched until k are left, or there are no more */
        uint32_t n, out;
        CN_TRY(search_parts(v, q, permit, k, s, &n));
        out = take(s->all, n, q->k, q->per_doc, hits);
        if (out == q->k || !q->per_doc || k >= permitted || k >= CN_K_MAX) {
            *ret_n = out;
            return CN_OK;
        }
        k = k > CN_K_MAX / 4 ? CN_K_MAX : k * 4;
    }
}

cn_err cn_search(cn_view *v, const cn_query *q, cn_searcher *s, cn_hit *hits, uint32_t *ret_n, cn_search_stats *stats) {
    cn_permit *permit;
    cn_search_stats st = {.segments = v->n_parts, .coded = true};
    uint64_t t0 = cn_mono_ns(), permitted = 0;
    CN_TRY(cn_permit_get(v, q->principal, q->filter, &permit));
    for (uint32_t i = 0; i < v->n_parts; i++) {
        permitted += permit->n_rows[i];
        st.coded &= v->parts[i].coded;
    }
    uint64_t t1 = cn_mono_ns();
    cn_err e = search(v, q, permit, permitted, s, hits, ret_n);
    cn_permit_unref(permit);
    st.permitted = st.scored = (uint32_t)permitted;
    st.permit_ns = t1 - t0;
    st.search_ns = cn_mono_ns() - t1;
    if (e == CN_OK && stats)
        *stats = st;
    return e;
}
