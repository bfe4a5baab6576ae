#include "engine/base/top.h"

#include <string.h>

#include "engine/base/mem.h"

cn_err cn_top_begin(cn_top *t, uint32_t k, const uint32_t *rank) {
    if (k > t->room) {
        if (!cn_resize(t->heap, k))
            return cn_fail_memory();
        t->room = k;
    }
    t->k = k;
    t->rank = rank;
    cn_top_empty(t);
    return CN_OK;
}

void cn_top_empty(cn_top *t) {
    t->n = 0;
    t->bar = -INFINITY;
}

void cn_top_done(cn_top *t) {
    cn_free(t->heap);
    *t = (cn_top){0};
}

/* ---------- keys: floats in the order of unsigned numbers, so that no comparison depends on what came before ---------- */
#define SIGN 0x80000000u

static cn_ranked ranked_of(const cn_top *t, cn_scored x) {
    uint32_t bits, rank = t->rank ? t->rank[x.row] : x.row;
    float score = x.score + 0.0f; /* of the two zeros one */
    memcpy(&bits, &score, sizeof bits);
    bits = bits & SIGN ? ~bits : bits | SIGN;
    return (cn_ranked){(uint64_t)bits << 32 | (UINT32_MAX - rank), x.row};
}

float cn_ranked_score(const cn_ranked *r) {
    uint32_t bits = (uint32_t)(r->key >> 32);
    float score;
    bits = bits & SIGN ? bits & ~SIGN : ~bits;
    memcpy(&score, &bits, sizeof score);
    return score;
}

/* ---------- the heap: the smallest key on top ---------- */

static void raise_from(cn_ranked *h, uint32_t i, cn_ranked x) {
    for (uint32_t up; i && x.key < h[up = (i - 1) / 2].key; i = up)
        h[i] = h[up];
    h[i] = x;
}

/* x instead of the top of n. The gap goes down to a leaf, whatever x is, and x up from there: no branch on what cannot be foreseen. */
static void replace_top(cn_ranked *h, uint32_t n, cn_ranked x) {
    uint32_t i = 0, child;
    while ((child = 2 * i + 1) + 1 < n) {
        child += h[child + 1].key < h[child].key;
        h[i] = h[child];
        i = child;
    }
    if (child < n) {
        h[i] = h[child];
        i = child;
    }
    raise_from(h, i, x);
}

void cn_top_offer(cn_top *t, cn_scored x) {
    if (!(x.score >= t->bar))
        return;
    cn_ranked r = ranked_of(t, x);
    if (t->n < t->k)
        raise_from(t->heap, t->n++, r);
    else if (t->heap[0].key < r.key)
        replace_top(t->heap, t->n, r);
    if (t->n == t->k)
        t->bar = cn_ranked_score(&t->heap[0]);
}

void cn_top_take(cn_top *t, cn_scored *hits, uint32_t *ret_n) {
    *ret_n = t->n;
    while (t->n) { /* the worst of what is left goes to the end */
        hits[t->n - 1] = (cn_scored){cn_ranked_score(&t->heap[0]), t->heap[0].row};
        t->n--;
        replace_top(t->heap, t->n, t->heap[t->n]);
    }
    t->bar = -INFINITY;
}

void cn_top_drain(cn_top *t, cn_scored *hits, uint32_t *ret_n) {
    for (uint32_t i = 0; i < t->n; i++)
        hits[i] = (cn_scored){cn_ranked_score(&t->heap[i]), t->heap[i].row};
    *ret_n = t->n;
    cn_top_empty(t);
}
