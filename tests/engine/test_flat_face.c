/* The face of exact search beside its answers: codes are the same bytes whoever makes them; what runs out or is stopped
 * leaves nothing behind; threads share; vectors that cannot be scored are refused. */
#include <float.h>
#include <math.h>
#include <pthread.h>
#include <string.h>

#include "engine/base/mem.h"
#include "engine/flat/inside.h"
#include "engine/kernels/kernels.h"
#include "tests/engine/flat_fixture.h"

/* --- codes --- */
static void build_again(const fixture *f, unsigned threads, const cn_vecs *v, store *ret) {
    *ret = (store){.n = 0};
    CU_ASSERT_EQUAL_FATAL(cn_flat_build(v, &f->space, threads, store_put, ret), CN_OK);
}

/* The same bytes by any number of threads, any table of kernels, and however the rows lie. */
static void check_same_codes(cn_metric m, uint32_t dim) {
    static const unsigned threads[] = {1, 3, 8, 200};
    const cn_kernels *usable[CN_KERNELS_MAX], *now = cn_kernels_now();
    fixture f;
    store again;
    fixture_init(&f, (fixture_plan){m, dim, 3000, 4096, ROWS_TWINS, 1});
    for (size_t i = 0; i < sizeof threads / sizeof *threads; i++) {
        build_again(&f, threads[i], &f.vecs, &again);
        CU_ASSERT(store_same(&f.codes, &again));
        store_done(&again);
    }
    for (size_t u = 0, n = cn_kernels_usable(usable); u < n; u++) {
        CU_ASSERT_EQUAL(cn_kernels_choose(usable[u]->name), CN_OK);
        build_again(&f, 2, &f.vecs, &again);
        CU_ASSERT(store_same(&f.codes, &again));
        store_done(&again);
    }
    CU_ASSERT_EQUAL(cn_kernels_choose(now->name), CN_OK);
    const float *blocks[3] = {f.vecs.blocks[0], f.vecs.blocks[0] + (size_t)1024 * dim, f.vecs.blocks[0] + (size_t)2048 * dim};
    build_again(&f, 2, &(cn_vecs){blocks, 3000, dim, 1024}, &again);
    CU_ASSERT(store_same(&f.codes, &again));
    store_done(&again);
    fixture_done(&f);
}

static void test_same_codes(void) {
    for (cn_metric m = CN_COSINE; m <= CN_L2; m++) {
        check_same_codes(m, 100);
        check_same_codes(m, 400);
    }
}

static void test_store_refuses(void) {
    fixture f;
    fixture_init(&f, (fixture_plan){CN_IP, 64, 2000, 2048, ROWS_CLUSTERED, 1});
    for (uint32_t i = 1; i < f.codes.n; i++) {
        store s = {.refuse_after = i};
        CU_ASSERT_EQUAL(cn_flat_build(&f.vecs, &f.space, 2, store_put, &s), CN_REFUSED);
        store_done(&s);
    }
    fixture_done(&f);
}

/* --- memory and time --- */
static void test_warm_search_allocates_nothing(void) {
    fixture f;
    cn_scored hits[100];
    uint32_t n;
    fixture_init(&f, (fixture_plan){CN_COSINE, 128, 3000, 1024, ROWS_CLUSTERED, 1});
    float *query = fixture_query(&f, 3);
    cn_scan q = {.query = query, .k = 100, .permitted = f.all, .n_permitted = f.plan.n};
    CU_ASSERT_EQUAL(cn_flat_staged(f.flat, &q, f.scratch, hits, &n), CN_OK);
    CU_ASSERT_EQUAL(cn_flat_exact(f.flat, &q, f.scratch, hits, &n), CN_OK);
    uint64_t before = cn_alloc_count();
    for (q.k = 1; q.k <= 100; q.k += 33) {
        CU_ASSERT_EQUAL(cn_flat_staged(f.flat, &q, f.scratch, hits, &n), CN_OK);
        CU_ASSERT_EQUAL(cn_flat_exact(f.flat, &q, f.scratch, hits, &n), CN_OK);
    }
    CU_ASSERT_EQUAL(cn_alloc_count(), before);
    cn_free(query);
    fixture_done(&f);
}

/* One life of codes and a search, to be run with each allocation failing once. */
static cn_err live(const fixture *f, const cn_scan *q, store *s) {
    cn_flat *flat = NULL;
    cn_scratch *scratch = NULL;
    cn_scored hits[10];
    uint32_t n;
    cn_err e = cn_flat_build(&f->vecs, &f->space, 1, store_put, s);
    if (e == CN_OK)
        e = cn_flat_open(&f->vecs, &f->space, store_get, s, &flat);
    if (e == CN_OK)
        e = cn_scratch_new(&scratch);
    if (e == CN_OK)
        e = cn_flat_staged(flat, q, scratch, hits, &n);
    if (e == CN_OK)
        e = cn_flat_exact(flat, q, scratch, hits, &n);
    cn_scratch_free(scratch);
    cn_flat_close(flat);
    store_done(s);
    return e;
}

static void test_out_of_memory(void) {
    fixture f;
    store s = {0};
    uint32_t failed = 0;
    fixture_init(&f, (fixture_plan){CN_COSINE, 64, 1300, 2048, ROWS_CLUSTERED, 1});
    float *query = fixture_query(&f, 1);
    cn_scan q = {.query = query, .k = 10, .permitted = f.all, .n_permitted = f.plan.n};
    cn_err e;
    do {
        cn_alloc_fail_at(failed + 1);
        e = live(&f, &q, &s);
        cn_alloc_fail_at(0);
        CU_ASSERT(e == CN_OK || e == CN_OVERLOADED);
    } while (e != CN_OK && ++failed < 100);
    CU_ASSERT_EQUAL(e, CN_OK);
    CU_ASSERT(failed >= 4); /* the first store, the open flat, the scratch and its heap at least */
    cn_free(query);
    fixture_done(&f);
}

static bool asked_twice(void *ctx) { return ++*(uint32_t *)ctx > 1; }

static void test_stop(void) {
    fixture f;
    cn_scored hits[10];
    uint32_t n = 77, asked = 0;
    fixture_init(&f, (fixture_plan){CN_L2, 16, 20000, 16384, ROWS_CLUSTERED, 1});
    float *query = fixture_query(&f, 1);
    cn_scan q = {.query = query, .k = 10, .permitted = f.all, .n_permitted = f.plan.n, .stop = asked_twice, .stop_ctx = &asked};
    CU_ASSERT_EQUAL(cn_flat_exact(f.flat, &q, f.scratch, hits, &n), CN_DEADLINE);
    CU_ASSERT_EQUAL(asked, 2);
    asked = 0;
    CU_ASSERT_EQUAL(cn_flat_staged(f.flat, &q, f.scratch, hits, &n), CN_DEADLINE);
    CU_ASSERT_EQUAL(asked, 2);
    CU_ASSERT_EQUAL(n, 77);
    cn_scored want[10];
    q.stop = NULL; /* the scratch that a stopped search left is as good as new */
    CU_ASSERT_EQUAL(brute_force(&f, &q, want), 10);
    CU_ASSERT_EQUAL(cn_flat_exact(f.flat, &q, f.scratch, hits, &n), CN_OK);
    CU_ASSERT(n == 10 && memcmp(hits, want, sizeof want) == 0);
    cn_free(query);
    fixture_done(&f);
}

/* One open cn_flat, several threads, each with its own scratch: everyone gets what one alone gets. */
enum { THREADS = 4, THREAD_ROUNDS = 25 };

typedef struct searcher {
    pthread_t thread;
    const fixture *f;
    const cn_scan *q;
    const cn_scored *want;
    uint32_t wrong;
} searcher;

static void *search_often(void *arg) {
    searcher *t = arg;
    cn_scratch *scratch;
    cn_scored hits[10];
    uint32_t n;
    if (cn_scratch_new(&scratch) != CN_OK)
        return t->wrong = 99, NULL;
    for (uint32_t i = 0; i < THREAD_ROUNDS; i++) {
        t->wrong += cn_flat_exact(t->f->flat, t->q, scratch, hits, &n) != CN_OK || memcmp(hits, t->want, sizeof hits) != 0;
        t->wrong += cn_flat_staged(t->f->flat, t->q, scratch, hits, &n) != CN_OK || n != 10;
    }
    cn_scratch_free(scratch);
    return NULL;
}

static void test_threads(void) {
    fixture f;
    cn_scored want[10];
    searcher t[THREADS];
    fixture_init(&f, (fixture_plan){CN_COSINE, 100, 3000, 1024, ROWS_CLUSTERED, 1});
    float *query = fixture_query(&f, 1);
    cn_scan q = {.query = query, .k = 10, .permitted = f.all, .n_permitted = f.plan.n};
    CU_ASSERT_EQUAL(brute_force(&f, &q, want), 10);
    for (uint32_t i = 0; i < THREADS; i++) {
        t[i] = (searcher){.f = &f, .q = &q, .want = want};
        CU_ASSERT_EQUAL_FATAL(pthread_create(&t[i].thread, NULL, search_often, &t[i]), 0);
    }
    for (uint32_t i = 0; i < THREADS; i++) {
        pthread_join(t[i].thread, NULL);
        CU_ASSERT_EQUAL(t[i].wrong, 0);
    }
    cn_free(query);
    fixture_done(&f);
}

/* --- vectors and metrics --- */
static void test_vec_check(void) {
    float x[5] = {0, 1, -2, 0, 3};
    for (cn_metric m = CN_COSINE; m <= CN_L2; m++) {
        CU_ASSERT_EQUAL(cn_vec_check(x, 5, m), CN_OK);
        static const float bad[] = {NAN, INFINITY, -INFINITY};
        for (uint32_t i = 0; i < 3; i++) {
            x[4] = bad[i];
            CU_ASSERT_EQUAL(cn_vec_check(x, 5, m), CN_INVALID);
            CU_ASSERT_PTR_NOT_NULL(strstr(cn_error_detail(), "component 4"));
        }
        x[4] = 3;
    }
    static const float zero[5] = {0, -0.0f};
    CU_ASSERT_EQUAL(cn_vec_check(zero, 5, CN_COSINE), CN_INVALID);
    CU_ASSERT_EQUAL(cn_vec_check(zero, 5, CN_IP), CN_OK);
    CU_ASSERT_EQUAL(cn_vec_check(zero, 5, CN_L2), CN_OK);
}

static void fill(float *x, uint32_t n, float value) {
    for (uint32_t i = 0; i < n; i++)
        x[i] = value;
}

/* Any two vectors that pass have a finite score; just beyond, a vector is refused. */
static void test_extreme_vectors(void) {
    static float x[CN_DIM_MAX], y[CN_DIM_MAX];
    static const uint32_t dims[] = {1, 100, CN_DIM_MAX};
    for (size_t d = 0; d < 3; d++)
        for (cn_metric m = CN_COSINE; m <= CN_L2; m++) {
            uint32_t dim = dims[d];
            float root = sqrtf((float)dim);
            fill(x, dim, 7.7e18f / root), fill(y, dim, -7.7e18f / root);
            CU_ASSERT(cn_vec_check(x, dim, m) == CN_OK && cn_vec_check(y, dim, m) == CN_OK);
            CU_ASSERT(isfinite(cn_score(m, x, y, dim)) && isfinite(cn_score(m, x, x, dim)));
            fill(y, dim, 1.01e-18f / root);
            CU_ASSERT_EQUAL(cn_vec_check(y, dim, m), CN_OK);
            CU_ASSERT(isfinite(cn_score(m, x, y, dim)));
            CU_ASSERT(m != CN_COSINE || fabsf(cn_score(m, x, y, dim) - 1) < 1e-4f);
            fill(x, dim, 8e18f / root), fill(y, dim, 0.9e-18f / root);
            CU_ASSERT_EQUAL(cn_vec_check(x, dim, m), CN_INVALID);
            CU_ASSERT_PTR_NOT_NULL(strstr(cn_error_detail(), "longer"));
            CU_ASSERT_EQUAL(cn_vec_check(y, dim, m), m == CN_COSINE ? CN_INVALID : CN_OK);
            CU_ASSERT(m != CN_COSINE || strstr(cn_error_detail(), "shorter"));
        }
}

static void test_metrics(void) {
    cn_metric m = CN_L2;
    for (cn_metric each = CN_COSINE; each <= CN_L2; each++) {
        CU_ASSERT_EQUAL(cn_metric_parse(cn_metric_name(each), &m), CN_OK);
        CU_ASSERT_EQUAL(m, each);
    }
    CU_ASSERT_EQUAL(cn_metric_parse("Cosine", &m), CN_INVALID);
    CU_ASSERT_EQUAL(cn_metric_parse("", &m), CN_INVALID);
    static const float a[3] = {1, 2, 2}, b[3] = {3, 0, 4}, zero[3] = {0};
    CU_ASSERT_EQUAL(cn_score(CN_IP, a, b, 3), 11);
    CU_ASSERT_EQUAL(cn_score(CN_L2, a, b, 3), -12);
    CU_ASSERT_DOUBLE_EQUAL((double)cn_score(CN_COSINE, a, b, 3), 11.0 / 15, 1e-7);
    CU_ASSERT_EQUAL(cn_score(CN_COSINE, a, zero, 3), 0);
}

#define MANY 4096
static const float pattern[4][2] = {{3, 4}, {0, 2}, {-5, 0}, {0, 0}};

static void mean_of(float (*rows)[2], uint32_t n, cn_metric metric, float mean[2]) {
    const float *blocks[1] = {rows[0]};
    cn_vecs v = {blocks, n, 2, MANY};
    CU_ASSERT_EQUAL(cn_space_mean(&v, metric, mean), CN_OK);
}

/* True to half a step of at most 128 rows' worth; of few rows there is none. */
static void test_mean(void) {
    static float rows[MANY][2];
    float mean[2];
    for (uint32_t i = 0; i < MANY; i++)
        memcpy(rows[i], pattern[i % 4], sizeof rows[i]);
    mean_of(rows, MANY, CN_L2, mean);
    CU_ASSERT_DOUBLE_EQUAL((double)mean[0], -0.5, 64.0 * 5 / MANY);
    CU_ASSERT_DOUBLE_EQUAL((double)mean[1], 1.5, 64.0 * 4 / MANY);
    mean_of(rows, MANY, CN_COSINE, mean);
    CU_ASSERT_DOUBLE_EQUAL((double)mean[0], (0.6 + 0 - 1 + 0) / 4, 64.0 / MANY);
    CU_ASSERT_DOUBLE_EQUAL((double)mean[1], (0.8 + 1 + 0 + 0) / 4, 64.0 / MANY);
    for (uint32_t few = 0; few <= 64; few++) {
        mean_of(rows, few, CN_COSINE, mean);
        CU_ASSERT(mean[0] == 0 && mean[1] == 0);
    }
}

/* Whoever knows all rows but one, and the mean, does not know that one: of any row in its place the mean is nearly always the
 * same, and what is left by subtraction lies anywhere within many times its size. */
static void test_mean_hides_a_row(void) {
    static float rows[MANY][2];
    unsigned moved = 0, near = 0;
    for (unsigned round = 0; round < 200; round++) {
        double others[2] = {0};
        float mean[2], with[2];
        for (uint32_t i = 0; i < MANY; i++)
            for (int j = 0; j < 2; j++)
                rows[i][j] = random_float() + 0.3f;
        for (uint32_t i = 1; i < MANY; i++)
            for (int j = 0; j < 2; j++)
                others[j] += (double)rows[i][j];
        mean_of(rows, MANY, CN_IP, mean);
        for (int j = 0; j < 2; j++)
            near += fabs((double)mean[j] * MANY - others[j] - (double)rows[0][j]) < 2;
        rows[0][0] = -rows[0][0], rows[0][1] = -rows[0][1];
        mean_of(rows, MANY, CN_IP, with);
        moved += (unsigned)(mean[0] != with[0]) + (mean[1] != with[1]);
    }
    CU_ASSERT(moved < 400 / 10 && near < 400 / 10);
}

/* Queries down to the smallest floats, of which no mean is taken away: their codes are whole steps or none at all, and the answer
 * is as by every row. */
static void check_tiny(fixture *f, int exponent) {
    float q[64];
    cn_scored want[10], got[10];
    uint32_t n_want, n;
    const cn_scratch *s = f->scratch;
    cn_scan scan = {.query = q, .k = 10, .permitted = f->all, .n_permitted = f->plan.n};
    for (uint32_t i = 0; i < 64; i++)
        q[i] = ldexpf(i % 3 ? 1 : -1, exponent) * (float)(1 + i % 5);
    n_want = brute_force(f, &scan, want);
    CU_ASSERT_EQUAL(cn_flat_exact(f->flat, &scan, f->scratch, got, &n), CN_OK);
    CU_ASSERT(n == n_want && memcmp(got, want, n * sizeof *got) == 0);
    CU_ASSERT_FATAL(s->lut != NULL); /* it went by the codes */
    CU_ASSERT(isfinite(s->p_miss) && s->p_miss <= s->p_norm && s->p_norm < ldexpf(1, exponent + 8));
    CU_ASSERT(s->p_scale == 0 || s->p_scale >= FLT_MIN);
    CU_ASSERT(s->lut_scale >= 2 * FLT_MIN && isfinite(s->lut_shift));
}

static void test_tiny_queries(void) {
    fixture f;
    fixture_init(&f, (fixture_plan){CN_IP, 64, 2000, 1024, ROWS_UNIFORM, 1});
    for (uint32_t r = 0; r < 2000; r += 2)
        for (uint32_t i = 0; i < 64; i++)
            ((float *)(uintptr_t)cn_vec(&f.vecs, r + 1))[i] = -cn_vec(&f.vecs, r)[i];
    fixture_stretch(&f, 1);
    for (int e = -149; e <= -110; e++)
        check_tiny(&f, e);
    fixture_done(&f);
}

int main(void) {
    if (cn_kernels_init() != CN_OK)
        return 1;
    CU_initialize_registry();
    CU_pSuite s = CU_add_suite("flat face", NULL, NULL);
    CU_add_test(s, "same codes", test_same_codes);
    CU_add_test(s, "store refuses", test_store_refuses);
    CU_add_test(s, "warm search allocates nothing", test_warm_search_allocates_nothing);
    CU_add_test(s, "out of memory", test_out_of_memory);
    CU_add_test(s, "stop", test_stop);
    CU_add_test(s, "threads", test_threads);
    CU_add_test(s, "vector check", test_vec_check);
    CU_add_test(s, "extreme vectors", test_extreme_vectors);
    CU_add_test(s, "tiny queries", test_tiny_queries);
    CU_add_test(s, "metrics", test_metrics);
    CU_add_test(s, "mean", test_mean);
    CU_add_test(s, "the mean hides a row", test_mean_hides_a_row);
    CU_basic_run_tests();
    unsigned failed = CU_get_number_of_failures(), ran = CU_get_number_of_tests_run();
    CU_cleanup_registry();
    return failed || !ran;
}
