/* The space of codes: when it gets its mean, and that no erased vector is in it. */
#include <CUnit/CUnit.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "index/catalog/check.h"
#include "index/catalog/compact.h"
#include "tests/index/small.h"
#include "tests/index/suites.h"

#define OK(x) CU_ASSERT_EQUAL(x, CN_OK)
#define HALF (CN_CODED_FROM / 2 + 1)

static int set_up(void) { return s_open() ? 0 : 1; }

static int tear_down(void) {
    s_close();
    return 0;
}

static cn_recipe recipe_of(cn_metric metric) {
    return (cn_recipe){.embedder = CN_STR("none"), .parser = CN_STR("p/1"), .normaliser = CN_STR("n/1"), .chunker = CN_STR("document"),
                       .analyser = CN_STR("words/2 language=english"), .metric = metric, .dim = SMALL_DIM};
}

static void make_index(const char *index, cn_metric metric) {
    cn_index_settings s;
    cn_index_settings_default(&s);
    s.chunker = CN_STR("document");
    s.metric = metric;
    OK(cn_index_create(s_tenant, cn_str_of(index), &s, &s_who));
}

static void add(cn_segw *w, const char *id, const float *x) {
    cn_chunk c = {.from = 0, .to = strlen(id), .vector = x};
    cn_doc d = {.source = CN_STR("default"), .id = cn_str_of(id), .modified = CN_NO_TIME, .text = cn_str_of(id), .chunks = &c, .n_chunks = 1};
    d.content = d.row = cn_sha256_of(id, strlen(id));
    d.labels.allow = s_labels("public");
    OK(cn_segw_add(w, &d));
}

/* Rows first..first + n - 1, or, n being 0, the one row given. */
static uint64_t seal(const char *index, cn_metric metric, uint32_t first, uint32_t n, const float *one) {
    const cn_recipe recipe = recipe_of(metric);
    cn_seal s = {.index = cn_str_of(index), .recipe = &recipe, .job = CN_STR("j"), .counts = {.added = n + (one != NULL)}};
    cn_version head;
    cn_segw *w;
    uint64_t number = 0;
    cn_digest root;
    s.base = cn_version_head(s_tenant, s.index, &s_arena, &head) == CN_OK ? head.number : 0;
    OK(cn_segw_new(s_tenant, SMALL_DIM, &w));
    for (uint32_t i = first; i < first + n; i++) {
        char id[16];
        snprintf(id, sizeof id, "m%u", i);
        add(w, id, (float[SMALL_DIM]){5 + sinf((float)i), cosf((float)i), 0.5f * sinf(3 * (float)i), 1});
    }
    if (one)
        add(w, "secret", one);
    OK(cn_version_seal(s_tenant, &s, w, &s_who, &number, &root));
    return number;
}

static cn_space space_of(const char *index, cn_metric metric) {
    const cn_recipe recipe = recipe_of(metric);
    cn_index_info ix = {0};
    cn_space s = {0};
    OK(cn_index_get(s_tenant, cn_str_of(index), &s_arena, &ix));
    OK(cn_version_space(s_tenant, ix.id, &recipe, &s_arena, &s));
    return s;
}

static void compact(const char *index, unsigned made) {
    cn_compact_result r = {0};
    OK(cn_version_compact(s_tenant, cn_str_of(index), &(cn_compact_opts){0}, &s_why, &r));
    CU_ASSERT_EQUAL(r.made, made);
    s_sweep();
}

/* The first row there ever was, whose mean is it alone: erased, its vector is in no file, neither as given nor of length 1. */
static void test_first_row_is_erased(void) {
    static const float secret[SMALL_DIM] = {0.123456789f, -7.7654321f, 3.14159274f, 2.71828175f};
    static const cn_metric metrics[] = {CN_IP, CN_COSINE, CN_L2};
    double norm = 0;
    float unit[SMALL_DIM];
    for (int i = 0; i < SMALL_DIM; i++)
        norm += (double)secret[i] * (double)secret[i];
    for (int i = 0; i < SMALL_DIM; i++)
        unit[i] = (float)((double)secret[i] / sqrt(norm));
    for (int i = 0; i < 3; i++) {
        const char *index = (const char *[]){"ip", "cosine", "l2"}[i];
        make_index(index, metrics[i]);
        CU_ASSERT_EQUAL(seal(index, metrics[i], 0, 0, secret), 1);
        CU_ASSERT_EQUAL(seal(index, metrics[i], 0, 3, NULL), 2);
        OK(s_activate(index, 2));
        CU_ASSERT(s_files_with(secret, sizeof secret) > 0);
        OK(s_policy(CN_POLICY_ERASE, "secret", NULL, &s_why));
        compact(index, 1);
        for (int j = 0; j + 2 <= SMALL_DIM; j++) { /* nor any two components of it */
            CU_ASSERT_EQUAL(s_files_with(secret + j, 2 * sizeof *secret), 0);
            CU_ASSERT_EQUAL(s_files_with(unit + j, 2 * sizeof *unit), 0);
        }
        CU_ASSERT_EQUAL(s_sees(index, 2, "public", "m0"), 1);
        CU_ASSERT_EQUAL(s_sees(index, 2, "public", "secret"), 0);
        OK(s_policy(CN_POLICY_RESTORE, "secret", NULL, &s_why));
    }
    CU_ASSERT(s_is_sound());
    s_close();
    CU_ASSERT_FATAL(s_open());
}

static void asked(const char *index, uint64_t version, const char *id) {
    CU_ASSERT_EQUAL(s_sees(index, version, "public", id), 1);
}

/* An index that begins small has no mean until a segment is coded; then that one's, for good. */
static void test_mean_comes_once(void) {
    cn_view *v, *later;
    make_index("once", CN_IP);
    CU_ASSERT_EQUAL(seal("once", CN_IP, 0, 10, NULL), 1);
    CU_ASSERT_PTR_NULL(space_of("once", CN_IP).mean);
    OK(cn_view_open(s_tenant, CN_STR("once"), 1, &v));
    CU_ASSERT_EQUAL(seal("once", CN_IP, 10, CN_CODED_FROM, NULL), 2);
    const float *mean = space_of("once", CN_IP).mean;
    CU_ASSERT_FATAL(mean && mean[0] > 4.5f && mean[0] < 5.5f);
    CU_ASSERT_EQUAL(seal("once", CN_IP, 9000, 2 * CN_CODED_FROM, NULL), 3);
    CU_ASSERT_EQUAL(memcmp(space_of("once", CN_IP).mean, mean, SMALL_DIM * sizeof *mean), 0);
    OK(cn_view_open(s_tenant, CN_STR("once"), 2, &later));
    asked("once", 1, "m7");
    asked("once", 3, "m7");
    cn_view_unref(v);
    cn_view_unref(later);
    CU_ASSERT(s_is_sound());
}

/* Small files that compaction makes one large file of: then too. */
static void test_mean_comes_by_compaction(void) {
    make_index("late", CN_COSINE);
    CU_ASSERT_EQUAL(seal("late", CN_COSINE, 0, HALF, NULL), 1);
    CU_ASSERT_EQUAL(seal("late", CN_COSINE, HALF, HALF, NULL), 2);
    OK(s_activate("late", 2));
    CU_ASSERT_PTR_NULL(space_of("late", CN_COSINE).mean);
    asked("late", 2, "m7");
    compact("late", 1);
    CU_ASSERT_PTR_NOT_NULL(space_of("late", CN_COSINE).mean);
    asked("late", 2, "m7");
    asked("late", 1, "m7");
    CU_ASSERT(s_is_sound());
}

void add_space_suite(void) {
    CU_pSuite s = CU_add_suite("space", set_up, tear_down);
    CU_add_test(s, "a first row that is erased", test_first_row_is_erased);
    CU_add_test(s, "the mean comes once", test_mean_comes_once);
    CU_add_test(s, "the mean comes by compaction", test_mean_comes_by_compaction);
}
