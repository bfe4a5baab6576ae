/* Compaction by tiers, in the background: which files are merged, that nothing changes by it, and that it gives way. */
#include <CUnit/CUnit.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "index/catalog/compact.h"
#include "tests/index/small.h"
#include "tests/index/suites.h"

#define OK(x) CU_ASSERT_EQUAL(x, CN_OK)

static int set_up(void) { return s_open() ? 0 : 1; }

static int tear_down(void) {
    s_close();
    return 0;
}

static cn_compact_result by_hand(const char *index) {
    cn_compact_result r = {0};
    OK(cn_version_compact(s_tenant, cn_str_of(index), &(cn_compact_opts){0}, &s_why, &r));
    return r;
}

static void roots_of(const char *index, cn_digest *v, uint32_t room) {
    cn_version *all;
    uint32_t n;
    OK(cn_version_list(s_tenant, cn_str_of(index), &s_arena, &all, &n));
    for (uint32_t i = 0; i < n && i < room; i++)
        v[i] = all[i].root;
}

static bool at_once(void *ctx, uint64_t bytes) {
    uint64_t *sum = ctx;
    *sum += bytes;
    return true;
}

static cn_compact_result by_tiers(const char *index) {
    cn_compact_result r = {0};
    uint64_t copied = 0;
    OK(cn_version_compact(s_tenant, cn_str_of(index), &(cn_compact_opts){.tiers = true, .pace = at_once, .pace_ctx = &copied}, &s_who, &r));
    CU_ASSERT_EQUAL(copied > 0, r.made > 0);
    return r;
}

static const char *tier_id(unsigned i, char id[16]) {
    snprintf(id, 16, "t%u", i);
    return id;
}

static void seal_one_by_one(const char *index, unsigned from, unsigned to) {
    for (unsigned i = from; i < to; i++) {
        char id[16];
        const s_row row = {tier_id(i, id), "a text", i % 3 ? "public" : "group:x", "", ""};
        CU_ASSERT(s_seal(index, &row, 1, NULL) > 0);
    }
}

static void test_tiers(void) {
    enum { N = 64 };
    cn_digest before[N], after[N];
    cn_version head;
    s_index("t");
    seal_one_by_one("t", 0, 7);
    CU_ASSERT_EQUAL(by_tiers("t").made, 0);
    seal_one_by_one("t", 7, N);
    roots_of("t", before, N);
    cn_compact_result r = by_tiers("t");
    CU_ASSERT(r.made == 1 && r.rewritten == N && r.segments_after == 1 && r.versions == N && r.erased == 0 && r.dropped == 0);
    roots_of("t", after, N);
    CU_ASSERT_EQUAL(memcmp(before, after, sizeof before), 0);
    CU_ASSERT(s_sees("t", 5, "public", "t4") == 1 && s_sees("t", 5, "public", "t5") == 0 && s_sees("t", N, "public", "t5") == 1 && s_sees("t", N, "public", "t3") == 0);
    seal_one_by_one("t", N + 1, N + 9);
    OK(s_policy(CN_POLICY_ERASE, "t65", NULL, &s_why)); /* in a file of its own, which is the erasures' business */
    CU_ASSERT_EQUAL(by_tiers("t").made, 0);
    seal_one_by_one("t", N + 9, N + 10);
    r = by_tiers("t");
    CU_ASSERT(r.made == 1 && r.rewritten == 8 && r.segments_after == 3 && r.erased == 0);
    OK(cn_version_head(s_tenant, CN_STR("t"), &s_arena, &head));
    CU_ASSERT_EQUAL(head.n_parts, 3);
    CU_ASSERT_EQUAL(s_sees("t", head.number, "public", "t65") + s_sees("t", head.number, "public", "t73"), 1);
    CU_ASSERT_EQUAL(by_hand("t").erased, 1);
    CU_ASSERT(s_sweep() > 0);
    CU_ASSERT(s_is_sound());
}

/* A file of whose documents less than half are left is written anew. */
static void test_tiers_take_what_is_dead(void) {
    char id[16];
    s_index("half");
    seal_one_by_one("half", 0, 3);
    CU_ASSERT_EQUAL(by_hand("half").made, 1);
    for (unsigned i = 0; i < 2; i++)
        CU_ASSERT(s_seal("half", NULL, 0, tier_id(i, id)) > 0);
    CU_ASSERT_EQUAL(by_tiers("half").made, 0); /* retained versions hold them */
    for (unsigned v = 1; v < 5; v++)
        OK(cn_version_drop(s_tenant, CN_STR("half"), v, &s_who));
    cn_compact_result r = by_tiers("half");
    CU_ASSERT(r.made == 1 && r.dropped == 2);
    CU_ASSERT_EQUAL(s_sees("half", 5, "public", "t2"), 1);
    CU_ASSERT(s_is_sound());
}

typedef struct waiting {
    _Atomic bool begun;
    _Atomic uint64_t pieces;
    cn_err err;
} waiting;

static bool slowly(void *ctx, uint64_t bytes) {
    waiting *w = ctx;
    (void)bytes;
    w->begun = true;
    w->pieces++;
    usleep(20000);
    return true;
}

static void *merge_slowly(void *arg) {
    waiting *w = arg;
    cn_compact_result r;
    w->err = cn_version_compact(s_tenant, CN_STR("way"), &(cn_compact_opts){.tiers = true, .pace = slowly, .pace_ctx = w}, &s_who, &r);
    return NULL;
}

/* Whoever compacts otherwise does not wait for its end; another by tiers is in its way. */
static void test_tiers_give_way(void) {
    pthread_t thread;
    waiting w = {.begun = false};
    cn_compact_result r;
    s_index("way");
    seal_one_by_one("way", 0, 40);
    CU_ASSERT_EQUAL_FATAL(pthread_create(&thread, NULL, merge_slowly, &w), 0);
    while (!w.begun)
        usleep(1000);
    uint64_t copied = 0;
    CU_ASSERT_EQUAL(cn_version_compact(s_tenant, CN_STR("way"), &(cn_compact_opts){.tiers = true, .pace = at_once, .pace_ctx = &copied}, &s_who, &r), CN_CONFLICT);
    r = by_hand("way");
    CU_ASSERT_EQUAL(r.segments_after, 1);
    pthread_join(thread, NULL);
    CU_ASSERT_EQUAL(w.err, CN_UNAVAILABLE);
    CU_ASSERT(w.pieces < 40);
    CU_ASSERT_EQUAL(by_tiers("way").made, 0);
    CU_ASSERT(s_is_sound());
}

void add_tiers_suite(void) {
    CU_pSuite s = CU_add_suite("compaction by tiers", set_up, tear_down);
    CU_add_test(s, "few files", test_tiers);
    CU_add_test(s, "what is dead goes", test_tiers_take_what_is_dead);
    CU_add_test(s, "others first", test_tiers_give_way);
}
