/* Which files a compaction puts together: the rule that index/catalog/compact.h states. */
#include <CUnit/CUnit.h>
#include <string.h>

#include "index/catalog/compact_inside.h"
#include "tests/index/suites.h"

#define OK(x) CU_ASSERT_EQUAL(x, CN_OK)

static const uint64_t *const *key_sets;
static const uint32_t *key_counts;

static cn_err test_keys(void *ctx, uint32_t i, uint64_t **ret, uint32_t *ret_n) {
    (void)ctx;
    *ret = cn_alloc((key_counts[i] + 1) * sizeof **ret);
    memcpy(*ret, key_sets[i], key_counts[i] * sizeof **ret);
    *ret_n = key_counts[i];
    return CN_OK;
}

#define MIB ((uint64_t)1 << 20)
static cn_candidate sized(uint64_t mib, bool must) { return (cn_candidate){.bytes = mib * MIB, .docs = 10, .rows = 10, .sources = 1, .must = must}; }

static bool tiers; /* how it is picked */

static void pick(const cn_candidate *c, uint32_t n, const uint64_t *const *sets, const uint32_t *counts, uint32_t *group, uint32_t *groups) {
    key_sets = sets;
    key_counts = counts;
    OK(cn_compact_pick(c, n, tiers, test_keys, NULL, group, groups));
}

static void test_pick(void) {
    static const uint64_t a[] = {1, 5, 9}, b[] = {2, 6}, c[] = {5, 7}, none[] = {0};
    const uint64_t *sets[] = {a, b, c, none, none};
    const uint32_t counts[] = {3, 2, 2, 0, 0};
    uint32_t g[5], n;
    pick((cn_candidate[]){sized(1, false), sized(1, false), sized(1, false)}, 3, sets, counts, g, &n);
    CU_ASSERT(n == 1 && g[0] == 0 && g[1] == 0 && g[2] == CN_STAYS); /* a and c share a document; c alone need not be rewritten */
    pick((cn_candidate[]){sized(1, false), sized(1, false), sized(1, true)}, 3, sets, counts, g, &n);
    CU_ASSERT(n == 2 && g[0] == g[1] && g[2] != g[0]);
    pick((cn_candidate[]){sized(100, false), sized(40, false)}, 2, sets, counts, g, &n);
    CU_ASSERT_EQUAL(n, 0); /* 100 is over twice 40 */
    pick((cn_candidate[]){sized(100, false), sized(50, false)}, 2, sets, counts, g, &n);
    CU_ASSERT_EQUAL(n, 1);
    pick((cn_candidate[]){sized(100, true), sized(40, false)}, 2, sets, counts, g, &n);
    CU_ASSERT(n == 1 && g[0] == 0 && g[1] == CN_STAYS);
    cn_candidate other = sized(1, false);
    other.space = 1;
    pick((cn_candidate[]){sized(1, false), other}, 2, sets, counts, g, &n);
    CU_ASSERT_EQUAL(n, 0);
    cn_candidate full = sized(1, false);
    full.rows = CN_SEGMENT_ROWS_MAX;
    pick((cn_candidate[]){sized(1, false), full}, 2, sets, counts, g, &n);
    CU_ASSERT_EQUAL(n, 0);
    pick(NULL, 0, sets, counts, g, &n);
    CU_ASSERT_EQUAL(n, 0);
}

/* Files that come one by one, each compacted after: few are ever left, each over twice all smaller ones. */
static void test_pick_for_long(void) {
    static const uint64_t none[] = {0};
    const uint64_t *sets[64];
    uint32_t counts[64] = {0}, g[64], groups, n = 0, most = 0;
    cn_candidate c[64];
    for (int i = 0; i < 64; i++)
        sets[i] = none;
    for (int day = 0; day < 2000; day++) {
        c[n++] = sized(3 + (uint64_t)day % 30, false);
        pick(c, n, sets, counts, g, &groups);
        cn_candidate next[64];
        uint32_t left = 0;
        for (uint32_t k = 0; k < groups; k++, left++) {
            next[left] = sized(0, false);
            for (uint32_t i = 0; i < n; i++)
                next[left].bytes += g[i] == k ? c[i].bytes : 0;
        }
        for (uint32_t i = 0; i < n; i++)
            if (g[i] == CN_STAYS)
                next[left++] = c[i];
        memcpy(c, next, sizeof c);
        n = left;
        most = n > most ? n : most;
    }
    CU_ASSERT(most <= 10);
}

/* ---------- by tiers ---------- */
#define MANY 16
static cn_candidate of_rows(uint32_t rows) { return (cn_candidate){.bytes = rows, .docs = rows, .rows = rows, .sources = 1}; }

static void test_pick_by_tiers(void) {
    static const uint64_t one[] = {7}, none[] = {0};
    const uint64_t *sets[MANY];
    uint32_t counts[MANY] = {0}, g[MANY], n;
    cn_candidate c[MANY];
    tiers = true;
    for (unsigned i = 0; i < MANY; i++) {
        sets[i] = none;
        c[i] = of_rows(i < 8 ? 1 + i % 7 : 8 + i % 50);
    }
    pick(c, 7, sets, counts, g, &n);
    CU_ASSERT_EQUAL(n, 0);
    pick(c, 15, sets, counts, g, &n);
    CU_ASSERT(n == 1 && g[0] == 0 && g[7] == 0 && g[8] == CN_STAYS && g[14] == CN_STAYS); /* of the second tier there are but seven */
    pick(c, 16, sets, counts, g, &n);
    CU_ASSERT(n == 2 && g[0] == g[7] && g[8] == g[15] && g[0] != g[8]);
    sets[0] = sets[1] = one;
    counts[0] = counts[1] = 1;
    pick(c, 8, sets, counts, g, &n);
    CU_ASSERT_EQUAL(n, 0); /* two share a document: the others are too few */
    counts[0] = 0;
    c[0].stays = true;
    pick(c, 8, sets, counts, g, &n);
    CU_ASSERT_EQUAL(n, 0);
    c[0].stays = false;
    c[0].space = 1;
    pick(c, 8, sets, counts, g, &n);
    CU_ASSERT_EQUAL(n, 0);
    c[3].must = true;
    pick(c, 8, sets, counts, g, &n);
    CU_ASSERT(n == 1 && g[3] == 0 && g[4] == CN_STAYS); /* alone */
    tiers = false;
}

/* Puts of a row each: a few dozen files, and each row is copied a few times. */
static void test_tiers_for_long(void) {
    static const uint64_t none[] = {0};
    const uint64_t *sets[64];
    uint32_t counts[64] = {0}, g[64], groups, n = 0, most = 0;
    uint64_t copied = 0;
    cn_candidate c[64];
    tiers = true;
    for (int i = 0; i < 64; i++)
        sets[i] = none;
    for (int put = 0; put < 20000; put++) {
        CU_ASSERT_FATAL(n < 64);
        c[n++] = of_rows(1);
        pick(c, n, sets, counts, g, &groups);
        cn_candidate next[64];
        uint32_t left = 0;
        for (uint32_t k = 0; k < groups; k++, left++) {
            next[left] = of_rows(0);
            for (uint32_t i = 0; i < n; i++)
                next[left].rows += g[i] == k ? c[i].rows : 0;
            copied += next[left].rows;
        }
        for (uint32_t i = 0; i < n; i++)
            if (g[i] == CN_STAYS)
                next[left++] = c[i];
        memcpy(c, next, sizeof c);
        n = left;
        most = n > most ? n : most;
    }
    CU_ASSERT(most <= 5 * (CN_COMPACT_TIER - 1) + 1);
    CU_ASSERT(copied <= 5 * 20000);
    tiers = false;
}

void add_pick_suite(void) {
    CU_pSuite s = CU_add_suite("files to put together", NULL, NULL);
    CU_add_test(s, "the rule", test_pick);
    CU_add_test(s, "a long life", test_pick_for_long);
    CU_add_test(s, "by tiers", test_pick_by_tiers);
    CU_add_test(s, "a long life by tiers", test_tiers_for_long);
}
