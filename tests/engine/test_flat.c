/* Exact search through its face: `exact` is the naive answer whatever the rows, metric, dimension, mask and k; `staged`
 * is nearly it, and never gives a row that is not permitted, or a score that is not the row's. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/mem.h"
#include "engine/kernels/kernels.h"
#include "tests/engine/flat_fixture.h"

#define QUERIES 6

/* How many of the hits are as good as the k-th best. */
typedef struct tally {
    uint32_t right, wanted;
} tally;

static void check_hits(const fixture *f, const cn_scan *q, const cn_scored *hits, uint32_t n) {
    CU_ASSERT_EQUAL(n, q->k < q->n_permitted ? q->k : q->n_permitted);
    for (uint32_t i = 0; i < n; i++) {
        const cn_scored *h = &hits[i];
        CU_ASSERT_FATAL(h->row < f->plan.n && (q->permitted[h->row / 64] >> (h->row % 64) & 1));
        const float *x = cn_vec(&f->vecs, h->row);
        CU_ASSERT_EQUAL(h->score, cn_score(f->plan.metric, q->query, x, f->plan.dim));
        CU_ASSERT(fabs((double)h->score - naive_score(f->plan.metric, q->query, x, f->plan.dim)) <= naive_slack(f, q->query, x));
        uint32_t mine = q->rank ? q->rank[h->row] : h->row, before = i == 0 ? 0 : q->rank ? q->rank[h[-1].row] : h[-1].row;
        CU_ASSERT(i == 0 || h->score < h[-1].score || (h->score == h[-1].score && before < mine));
    }
}

static void search_both(const fixture *f, const cn_scan *q, tally *t) {
    cn_scored *want = cn_alloc(q->k * sizeof *want), *got = cn_alloc(q->k * sizeof *got);
    CU_ASSERT_FATAL(want && got);
    uint32_t n = brute_force(f, q, want), n_got = 0;
    CU_ASSERT_EQUAL(cn_flat_exact(f->flat, q, f->scratch, got, &n_got), CN_OK);
    CU_ASSERT_EQUAL(n_got, n);
    CU_ASSERT(memcmp(want, got, n * sizeof *want) == 0);
    check_hits(f, q, got, n_got);
    CU_ASSERT_EQUAL(cn_flat_staged(f->flat, q, f->scratch, got, &n_got), CN_OK);
    check_hits(f, q, got, n_got);
    for (uint32_t i = 0; i < n_got; i++)
        t->right += got[i].score >= want[n - 1].score;
    t->wanted += n;
    cn_free(want);
    cn_free(got);
}

static uint32_t count(const uint64_t *bits, uint32_t n) {
    uint32_t sum = 0;
    for (uint32_t w = 0; w < n / 64 + 1; w++)
        sum += (uint32_t)__builtin_popcountll(bits[w]);
    return sum;
}

/* Some of the queries over one mask, at a few k. */
static void search_masked(fixture *f, const uint64_t *permitted, const uint32_t *rank, tally *t) {
    static const uint32_t ks[] = {1, 10, 100};
    for (uint32_t i = 0; i < QUERIES; i++) {
        float *query = fixture_query(f, i);
        cn_scan q = {.query = query, .k = ks[i % 3], .permitted = permitted, .n_permitted = count(permitted, f->plan.n), .rank = rank};
        search_both(f, &q, t);
        cn_free(query);
    }
}

static void check_recall(const fixture *f, const tally *t, double least) {
    double recall = t->wanted ? (double)t->right / t->wanted : 1;
    if (recall < least)
        printf("staged: recall %.4f, %s, dimension %u, %u rows, kind %d\n", recall, cn_metric_name(f->plan.metric), f->plan.dim, f->plan.n, (int)f->plan.kind);
    CU_ASSERT(recall >= least);
}

static void try_plan(fixture_plan plan, double least) {
    fixture f;
    tally t = {0, 0};
    fixture_init(&f, plan);
    search_masked(&f, f.all, NULL, &t);
    check_recall(&f, &t, least);
    fixture_done(&f);
}

/* --- metrics and dimensions --- */
static void test_dimensions(void) {
    static const uint32_t dims[] = {1, 2, 3, 7, 63, 64, 65, 100, 384, 768, 1000, 4096};
    for (cn_metric m = CN_COSINE; m <= CN_L2; m++)
        for (size_t d = 0; d < sizeof dims / sizeof *dims; d++)
            try_plan((fixture_plan){m, dims[d], 1500, 256, ROWS_CLUSTERED, 1}, 0.98);
}

static void test_numbers_of_rows(void) {
    static const uint32_t ns[] = {0, 1, 31, 32, 33, 63, 64, 65, 1023, 1025, 1056, 2047, 4097};
    for (cn_metric m = CN_COSINE; m <= CN_L2; m++)
        for (size_t i = 0; i < sizeof ns / sizeof *ns; i++)
            try_plan((fixture_plan){m, 70, ns[i], 64, ROWS_CLUSTERED, 1}, 0.98);
}

/* More rows than one piece of codes holds. */
static void test_many_rows(void) {
    for (cn_metric m = CN_COSINE; m <= CN_L2; m++)
        try_plan((fixture_plan){m, 64, 40000, 16384, ROWS_CLUSTERED, 1}, 0.98);
}

static void test_kinds_of_rows(void) {
    for (cn_metric m = CN_COSINE; m <= CN_L2; m++) {
        try_plan((fixture_plan){m, 100, 3000, 1024, ROWS_UNIFORM, 1}, 0.95);
        try_plan((fixture_plan){m, 400, 3000, 1024, ROWS_UNIFORM, 1}, 0.95);
        try_plan((fixture_plan){m, 100, 3000, 1024, ROWS_FAR, 1}, 0.9); /* floats themselves can hardly tell the rows apart */
        try_plan((fixture_plan){m, 400, 3000, 1024, ROWS_FAR, 1}, 0.9);
        try_plan((fixture_plan){m, 400, 3000, 1024, ROWS_SPARSE, 1}, 0.95);
        try_plan((fixture_plan){m, 48, 3000, 1024, ROWS_TWINS, 1}, 0.98);
    }
}

/* Lengths whose squares are far from 1, overflow (every L2 score is then minus infinity: all tie), or vanish. */
static void test_sizes_of_rows(void) {
    static const float sizes[] = {1e-15f, 1e-6f, 1e6f, 1e15f};
    for (cn_metric m = CN_COSINE; m <= CN_L2; m++)
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
            try_plan((fixture_plan){m, 65, 1500, 512, ROWS_CLUSTERED, sizes[i]}, 0.95);
}

/* Most rows too long or too short to be squared: codes cannot serve them, and exact is exact all the same. */
static void test_mixed_sizes(void) {
    static const float sizes[] = {1e-30f, 1e30f, 0};
    for (cn_metric m = CN_COSINE; m <= CN_L2; m++)
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
            for (uint32_t dim = 64; dim <= 320; dim += 256) {
                fixture f;
                tally t = {0, 0};
                fixture_init(&f, (fixture_plan){m, dim, 4000, 4096, ROWS_UNIFORM, 1});
                fixture_stretch(&f, sizes[i]);
                float *query = fixture_query(&f, 0); /* near row 0, which keeps its size */
                search_both(&f, &(cn_scan){.query = query, .k = 10, .permitted = f.all, .n_permitted = f.plan.n}, &t);
                check_recall(&f, &t, 0.9);
                cn_free(query);
                fixture_done(&f);
            }
}

/* --- masks, ties, k --- */
static void mask_by(fixture *f, uint64_t *mask, bool (*in)(uint32_t row)) {
    memset(mask, 0, (f->plan.n / 64 + 1) * sizeof *mask);
    for (uint32_t r = 0; r < f->plan.n; r++)
        mask[r / 64] |= (uint64_t)in(r) << (r % 64);
}

static bool each_third(uint32_t row) { return row % 3 == 1; }
static bool one_in_ten(uint32_t row) { return row * 2654435761u >> 16 & 1 && row % 5 == 0; }
static bool a_run(uint32_t row) { return row >= 1500 && row < 4700; }
static bool five(uint32_t row) { return row % 1200 == 7; }
static bool the_last(uint32_t row) { return row == 5999; }
static bool none(uint32_t row) { return (void)row, false; }

static void test_masks(void) {
    static bool (*const masks[])(uint32_t) = {each_third, one_in_ten, a_run, five, the_last, none};
    uint64_t mask[6000 / 64 + 1];
    for (cn_metric m = CN_COSINE; m <= CN_L2; m++) {
        fixture f;
        tally t = {0, 0};
        fixture_init(&f, (fixture_plan){m, 96, 6000, 2048, ROWS_CLUSTERED, 1});
        for (size_t i = 0; i < sizeof masks / sizeof *masks; i++) {
            mask_by(&f, mask, masks[i]);
            search_masked(&f, mask, NULL, &t);
        }
        check_recall(&f, &t, 0.98);
        fixture_done(&f);
    }
}

/* Twins tie: the rank decides, here the highest row number first, and at last a shuffle. */
static void test_ties(void) {
    enum { N = 3000 };
    static uint32_t rank[N];
    for (cn_metric m = CN_COSINE; m <= CN_L2; m++) {
        fixture f;
        tally t = {0, 0};
        fixture_init(&f, (fixture_plan){m, 40, N, 1024, ROWS_TWINS, 1});
        search_masked(&f, f.all, NULL, &t);
        for (uint32_t i = 0; i < N; i++)
            rank[i] = N - 1 - i;
        search_masked(&f, f.all, rank, &t);
        for (uint32_t i = N - 1; i > 0; i--) {
            uint32_t j = (uint32_t)(random_bits() % (i + 1)), v = rank[i];
            rank[i] = rank[j];
            rank[j] = v;
        }
        search_masked(&f, f.all, rank, &t);
        check_recall(&f, &t, 0.98);
        fixture_done(&f);
    }
}

static void test_k(void) {
    static const uint32_t ks[] = {1, 2, 374, 375, 376, 1499, 1500, 1501, CN_K_MAX};
    fixture f;
    tally t = {0, 0};
    fixture_init(&f, (fixture_plan){CN_COSINE, 33, 1500, 512, ROWS_CLUSTERED, 1});
    for (size_t i = 0; i < sizeof ks / sizeof *ks; i++) {
        float *query = fixture_query(&f, i);
        search_both(&f, &(cn_scan){.query = query, .k = ks[i], .permitted = f.all, .n_permitted = f.plan.n}, &t);
        cn_free(query);
    }
    check_recall(&f, &t, 0.98);
    fixture_done(&f);
}

/* A query that is a row; all zero (ip, l2); of another size; and the mean itself, which has nothing left when centred. */
static void test_odd_queries(void) {
    for (cn_metric m = CN_COSINE; m <= CN_L2; m++) {
        fixture f;
        tally t = {0, 0};
        float q[80];
        fixture_init(&f, (fixture_plan){m, 80, 2000, 1024, ROWS_CLUSTERED, 1});
        cn_scan scan = {.query = q, .k = 10, .permitted = f.all, .n_permitted = f.plan.n};
        memcpy(q, cn_vec(&f.vecs, 1234), sizeof q);
        search_both(&f, &scan, &t);
        memcpy(q, f.mean, sizeof q);
        search_both(&f, &scan, &t);
        for (uint32_t i = 0; i < 80; i++)
            q[i] = 1e9f * random_float();
        search_both(&f, &scan, &t);
        check_recall(&f, &t, 0.9);
        memset(q, 0, sizeof q);
        if (m != CN_COSINE)
            search_both(&f, &scan, &t);
        fixture_done(&f);
    }
}

/* --- without codes --- */
static void test_without_codes(void) {
    fixture f;
    tally t = {0, 0};
    fixture_init(&f, (fixture_plan){CN_L2, 20, 2000, 256, ROWS_CLUSTERED, 1});
    cn_flat_close(f.flat);
    CU_ASSERT_EQUAL_FATAL(cn_flat_open(&f.vecs, &f.space, NULL, NULL, &f.flat), CN_OK);
    search_masked(&f, f.all, NULL, &t);
    CU_ASSERT_EQUAL(t.right, t.wanted);
    fixture_done(&f);
}

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
    q.stop = NULL; /* the scratch that a stopped search left is as good as new */
    tally t = {0, 0};
    search_both(&f, &q, &t);
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

static void test_mean(void) {
    static const float rows[4][2] = {{3, 4}, {0, 2}, {-5, 0}, {0, 0}};
    const float *blocks[2] = {rows[0], rows[2]};
    cn_vecs v = {blocks, 4, 2, 2};
    float mean[2];
    CU_ASSERT_EQUAL(cn_space_mean(&v, CN_L2, mean), CN_OK);
    CU_ASSERT(mean[0] == -0.5f && mean[1] == 1.5f);
    CU_ASSERT_EQUAL(cn_space_mean(&v, CN_COSINE, mean), CN_OK);
    CU_ASSERT_DOUBLE_EQUAL((double)mean[0], (0.6 + 0 - 1 + 0) / 4, 1e-7);
    CU_ASSERT_DOUBLE_EQUAL((double)mean[1], (0.8 + 1 + 0 + 0) / 4, 1e-7);
    v.n = 0;
    CU_ASSERT_EQUAL(cn_space_mean(&v, CN_COSINE, mean), CN_OK);
    CU_ASSERT(mean[0] == 0 && mean[1] == 0);
}

/* Run once for each table of kernels: CAIRN_ISA; 77 tells meson that this processor has it not. */
#define SKIPPED 77
int main(void) {
    cn_err e = cn_kernels_init();
    if (e != CN_OK) {
        fprintf(stderr, "%s\n", cn_error_detail());
        return e == CN_REFUSED ? SKIPPED : 1;
    }
    CU_initialize_registry();
    CU_pSuite s = CU_add_suite("flat", NULL, NULL);
    CU_add_test(s, "dimensions", test_dimensions);
    CU_add_test(s, "numbers of rows", test_numbers_of_rows);
    CU_add_test(s, "many rows", test_many_rows);
    CU_add_test(s, "kinds of rows", test_kinds_of_rows);
    CU_add_test(s, "sizes of rows", test_sizes_of_rows);
    CU_add_test(s, "mixed sizes", test_mixed_sizes);
    CU_add_test(s, "masks", test_masks);
    CU_add_test(s, "ties", test_ties);
    CU_add_test(s, "k", test_k);
    CU_add_test(s, "odd queries", test_odd_queries);
    CU_add_test(s, "without codes", test_without_codes);
    CU_add_test(s, "same codes", test_same_codes);
    CU_add_test(s, "store refuses", test_store_refuses);
    CU_add_test(s, "warm search allocates nothing", test_warm_search_allocates_nothing);
    CU_add_test(s, "out of memory", test_out_of_memory);
    CU_add_test(s, "stop", test_stop);
    CU_add_test(s, "vector check", test_vec_check);
    CU_add_test(s, "extreme vectors", test_extreme_vectors);
    CU_add_test(s, "metrics", test_metrics);
    CU_add_test(s, "mean", test_mean);
    CU_basic_run_tests();
    unsigned failed = CU_get_number_of_failures(), ran = CU_get_number_of_tests_run();
    CU_cleanup_registry();
    return failed || !ran;
}
