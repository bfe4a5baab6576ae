/* fuse.c -- two ranked lists of hits to one. Each half's scores are counted in standard deviations from the mean of its first
 * CN_HYBRID_DEPTH rows, and the two are weighed (a convex combination, which Bruch, Gai and Ingber 2023 found better than
 * reciprocal ranks; so it is on our sets). Where fewer rows hold a word of the question, others are counted with the 0 that
 * BM25 gives them: so a word that stands in one passage alone says much of it. A half is worth no less than its row at that
 * depth, which is also what it is worth to a hit that it does not have: so the order of what either half has among its first
 * is the same whatever depth was searched. Or, where it is asked for, reciprocal ranks are added up (Cormack, Clarke and
 * Buettcher 2009), of the same first rows. What neither has there comes behind, by reciprocal ranks. */
#include <math.h>

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

/* How a half's scores are spread: of the first CN_HYBRID_DEPTH in the order of ranks. */
typedef struct spread {
    double mean, deviation; /* deviation 0: all are alike, or there is none */
    double least;           /* of them, in deviations; 0 with those */
} spread;

static double score_at(const cn_hit *v, uint32_t n, uint32_t i) { return i < n ? (double)v[i].score : 0; }

/* Of the n hits and, up to `rows` in all, of rows that score 0. */
static spread spread_of(const cn_hit *v, uint32_t n, uint64_t rows) {
    spread s = {0};
    double squares = 0;
    uint32_t first = rows < CN_HYBRID_DEPTH ? (uint32_t)rows : CN_HYBRID_DEPTH;
    for (uint32_t i = 0; i < first; i++)
        s.mean += score_at(v, n, i) / first;
    for (uint32_t i = 0; i < first; i++)
        squares += (score_at(v, n, i) - s.mean) * (score_at(v, n, i) - s.mean);
    s.deviation = first ? sqrt(squares / first) : 0;
    s.least = s.deviation > 0 ? (score_at(v, n, first - 1) - s.mean) / s.deviation : 0;
    return s;
}

static bool among_first(cn_half h) { return h.rank > 0 && h.rank <= CN_HYBRID_DEPTH; }

static double worth(cn_half h, const spread *s) { return among_first(h) && s->deviation > 0 ? ((double)h.score - s->mean) / s->deviation : s->least; }

static double by_rank(cn_half h) { return h.rank ? 1.0 / (double)(CN_FUSE_RANK + h.rank) : 0; }

static double first_by_rank(cn_half h) { return among_first(h) ? by_rank(h) : 0; }

static float fused_score(const cn_hit *x, const spread *dense, const spread *lexical, bool rrf) {
    double score = rrf ? first_by_rank(x->dense) + first_by_rank(x->lexical) : CN_FUSE_DENSE * worth(x->dense, dense) + (1 - CN_FUSE_DENSE) * worth(x->lexical, lexical);
    bool behind = !among_first(x->dense) && !among_first(x->lexical);
    return (float)(behind ? score - 1 + by_rank(x->dense) + by_rank(x->lexical) : score);
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

cn_err cn_fuse(cn_searcher *s, uint32_t dense, uint32_t lexical, uint64_t permitted, bool rrf, uint32_t *ret_n) {
    uint32_t n = dense, slot;
    spread by_vectors = spread_of(s->fused, dense, dense), by_words = spread_of(s->best, lexical, permitted);
    memset(s->told, 0, s->room_told * sizeof *s->told);
    for (uint32_t i = 0; i < dense; i++) {
        find(s, &s->fused[i], &slot);
        s->told[slot] = i + 1;
        s->fused[i].dense = (cn_half){i + 1, s->fused[i].score};
    }
    add_lexical(s, lexical, &n);
    for (uint32_t i = 0; i < n; i++)
        s->fused[i].score = fused_score(&s->fused[i], &by_vectors, &by_words, rrf);
    CN_TRY(sort(s->fused, n));
    *ret_n = n;
    return CN_OK;
}
