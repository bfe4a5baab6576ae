/* A question asked again takes nothing from the heap: counted at cairn's own seam and, in builds without a sanitizer, at
 * malloc itself, so that what libraries take (OpenSSL, LMDB, qsort) counts too. */
#include <CUnit/Basic.h>
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/mem.h"
#include "engine/base/sanitize.h"
#include "tests/index/suites.h"
#include "tests/index/world.h"

#if CN_SANITIZED || !defined(__GLIBC__)
#define COUNTS_MALLOC 0
static _Atomic unsigned long mallocs;
#else
#define COUNTS_MALLOC 1
static _Atomic unsigned long mallocs;
/* The program's own definitions win over libc's, in every library. */
extern void *__libc_malloc(size_t n);
extern void *__libc_calloc(size_t count, size_t n);
extern void *__libc_realloc(void *p, size_t n);
extern void *__libc_memalign(size_t align, size_t n);
void *malloc(size_t n) {
    atomic_fetch_add(&mallocs, 1);
    return __libc_malloc(n);
}
void *calloc(size_t count, size_t n) {
    atomic_fetch_add(&mallocs, 1);
    return __libc_calloc(count, n);
}
void *realloc(void *p, size_t n) {
    atomic_fetch_add(&mallocs, 1);
    return __libc_realloc(p, n);
}
int posix_memalign(void **ret, size_t align, size_t n) {
    atomic_fetch_add(&mallocs, 1);
    *ret = __libc_memalign(align, n);
    return *ret ? 0 : 12;
}
#endif

static w_world *w;

static void ask(cn_arena *a, const cn_filter *filter, uint32_t labels, cn_mode mode, uint32_t k, uint32_t per_doc) {
    static cn_hit hits[1000];
    static const float vector[W_DIM] = {1, -1, 2, 0, 1};
    cn_view *v;
    uint32_t n;
    cn_doc d;
    cn_chunk chunk;
    uint32_t doc, number, n_ranges;
    const cn_range *ranges;
    CU_ASSERT_EQUAL_FATAL(cn_view_open(w->t, CN_STR("ix0"), 0, &v), CN_OK);
    cn_query q = {.who = w_principal(a, (w_who){labels, labels}), .vector = vector, .text = CN_STR("the \"cup sun\" and the sun, ca* jar qqq"), .operators = per_doc > 0, .k = k, .mode = mode, .filter = filter, .min_score = -INFINITY, .per_doc = per_doc};
    CU_ASSERT_EQUAL(cn_search(v, &q, w->searcher, hits, &n, NULL), CN_OK);
    for (uint32_t i = 0; i < n; i++) {
        CU_ASSERT_EQUAL(cn_seg_doc(hits[i].seg, hits[i].doc, &d), CN_OK);
        CU_ASSERT_EQUAL(cn_seg_row(hits[i].seg, hits[i].row, &chunk, &doc, &number), CN_OK);
        CU_ASSERT_EQUAL(cn_highlight(v, w->searcher, q.text, q.operators, d.text, &ranges, &n_ranges), CN_OK);
    }
    cn_view_unref(v);
}

static void every_kind(cn_arena *a, const cn_filter *filter) {
    cn_arena_reset(a);
    for (uint32_t labels = 0; labels < 16; labels++)
        for (int m = 0; m < W_MODES; m++) {
            ask(a, NULL, labels * 41, w_modes[m].mode, 10, 0);
            ask(a, filter, labels * 41, w_modes[m].mode, 3, 1);
        }
    ask(a, NULL, 1023, CN_MODE_EXACT, 1000, 2);
}

static const cn_filter *some_filter(cn_arena *a) {
    CN_AUTO_BUF cn_buf map;
    CN_AUTO_UNPACKED cn_unpacked u = {0};
    const cn_filter *f = NULL;
    cn_buf_init(&map, 4096);
    CU_ASSERT_EQUAL(cn_filter_parse(CN_STR("year >= 2019 or lang in (de, en)"), &map), CN_OK);
    CU_ASSERT_EQUAL(cn_unpack(&u, map.p, map.n), CN_OK);
    CU_ASSERT_EQUAL(cn_filter_from_map(&u.o, a, &f), CN_OK);
    return f;
}

static void test_warm(void) {
    cn_arena a, own;
    cn_arena_init(&a, 1 << 20, 1 << 24);
    cn_arena_init(&own, 1 << 16, 1 << 20);
    const cn_filter *filter = some_filter(&own);
    for (int i = 0; i < 2; i++)
        every_kind(&a, filter);
    uint64_t seam = cn_alloc_count();
    unsigned long heap = mallocs;
    for (int i = 0; i < 20; i++)
        every_kind(&a, filter);
    CU_ASSERT_EQUAL(cn_alloc_count() - seam, 0);
    CU_ASSERT_EQUAL(mallocs - heap, 0);
    CU_ASSERT(!COUNTS_MALLOC || heap > 1000); /* it does count */
    cn_arena_done(&a);
    cn_arena_done(&own);
}

/* An active version of several segments, with a policy that touches it. */
static bool build(void) {
    w = malloc(sizeof *w);
    if (!w || !w_open(w, 11))
        return false;
    for (int i = 0; i < 400 || !w->ix[0].active; i++)
        w_change(w);
    return w->wrong == 0;
}

int main(void) {
    if (!build() || CU_initialize_registry() != CUE_SUCCESS)
        return 2;
    CU_pSuite s = CU_add_suite("warm questions", NULL, NULL);
    CU_add_test(s, "take nothing from the heap", test_warm);
    CU_basic_set_mode(CU_BRM_VERBOSE);
    CU_basic_run_tests();
    unsigned failed = CU_get_number_of_failures();
    CU_cleanup_registry();
    w_close(w);
    free(w);
    return failed != 0;
}
