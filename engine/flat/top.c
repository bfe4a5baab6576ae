/* The best k of a scan: a binary heap with the worst on top. */
#include "engine/flat/inside.h"

static uint32_t rank_of(const cn_scan *q, uint32_t row) { return q->rank ? q->rank[row] : row; }

static bool worse(const cn_scan *q, const cn_scored *a, const cn_scored *b) {
    return a->score < b->score || (a->score == b->score && rank_of(q, a->row) > rank_of(q, b->row));
}

static void swap(cn_scored *a, cn_scored *b) {
    cn_scored t = *a;
    *a = *b;
    *b = t;
}

static void sift_down(const cn_scan *q, cn_scored *h, uint32_t n) {
    for (uint32_t i = 0, child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && worse(q, &h[child + 1], &h[child]))
            child++;
        if (!worse(q, &h[child], &h[i]))
            return;
        swap(&h[i], &h[child]);
    }
}

static void sift_up(const cn_scan *q, cn_scored *h, uint32_t i) {
    for (uint32_t up; i && worse(q, &h[i], &h[up = (i - 1) / 2]); i = up)
        swap(&h[i], &h[up]);
}

void cn_top_offer(cn_top *t, const cn_scan *q, cn_scored x) {
    if (t->n < q->k) {
        t->heap[t->n] = x;
        sift_up(q, t->heap, t->n++);
    } else if (worse(q, &t->heap[0], &x)) {
        t->heap[0] = x;
        sift_down(q, t->heap, t->n);
    }
}

void cn_top_take(cn_top *t, const cn_scan *q, cn_scored *hits, uint32_t *ret_n) {
    *ret_n = t->n;
    while (t->n) { /* the worst of what is left goes to the end */
        hits[--t->n] = t->heap[0];
        t->heap[0] = t->heap[t->n];
        sift_down(q, t->heap, t->n);
    }
}
