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
    for (uint32_t i = 0; i < n; i++)
        CU_ASSERT(want[i].row == got[i].row && want[i].score == got[i].score);
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
            try_plan((fixture_plan){m, dims[d], 1500, 256, ROWS_CLUSTERED, 1}, 0.99);
}

static void test_numbers_of_rows(void) {
    static const uint32_t ns[] = {0, 1, 31, 32, 33, 63, 64, 65, 1023, 1025, 1056, 2047, 4097};
    for (cn_metric m = CN_COSINE; m <= CN_L2; m++)
        for (size_t i = 0; i < sizeof ns / sizeof *ns; i++)
            try_plan((fixture_plan){m, 70, ns[i], 64, ROWS_CLUSTERED, 1}, 0.99);
}

/* More rows than one piece of codes holds. */
static void test_many_rows(void) {
    for (cn_metric m = CN_COSINE; m <= CN_L2; m++)
        try_plan((fixture_plan){m, 64, 40000, 16384, ROWS_CLUSTERED, 1}, 0.99);
}

static void test_kinds_of_rows(void) {
    for (cn_metric m = CN_COSINE; m <= CN_L2; m++) {
        try_plan((fixture_plan){m, 100, 3000, 1024, ROWS_UNIFORM, 1}, 0.99);
        try_plan((fixture_plan){m, 400, 3000, 1024, ROWS_UNIFORM, 1}, 0.99);
        try_plan((fixture_plan){m, 100, 3000, 1024, ROWS_FAR, 1}, 0.99); /* floats themselves can hardly tell the rows apart */
        try_plan((fixture_plan){m, 400, 3000, 1024, ROWS_FAR, 1}, 0.99);
        try_plan((fixture_plan){m, 400, 3000, 1024, ROWS_SPARSE, 1}, 0.99);
        try_plan((fixture_plan){m, 48, 3000, 1024, ROWS_TWINS, 1}, 0.99);
    }
}

/* Lengths whose squares are far from 1, overflow (every L2 score is then minus infinity: all tie), or vanish. */
static void test_sizes_of_rows(void) {
    static const float sizes[] = {1e-15f, 1e-6f, 1e6f, 1e15f};
    for (cn_metric m = CN_COSINE; m <= CN_L2; m++)
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
            try_plan((fixture_plan){m, 65, 1500, 512, ROWS_CLUSTERED, sizes[i]}, 0.99);
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
                check_recall(&f, &t, 0.99);
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
        check_recall(&f, &t, 0.99);
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
        check_recall(&f, &t, 0.99);
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
    check_recall(&f, &t, 0.99);
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
        check_recall(&f, &t, 0.99);
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
    CU_basic_run_tests();
    unsigned failed = CU_get_number_of_failures(), ran = CU_get_number_of_tests_run();
    CU_cleanup_registry();
    return failed || !ran;
}
