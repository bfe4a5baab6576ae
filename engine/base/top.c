#include "engine/base/top.h"

#include "engine/base/mem.h"

cn_err cn_top_begin(cn_top *t, uint32_t k, const uint32_t *rank) {
    if (k > t->room) {
        if (!cn_resize(t->heap, k))
            return cn_fail_memory();
        t->room = k;
    }
    t->n = 0;
    t->k = k;
    t->rank = rank;
    return CN_OK;
}

void cn_top_done(cn_top *t) {
    cn_free(t->heap);
    *t = (cn_top){0};
}

static uint32_t rank_of(const cn_top *t, uint32_t row) { return t->rank ? t->rank[row] : row; }

static bool worse(const cn_top *t, const cn_scored *a, const cn_scored *b) {
    return a->score < b->score || (a->score == b->score && rank_of(t, a->row) > rank_of(t, b->row));
}

static void swap(cn_scored *a, cn_scored *b) {
    cn_scored t = *a;
    *a = *b;
    *b = t;
}

static void sift_down(cn_top *t) {
    cn_scored *h = t->heap;
    for (uint32_t i = 0, child; (child = 2 * i + 1) < t->n; i = child) {
        if (child + 1 < t->n && worse(t, &h[child + 1], &h[child]))
            child++;
        if (!worse(t, &h[child], &h[i]))
            return;
        swap(&h[i], &h[child]);
    }
}

static void sift_up(cn_top *t, uint32_t i) {
    cn_scored *h = t->heap;
    for (uint32_t up; i && worse(t, &h[i], &h[up = (i - 1) / 2]); i = up)
        swap(&h[i], &h[up]);
}

void cn_top_offer(cn_top *t, cn_scored x) {
    if (t->n < t->k) {
        t->heap[t->n] = x;
        sift_up(t, t->n++);
    } else if (worse(t, &t->heap[0], &x)) {
        t->heap[0] = x;
        sift_down(t);
    }
}

void cn_top_take(cn_top *t, cn_scored *hits, uint32_t *ret_n) {
    *ret_n = t->n;
    while (t->n) { /* the worst of what is left goes to the end */
        hits[--t->n] = t->heap[0];
        t->heap[0] = t->heap[t->n];
        sift_down(t);
    }
}
