/* fuse.c -- two ranked lists of hits to one, by reciprocal ranks. */
#include "index/search/searcher.h"

static uint32_t slot_of(const cn_searcher *s, const cn_hit *x) {
    uint64_t h = ((uint64_t)(uintptr_t)x->seg >> 4) * 0x9e3779b97f4a7c15u ^ (uint64_t)x->row * 0xff51afd7ed558ccdu;
    return (uint32_t)(h >> 32) & (s->room_told - 1);
}

/* Where the hit is among s->fused; UINT32_MAX: nowhere. *ret_slot: its slot, or the one to put it in. */
static uint32_t find(const cn_searcher *s, const cn_hit *x, uint32_t *ret_slot) {
    uint32_t at = slot_of(s, x);
    for (; s->told[at]; at = (at + 1) & (s->room_told - 1)) {
        const cn_hit *y = &s->fused[s->told[at] - 1];
        if (y->seg == x->seg && y->row == x->row)
            break;
    }
    *ret_slot = at;
    return s->told[at] ? s->told[at] - 1 : UINT32_MAX;
}

static void add_lexical(cn_searcher *s, uint32_t lexical, uint32_t *n) {
    for (uint32_t i = 0; i < lexical; i++) {
        uint32_t slot, at = find(s, &s->best[i], &slot);
        cn_half half = {i + 1, s->best[i].score};
        if (at == UINT32_MAX) {
            at = (*n)++;
            s->fused[at] = s->best[i];
            s->told[slot] = *n;
        }
        s->fused[at].lexical = half;
    }
}

static float fused_score(const cn_hit *x) {
    float score = x->dense.rank ? 1.0f / (float)(CN_FUSE_RANK + x->dense.rank) : 0;
    return x->lexical.rank ? score + 1.0f / (float)(CN_FUSE_RANK + x->lexical.rank) : score;
}

/* ---------- order: a heap, the last on top, for qsort may take memory ---------- */
static cn_err sink(cn_hit *v, uint32_t i, uint32_t n) {
    for (uint32_t child; (child = 2 * i + 1) < n; i = child) {
        bool first;
        if (child + 1 < n) {
            CN_TRY(cn_hit_first(&v[child], &v[child + 1], &first));
            child += first;
        }
        CN_TRY(cn_hit_first(&v[i], &v[child], &first));
        if (!first)
            return CN_OK;
        cn_hit x = v[i];
        v[i] = v[child];
        v[child] = x;
    }
    return CN_OK;
}

static cn_err sort(cn_hit *v, uint32_t n) {
    for (uint32_t i = n / 2; i-- > 0;)
        CN_TRY(sink(v, i, n));
    for (uint32_t end = n; end-- > 1;) {
        cn_hit x = v[0];
        v[0] = v[end];
        v[end] = x;
        CN_TRY(sink(v, 0, end));
    }
    return CN_OK;
}

cn_err cn_fuse(cn_searcher *s, uint32_t dense, uint32_t lexical, uint32_t *ret_n) {
    uint32_t n = dense, slot;
    memset(s->told, 0, s->room_told * sizeof *s->told);
    for (uint32_t i = 0; i < dense; i++) {
        find(s, &s->fused[i], &slot);
        s->told[slot] = i + 1;
        s->fused[i].dense = (cn_half){i + 1, s->fused[i].score};
    }
    add_lexical(s, lexical, &n);
    for (uint32_t i = 0; i < n; i++)
        s->fused[i].score = fused_score(&s->fused[i]);
    CN_TRY(sort(s->fused, n));
    *ret_n = n;
    return CN_OK;
}
