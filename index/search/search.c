/* search.c -- one question: the permitted set, each segment's best, merged. */
#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "index/search/view_inside.h"

struct cn_searcher {
    cn_scratch *scratch;
    cn_scored *scored;          /* one segment's */
    cn_hit *best, *part, *next; /* of the segments so far, of one more, of both: k each */
    uint32_t *told;             /* hash table of documents told already: place in the answer + 1; a power of two */
    uint32_t room, room_told;
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
    cn_free(s->best);
    cn_free(s->part);
    cn_free(s->next);
    cn_free(s->told);
    cn_free(s);
}

static cn_err grow(void *pointer, size_t bytes) { /* pointer: to any pointer */
    void *p;
    memcpy(&p, pointer, sizeof p);
    p = cn_realloc(p, bytes);
    if (!p)
        return cn_fail_memory();
    memcpy(pointer, &p, sizeof p);
    return CN_OK;
}

static cn_err make_room(cn_searcher *s, uint32_t k) {
    if (k <= s->room)
        return CN_OK;
    CN_TRY(grow(&s->scored, k * sizeof *s->scored));
    CN_TRY(grow(&s->best, k * sizeof *s->best));
    CN_TRY(grow(&s->part, k * sizeof *s->part));
    CN_TRY(grow(&s->next, k * sizeof *s->next));
    while (s->room_told < 2 * k) {
        uint32_t more = s->room_told ? 2 * s->room_told : 64;
        CN_TRY(grow(&s->told, more * sizeof *s->told));
        s->room_told = more;
    }
    s->room = k;
    return CN_OK;
}

/* ---------- order ---------- */
/* Hits of two segments: higher scores first, ties by source, id, chunk. */
static cn_err comes_first(const cn_hit *x, const cn_hit *y, bool *ret) {
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
            CN_TRY(comes_first(&s->best[i], &s->part[j], &first));
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

static cn_err search_part(const cn_view_part *p, const cn_query *q, uint32_t k, const uint64_t *rows, uint32_t n_rows, cn_searcher *s, uint32_t *ret_n) {
    uint32_t n = 0, kept = 0;
    union {
        const cn_query *in;
        void *out;
    } ctx = {q};
    cn_scan scan = {q->vector, k, rows, n_rows, cn_seg_row_rank(p->seg), late, ctx.out};
    if (n_rows && p->flat)
        CN_TRY(q->mode == CN_MODE_EXACT ? cn_flat_exact(p->flat, &scan, s->scratch, s->scored, &n) : cn_flat_staged(p->flat, &scan, s->scratch, s->scored, &n));
    CN_TRY(cn_seg_sound(p->seg));
    const uint32_t *row_doc = cn_seg_row_doc(p->seg), *doc_row = cn_seg_doc_row(p->seg);
    for (; kept < n && s->scored[kept].score >= q->min_score; kept++) {
        uint32_t row = s->scored[kept].row, doc = row_doc[row];
        s->part[kept] = (cn_hit){s->scored[kept].score, p->seg, row, doc, row - doc_row[doc]};
    }
    *ret_n = kept;
    return CN_OK;
}

static cn_err search_parts(cn_view *v, const cn_query *q, const cn_permit *permit, uint32_t k, cn_searcher *s, uint32_t *ret_n) {
    uint32_t n = 0, more;
    CN_TRY(make_room(s, k));
    for (uint32_t i = 0; i < v->n_parts; i++) {
        CN_TRY(search_part(&v->parts[i], q, k, permit->rows[i], permit->n_rows[i], s, &more));
        CN_TRY(merge(s, k, &n, more));
    }
    *ret_n = n;
    return CN_OK;
}

/* At most per_doc hits of a document, in order. */
static uint32_t take(cn_searcher *s, uint32_t n, uint32_t k, uint32_t per_doc, cn_hit *hits) {
    uint32_t out = 0, mask = s->room_told - 1;
    if (per_doc)
        memset(s->told, 0, s->room_told * sizeof *s->told);
    for (uint32_t i = 0; i < n && out < k; i++) {
        const cn_hit *x = &s->best[i];
        uint32_t same = 0, at = (uint32_t)(((uintptr_t)x->seg >> 4) * 31 + x->doc) * 2654435761u >> 7 & mask;
        for (; per_doc && s->told[at]; at = (at + 1) & mask)
            same += hits[s->told[at] - 1].seg == x->seg && hits[s->told[at] - 1].doc == x->doc;
        if (per_doc && same >= per_doc)
            continue;
        hits[out++] = *x;
        if (per_doc)
            s->told[at] = out;
    }
    return out;
}

static cn_err search(cn_view *v, const cn_query *q, const cn_permit *permit, uint64_t permitted, cn_searcher *s, cn_hit *hits, uint32_t *ret_n) {
    for (uint32_t k = q->k;;) { /* with per_doc more are fetched until k are left, or there are no more */
        uint32_t n, out;
        CN_TRY(search_parts(v, q, permit, k, s, &n));
        out = take(s, n, q->k, q->per_doc, hits);
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
    CN_TRY(cn_permit_get(v, &q->who, q->filter, q->deadline_ns, &permit));
    for (uint32_t i = 0; i < v->n_parts; i++) {
        permitted += permit->n_rows[i];
        st.coded &= v->parts[i].coded;
        st.any_coded |= v->parts[i].coded && permit->n_rows[i];
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
