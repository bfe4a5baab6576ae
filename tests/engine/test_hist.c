/* The histogram: small values exact, large ones within 1/128, merging as if all had gone into one. */
#include <CUnit/Basic.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/hist.h"

static cn_hist a, b, all;

static uint64_t state;
static uint64_t next(void) { /* xorshift64 (Marsaglia 2003) */
    state ^= state << 13;
    state ^= state >> 7;
    return state ^= state << 17;
}

static void test_empty(void) {
    cn_hist_reset(&a);
    CU_ASSERT_EQUAL(cn_hist_quantile(&a, 0.5), 0);
    CU_ASSERT_EQUAL(cn_hist_quantile(&a, 1), 0);
    CU_ASSERT_EQUAL(a.count, 0);
}

static void test_small_values_exact(void) {
    cn_hist_reset(&a);
    for (uint64_t v = 1; v <= 100; v++)
        cn_hist_add(&a, v);
    CU_ASSERT_EQUAL(cn_hist_quantile(&a, 0), 1);
    CU_ASSERT_EQUAL(cn_hist_quantile(&a, 0.01), 1);
    CU_ASSERT_EQUAL(cn_hist_quantile(&a, 0.011), 2);
    CU_ASSERT_EQUAL(cn_hist_quantile(&a, 0.5), 50);
    CU_ASSERT_EQUAL(cn_hist_quantile(&a, 0.99), 99);
    CU_ASSERT_EQUAL(cn_hist_quantile(&a, 1), 100);
    CU_ASSERT_EQUAL(a.sum, 5050);
    CU_ASSERT_EQUAL(a.max, 100);
}

/* A value alone with a larger one: the low quantile is that value's bucket. */
static void one_value(uint64_t v) {
    cn_hist_reset(&a);
    cn_hist_add(&a, v);
    cn_hist_add(&a, (uint64_t)1 << 40);
    uint64_t got = cn_hist_quantile(&a, 0.5);
    CU_ASSERT(got >= v && got - v <= v / CN_HIST_SUB);
    CU_ASSERT_EQUAL(cn_hist_quantile(&a, 1), (uint64_t)1 << 40);
}

static void test_error_bound(void) {
    for (uint32_t bit = 0; bit < 40; bit++) {
        one_value((uint64_t)1 << bit);
        one_value(((uint64_t)1 << bit) - 1);
        one_value(((uint64_t)1 << bit) + 1);
        one_value(((uint64_t)1 << bit) * 3 / 2);
    }
}

static void test_too_large(void) {
    cn_hist_reset(&a);
    cn_hist_add(&a, UINT64_MAX);
    cn_hist_add(&a, (uint64_t)1 << 40);
    CU_ASSERT_EQUAL(a.max, (uint64_t)1 << 40);
    CU_ASSERT_EQUAL(a.sum, (uint64_t)2 << 40);
    CU_ASSERT_EQUAL(cn_hist_quantile(&a, 1), (uint64_t)1 << 40);
    a.sum = UINT64_MAX - 1;
    cn_hist_add(&a, 7);
    CU_ASSERT_EQUAL(a.sum, UINT64_MAX);
}

static void test_odd_quantiles(void) {
    cn_hist_reset(&a);
    cn_hist_add(&a, 3);
    cn_hist_add(&a, 9);
    CU_ASSERT_EQUAL(cn_hist_quantile(&a, -1), 3);
    CU_ASSERT_EQUAL(cn_hist_quantile(&a, __builtin_nan("")), 3);
    CU_ASSERT_EQUAL(cn_hist_quantile(&a, 2), 9);
}

static void test_merge(void) {
    cn_hist_reset(&a), cn_hist_reset(&b), cn_hist_reset(&all);
    state = 88172645463325252u;
    for (int i = 0; i < 20000; i++) {
        uint64_t v = next() >> (24 + next() % 40);
        cn_hist_add(i % 3 ? &a : &b, v);
        cn_hist_add(&all, v);
    }
    cn_hist_merge(&a, &b);
    CU_ASSERT(memcmp(&a, &all, sizeof a) == 0);
}

static int by_value(const void *x, const void *y) {
    uint64_t l = *(const uint64_t *)x, r = *(const uint64_t *)y;
    return (l > r) - (l < r);
}

/* Against the sorted values themselves. */
static void test_quantiles_of_many(void) {
    enum { N = 5000 };
    static uint64_t v[N];
    static const double shares[] = {0.001, 0.1, 0.25, 0.5, 0.9, 0.99, 0.999};
    cn_hist_reset(&a);
    state = 0x2545f4914f6cdd1du;
    for (int i = 0; i < N; i++)
        cn_hist_add(&a, v[i] = next() >> (30 + next() % 30));
    qsort(v, N, sizeof *v, by_value);
    for (size_t i = 0; i < sizeof shares / sizeof *shares; i++) {
        uint64_t want = v[(size_t)(shares[i] * N + 0.999) - 1], got = cn_hist_quantile(&a, shares[i]);
        CU_ASSERT(got >= want && got - want <= want / CN_HIST_SUB);
    }
}

int main(void) {
    CU_initialize_registry();
    CU_pSuite s = CU_add_suite("hist", NULL, NULL);
    CU_add_test(s, "empty", test_empty);
    CU_add_test(s, "small values exact", test_small_values_exact);
    CU_add_test(s, "error bound", test_error_bound);
    CU_add_test(s, "too large", test_too_large);
    CU_add_test(s, "odd quantiles", test_odd_quantiles);
    CU_add_test(s, "merge", test_merge);
    CU_add_test(s, "quantiles of many", test_quantiles_of_many);
    CU_basic_run_tests();
    unsigned failed = CU_get_number_of_failures(), ran = CU_get_number_of_tests_run();
    CU_cleanup_registry();
    return failed || !ran;
}
