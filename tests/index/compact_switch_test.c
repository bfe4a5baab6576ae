/* Compaction's switch: what was changed between the plan or the copy and the manifests that name it. */
#include <CUnit/CUnit.h>

#include "index/catalog/compact_inside.h"
#include "tests/index/small.h"
#include "tests/index/suites.h"

#define OK(x) CU_ASSERT_EQUAL(x, CN_OK)

static int set_up(void) { return s_open() ? 0 : 1; }

static int tear_down(void) {
    s_close();
    return 0;
}

static const s_row rows[] = {{"a", "first", "public", "", ""}, {"b", "second", "public", "", ""}};

/* Two files of one index, copied into one that no manifest names yet. */
typedef struct copied {
    cn_policy *p;
    cn_survey s;
    cn_rewrite r;
    cn_surveyed *from[2];
} copied;

static void copy(const char *index, copied *c) {
    OK(cn_policy_load(s_tenant, &c->p));
    OK(cn_survey_open(s_tenant, cn_str_of(index), c->p, &s_arena, &c->s));
    CU_ASSERT_EQUAL_FATAL(c->s.n, 2);
    c->from[0] = &c->s.segs[0], c->from[1] = &c->s.segs[1];
    OK(cn_rewrite_make(&c->s, c->from, 2, &(cn_compact_opts){0}, &c->r));
}

static void copy_done(copied *c, bool unlinked) {
    cn_rewrite_done(&c->r, s_tenant, unlinked);
    cn_survey_close(&c->s);
    cn_policy_unref(c->p);
}

/* Erased and restored between the copy and the switch: the copy would bring the document back. */
static void test_stale_copy(void) {
    copied c;
    cn_compact_result again = {0};
    s_index("t");
    CU_ASSERT_EQUAL(s_seal("t", rows, 1, NULL), 1);
    CU_ASSERT_EQUAL(s_seal("t", rows + 1, 1, NULL), 2);
    copy("t", &c);
    OK(s_policy(CN_POLICY_ERASE, "a", NULL, &s_why));
    OK(s_policy(CN_POLICY_RESTORE, "a", NULL, &s_why));
    cn_switch w = {.s = &c.s, .made = &c.r, .n = 1, .who = &s_who, .index = CN_STR("t")};
    CU_ASSERT_EQUAL(cn_switch_all(&w), CN_CONFLICT);
    CU_ASSERT(w.stale && w.versions == 0 && !w.unsure);
    copy_done(&c, true);
    CU_ASSERT_EQUAL(s_sees("t", 2, "public", "a"), 0);
    OK(cn_version_compact(s_tenant, CN_STR("t"), &(cn_compact_opts){0}, &s_why, &again));
    CU_ASSERT_EQUAL(again.erased, 1);
    CU_ASSERT_EQUAL(s_sees("t", 2, "public", "a"), 0);
    CU_ASSERT_EQUAL(s_sees("t", 2, "public", "b"), 1);
    CU_ASSERT(s_is_sound());
}

/* Erased when the copy was planned, restored while it was made: what was revoked of it since stays so. */
static void test_revoked_since_the_plan(void) {
    const s_row wide = {"a", "anew", "public,group:x", "", ""}, narrow = {"a", "anew", "group:x", "", ""};
    copied c;
    s_index("u");
    CU_ASSERT_EQUAL(s_seal("u", rows, 1, NULL), 1);
    CU_ASSERT_EQUAL(s_seal("u", rows + 1, 1, NULL), 2);
    OK(s_policy(CN_POLICY_ERASE, "a", NULL, &s_why));
    copy("u", &c);
    OK(s_policy(CN_POLICY_RESTORE, "a", NULL, &s_why));
    CU_ASSERT_EQUAL(s_seal("u", &wide, 1, NULL), 3);
    CU_ASSERT_EQUAL(s_seal("u", &narrow, 1, NULL), 4);
    OK(s_activate("u", 4));
    CU_ASSERT_EQUAL(s_sees("u", 3, "public", "a"), 0);
    cn_switch w = {.s = &c.s, .made = &c.r, .n = 1, .who = &s_who, .index = CN_STR("u")};
    OK(cn_switch_all(&w));
    CU_ASSERT_EQUAL(w.versions, 4);
    copy_done(&c, false);
    CU_ASSERT(s_sees("u", 3, "public", "a") == 0 && s_sees("u", 3, "group:x", "a") == 1);
    CU_ASSERT(s_is_sound());
}

void add_compact_switch_suite(void) {
    CU_pSuite s = CU_add_suite("compaction's switch", set_up, tear_down);
    CU_add_test(s, "a stale copy is not used", test_stale_copy);
    CU_add_test(s, "what was revoked since the plan stays so", test_revoked_since_the_plan);
}
