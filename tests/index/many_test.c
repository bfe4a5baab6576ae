/* An index that is sealed often and keeps all: what is read of its versions does not grow with their number times their files. */
#include <CUnit/Basic.h>
#include <CUnit/CUnit.h>
#include <stdio.h>

#include "engine/base/os.h"
#include "index/catalog/compact.h"
#include "index/catalog/scrub.h"
#include "tests/count.h"
#include "tests/index/small.h"

#define OK(x) CU_ASSERT_EQUAL_FATAL(ok((x), __LINE__), CN_OK)
#define A_VERSION 4096 /* bytes of memory that its place in a list may take */

static const cn_recipe recipe = {.embedder = {"none", 4}, .precision = {"", 0}, .parser = {"p/1", 3}, .normaliser = {"n/1", 3}, .chunker = {"document", 8},
                                 .analyser = {"words/2 language=english", 24}, .metric = CN_IP, .dim = SMALL_DIM};
static unsigned long versions;

static cn_err ok(cn_err e, int line) {
    if (e != CN_OK)
        printf("\nline %d: %s: %s\n", line, cn_err_name(e), cn_error_detail());
    return e;
}

/* One new document, on the version before. */
static void seal(unsigned long i) {
    char id[24], text[48];
    float x[SMALL_DIM] = {1, (float)i, 2, .5f};
    cn_segw *w;
    cn_digest root;
    uint64_t number;
    snprintf(id, sizeof id, "m%lu", i);
    snprintf(text, sizeof text, "the text of number %lu", i);
    cn_chunk c = {.to = strlen(text), .vector = x};
    cn_doc d = {.source = CN_STR("default"), .id = cn_str_of(id), .modified = CN_NO_TIME, .text = cn_str_of(text), .chunks = &c, .n_chunks = 1};
    d.content = d.row = cn_sha256_of(text, strlen(text));
    d.labels.allow = s_labels("public");
    OK(cn_segw_new(s_tenant, SMALL_DIM, &w));
    OK(cn_segw_add(w, &d));
    cn_seal s = {.index = CN_STR("often"), .base = i - 1, .newest = i - 1, .recipe = &recipe, .job = CN_STR("j"), .counts = {.read = 1, .added = 1}};
    OK(cn_version_seal(s_tenant, &s, w, &s_who, &number, &root));
    CU_ASSERT_EQUAL_FATAL(number, i);
}

static void sealing(void) {
    uint64_t from = cn_mono_ns();
    s_index("often");
    for (unsigned long i = 1; i <= versions; i++) {
        seal(i);
        if (i % 500 == 0)
            printf("\n  %lu versions, the last 500 in %.1f s ", i, (double)(cn_mono_ns() - from) / 1e9), from = cn_mono_ns();
    }
    OK(s_activate("often", versions));
}

static void listing(void) {
    cn_arena a;
    cn_version *v, head, one;
    uint32_t n;
    cn_arena_init(&a, 16384, versions * A_VERSION);
    OK(cn_version_list(s_tenant, CN_STR("often"), &a, &v, &n));
    CU_ASSERT_EQUAL_FATAL(n, versions);
    for (uint32_t i = 0; i < n; i += i + 1 < 8 ? 1 : n / 8) {
        OK(cn_version_get(s_tenant, CN_STR("often"), i + 1, &s_arena, &one));
        CU_ASSERT_EQUAL_FATAL(v[i].n_parts, i + 1);
        CU_ASSERT_EQUAL(memcmp(v[i].parts, one.parts, one.n_parts * sizeof *one.parts), 0);
    }
    cn_arena_done(&a);
    cn_arena_init(&a, 16384, versions * A_VERSION);
    OK(cn_version_head(s_tenant, CN_STR("often"), &a, &head));
    CU_ASSERT(head.number == versions && head.n_parts == versions);
    cn_arena_done(&a);
    cn_scrub_file *files;
    cn_arena_init(&a, 16384, versions * A_VERSION);
    OK(cn_scrub_list(s_tenant, &a, &files, &n));
    CU_ASSERT_EQUAL(n, 2 * versions); /* its rows and its lists */
    cn_arena_done(&a);
}

static void ways_back(void) {
    uint64_t from, to;
    cn_gc_result r;
    CU_ASSERT_EQUAL(s_sees("often", 0, "public", "m1"), 1);
    OK(cn_version_rollback(s_tenant, CN_STR("often"), versions / 2, &s_why, &from, &to));
    CU_ASSERT_EQUAL(s_sees("often", versions / 2, "public", "m1"), 1);
    OK(cn_version_release(s_tenant, CN_STR("often"), &s_who));
    OK(cn_version_drop(s_tenant, CN_STR("often"), versions / 3, &s_who));
    OK(cn_version_gc(s_tenant, CN_STR("often"), true, &s_who, &r));
    CU_ASSERT_EQUAL(s_sweep(), 1); /* the lists of the one dropped: each other file is a version's still */
    CU_ASSERT_EQUAL(s_sees("often", versions / 3 + 1, "public", "m1"), 1);
    OK(s_policy(CN_POLICY_ERASE, "m1", "", &s_why));
    CU_ASSERT_EQUAL(s_sees("often", versions / 2, "public", "m1"), 0);
}

static void compaction(void) {
    cn_compact_result r;
    cn_version v;
    OK(cn_version_compact(s_tenant, CN_STR("often"), &(cn_compact_opts){0}, &s_why, &r));
    CU_ASSERT(r.made > 0);
    OK(cn_version_get(s_tenant, CN_STR("often"), versions, &s_arena, &v));
    CU_ASSERT(v.n_parts < versions / 2 && v.counts.documents == versions);
    CU_ASSERT_EQUAL(s_sees("often", versions / 2, "public", "m2"), 1);
    CU_ASSERT(s_is_sound());
}

int main(int argc, char **argv) {
    versions = argc > 1 ? strtoul(argv[1], NULL, 10) : test_count(200, 2500);
    if (!s_open() || CU_initialize_registry() != CUE_SUCCESS)
        return 2;
    CU_pSuite s = CU_add_suite("many versions", NULL, NULL);
    CU_add_test(s, "sealing", sealing);
    CU_add_test(s, "listing", listing);
    CU_add_test(s, "ways back", ways_back);
    CU_add_test(s, "compaction", compaction);
    CU_basic_set_mode(CU_BRM_VERBOSE);
    CU_basic_run_tests();
    unsigned failed = CU_get_number_of_failures();
    CU_cleanup_registry();
    s_close();
    return failed != 0;
}
