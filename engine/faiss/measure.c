/* How hard to search for a recall: rows of the segment as queries, each without itself, by one effort after the other. The first
 * effort whose candidates hold enough of the true neighbours is taken, with the fewest of its candidates that do. */
#include "engine/base/mem.h"
#include "engine/base/spread.h"
#include "engine/faiss/inside.h"

#define SAMPLES 64u
#define NEIGHBOURS CN_FAISS_K_MAX
#define SAFETY .3 /* of the misses allowed that are not made use of: rows as queries are a little easier than strangers' */
#define NOT_FOUND UINT32_MAX

typedef struct measuring {
    const cn_faiss *x;
    uint32_t n, neighbours;  /* samples, and of each as many */
    uint32_t probe, depth;   /* the effort at hand */
    cn_scored *truth;        /* neighbours of each */
    uint32_t *place;         /* of each of those among the candidates */
    _Atomic cn_err failed;
} measuring;

typedef struct bench { /* of one thread */
    cn_scratch *flat;
    uint64_t *permitted;
    uint32_t *place;         /* of each row */
} bench;

typedef cn_err measure_fn(measuring *m, bench *b, uint32_t sample, const cn_scan *q);

typedef struct pass {
    measuring *m;
    measure_fn *fn;
} pass;

static void bench_done(bench *b) {
    cn_scratch_free(b->flat);
    cn_free(b->permitted);
    cn_free(b->place);
}

static cn_err bench_init(const measuring *m, bench *b) {
    uint32_t rows = m->x->head.rows;
    CN_TRY(cn_scratch_new(&b->flat));
    b->permitted = cn_calloc(rows / 64 + 1u, sizeof *b->permitted);
    b->place = cn_alloc(rows * sizeof *b->place);
    if (!b->permitted || !b->place)
        return cn_fail_memory();
    for (uint32_t r = 0; r < rows; r++)
        b->permitted[r / 64] |= UINT64_C(1) << (r % 64);
    memset(b->place, 0xff, rows * sizeof *b->place);
    return CN_OK;
}

static cn_err each_sample(measuring *m, measure_fn *fn, bench *b, uint32_t i) {
    uint32_t row = (uint32_t)((uint64_t)i * m->x->head.rows / m->n);
    uint64_t bit = UINT64_C(1) << (row % 64);
    cn_scan q = {.query = cn_vec(&m->x->flat->v, row), .k = m->neighbours, .permitted = b->permitted, .n_permitted = m->x->head.rows - 1};
    b->permitted[row / 64] &= ~bit;
    cn_err e = fn(m, b, i, &q);
    b->permitted[row / 64] |= bit;
    return e;
}

static void each(void *ctx, cn_shares *s) {
    const pass *p = ctx;
    bench b = {0};
    cn_err e = bench_init(p->m, &b);
    for (uint32_t i, to; e == CN_OK && cn_shares_next(s, &i, &to);)
        e = each_sample(p->m, p->fn, &b, i);
    if (e != CN_OK) {
        p->m->failed = e;
        cn_shares_end(s);
    }
    bench_done(&b);
}

static cn_err run(measuring *m, measure_fn *fn, unsigned threads) {
    cn_spread(threads, m->n, 1, each, &(pass){m, fn});
    cn_err e = m->failed;
    return e == CN_OK || e == CN_OVERLOADED ? (e ? cn_fail_memory() : CN_OK) : cn_fail(e, "a FAISS index that was made cannot be searched");
}

static cn_err find_truth(measuring *m, bench *b, uint32_t sample, const cn_scan *q) {
    uint32_t n = 0;
    CN_TRY(cn_flat_staged(m->x->flat, q, b->flat, m->truth + (size_t)sample * m->neighbours, &n));
    return n == m->neighbours ? CN_OK : cn_fail(CN_INTERNAL, "measuring a FAISS index: rows have no score");
}

static cn_err find_places(measuring *m, bench *b, uint32_t sample, const cn_scan *q) {
    uint32_t rows[CN_FAISS_DEPTH_MAX], n;
    size_t first = (size_t)sample * m->neighbours;
    CN_TRY(cn_faiss_candidates(m->x, q, m->probe, m->depth, rows, &n));
    for (uint32_t i = 0; i < n; i++)
        b->place[rows[i]] = i;
    for (uint32_t i = 0; i < m->neighbours; i++)
        m->place[first + i] = b->place[m->truth[first + i].row];
    for (uint32_t i = 0; i < n; i++)
        b->place[rows[i]] = NOT_FOUND;
    return CN_OK;
}

static float recall_at(const measuring *m, uint32_t k, uint32_t depth) {
    uint64_t right = 0;
    for (uint32_t s = 0; s < m->n; s++)
        for (uint32_t i = 0; i < k; i++)
            right += m->place[(size_t)s * m->neighbours + i] < depth;
    return (float)right / ((float)m->n * (float)k);
}

static uint32_t rows_of(const measuring *m) {
    const cn_faiss *x = m->x;
    uint32_t looked = x->form.lists ? (uint32_t)((uint64_t)x->head.rows * m->probe / x->form.lists) : x->form.graph ? m->depth : x->head.rows;
    return looked < x->head.rows ? looked : x->head.rows;
}

/* By the effort at hand, for an aim that none before it reached. */
static void try_aim(const measuring *m, uint32_t k, double recall, cn_faiss_aim *io) {
    double goal = recall + (1 - recall) * SAFETY;
    for (uint32_t depth = k; io->depth == 0 && depth <= m->depth; depth = depth < m->depth && 2 * depth > m->depth ? m->depth : 2 * depth) {
        float is = recall_at(m, k, depth);
        if ((double)is >= goal)
            *io = (cn_faiss_aim){m->probe, m->x->form.graph ? m->depth : depth, rows_of(m), is};
    }
}

static bool try_all(const measuring *m, cn_faiss_head *h) {
    bool all = true;
    for (uint32_t i = 0; i < CN_FAISS_KS; i++)
        for (uint32_t j = 0; j < CN_FAISS_RECALLS; j++) {
            uint32_t k = cn_faiss_ks[i] < m->neighbours ? cn_faiss_ks[i] : m->neighbours;
            if (h->aims[i][j].depth == 0)
                try_aim(m, k, cn_faiss_recalls[j], &h->aims[i][j]);
            all &= h->aims[i][j].depth != 0;
        }
    return all;
}

static cn_err measure(measuring *m, cn_faiss_head *h, unsigned threads) {
    const cn_faiss_form *form = &m->x->form;
    uint32_t most = h->rows < CN_FAISS_DEPTH_MAX ? h->rows : CN_FAISS_DEPTH_MAX;
    CN_TRY(run(m, find_truth, threads));
    m->probe = 1;
    m->depth = form->graph && most > 16 ? 16 : most;
    for (;;) {
        CN_TRY(run(m, find_places, threads));
        if (try_all(m, h))
            return CN_OK;
        if (form->graph && m->depth < most)
            m->depth = 2 * m->depth < most ? 2 * m->depth : most;
        else if (m->probe < form->lists)
            m->probe = 2 * m->probe < form->lists ? 2 * m->probe : form->lists;
        else
            return CN_OK;
    }
}

cn_err cn_faiss_measure(cn_faiss *x, unsigned threads) {
    uint32_t rows = x->head.rows, n = SAMPLES < rows ? SAMPLES : rows, neighbours = NEIGHBOURS < rows - 1 ? NEIGHBOURS : rows - 1;
    if (rows < 2)
        return CN_OK;
    CN_AUTO_FREE cn_scored *truth = cn_alloc((size_t)n * neighbours * sizeof *truth);
    CN_AUTO_FREE uint32_t *place = cn_alloc((size_t)n * neighbours * sizeof *place);
    if (!truth || !place)
        return cn_fail_memory();
    measuring m = {.x = x, .n = n, .neighbours = neighbours, .truth = truth, .place = place, .failed = CN_OK};
    return measure(&m, &x->head, threads);
}
