/* When a view is made anew: for all that it says, and not for what happens elsewhere in the tenant. */
#include <CUnit/CUnit.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine/base/os.h"
#include "index/policy/principal.h"
#include "tests/index/small.h"
#include "tests/index/suites.h"

#define OK(x) CU_ASSERT_EQUAL(x, CN_OK)

static const s_row rows[] = {{"a", "first", "public", "", ""}, {"b", "second", "group:x", "", ""}, {"c", "third", "public", "", ""}};
static cn_view *held; /* so that no later one lies in its place */

static int set_up(void) {
    if (!s_open())
        return 1;
    s_index("here");
    s_index("there");
    for (uint64_t i = 0; i < 2; i++)
        if (s_seal("here", rows, 2 + (uint32_t)i, NULL) != i + 1 || s_seal("there", rows + i, 1, NULL) != i + 1)
            return 1;
    return s_activate("here", 1) != CN_OK || s_activate("there", 1) != CN_OK;
}

static int tear_down(void) {
    cn_view_unref(held);
    held = NULL;
    s_close();
    return 0;
}

/* Asks; true when the view is the one of before. It is always of the newest epoch. */
static bool as_before(void) {
    cn_view *v = NULL;
    OK(cn_view_open(s_tenant, CN_STR("here"), 0, &v));
    if (!v)
        return false;
    bool same = v == held;
    CU_ASSERT_EQUAL(cn_view_epoch(v), s_epoch());
    cn_view_unref(held);
    held = v;
    return same;
}

static void what_happens_elsewhere(void) {
    as_before();
    CU_ASSERT_TRUE(as_before());
    uint64_t epoch = s_epoch();
    OK(cn_member_set(s_tenant, CN_STR("user:ana"), s_labels("group:x"), &s_who));
    CU_ASSERT_TRUE(as_before());
    OK(s_activate("there", 2));
    CU_ASSERT_TRUE(as_before());
    s_index("new");
    CU_ASSERT_TRUE(s_seal("new", rows, 1, NULL) == 1 && s_activate("new", 1) == CN_OK);
    CU_ASSERT_TRUE(as_before());

    OK(cn_member_remove(s_tenant, CN_STR("user:ana"), &s_who));
    CU_ASSERT_TRUE(as_before());
    CU_ASSERT_TRUE(s_epoch() > epoch + 3);
    CU_ASSERT_EQUAL(s_sees("here", 0, "public", "a"), 1);
    CU_ASSERT_EQUAL(s_sees("here", 0, "public", "b"), 0);
}

static void what_it_says(void) {
    as_before();
    OK(s_policy(CN_POLICY_HIDE, "a", "", &s_who));
    CU_ASSERT_FALSE(as_before());
    CU_ASSERT_EQUAL(s_sees("here", 0, "public", "a"), 0);
    OK(s_policy(CN_POLICY_UNHIDE, "a", "", &s_who));
    CU_ASSERT_FALSE(as_before());
    CU_ASSERT_EQUAL(s_sees("here", 0, "public", "a"), 1);
    OK(s_policy(CN_POLICY_ALLOW, "b", "public", &s_who));
    CU_ASSERT_FALSE(as_before());
    CU_ASSERT_EQUAL(s_sees("here", 0, "public", "b"), 1);
    OK(cn_mode_set(s_tenant, CN_STR("here"), CN_STR("exact"), CN_STR(""), &s_why));
    CU_ASSERT_FALSE(as_before());
    CU_ASSERT_TRUE(cn_modes_are(cn_view_modes(held), CN_INCIDENT_EXACT));
    OK(cn_mode_set(s_tenant, CN_STR(""), CN_STR("freeze"), CN_STR(""), &s_why));
    CU_ASSERT_FALSE(as_before());
    OK(cn_mode_set(s_tenant, CN_STR(""), CN_STR("normal"), CN_STR(""), &s_why));
    OK(cn_mode_set(s_tenant, CN_STR("here"), CN_STR("normal"), CN_STR(""), &s_why));
    CU_ASSERT_FALSE(as_before());
    OK(s_activate("here", 2));
    CU_ASSERT_FALSE(as_before());
    CU_ASSERT_EQUAL(s_sees("here", 0, "public", "c"), 1);
    OK(cn_version_mark(s_tenant, CN_STR("here"), 2, CN_MARK_PINNED, 0, &s_who));
    CU_ASSERT_FALSE(as_before());
    OK(cn_version_mark(s_tenant, CN_STR("here"), 1, CN_MARK_QUARANTINED, 0, &s_who));
    as_before();
    cn_view *v;
    CU_ASSERT_EQUAL(cn_view_open(s_tenant, CN_STR("here"), 1, &v), CN_REFUSED);
}

/* A file that was damaged and brought back is opened anew, though no record says anything of that. */
static void a_file_brought_back(void) {
    char path[4096], kept[4200];
    cn_version ver;
    as_before();
    OK(cn_version_get(s_tenant, CN_STR("here"), 0, &s_arena, &ver));
    s_segment_path(&ver.own, path);
    snprintf(kept, sizeof kept, "%s.kept", path);
    char command[9000];
    snprintf(command, sizeof command, "cp %s %s", path, kept);
    CU_ASSERT_EQUAL(system(command), 0);
    CU_ASSERT_EQUAL(rename(kept, path), 0); /* the same bytes in another file */
    OK(cn_member_set(s_tenant, CN_STR("user:eve"), s_labels("group:y"), &s_who));
    CU_ASSERT_FALSE(as_before());
    CU_ASSERT_EQUAL(truncate(path, 4096), 0);
    OK(cn_member_set(s_tenant, CN_STR("user:eve"), s_labels("group:z"), &s_who));
    cn_view *v;
    cn_err err = cn_view_open(s_tenant, CN_STR("here"), 0, &v);
    CU_ASSERT_EQUAL(err, CN_DAMAGED);
    if (err == CN_OK)
        cn_view_unref(v);
}

/* ---------- lists ---------- */
#define MANY 4096
#define PAGE 64
static unsigned looks; /* at the clock, once in CN_LOOK documents that are looked at */
static uint64_t counting_mono(void) {
    looks++;
    return cn_os_real.mono_ns();
}

typedef struct crawl {
    char id[16];
    uint32_t n;
} crawl;

static cn_err next_of(void *ctx, cn_seg *seg, uint32_t doc) {
    crawl *c = ctx;
    cn_doc d;
    CN_TRY(cn_seg_doc_brief(seg, doc, &d));
    CU_ASSERT(cn_str_cmp(d.id, cn_str_of(c->id)) > 0);
    snprintf(c->id, sizeof c->id, CN_STR_FMT, CN_STR_ARG(d.id));
    c->n++;
    return CN_OK;
}

/* Page after page each document is looked at about once, though each page begins anew. */
static void a_crawl(void) {
    static char id[MANY][16];
    static s_row many[MANY];
    static const char *const sources[] = {"", "default", "other"};
    static const uint32_t want[] = {MANY, MANY, 0};
    cn_view *v = NULL;
    cn_os counting = cn_os_real;
    cn_principal who = cn_principal_of(s_labels("public"));
    s_index("many");
    for (unsigned half = 0; half < 2; half++) { /* so that it has two parts */
        for (unsigned i = 0; i < MANY / 2; i++) {
            snprintf(id[i], sizeof id[i], "d%u", (2 * i + half) * 7919u % MANY);
            many[i] = (s_row){id[i], "text", "public", "", ""};
        }
        CU_ASSERT_EQUAL(s_seal("many", many, MANY / 2, NULL), half + 1);
    }
    OK(s_activate("many", 2));
    OK(cn_view_open(s_tenant, CN_STR("many"), 0, &v));
    counting.mono_ns = counting_mono;
    cn_os_now = &counting;
    for (unsigned i = 0; i < sizeof sources / sizeof *sources; i++) {
        crawl c = {.id = ""};
        uint32_t before;
        looks = 0;
        do {
            char last[16];
            before = c.n;
            memcpy(last, c.id, sizeof last);
            const cn_place_after after = {CN_STR("default"), cn_str_of(last)};
            OK(cn_view_docs(v, &who, cn_str_of(sources[i]), &after, PAGE, UINT64_MAX, next_of, &c));
        } while (c.n == before + PAGE);
        CU_ASSERT_EQUAL(c.n, want[i]);
        CU_ASSERT(looks <= 4 * MANY / 256);
    }
    cn_os_now = &cn_os_real;
    cn_view_unref(v);
}

void add_view_suite(void) {
    CU_pSuite s = CU_add_suite("views", set_up, tear_down);
    CU_ADD_TEST(s, what_happens_elsewhere);
    CU_ADD_TEST(s, what_it_says);
    CU_ADD_TEST(s, a_file_brought_back);
    CU_ADD_TEST(s, a_crawl);
}
