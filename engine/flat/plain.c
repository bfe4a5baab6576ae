/* plain.c -- the float scan: every permitted row scored, the best k kept. What every faster search must equal. */
#include <math.h>

#include "engine/base/mem.h"
#include "engine/flat/flat.h"

struct cn_flat {
    cn_vecs v;
    cn_space space;
};

struct cn_scratch {
    cn_scored *heap; /* the k best so far, the worst on top */
    uint32_t room, n;
};

cn_err cn_scratch_new(cn_scratch **ret) {
    cn_scratch *s = cn_calloc(1, sizeof *s);
    if (!s)
        return cn_fail_memory();
    *ret = s;
    return CN_OK;
}

void cn_scratch_free(cn_scratch *s) {
    if (s)
        cn_free(s->heap);
    cn_free(s);
}

cn_err cn_flat_open(const cn_vecs *v, const cn_space *space, cn_get_array *get, void *ctx, cn_flat **ret) {
    (void)get, (void)ctx;
    CN_ASSERT(v->dim >= 1 && v->dim <= CN_DIM_MAX && v->dim == space->dim);
    cn_flat *f = cn_calloc(1, sizeof *f);
    if (!f)
        return cn_fail_memory();
    f->v = *v;
    f->space = *space;
    *ret = f;
    return CN_OK;
}

void cn_flat_close(cn_flat *f) { cn_free(f); }

/* Nothing is derived from the rows yet, so there is nothing to store. */
cn_err cn_flat_build(const cn_vecs *v, const cn_space *space, unsigned threads, cn_put_array *put, void *ctx) {
    static const char head[16] = "cairn flat plain";
    (void)v, (void)space, (void)threads;
    return put(ctx, 0, 0, head, sizeof head);
}

#define MEAN_ROWS 65536u
cn_err cn_space_mean(const cn_vecs *v, cn_metric metric, float *mean) {
    uint32_t n = v->n < MEAN_ROWS ? v->n : MEAN_ROWS, dim = v->dim;
    CN_AUTO_FREE double *sum = cn_calloc(dim, sizeof *sum);
    if (!sum)
        return cn_fail_memory();
    for (uint32_t i = 0; i < n; i++) {
        const float *x = cn_vec(v, (uint32_t)((uint64_t)i * v->n / n));
        double norm = 0;
        for (uint32_t j = 0; j < dim; j++)
            norm += (double)x[j] * (double)x[j];
        double scale = metric != CN_COSINE ? 1 : norm > 0 ? 1 / sqrt(norm) : 0;
        for (uint32_t j = 0; j < dim; j++)
            sum[j] += (double)x[j] * scale;
    }
    for (uint32_t j = 0; j < dim; j++)
        mean[j] = n ? (float)(sum[j] / n) : 0;
    return CN_OK;
}

static uint32_t rank_of(const cn_scan *q, uint32_t row) { return q->rank ? q->rank[row] : row; }

static bool worse(const cn_scan *q, const cn_scored *a, const cn_scored *b) {
    return a->score < b->score || (a->score == b->score && rank_of(q, a->row) > rank_of(q, b->row));
}

static void sift_down(const cn_scan *q, cn_scored *h, uint32_t n, uint32_t i) {
    for (uint32_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && worse(q, &h[child + 1], &h[child]))
            child++;
        if (!worse(q, &h[child], &h[i]))
            return;
        cn_scored t = h[i];
        h[i] = h[child];
        h[child] = t;
    }
}

static void offer(const cn_scan *q, cn_scratch *s, cn_scored x) {
    if (s->n < q->k) {
        uint32_t i = s->n++;
        s->heap[i] = x;
        for (uint32_t up; i && worse(q, &s->heap[i], &s->heap[up = (i - 1) / 2]); i = up) {
            cn_scored t = s->heap[i];
            s->heap[i] = s->heap[up];
            s->heap[up] = t;
        }
    } else if (worse(q, &s->heap[0], &x)) {
        s->heap[0] = x;
        sift_down(q, s->heap, s->n, 0);
    }
}

static cn_err make_room(cn_scratch *s, uint32_t k) {
    if (k <= s->room)
        return CN_OK;
    cn_scored *h = cn_realloc(s->heap, k * sizeof *h);
    if (!h)
        return cn_fail_memory();
    s->heap = h;
    s->room = k;
    return CN_OK;
}

#define STOP_WORDS 64 /* words of the bitmap between two looks at the clock */

static cn_err scan_all(const cn_flat *f, const cn_scan *q, cn_scratch *s) {
    uint32_t words = f->v.n / 64 + (f->v.n % 64 != 0);
    for (uint32_t w = 0; w < words; w++) {
        if (q->stop && w % STOP_WORDS == 0 && q->stop(q->stop_ctx))
            return cn_fail(CN_DEADLINE, "the search ran out of time");
        for (uint64_t bits = q->permitted[w]; bits; bits &= bits - 1) {
            uint32_t row = w * 64 + (uint32_t)__builtin_ctzll(bits);
            offer(q, s, (cn_scored){cn_score(f->space.metric, q->query, cn_vec(&f->v, row), f->v.dim), row});
        }
    }
    return CN_OK;
}

cn_err cn_flat_exact(const cn_flat *f, const cn_scan *q, cn_scratch *s, cn_scored *hits, uint32_t *ret_n) {
    CN_ASSERT(q->k >= 1 && q->k <= CN_K_MAX && q->permitted);
    CN_TRY(make_room(s, q->k));
    s->n = 0;
    CN_TRY(scan_all(f, q, s));
    *ret_n = s->n;
    while (s->n) { /* the worst of what is left goes to the end */
        hits[s->n - 1] = s->heap[0];
        s->heap[0] = s->heap[--s->n];
        sift_down(q, s->heap, s->n, 0);
    }
    return CN_OK;
}

cn_err cn_flat_staged(const cn_flat *f, const cn_scan *q, cn_scratch *s, cn_scored *hits, uint32_t *ret_n) {
    return cn_flat_exact(f, q, s, hits, ret_n);
}
