/* What is erased and still in files: counted, with its time; taken out by itself, in steps that can be stopped. */
#include <CUnit/CUnit.h>
#include <dirent.h>
#include <stdio.h>
#include <sys/stat.h>

#include "engine/base/os.h"
#include "index/catalog/compact.h"
#include "index/catalog/erased.h"
#include "tests/index/small.h"
#include "tests/index/suites.h"

#define OK(x) CU_ASSERT_EQUAL(x, CN_OK)

static const s_row rows[] = {{"a", "first of them", "public", "", ""}, {"b", "heliotrope ledger", "public", "", ""}, {"c", "third of them", "public", "", ""}};
static const char secret[] = "heliotrope ledger";

static int set_up(void) { return s_open() ? 0 : 1; }

static int tear_down(void) {
    s_close();
    return 0;
}

static cn_erased left(const char *index) {
    cn_erased e = {0};
    OK(cn_erased_look(s_tenant, cn_str_of(index), &e));
    return e;
}

static void test_what_is_left(void) {
    s_index("l");
    for (uint32_t i = 0; i < 3; i++)
        CU_ASSERT_EQUAL(s_seal("l", rows + i, 1, NULL), i + 1);
    cn_erased e = left("l");
    CU_ASSERT(e.documents == 0 && e.files == 0 && e.since_us == CN_NO_TIME && e.leaving == 0 && e.gone_us == 0);
    int64_t before = cn_wall_us();
    OK(s_policy(CN_POLICY_ERASE, "b", NULL, &s_why));
    int64_t after = cn_wall_us();
    OK(s_policy(CN_POLICY_ERASE, "b", NULL, &s_why)); /* said again it is no later one */
    OK(s_policy(CN_POLICY_ERASE, "nothing", NULL, &s_why));
    e = left("l");
    CU_ASSERT(e.documents == 1 && e.files == 1 && e.since_us >= before && e.since_us <= after && e.leaving == 0);
    OK(s_policy(CN_POLICY_RESTORE, "b", NULL, &s_why)); /* its row of before stays erased, since then */
    e = left("l");
    CU_ASSERT(e.documents == 1 && e.since_us >= before && e.since_us <= after);
    s_index("m");
    CU_ASSERT_EQUAL(left("m").documents, 0);
    CU_ASSERT_EQUAL(cn_erased_look(s_tenant, CN_STR("none"), &e), CN_NOT_FOUND);
}

typedef struct paced {
    uint64_t bytes, calls, most; /* most: it is stopped at the call after so many */
} paced;

static bool pace(void *ctx, uint64_t bytes) {
    paced *p = ctx;
    p->bytes += bytes;
    return p->calls++ < p->most;
}

static cn_err compact(const char *index, paced *p, cn_compact_result *ret) {
    const cn_compact_opts o = {.erased = true, .pace = pace, .pace_ctx = p};
    return cn_version_compact(s_tenant, cn_str_of(index), &o, &s_why, ret);
}

/* One of three files, by itself; without `erased` they would be merged. */
static void test_only_what_is_erased(void) {
    cn_compact_result r = {0};
    paced p = {.most = 100};
    s_index("o");
    for (uint32_t i = 0; i < 3; i++)
        CU_ASSERT_EQUAL(s_seal("o", rows + i, 1, NULL), i + 1);
    OK(compact("o", &p, &r));
    CU_ASSERT(r.rewritten == 0 && p.calls == 0);
    OK(s_policy(CN_POLICY_ERASE, "b", NULL, &s_why));
    OK(compact("o", &p, &r));
    CU_ASSERT(r.segments_before == 3 && r.segments_after == 3 && r.rewritten == 1 && r.made == 1 && r.erased == 1 && p.calls == 1 && p.bytes > 0);
    cn_erased e = left("o");
    CU_ASSERT(e.documents == 0 && e.files == 0 && e.since_us == CN_NO_TIME && e.leaving == 1 && e.gone_us > cn_wall_us());
    CU_ASSERT(s_sees("o", 3, "public", "a") && s_sees("o", 3, "public", "c") && !s_sees("o", 3, "public", "b"));
    OK(cn_version_compact(s_tenant, CN_STR("o"), &(cn_compact_opts){.dry = true}, &s_why, &r));
    CU_ASSERT_EQUAL(r.segments_after, 1);
}

/* Stopped at each of its steps it changes nothing and leaves no file; then it goes through. */
static void test_stopped(void) {
    cn_compact_result r = {.versions = 77};
    s_index("s");
    CU_ASSERT_EQUAL(s_seal("s", rows, 3, NULL), 1);
    OK(s_policy(CN_POLICY_ERASE, "b", NULL, &s_why));
    uint64_t files = s_files_with("", 0);
    for (uint64_t at = 0; at < 3; at++) {
        paced p = {.most = at};
        CU_ASSERT_EQUAL(compact("s", &p, &r), CN_UNAVAILABLE);
        CU_ASSERT_EQUAL(r.versions, 77);
        CU_ASSERT_EQUAL(left("s").documents, 1);
        CU_ASSERT_EQUAL(s_files_with("", 0), files);
        CU_ASSERT(s_files_with(secret, sizeof secret - 1) >= 1);
    }
    paced p = {.most = 3};
    OK(compact("s", &p, &r));
    CU_ASSERT(r.erased == 1 && p.bytes > sizeof secret);
}

/* ---------- with postings on disk ---------- */
#define MANY 300

static bool seal_many(const char *index) {
    static char id[MANY][8];
    s_row v[MANY];
    for (uint32_t i = 0; i < MANY; i++) {
        snprintf(id[i], sizeof id[i], "r%u", i);
        v[i] = (s_row){id[i], i == 7 ? secret : "some other text", "public", "", ""};
    }
    s_index(index);
    return s_seal(index, v, MANY, NULL) == 1;
}

/* A folder in the place of each derived file that is not there yet. */
static bool stand_in_the_way(void *ctx, uint64_t bytes) {
    char dir[4096], path[4200];
    const cn_seg_id none = {{0}};
    (void)ctx, (void)bytes;
    s_segment_path(&none, dir);
    *strrchr(dir, '/') = 0;
    DIR *d = opendir(dir);
    for (struct dirent *e; d && (e = readdir(d));) {
        const char *dot = strchr(e->d_name, '.');
        if (!dot || strcmp(dot, ".mdb") != 0)
            continue;
        for (size_t i = 1; i < CN_SEG_KINDS; i++) {
            snprintf(path, sizeof path, "%s/%.*s.%s.mdb", dir, (int)(dot - e->d_name), e->d_name, cn_seg_kinds[i]);
            mkdir(path, 0700);
        }
    }
    if (d)
        closedir(d);
    return true;
}

/* What is derived from the new file cannot be made: the bytes leave all the same. */
static void test_nothing_derived(void) {
    cn_compact_result r = {0};
    const cn_compact_opts o = {.erased = true, .pace = stand_in_the_way};
    CU_ASSERT_FATAL(seal_many("n"));
    OK(s_policy(CN_POLICY_ERASE, "r7", NULL, &s_why));
    OK(cn_version_compact(s_tenant, CN_STR("n"), &o, &s_why, &r));
    CU_ASSERT(r.erased == 1 && left("n").documents == 0);
    CU_ASSERT(s_sees("n", 1, "public", "r8") && !s_sees("n", 1, "public", "r7"));
}

/* Stopped while the words are taken up. */
static void test_stopped_at_the_words(void) {
    cn_compact_result r = {.versions = 77};
    CU_ASSERT_FATAL(seal_many("w"));
    OK(s_policy(CN_POLICY_ERASE, "r7", NULL, &s_why));
    uint64_t files = s_files_with("", 0);
    paced p = {.most = MANY + 10};
    CU_ASSERT_EQUAL(compact("w", &p, &r), CN_UNAVAILABLE);
    CU_ASSERT(r.versions == 77 && left("w").documents == 1 && s_files_with("", 0) == files);
}

void add_erased_suite(void) {
    CU_pSuite s = CU_add_suite("erased", set_up, tear_down);
    CU_add_test(s, "what is left", test_what_is_left);
    CU_add_test(s, "only what is erased", test_only_what_is_erased);
    CU_add_test(s, "stopped", test_stopped);
    CU_add_test(s, "nothing derived", test_nothing_derived);
    CU_add_test(s, "stopped at the words", test_stopped_at_the_words);
}
