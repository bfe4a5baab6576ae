#include "tests/engine/flat_fixture.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/mem.h"

static uint64_t state = 88172645463325252u;

uint64_t random_bits(void) { /* xorshift64 (Marsaglia 2003) */
    state ^= state << 13;
    state ^= state >> 7;
    return state ^= state << 17;
}

float random_float(void) { return (float)(random_bits() >> 40) * 0x1p-23f - 1.0f; }

/* --- codes kept in memory --- */
cn_err store_put(void *ctx, uint32_t array, uint32_t block, const void *bytes, size_t n) {
    store *s = ctx;
    if (s->refuse_after && s->n == s->refuse_after)
        return cn_fail(CN_REFUSED, "the store takes no more");
    CU_ASSERT_FATAL(s->n < STORE_BLOCKS);
    void *copy = cn_alloc_aligned(64, n);
    if (!copy)
        return cn_fail_memory();
    if (n)
        memcpy(copy, bytes, n);
    s->at[s->n++] = (stored){array, block, copy, n};
    return CN_OK;
}

static const stored *find(const store *s, uint32_t array, uint32_t block) {
    for (uint32_t i = 0; i < s->n; i++)
        if (s->at[i].array == array && s->at[i].block == block)
            return &s->at[i];
    return NULL;
}

cn_err store_get(void *ctx, uint32_t array, uint32_t block, const void **ret_bytes, size_t *ret_n) {
    const stored *b = find(ctx, array, block);
    if (!b)
        return cn_fail(CN_NOT_FOUND, "no array %u block %u", array, block);
    *ret_bytes = b->bytes;
    *ret_n = b->n;
    return CN_OK;
}

void store_done(store *s) {
    for (uint32_t i = 0; i < s->n; i++)
        cn_free(s->at[i].bytes);
    *s = (store){0};
}

bool store_same(const store *a, const store *b) {
    for (uint32_t i = 0; i < a->n; i++) {
        const stored *x = &a->at[i], *y = find(b, x->array, x->block);
        if (!y || x->n != y->n || memcmp(x->bytes, y->bytes, x->n) != 0)
            return false;
    }
    return a->n == b->n;
}

/* --- rows --- */
#define CENTRES 20
#define TOPICS 400

static void clustered(float *x, uint32_t dim, const float *centres, float size) {
    const float *c = centres + random_bits() % CENTRES * dim;
    for (uint32_t i = 0; i < dim; i++)
        x[i] = size * (c[i] + 0.4f * random_float() + 0.2f);
}

static void of_topic(float *x, uint32_t dim, const float *centres, float size) {
    uint32_t topic = (uint32_t)(random_bits() % TOPICS);
    const float *c = centres + (size_t)(topic % CENTRES) * dim, *t = centres + (size_t)(CENTRES + topic) * dim;
    for (uint32_t i = 0; i < dim; i++)
        x[i] = size * (c[i] + 0.7f * t[i] + 0.4f * random_float() + 0.2f);
}

static void uniform(float *x, uint32_t dim, float size) {
    for (uint32_t i = 0; i < dim; i++)
        x[i] = size * random_float();
}

static void sparse(float *x, uint32_t dim, float size) {
    memset(x, 0, dim * sizeof *x);
    for (uint32_t i = 0; i <= dim / 10; i++)
        x[random_bits() % dim] = size * random_float();
}

static float *row_of(const fixture *f, uint32_t row) { return (float *)(uintptr_t)cn_vec(&f->vecs, row); }

static void fill_row(const fixture *f, uint32_t row, const float *centres) {
    uint32_t dim = f->plan.dim;
    float *x = row_of(f, row);
    if (f->plan.kind == ROWS_UNIFORM)
        uniform(x, dim, f->plan.size);
    else if (f->plan.kind == ROWS_TOPICS)
        of_topic(x, dim, centres, f->plan.size);
    else if (f->plan.kind == ROWS_SPARSE)
        sparse(x, dim, f->plan.size);
    else if (f->plan.kind == ROWS_TWINS && row % 50 == 49)
        memset(x, 0, dim * sizeof *x);
    else if (f->plan.kind == ROWS_TWINS && row >= 40)
        memcpy(x, row_of(f, (uint32_t)(random_bits() % 40)), dim * sizeof *x);
    else
        clustered(x, dim, centres, f->plan.size);
    for (uint32_t i = 0; f->plan.kind == ROWS_FAR && i < dim; i++)
        x[i] += 100 * f->plan.size;
}

static void make_rows(fixture *f) {
    const fixture_plan *p = &f->plan;
    uint32_t n_blocks = p->n / p->block_rows + 1;
    const float **blocks = cn_calloc(n_blocks, sizeof *blocks);
    float *centres = cn_alloc((size_t)(CENTRES + TOPICS) * p->dim * sizeof *centres);
    CU_ASSERT_FATAL(blocks && centres);
    for (uint32_t i = 0; i < (CENTRES + TOPICS) * p->dim; i++)
        centres[i] = random_float();
    for (uint32_t b = 0; b < n_blocks; b++) {
        uint32_t left = p->n - b * p->block_rows, rows = left < p->block_rows ? left : p->block_rows;
        blocks[b] = cn_alloc_aligned(64, (size_t)rows * p->dim * sizeof(float));
        CU_ASSERT_PTR_NOT_NULL_FATAL(blocks[b]);
    }
    f->vecs = (cn_vecs){blocks, p->n, p->dim, p->block_rows};
    for (uint32_t r = 0; r < p->n; r++)
        fill_row(f, r, centres);
    cn_free(centres);
}

static void open_flat(fixture *f) {
    f->mean = cn_alloc(f->plan.dim * sizeof *f->mean);
    CU_ASSERT_PTR_NOT_NULL_FATAL(f->mean);
    CU_ASSERT_EQUAL_FATAL(cn_space_mean(&f->vecs, f->plan.metric, f->mean), CN_OK);
    f->space = (cn_space){f->plan.metric, f->plan.dim, 42, f->mean};
    CU_ASSERT_EQUAL_FATAL(cn_flat_build(&f->vecs, &f->space, 2, store_put, &f->codes), CN_OK);
    CU_ASSERT_EQUAL_FATAL(cn_flat_open(&f->vecs, &f->space, store_get, &f->codes, &f->flat), CN_OK);
    CU_ASSERT_EQUAL_FATAL(cn_scratch_new(&f->scratch), CN_OK);
}

void fixture_init(fixture *f, fixture_plan plan) {
    *f = (fixture){.plan = plan};
    make_rows(f);
    open_flat(f);
    f->all = cn_calloc(plan.n / 64 + 1, sizeof *f->all);
    CU_ASSERT_PTR_NOT_NULL_FATAL(f->all);
    for (uint32_t r = 0; r < plan.n; r++)
        f->all[r / 64] |= UINT64_C(1) << (r % 64);
}

static void close_flat(fixture *f) {
    cn_flat_close(f->flat);
    cn_scratch_free(f->scratch);
    store_done(&f->codes);
    cn_free(f->mean);
}

void fixture_stretch(fixture *f, float by) {
    for (uint32_t r = 0; r < f->plan.n; r++)
        for (uint32_t i = 0; r % 3 && i < f->plan.dim; i++)
            row_of(f, r)[i] *= by;
    close_flat(f);
    open_flat(f);
}

void fixture_done(fixture *f) {
    close_flat(f);
    for (uint32_t b = 0; b <= f->plan.n / f->plan.block_rows; b++)
        cn_free((void *)(uintptr_t)f->vecs.blocks[b]);
    cn_free((void *)(uintptr_t)f->vecs.blocks);
    cn_free(f->all);
}

float *fixture_query(fixture *f, uint64_t seed) {
    float *q = cn_alloc(f->plan.dim * sizeof *q);
    CU_ASSERT_PTR_NOT_NULL_FATAL(q);
    uint32_t near = f->plan.n ? (uint32_t)(seed * 7919 % f->plan.n) : 0;
    for (uint32_t i = 0; i < f->plan.dim; i++)
        q[i] = (f->plan.n ? cn_vec(&f->vecs, near)[i] : 0) + 0.3f * f->plan.size * random_float();
    return q;
}

/* --- what is right --- */
double naive_score(cn_metric metric, const float *q, const float *x, uint32_t dim) {
    double dot = 0, qq = 0, xx = 0, dist = 0;
    for (uint32_t i = 0; i < dim; i++) {
        double a = (double)q[i], b = (double)x[i];
        dot += a * b, qq += a * a, xx += b * b, dist += (a - b) * (a - b);
    }
    if (metric == CN_L2)
        return -dist;
    if (metric == CN_IP)
        return dot;
    return qq > 0 && xx > 0 ? dot / sqrt(qq * xx) : 0;
}

double naive_slack(const fixture *f, const float *q, const float *x) {
    double terms = 0, qq = 0, xx = 0, dist = 0;
    for (uint32_t i = 0; i < f->plan.dim; i++) {
        double a = (double)q[i], b = (double)x[i];
        terms += fabs(a * b), qq += a * a, xx += b * b, dist += (a - b) * (a - b);
    }
    double size = f->plan.metric == CN_L2 ? 4 * dist : f->plan.metric == CN_IP ? terms : 3;
    return size * (f->plan.dim / 16 + 8) * 0x1p-24;
}

typedef struct ranked {
    cn_scored hit;
    uint32_t rank;
} ranked;

static int best_first(const void *a, const void *b) {
    const ranked *l = a, *r = b;
    if (l->hit.score != r->hit.score)
        return l->hit.score > r->hit.score ? -1 : 1;
    return (l->rank > r->rank) - (l->rank < r->rank);
}

uint32_t brute_force(const fixture *f, const cn_scan *q, cn_scored *hits) {
    uint32_t n = 0;
    ranked *all = cn_alloc((f->plan.n + 1) * sizeof *all);
    CU_ASSERT_PTR_NOT_NULL_FATAL(all);
    for (uint32_t r = 0; r < f->plan.n; r++)
        if (q->permitted[r / 64] >> (r % 64) & 1)
            all[n++] = (ranked){{cn_score(f->plan.metric, q->query, cn_vec(&f->vecs, r), f->plan.dim), r}, q->rank ? q->rank[r] : r};
    qsort(all, n, sizeof *all, best_first);
    n = n < q->k ? n : q->k;
    for (uint32_t i = 0; i < n; i++)
        hits[i] = all[i].hit;
    cn_free(all);
    return n;
}
