/* Exact search over codes against the plain scan, and the plain scan against sums in double precision. */
#include <CUnit/Basic.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/mem.h"
#include "engine/flat/flat.h"
#include "engine/flat/inside.h"

typedef struct stored {
    char *p[4][64];
    size_t n[4][64];
} stored;

static cn_err put(void *ctx, uint32_t array, uint32_t block, const void *bytes, size_t n) {
    stored *s = ctx;
    cn_free(s->p[array][block]);
    s->p[array][block] = cn_alloc_aligned(64, (n + 63) & ~(size_t)63);
    memcpy(s->p[array][block], bytes, n);
    s->n[array][block] = n;
    return CN_OK;
}

static cn_err get(void *ctx, uint32_t array, uint32_t block, const void **ret, size_t *ret_n) {
    const stored *s = ctx;
    if (!s->p[array][block])
        return cn_fail(CN_NOT_FOUND, "none");
    *ret = s->p[array][block];
    *ret_n = s->n[array][block];
    return CN_OK;
}

static void empty(stored *s) {
    for (size_t i = 0; i < 4 * 64; i++)
        cn_free(s->p[i / 64][i % 64]);
    memset(s, 0, sizeof *s);
}

static uint64_t state = 1;
static double uniform(void) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (double)(state >> 11) * 0x1p-53;
}
static float normal(void) {
    double s = 0;
    for (int i = 0; i < 12; i++)
        s += uniform();
    return (float)(s - 6);
}

/* A field of vectors with a shared offset, clusters and some duplicates, as embeddings have. */
typedef struct field {
    float *x, *mean;
    const float **blocks;
    uint64_t *permitted;
    uint32_t n_permitted;
    cn_vecs v;
    cn_space space;
    stored codes;
    cn_flat *coded, *plain;
} field;

static void make_rows(field *f, uint32_t n, uint32_t dim) {
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t j = 0; j < dim; j++)
            f->x[(size_t)i * dim + j] = i % 17 == 16 ? f->x[(size_t)(i - 3) * dim + j] : normal() + (j % 3 ? 0.3f : 0) + (float)(i % 5) * 0.1f;
}

static void permit(field *f, uint32_t n, double share) {
    memset(f->permitted, 0, (n / 64 + 1) * sizeof *f->permitted);
    f->n_permitted = 0;
    for (uint32_t i = 0; i < n; i++)
        if (uniform() < share) {
            f->permitted[i / 64] |= UINT64_C(1) << (i % 64);
            f->n_permitted++;
        }
}

static void open_field(field *f, cn_metric metric, uint32_t n, uint32_t dim, double share) {
    uint32_t block = 1024;
    memset(f, 0, sizeof *f);
    f->x = cn_alloc((size_t)n * dim * sizeof *f->x + 4);
    f->mean = cn_alloc(dim * sizeof *f->mean);
    f->blocks = cn_alloc((n / block + 1) * sizeof *f->blocks);
    f->permitted = cn_alloc((n / 64 + 1) * sizeof *f->permitted);
    for (uint32_t i = 0; i <= n / block; i++)
        f->blocks[i] = f->x + (size_t)i * block * dim;
    make_rows(f, n, dim);
    permit(f, n, share);
    f->v = (cn_vecs){f->blocks, n, dim, block};
    CU_ASSERT_EQUAL(cn_space_mean(&f->v, metric, f->mean), CN_OK);
    f->space = (cn_space){metric, dim, 42, f->mean};
}

static void open_flats(field *f, unsigned threads) {
    CU_ASSERT_EQUAL(cn_flat_build(&f->v, &f->space, threads, put, &f->codes), CN_OK);
    CU_ASSERT_EQUAL_FATAL(cn_flat_open(&f->v, &f->space, get, &f->codes, &f->coded), CN_OK);
    CU_ASSERT_EQUAL_FATAL(cn_flat_open(&f->v, &f->space, NULL, NULL, &f->plain), CN_OK);
}

static void close_field(field *f) {
    cn_flat_close(f->coded);
    cn_flat_close(f->plain);
    empty(&f->codes);
    cn_free(f->x);
    cn_free(f->mean);
    cn_free(f->blocks);
    cn_free(f->permitted);
}

static double true_score(const field *f, const float *q, uint32_t row) {
    double dot = 0, qq = 0, xx = 0, l2 = 0;
    const float *x = cn_vec(&f->v, row);
    for (uint32_t i = 0; i < f->v.dim; i++) {
        double a = (double)q[i], b = (double)x[i];
        dot += a * b, qq += a * a, xx += b * b, l2 += (a - b) * (a - b);
    }
    return f->space.metric == CN_L2 ? -l2 : f->space.metric == CN_IP ? dot : qq > 0 && xx > 0 ? dot / sqrt(qq * xx) : 0;
}

/* The plain scan's answer: sorted, permitted, true scores, and nothing better left out. */
static void check_plain(const field *f, const cn_scan *q, const cn_scored *hits, uint32_t n) {
    uint32_t want = q->k < f->n_permitted ? q->k : f->n_permitted, better = 0;
    CU_ASSERT_EQUAL_FATAL(n, want);
    for (uint32_t i = 0; i < n; i++) {
        double s = true_score(f, q->query, hits[i].row);
        CU_ASSERT(fabs(s - (double)hits[i].score) <= 1e-4 * (1 + fabs(s)));
        CU_ASSERT(f->permitted[hits[i].row / 64] >> (hits[i].row % 64) & 1);
        CU_ASSERT(i == 0 || hits[i - 1].score > hits[i].score || (hits[i - 1].score == hits[i].score && hits[i - 1].row < hits[i].row));
    }
    if (n == 0)
        return;
    double bar = (double)hits[n - 1].score;
    for (uint32_t i = 0; i < f->v.n; i++)
        better += (f->permitted[i / 64] >> (i % 64) & 1) && true_score(f, q->query, i) > bar + 1e-4 * (1 + fabs(bar));
    CU_ASSERT(better <= n);
}

static uint32_t shared(const cn_scored *a, uint32_t n, const cn_scored *b, uint32_t m) {
    uint32_t both = 0;
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t j = 0; j < m; j++)
            both += a[i].row == b[j].row;
    return both;
}

static void ask(const field *f, cn_scratch *s, uint32_t k, uint32_t *found, uint32_t *wanted) {
    static cn_scored plain[CN_K_MAX], exact[CN_K_MAX], staged[CN_K_MAX];
    float q[CN_DIM_MAX];
    uint32_t n, m, t;
    for (uint32_t i = 0; i < f->v.dim; i++)
        q[i] = normal() + (i % 3 ? 0.3f : 0);
    cn_scan scan = {.query = q, .k = k, .permitted = f->permitted, .n_permitted = f->n_permitted};
    CU_ASSERT_EQUAL(cn_flat_exact(f->plain, &scan, s, plain, &n), CN_OK);
    CU_ASSERT_EQUAL(cn_flat_exact(f->coded, &scan, s, exact, &m), CN_OK);
    CU_ASSERT_EQUAL(cn_flat_staged(f->coded, &scan, s, staged, &t), CN_OK);
    check_plain(f, &scan, plain, n);
    CU_ASSERT_EQUAL_FATAL(n, m);
    CU_ASSERT_EQUAL(n, t);
    CU_ASSERT_EQUAL(memcmp(plain, exact, n * sizeof *plain), 0);
    *found += shared(staged, t, plain, n);
    *wanted += n;
}

static void exact_is_exact(void) {
    static const uint32_t dims[] = {1, 2, 3, 7, 63, 64, 65, 100, 384, 768};
    static const double shares[] = {1, 0.5, 0.1, 0.001, 0};
    cn_scratch *s;
    CU_ASSERT_EQUAL_FATAL(cn_scratch_new(&s), CN_OK);
    uint32_t found = 0, wanted = 0;
    for (size_t d = 0; d < sizeof dims / sizeof *dims; d++)
        for (cn_metric metric = CN_COSINE; metric <= CN_L2; metric++) {
            field f;
            uint32_t n = dims[d] > 100 ? 3001 : 5003;
            open_field(&f, metric, n, dims[d], 1);
            open_flats(&f, 2);
            for (size_t i = 0; i < sizeof shares / sizeof *shares; i++) {
                permit(&f, n, shares[i]);
                ask(&f, s, 10, &found, &wanted);
                ask(&f, s, i ? 300 : 1, &found, &wanted);
            }
            close_field(&f);
        }
    CU_ASSERT(wanted > 10000);
    CU_ASSERT(found >= wanted - wanted / 500);
    cn_scratch_free(s);
}

static void the_largest_dimension(void) {
    cn_scratch *s;
    field f;
    uint32_t found = 0, wanted = 0;
    CU_ASSERT_EQUAL_FATAL(cn_scratch_new(&s), CN_OK);
    open_field(&f, CN_COSINE, 1500, CN_DIM_MAX, 1);
    open_flats(&f, 2);
    ask(&f, s, 10, &found, &wanted);
    CU_ASSERT(found >= wanted - 1);
    close_field(&f);
    cn_scratch_free(s);
}

static void threads_do_not_show(void) {
    field f;
    stored other = {0};
    open_field(&f, CN_COSINE, CN_CHUNK_ROWS + 777, 70, 1);
    CU_ASSERT_EQUAL(cn_flat_build(&f.v, &f.space, 1, put, &f.codes), CN_OK);
    CU_ASSERT_EQUAL(cn_flat_build(&f.v, &f.space, 3, put, &other), CN_OK);
    for (size_t a = 0; a < 4; a++)
        for (size_t b = 0; b < 2; b++) {
            CU_ASSERT_EQUAL_FATAL(f.codes.n[a][b], other.n[a][b]);
            CU_ASSERT(f.codes.n[a][b] == 0 || memcmp(f.codes.p[a][b], other.p[a][b], other.n[a][b]) == 0);
        }
    empty(&other);
    close_field(&f);
}

static void every_isa_gives_the_same_bytes(void) {
    const cn_kernels *usable[CN_KERNELS_MAX];
    size_t n = cn_kernels_usable(usable);
    for (size_t i = 0; i < n; i++) {
        field f;
        stored other = {0};
        state = 7;
        open_field(&f, CN_IP, 1000, 100, 1);
        CU_ASSERT_EQUAL(cn_kernels_choose(usable[i]->name), CN_OK);
        CU_ASSERT_EQUAL(cn_flat_build(&f.v, &f.space, 2, put, &f.codes), CN_OK);
        CU_ASSERT_EQUAL(cn_kernels_choose("scalar"), CN_OK);
        CU_ASSERT_EQUAL(cn_flat_build(&f.v, &f.space, 2, put, &other), CN_OK);
        for (size_t a = 0; a < 4; a++)
            CU_ASSERT(memcmp(f.codes.p[a][0], other.p[a][0], other.n[a][0]) == 0);
        empty(&other);
        close_field(&f);
    }
    CU_ASSERT_EQUAL(cn_kernels_choose(NULL), CN_OK);
}

/* Data that codes cannot serve: the answer is the plain scan's all the same. */
static void odd_rows(void) {
    static const float scales[] = {1e-30f, 1e30f, 0};
    cn_scratch *s;
    CU_ASSERT_EQUAL_FATAL(cn_scratch_new(&s), CN_OK);
    for (size_t i = 0; i < sizeof scales / sizeof *scales; i++)
        for (cn_metric metric = CN_COSINE; metric <= CN_L2; metric++) {
            static cn_scored plain[10], exact[10];
            field f;
            float q[64];
            uint32_t n, m;
            open_field(&f, metric, 4000, 64, 1);
            for (size_t j = 0; j < 64 * 4000; j++)
                f.x[j] *= j / 64 % 3 ? scales[i] : 1;
            open_flats(&f, 1);
            for (uint32_t j = 0; j < 64; j++)
                q[j] = normal();
            cn_scan scan = {.query = q, .k = 10, .permitted = f.permitted, .n_permitted = f.n_permitted};
            CU_ASSERT_EQUAL(cn_flat_exact(f.plain, &scan, s, plain, &n), CN_OK);
            CU_ASSERT_EQUAL(cn_flat_exact(f.coded, &scan, s, exact, &m), CN_OK);
            CU_ASSERT(n == m && memcmp(plain, exact, n * sizeof *plain) == 0);
            close_field(&f);
        }
    cn_scratch_free(s);
}

static void ties_go_by_rank(void) {
    cn_scratch *s;
    cn_scored hits[5];
    uint32_t n, rank[2000];
    float q[3] = {1, 2, 3};
    field f;
    CU_ASSERT_EQUAL_FATAL(cn_scratch_new(&s), CN_OK);
    open_field(&f, CN_IP, 2000, 3, 1);
    for (uint32_t i = 0; i < 2000; i++) {
        memcpy(f.x + (size_t)3 * i, q, sizeof q);
        rank[i] = 1999 - i;
    }
    open_flats(&f, 1);
    cn_scan scan = {.query = q, .k = 5, .permitted = f.permitted, .n_permitted = f.n_permitted, .rank = rank};
    CU_ASSERT_EQUAL(cn_flat_exact(f.coded, &scan, s, hits, &n), CN_OK);
    for (uint32_t i = 0; i < 5; i++)
        CU_ASSERT_EQUAL(hits[i].row, 1999 - i);
    CU_ASSERT_EQUAL(cn_flat_staged(f.coded, &scan, s, hits, &n), CN_OK);
    for (uint32_t i = 0; i < 5; i++)
        CU_ASSERT_EQUAL(hits[i].row, 1999 - i);
    close_field(&f);
    cn_scratch_free(s);
}

static void damage_is_refused(void) {
    field f;
    cn_flat *flat;
    open_field(&f, CN_L2, 200, 64, 1);
    open_flats(&f, 1);
    for (size_t a = 0; a < 4; a++) {
        f.codes.n[a][0]--;
        CU_ASSERT_EQUAL(cn_flat_open(&f.v, &f.space, get, &f.codes, &flat), CN_DAMAGED);
        f.codes.n[a][0]++;
    }
    for (size_t i = 0; i < 24; i++) {
        f.codes.p[CN_ARRAY_HEAD][0][i] ^= 0x40;
        CU_ASSERT_EQUAL(cn_flat_open(&f.v, &f.space, get, &f.codes, &flat), CN_DAMAGED);
        f.codes.p[CN_ARRAY_HEAD][0][i] ^= 0x40;
    }
    cn_flat_head *h = (void *)f.codes.p[CN_ARRAY_HEAD][0];
    h->norm = NAN;
    CU_ASSERT_EQUAL(cn_flat_open(&f.v, &f.space, get, &f.codes, &flat), CN_DAMAGED);
    close_field(&f);
}

static bool at_once(void *ctx) {
    (void)ctx;
    return true;
}

static void a_deadline_ends_it(void) {
    cn_scratch *s;
    cn_scored hits[5];
    uint32_t n = 77;
    float q[64] = {1};
    field f;
    CU_ASSERT_EQUAL_FATAL(cn_scratch_new(&s), CN_OK);
    open_field(&f, CN_IP, 3000, 64, 1);
    open_flats(&f, 1);
    cn_scan scan = {.query = q, .k = 5, .permitted = f.permitted, .n_permitted = f.n_permitted, .stop = at_once};
    CU_ASSERT_EQUAL(cn_flat_exact(f.coded, &scan, s, hits, &n), CN_DEADLINE);
    CU_ASSERT_EQUAL(cn_flat_staged(f.plain, &scan, s, hits, &n), CN_DEADLINE);
    CU_ASSERT_EQUAL(n, 77);
    close_field(&f);
    cn_scratch_free(s);
}

static void a_second_search_allocates_nothing(void) {
    cn_scratch *s;
    cn_scored hits[5];
    uint32_t n;
    float q[64] = {1};
    field f;
    CU_ASSERT_EQUAL_FATAL(cn_scratch_new(&s), CN_OK);
    open_field(&f, CN_COSINE, 3000, 64, 1);
    open_flats(&f, 1);
    cn_scan scan = {.query = q, .k = 5, .permitted = f.permitted, .n_permitted = f.n_permitted};
    CU_ASSERT_EQUAL(cn_flat_exact(f.coded, &scan, s, hits, &n), CN_OK);
    uint64_t before = cn_alloc_count();
    CU_ASSERT_EQUAL(cn_flat_exact(f.coded, &scan, s, hits, &n), CN_OK);
    CU_ASSERT_EQUAL(cn_flat_staged(f.coded, &scan, s, hits, &n), CN_OK);
    CU_ASSERT_EQUAL(cn_alloc_count(), before);
    close_field(&f);
    cn_scratch_free(s);
}

static void rotation_keeps_lengths(void) {
    static const uint32_t dims[] = {1, 64, 65, 100, 192, 384, 768, 1000, 4096};
    for (size_t d = 0; d < sizeof dims / sizeof *dims; d++) {
        cn_rotation r;
        static float x[CN_PADDED_MAX];
        double before = 0, after = 0;
        CU_ASSERT_EQUAL_FATAL(cn_rotation_init(&r, dims[d], 9), CN_OK);
        memset(x, 0, sizeof x);
        for (uint32_t i = 0; i < dims[d]; i++)
            x[i] = normal(), before += (double)x[i] * (double)x[i];
        cn_rotate(&r, x);
        for (uint32_t i = 0; i < r.padded; i++)
            after += (double)x[i] * (double)x[i];
        CU_ASSERT(fabs(sqrt(after / before) - 1) < 1e-5);
        cn_rotation_done(&r);
    }
}

int main(void) {
    static CU_TestInfo tests[] = {
        {"exact equals the plain scan", exact_is_exact},
        {"4096 dimensions", the_largest_dimension},
        {"threads do not show in the bytes", threads_do_not_show},
        {"nor does the instruction set", every_isa_gives_the_same_bytes},
        {"rows that codes cannot serve", odd_rows},
        {"ties go by rank", ties_go_by_rank},
        {"damage is refused", damage_is_refused},
        {"a deadline ends it", a_deadline_ends_it},
        {"a second search allocates nothing", a_second_search_allocates_nothing},
        {"rotation keeps lengths", rotation_keeps_lengths},
        CU_TEST_INFO_NULL,
    };
    static CU_SuiteInfo suites[] = {{"flat", NULL, NULL, NULL, NULL, tests}, CU_SUITE_INFO_NULL};
    if (CU_initialize_registry() != CUE_SUCCESS || CU_register_suites(suites) != CUE_SUCCESS)
        return 2;
    CU_basic_set_mode(CU_BRM_NORMAL);
    CU_basic_run_tests();
    unsigned failed = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failed ? 1 : 0;
}
