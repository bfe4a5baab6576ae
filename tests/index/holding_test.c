/* What a change of the policy meets now: documents of every kept version, each once; and what could not be looked at is told. */
#include <CUnit/CUnit.h>
#include <stdio.h>
#include <unistd.h>

#include "engine/base/os.h"
#include "index/catalog/holding.h"
#include "tests/index/small.h"
#include "tests/index/suites.h"

#define OK(x) CU_ASSERT_EQUAL(x, CN_OK)
#define LONG (cn_mono_ns() + 60000000000u)

/* Version 1: a b c; version 2: b changed, c gone, d new; another index: b, e. */
static int set_up(void) {
    static const s_row one[] = {{"a", "first", "public", "", ""}, {"b", "second", "public", "", ""}, {"c", "third", "public", "", ""}};
    static const s_row two[] = {{"b", "second again", "public", "", ""}, {"d", "fourth", "public", "", ""}};
    static const s_row other[] = {{"b", "elsewhere", "public", "", ""}, {"e", "fifth", "public", "", ""}};
    if (!s_open())
        return 1;
    s_index("h");
    s_index("o");
    return s_seal("h", one, 3, NULL) != 1 || s_seal("h", two, 2, "c") != 2 || s_seal("o", other, 2, NULL) != 1;
}

static int tear_down(void) {
    s_close();
    return 0;
}

static cn_holding look(void) {
    cn_holding h;
    cn_holding_open(s_tenant, LONG, &h);
    CU_ASSERT_STRING_EQUAL(h.why, "");
    return h;
}

static bool has(cn_holding *h, const char *source, const char *id) { return cn_holding_doc(h, cn_str_of(source), cn_str_of(id)); }

static bool fits(cn_holding *h, const char *source, const char *glob) {
    return cn_holding_pattern(h, &(cn_pattern){cn_str_of(source), glob ? cn_str_of(glob) : (cn_str){NULL, 0}});
}

static void documents(void) {
    cn_str others[4];
    cn_holding h = look();
    CU_ASSERT_EQUAL(cn_holding_count(&h), 0);
    CU_ASSERT_TRUE(has(&h, "default", "b"));
    CU_ASSERT_TRUE(has(&h, "default", "c")); /* version 1 has it still */
    CU_ASSERT_EQUAL(cn_holding_count(&h), 2); /* b once, of three rows */
    CU_ASSERT_TRUE(has(&h, "default", "c"));
    CU_ASSERT_EQUAL(cn_holding_count(&h), 2);
    CU_ASSERT_FALSE(has(&h, "default", "f"));
    CU_ASSERT_FALSE(has(&h, "other", "b"));
    CU_ASSERT_EQUAL(cn_holding_sources(&h, CN_STR("other"), CN_STR("b"), others, 4), 1);
    CU_ASSERT(cn_str_is(others[0], "default"));
    CU_ASSERT_EQUAL(cn_holding_sources(&h, CN_STR("default"), CN_STR("b"), others, 4), 0);
    CU_ASSERT_EQUAL(cn_holding_sources(&h, CN_STR("other"), CN_STR("f"), others, 4), 0);
    CU_ASSERT_EQUAL(cn_holding_count(&h), 2);
    cn_holding_done(&h);
}

static void patterns(void) {
    cn_holding h = look();
    CU_ASSERT_TRUE(fits(&h, "", "[bc]"));
    CU_ASSERT_EQUAL(cn_holding_count(&h), 2);
    CU_ASSERT_FALSE(fits(&h, "", "f*"));
    CU_ASSERT_FALSE(fits(&h, "other", "*"));
    CU_ASSERT_EQUAL(cn_holding_count(&h), 2);
    CU_ASSERT_TRUE(fits(&h, "default", NULL));
    CU_ASSERT_EQUAL(cn_holding_count(&h), 5);
    CU_ASSERT_FALSE(fits(&h, "other", NULL));
    cn_holding_done(&h);
}

static void no_time(void) {
    cn_holding h;
    cn_holding_open(s_tenant, 1, &h);
    CU_ASSERT_TRUE(h.over && !has(&h, "default", "b") && !fits(&h, "", "*"));
    CU_ASSERT_STRING_EQUAL(h.why, "the time for looking was up");
    cn_holding_done(&h);
}

static bool open_anew(void) {
    cn_tenant_unref(s_tenant);
    cn_data_close(s_data);
    return s_open_again();
}

/* The rest is looked at all the same. */
static void a_file_is_gone(void) {
    char path[4096], aside[4200];
    cn_version v;
    cn_holding h;
    OK(cn_version_get(s_tenant, CN_STR("o"), 1, &s_arena, &v));
    s_segment_path(&v.parts[0].id, path);
    snprintf(aside, sizeof aside, "%s.aside", path);
    CU_ASSERT_EQUAL(rename(path, aside), 0);
    CU_ASSERT_TRUE(open_anew());
    cn_holding_open(s_tenant, LONG, &h);
    CU_ASSERT_PTR_NOT_NULL(strstr(h.why, "version 1 of o: "));
    CU_ASSERT_FALSE(h.over);
    CU_ASSERT_TRUE(has(&h, "default", "b"));
    CU_ASSERT_FALSE(has(&h, "default", "e"));
    cn_holding_done(&h);
    CU_ASSERT_EQUAL(rename(aside, path), 0);
    CU_ASSERT_TRUE(open_anew());
}

static void versions_dropped(void) {
    OK(s_activate("h", 2));
    OK(cn_version_drop(s_tenant, CN_STR("h"), 1, &s_who));
    cn_holding h = look();
    CU_ASSERT_FALSE(has(&h, "default", "c")); /* its row stands in a file of version 2, which has not got it */
    CU_ASSERT_TRUE(has(&h, "default", "a"));
    CU_ASSERT_TRUE(fits(&h, "", "*"));
    CU_ASSERT_EQUAL(cn_holding_count(&h), 4);
    cn_holding_done(&h);
}

void add_holding_suite(void) {
    CU_pSuite s = CU_add_suite("holding", set_up, tear_down);
    CU_add_test(s, "documents", documents);
    CU_add_test(s, "patterns", patterns);
    CU_add_test(s, "no time", no_time);
    CU_add_test(s, "a file is gone", a_file_is_gone);
    CU_add_test(s, "versions that were dropped", versions_dropped);
}
