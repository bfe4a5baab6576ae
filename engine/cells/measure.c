/* How far to read for a recall: rows of the segment as queries, each without itself.
 *
 * A true neighbour is lost when its estimate is not among the `depth` best, or when reading stops before its cell. The first
 * tells the depth: the ranks of true neighbours among all estimates. For the second, reach is what it has to be for reading to
 * go on to the neighbour's cell: the most that the bar was ever over what a cell before it promised. Both are quantiles over
 * all neighbours of all samples; of the second the least that is enough, as searches with it say. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/mem.h"
#include "engine/base/spread.h"
#include "engine/cells/inside.h"

#define SAMPLES 160u
#define NEIGHBOURS CN_CELLS_K_MAX
#define DEPTH_MAX 1024u
#define SAFETY .3       /* of the misses allowed that are not made use of: rows as queries are a little easier than strangers' */
#define DEPTH_SHARE .25 /* of the misses, those by depth */
#define NARROWER 4      /* steps between too little reach and one that is enough, each to their geometric mean */

typedef struct measuring {
    cn_cells *c;
    const uint32_t *cell_of;
    uint32_t n;               /* samples */
    cn_scored *truth;         /* NEIGHBOURS of each */
    uint32_t *n_truth;
    uint32_t *rank;           /* of each among the estimates; UINT32_MAX: none of the first DEPTH_MAX */
    float *need;              /* reach that it needs */
    uint32_t k;
    double recall;
    cn_aim aim;
    uint64_t *right, *read;   /* of each sample */
    _Atomic bool failed;
} measuring;

typedef struct bench { /* of one thread */
    cn_scratch *flat;
    cn_cells_scratch *cells;
    uint64_t *permitted;
    float *need;              /* of each cell; INFINITY: not read */
} bench;

static void bench_done(bench *b) {
    cn_scratch_free(b->flat);
    cn_cells_scratch_free(b->cells);
    cn_free(b->permitted);
    cn_free(b->need);
}

static cn_err bench_init(const measuring *m, bench *b) {
    uint32_t rows = m->c->head.rows;
    CN_TRY(cn_scratch_new(&b->flat));
    CN_TRY(cn_cells_scratch_new(&b->cells));
    b->permitted = cn_calloc(rows / 64 + 1u, sizeof *b->permitted);
    b->need = cn_alloc(m->c->head.cells * sizeof *b->need);
    if (!b->permitted || !b->need)
        return cn_fail_memory();
    for (uint32_t r = 0; r < rows; r++)
        b->permitted[r / 64] |= UINT64_C(1) << (r % 64);
    return CN_OK;
}

typedef cn_err measure_fn(measuring *m, bench *b, uint32_t sample, const cn_scan *q);

typedef struct pass {
    measuring *m;
    measure_fn *fn;
} pass;

static cn_err each_sample(measuring *m, measure_fn *fn, bench *b, uint32_t i) {
    uint32_t row = (uint32_t)((uint64_t)i * m->c->head.rows / m->n);
    uint64_t bit = UINT64_C(1) << (row % 64);
    cn_scan q = {.query = cn_vec(&m->c->flat->v, row), .k = NEIGHBOURS, .permitted = b->permitted, .n_permitted = m->c->head.rows - 1};
    b->permitted[row / 64] &= ~bit;
    cn_err e = fn(m, b, i, &q);
    b->permitted[row / 64] |= bit;
    return e;
}

static void each(void *ctx, cn_shares *s) {
    const pass *r = ctx;
    bench b = {0};
    cn_err e = bench_init(r->m, &b);
    for (uint32_t i, to; e == CN_OK && cn_shares_next(s, &i, &to);)
        e = each_sample(r->m, r->fn, &b, i);
    if (e != CN_OK) {
        r->m->failed = true;
        cn_shares_end(s);
    }
    bench_done(&b);
}

static cn_err run(measuring *m, measure_fn *fn, unsigned threads) {
    cn_spread(threads, m->n, 1, each, &(pass){m, fn});
    return m->failed ? cn_fail_memory() : CN_OK; /* nothing else can go wrong */
}

/* ---------- one sample ---------- */

/* The truth, and where it stands among all estimates. */
static cn_err find_truth(measuring *m, bench *b, uint32_t sample, const cn_scan *q) {
    cn_scored *truth = m->truth + (size_t)sample * NEIGHBOURS;
    uint32_t *rank = m->rank + (size_t)sample * NEIGHBOURS, n;
    cn_promise at;
    CN_TRY(cn_flat_staged(m->c->flat, q, b->flat, truth, &m->n_truth[sample]));
    CN_TRY(cn_cells_rank(m->c, b->flat, DEPTH_MAX, b->cells));
    while (cn_cells_next(b->cells, &at))
        cn_cells_read(m->c, b->permitted, b->flat, at.cell, NULL, b->cells);
    cn_top_take(&b->cells->best, b->cells->found, &n);
    for (uint32_t i = 0; i < m->n_truth[sample]; i++) {
        rank[i] = UINT32_MAX;
        for (uint32_t j = 0; j < n && rank[i] == UINT32_MAX; j++)
            if (m->c->rows[b->cells->found[j].row] == truth[i].row)
                rank[i] = j;
    }
    return CN_OK;
}

static cn_err find_needs(measuring *m, bench *b, uint32_t sample, const cn_scan *q) {
    uint32_t n = m->n_truth[sample] < m->k ? m->n_truth[sample] : m->k;
    size_t first = (size_t)sample * NEIGHBOURS;
    float need = -INFINITY;
    cn_promise at;
    bool coded;
    CN_TRY(cn_scan_begin(m->c->flat, q, b->flat, &coded));
    CN_TRY(cn_cells_rank(m->c, b->flat, m->aim.depth, b->cells));
    while (cn_cells_next(b->cells, &at)) {
        need = cn_maxf(need, (cn_top_bar(&b->cells->best) - at.most) / cn_maxf(b->flat->p_norm, 0x1p-100f));
        b->need[at.cell] = need;
        cn_cells_read(m->c, b->permitted, b->flat, at.cell, NULL, b->cells);
    }
    for (uint32_t i = 0; i < n; i++)
        m->need[(size_t)sample * m->k + i] = m->rank[first + i] < m->aim.depth ? b->need[m->cell_of[m->truth[first + i].row]] : INFINITY;
    for (uint32_t i = n; i < m->k; i++)
        m->need[(size_t)sample * m->k + i] = -INFINITY;
    return CN_OK;
}

static cn_err try_aim(measuring *m, bench *b, uint32_t sample, const cn_scan *q) {
    const cn_scored *truth = m->truth + (size_t)sample * NEIGHBOURS;
    cn_scored hits[NEIGHBOURS];
    uint32_t n = 0, want = m->n_truth[sample] < m->k ? m->n_truth[sample] : m->k;
    cn_scan by = *q;
    cn_cells_told told = {CN_WAY_CELLS, 0, 0, 0};
    bool coded, all;
    by.k = m->k;
    CN_TRY(cn_scan_begin(m->c->flat, &by, b->flat, &coded));
    CN_TRY(cn_cells_by(m->c, &by, &m->aim, m->recall, m->c->head.rows / 2, b->flat, b->cells, &told, &all));
    if (!all) { /* the flat scan's, which misses none */
        m->right[sample] = m->k;
        m->read[sample] = m->c->head.rows;
        return CN_OK;
    }
    cn_top_take(&b->flat->top, hits, &n);
    m->right[sample] = m->k - want;
    for (uint32_t i = 0; want && i < n; i++)
        m->right[sample] += hits[i].score >= truth[want - 1].score;
    m->read[sample] = told.rows;
    return CN_OK;
}

/* ---------- one aim ---------- */

static int up_u32(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static int up_f32(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* The first of n ascending numbers that at least `share` of them do not exceed. */
static uint32_t quantile(uint32_t n, double share) {
    double at = ceil(share * n);
    return at < 1 ? 0 : at >= n ? n - 1 : (uint32_t)at - 1;
}

/* UINT32_MAX: estimates are too poor for it. */
static cn_err depth_for(const measuring *m, double share, uint32_t *ret) {
    uint32_t n = 0;
    CN_AUTO_FREE uint32_t *v = cn_alloc((size_t)m->n * m->k * sizeof *v);
    if (!v)
        return cn_fail_memory();
    for (uint32_t s = 0; s < m->n; s++)
        for (uint32_t i = 0; i < m->k && i < m->n_truth[s]; i++)
            v[n++] = m->rank[(size_t)s * NEIGHBOURS + i];
    qsort(v, n, sizeof *v, up_u32);
    uint32_t at = n ? v[quantile(n, share)] : UINT32_MAX, least = m->k + m->k / 2;
    *ret = at >= DEPTH_MAX ? UINT32_MAX : 2 * at + 2 > least ? 2 * at + 2 : least; /* twice: going deeper costs more than a few too many */
    return CN_OK;
}

/* Of ascending needs the one that `share` of them do not exceed. Needs of neighbours that are found before there is a bar are
 * endless: then the least that is not, or none, where only those are left that depth loses. */
static float reach_for(const float *need, uint32_t n, double share) {
    uint32_t first = quantile(n, share), at = first;
    while (at < n && need[at] == -INFINITY)
        at++;
    return at == n || (at > first && need[at] == INFINITY) ? 0 : need[at];
}

/* Searches with the reach that `share` of the needs do not exceed. *ret: what came of it; depth 0: less than the goal. */
static cn_err try_share(measuring *m, double share, double goal, unsigned threads, cn_aim *ret) {
    uint64_t right = 0, read = 0;
    uint32_t all = m->n * m->k;
    m->aim.reach = reach_for(m->need, all, share);
    CN_TRY(run(m, try_aim, threads));
    for (uint32_t s = 0; s < m->n; s++)
        right += m->right[s], read += m->read[s];
    m->aim.recall = (float)right / (float)all;
    m->aim.rows = (uint32_t)(read / m->n);
    *ret = (double)m->aim.recall >= goal ? m->aim : (cn_aim){0};
    return CN_OK;
}

static cn_err measure_aim(measuring *m, double recall, unsigned threads, cn_aim *ret) {
    double goal = recall + (1 - recall) * SAFETY, good = (1 - goal) / 4, bad = (1 - goal) * 4; /* misses by reach */
    *ret = (cn_aim){0};
    m->recall = recall;
    CN_TRY(depth_for(m, 1 - (1 - goal) * DEPTH_SHARE, &m->aim.depth));
    if (m->aim.depth == UINT32_MAX)
        return CN_OK;
    CN_TRY(run(m, find_needs, threads));
    qsort(m->need, (size_t)m->n * m->k, sizeof *m->need, up_f32);
    if (!isfinite(reach_for(m->need, m->n * m->k, 1 - good)))
        return CN_OK;
    CN_TRY(try_share(m, 1 - good, goal, threads, ret));
    for (int i = 0; i < NARROWER && ret->depth; i++) {
        cn_aim less;
        double miss = sqrt(good * bad);
        CN_TRY(try_share(m, 1 - miss, goal, threads, &less));
        if (less.depth) {
            *ret = less;
            good = miss;
        } else {
            bad = miss;
        }
    }
    return CN_OK;
}

static cn_err measure_all(measuring *m, unsigned threads) {
    CN_TRY(run(m, find_truth, threads));
    for (uint32_t i = 0; i < CN_CELLS_KS; i++)
        for (uint32_t j = 0; j < CN_CELLS_RECALLS; j++) {
            m->k = cn_cells_ks[i];
            CN_TRY(measure_aim(m, cn_cells_recalls[j], threads, &m->c->head.aims[i][j]));
        }
    return CN_OK;
}

cn_err cn_cells_measure(cn_cells *c, const uint32_t *cell_of, unsigned threads) {
    if (!cn_scan_codes(c->flat, &(cn_scan){.k = NEIGHBOURS, .n_permitted = c->head.rows - 1}))
        return CN_OK;
    uint32_t n = SAMPLES, all = n * NEIGHBOURS;
    CN_AUTO_FREE cn_scored *truth = cn_alloc(all * sizeof *truth);
    CN_AUTO_FREE uint32_t *words = cn_alloc((all + n) * sizeof *words);
    CN_AUTO_FREE float *need = cn_alloc(all * sizeof *need);
    CN_AUTO_FREE uint64_t *sums = cn_alloc(2 * n * sizeof *sums);
    if (!truth || !words || !need || !sums)
        return cn_fail_memory();
    measuring m = {.c = c, .cell_of = cell_of, .n = n, .truth = truth, .n_truth = words, .rank = words + n, .need = need, .right = sums, .read = sums + n};
    return measure_all(&m, threads);
}
