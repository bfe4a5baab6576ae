/* A query by a FAISS index: candidates among the permitted rows, then float scores; or the flat scan. */
#include <math.h>
#include <omp.h>
#include <stdatomic.h>

#include "engine/base/log.h"
#include "engine/base/mem.h"
#include "engine/faiss/inside.h"

const uint32_t cn_faiss_ks[CN_FAISS_KS] = {10, 100, CN_FAISS_K_MAX};
const double cn_faiss_recalls[CN_FAISS_RECALLS] = {.9, .95, .98, CN_CELLS_RECALL_MAX};

#define FEW_PERMITTED 8192u /* rows, or fewer: the scan's */

void cn_faiss_vector(const cn_space *sp, const float *x, float *to) {
    float size = sp->metric == CN_COSINE ? 1 / sqrtf(cn_norm2(x, sp->dim)) : 1;
    for (uint32_t i = 0; i < sp->dim; i++)
        to[i] = x[i] * size;
}

/* ---------- candidates ---------- */

static cn_err parameters(const cn_faiss *x, FaissIDSelector *sel, uint32_t probe, uint32_t depth, FaissSearchParameters **ret) {
    int rc = x->form.lists ? faiss_SearchParametersIVF_new_with(ret, sel, probe, 0)
             : x->form.graph ? faiss_SearchParametersHNSW_new_with(ret, sel, (int)depth)
                             : faiss_SearchParameters_new(ret, sel);
    return rc ? cn_faiss_failed(CN_INTERNAL, "searching a FAISS index") : CN_OK;
}

/* FAISS's numbers are looked at as a stranger's. */
static uint32_t take_rows(const cn_scan *q, uint32_t n_rows, const int64_t *label, uint32_t n, uint32_t *rows) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < n; i++)
        if (label[i] >= 0 && label[i] < (int64_t)n_rows && q->permitted[label[i] / 64] >> (label[i] % 64) & 1)
            rows[kept++] = (uint32_t)label[i];
    return kept;
}

cn_err cn_faiss_candidates(const cn_faiss *x, const cn_scan *q, uint32_t probe, uint32_t depth, uint32_t *rows, uint32_t *ret_n) {
    float v[CN_DIM_MAX], far[CN_FAISS_DEPTH_MAX];
    int64_t label[CN_FAISS_DEPTH_MAX];
    FaissIDSelectorBitmap *sel = NULL;
    FaissSearchParameters *how = NULL;
    CN_ASSERT(depth >= 1 && depth <= CN_FAISS_DEPTH_MAX);
    omp_set_num_threads(1); /* of this thread's searches */
    cn_faiss_vector(&x->flat->space, q->query, v);
    if (faiss_IDSelectorBitmap_new(&sel, ((size_t)x->head.rows + 63) / 64 * 8, (const uint8_t *)q->permitted))
        return cn_faiss_failed(CN_INTERNAL, "searching a FAISS index");
    cn_err e = parameters(x, sel, probe, depth, &how);
    if (e == CN_OK && faiss_Index_search_with_params(x->index, 1, v, depth, how, far, label))
        e = cn_faiss_failed(CN_INTERNAL, "searching a FAISS index");
    if (how)
        faiss_SearchParameters_free(how);
    faiss_IDSelectorBitmap_free(sel);
    if (e == CN_OK)
        *ret_n = take_rows(q, x->head.rows, label, depth, rows);
    return e;
}

/* ---------- the plan ---------- */

/* Of share s the best k are about the best k / s of all: what was measured for so many. NULL: the flat scan. */
static const cn_faiss_aim *find_aim(const cn_faiss *x, const cn_scan *q, double recall) {
    bool eager = cn_cells_from() < CN_CELLS_FROM;
    double of_all = (double)q->k * x->head.rows / (q->n_permitted ? q->n_permitted : 1);
    uint32_t j = 0;
    if (!x->index || !(recall <= CN_CELLS_RECALL_MAX) || (q->n_permitted <= FEW_PERMITTED && !eager))
        return NULL;
    while (recall > cn_faiss_recalls[j])
        j++;
    for (uint32_t i = 0; i < CN_FAISS_KS; i++) {
        const cn_faiss_aim *a = &x->head.aims[i][j];
        if (of_all <= cn_faiss_ks[i] && a->depth >= q->k)
            return q->n_permitted < a->rows && !eager ? NULL : a; /* where exact scores of all that is permitted are fewer, they are better */
    }
    return NULL;
}

/* The permitted rows around the question are no rarer than elsewhere: where they are, FAISS has looked in the wrong place. */
static bool are_enough(const cn_faiss *x, const cn_scan *q, const cn_faiss_aim *a, uint32_t n) {
    double there = (double)a->rows * q->n_permitted / x->head.rows, expected = there < a->depth ? there : a->depth;
    return n >= (q->k < q->n_permitted ? q->k : q->n_permitted) && (n == q->n_permitted || n >= expected / 2);
}

/* What FAISS cannot do the scan can. Told once: it may be so of each question. */
static bool find_candidates(const cn_faiss *x, const cn_scan *q, const cn_faiss_aim *a, uint32_t *rows, uint32_t *ret_n) {
    static atomic_bool told;
    bool found = cn_faiss_candidates(x, q, a->probe, a->depth, rows, ret_n) == CN_OK;
    if (!found && !atomic_exchange(&told, true))
        cn_log(CN_LOG_WARN, "faiss.failed", "%s; such questions are answered by scanning, and this is not told again", cn_error_detail());
    return found;
}

/* ---------- the answer ---------- */

static cn_err rank(const cn_faiss *x, const cn_scan *q, const uint32_t *rows, uint32_t n, cn_scratch *flat) {
    const cn_flat *f = x->flat;
    float qq = cn_norm2(q->query, f->v.dim), score[CN_BATCH];
    const float *at[CN_BATCH];
    CN_TRY(cn_top_begin(&flat->top, q->k, q->rank));
    for (uint32_t from = 0, m; from < n; from += m) {
        m = n - from < CN_BATCH ? n - from : CN_BATCH;
        for (uint32_t i = 0; i < m; i++)
            at[i] = cn_vec(&f->v, rows[from + i]);
        cn_scores(f->space.metric, q->query, qq, at, f->v.dim, m, score);
        for (uint32_t i = 0; i < m; i++)
            cn_top_offer(&flat->top, (cn_scored){score[i], rows[from + i]});
    }
    return CN_OK;
}

cn_err cn_faiss_search(const cn_faiss *x, const cn_scan *q, double recall, cn_scratch *flat, cn_scored *hits, uint32_t *ret_n, cn_cells_told *ret_told) {
    const cn_faiss_aim *a = find_aim(x, q, recall);
    cn_cells_told told = {CN_WAY_SCAN, 0, 0, 0};
    uint32_t rows[CN_FAISS_DEPTH_MAX], n = 0;
    if (q->stop && q->stop(q->stop_ctx))
        return cn_fail(CN_DEADLINE, "the search ran out of time");
    if (a) {
        told = (cn_cells_told){CN_WAY_ABANDONED, a->rows, x->form.lists ? a->probe : 0, a->rows};
        told.way = find_candidates(x, q, a, rows, &n) && are_enough(x, q, a, n) ? CN_WAY_CELLS : CN_WAY_ABANDONED;
    }
    if (told.way == CN_WAY_CELLS) {
        CN_TRY(rank(x, q, rows, n, flat));
        cn_top_take(&flat->top, hits, ret_n);
    } else {
        CN_TRY(cn_flat_staged(x->flat, q, flat, hits, ret_n));
    }
    *ret_told = told;
    return CN_OK;
}
