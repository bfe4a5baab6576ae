/* Settings that change answers: whose they are, who goes on with them, and what comes between. */
#include <CUnit/CUnit.h>
#include <string.h>

#include "tests/index/small.h"
#include "tests/index/suites.h"

#define OK(x) CU_ASSERT_EQUAL((x), CN_OK)

static int set_up(void) { return s_open() ? 0 : 1; }

static int tear_down(void) {
    s_close();
    return 0;
}

static uint64_t one(const char *index, const char *id) { return s_seal(index, &(s_row){id, "a text", "public", "", ""}, 1, NULL); }

typedef struct edit { /* of settings; what happens while it is asked for the `at`-th time */
    const char *mode;
    bool rrf;
    int asked, at;
    void (*meanwhile)(void);
} edit;

static cn_err edit_one(void *ctx, cn_index_settings *io) {
    edit *e = ctx;
    if (++e->asked == e->at)
        e->meanwhile();
    io->mode = cn_str_of(e->mode);
    io->rrf = e->rrf;
    return CN_OK;
}

static cn_err set(const char *index, edit *e, uint64_t *ret_number) {
    return cn_index_edit(s_tenant, cn_str_of(index), edit_one, e, &s_who, ret_number);
}

static bool has_mode(const char *index, uint64_t number, const char *mode, bool rrf) {
    cn_pin p;
    return cn_version_pin(s_tenant, cn_str_of(index), number, &s_arena, &p) == CN_OK && cn_str_is(p.ix.set.mode, mode) && p.ix.set.rrf == rrf;
}

/* What changes answers is the version's that is read, and goes on from the one that a version is made from. */
static void settings_of_versions(void) {
    uint64_t number = 9, from, to;
    cn_version v, w;
    s_index("set");
    OK(set("set", &(edit){.mode = "hybrid", .rrf = true}, &number));
    CU_ASSERT_EQUAL(number, 0);
    CU_ASSERT_EQUAL(one("set", "a"), 1);
    OK(s_activate("set", 1));
    OK(set("set", &(edit){.mode = "hybrid", .rrf = true}, &number));
    CU_ASSERT_EQUAL(number, 0); /* it has them */
    OK(set("set", &(edit){.mode = "exact"}, &number));
    CU_ASSERT_EQUAL(number, 2);
    OK(cn_version_get(s_tenant, CN_STR("set"), 1, &s_arena, &v));
    OK(cn_version_get(s_tenant, CN_STR("set"), 2, &s_arena, &w));
    CU_ASSERT(w.base == 1 && w.n_parts == 1 && memcmp(&v.parts[0], &w.parts[0], sizeof v.parts[0]) == 0 && !cn_digest_eq(&v.root, &w.root));
    CU_ASSERT(w.revoked == 0 && w.counts.documents == 1 && w.counts.chunks == v.counts.chunks && w.counts.read == 0);
    CU_ASSERT(has_mode("set", 0, "hybrid", true) && has_mode("set", 2, "exact", false));
    OK(s_activate("set", 2));
    CU_ASSERT_EQUAL(one("set", "b"), 3);
    CU_ASSERT(has_mode("set", 0, "exact", false) && has_mode("set", 3, "exact", false));
    OK(cn_version_rollback(s_tenant, CN_STR("set"), 0, &s_who, &from, &to));
    CU_ASSERT(to == 1 && has_mode("set", 0, "hybrid", true));
    OK(cn_version_mark(s_tenant, CN_STR("set"), 3, CN_MARK_QUARANTINED, 0, &s_who));
    CU_ASSERT_EQUAL(one("set", "b"), 4);
    CU_ASSERT(has_mode("set", 4, "hybrid", true)); /* what a rollback left does not come back with the next job */
    OK(set("set", &(edit){.mode = "hybrid"}, &number));
    OK(set("set", &(edit){.mode = "hybrid", .rrf = true}, &number));
    OK(cn_version_get(s_tenant, CN_STR("set"), 4, &s_arena, &v));
    OK(cn_version_get(s_tenant, CN_STR("set"), 6, &s_arena, &w));
    CU_ASSERT(number == 6 && cn_digest_eq(&v.root, &w.root)); /* the same said in the same way */
}

static void job_meanwhile(void) { one("race2", "m"); }

static void anew_meanwhile(void) {
    OK(cn_index_drop(s_tenant, CN_STR("race3"), &s_who));
    s_index("race3");
    one("race3", "o");
}

/* Beside a job it lies on what that has sealed; never on another index of the name. It is asked for once in a transaction that looks,
 * then before and in the one that seals. */
static void settings_beside_others(void) {
    uint64_t number = 0;
    cn_version v;
    edit e = {.mode = "exact", .at = 2, .meanwhile = job_meanwhile};
    s_index("race2");
    one("race2", "a");
    OK(set("race2", &e, &number));
    OK(cn_version_get(s_tenant, CN_STR("race2"), number, &s_arena, &v));
    CU_ASSERT(number == 3 && v.base == 2 && v.counts.documents == 2 && has_mode("race2", 3, "exact", false) && has_mode("race2", 2, "dense", false));
    s_index("race3");
    one("race3", "a");
    e = (edit){.mode = "exact", .at = 2, .meanwhile = anew_meanwhile};
    CU_ASSERT_EQUAL(set("race3", &e, &number), CN_CONFLICT);
    CU_ASSERT(has_mode("race3", 1, "dense", false));
    CU_ASSERT_EQUAL(cn_version_get(s_tenant, CN_STR("race3"), 2, &s_arena, &v), CN_NOT_FOUND);
}

/* A job that makes the first version while the settings of that are changed takes those of now. */
static void settings_before_the_first(void) {
    uint64_t number;
    s_index("first");
    one("first", "a");
    OK(cn_version_mark(s_tenant, CN_STR("first"), 1, CN_MARK_QUARANTINED, 0, &s_who));
    OK(set("first", &(edit){.mode = "lexical"}, &number));
    CU_ASSERT_EQUAL(number, 0);
    CU_ASSERT_EQUAL(one("first", "b"), 2);
    CU_ASSERT(has_mode("first", 2, "lexical", false));
}

/* ---------- a damaged record of an index ---------- */
static cn_err change_a_bit(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    char copy[4096];
    cn_str value, name = cn_str_of(ctx);
    CN_TRY(cn_db_get(txn, c->index, name, &value));
    CU_ASSERT_FATAL(value.n <= sizeof copy);
    memcpy(copy, value.p, value.n);
    copy[value.n / 2] ^= 4;
    return cn_db_put(txn, c->index, name, (cn_str){copy, value.n});
}

/* The other indexes of its tenant answer, in this process and the next. */
static void damaged_record(void) {
    char name[] = "damaged";
    cn_index_info ix;
    s_index("whole");
    s_index(name);
    CU_ASSERT_EQUAL(one("whole", "a"), 1);
    CU_ASSERT_EQUAL(one(name, "b"), 1);
    OK(s_activate("whole", 1));
    OK(s_activate(name, 1));
    OK(cn_catalog_write(s_tenant, change_a_bit, name));
    for (int i = 0; i < 2; i++) {
        CU_ASSERT_EQUAL(s_sees("whole", 0, "public", "a"), 1);
        CU_ASSERT_EQUAL(s_sees(name, 0, "public", "b"), -2);
        CU_ASSERT_EQUAL(cn_index_get(s_tenant, cn_str_of(name), &s_arena, &ix), CN_DAMAGED);
        CU_ASSERT_PTR_NOT_NULL(strstr(cn_error_detail(), "the record of index damaged"));
        CU_ASSERT_FATAL(s_open_again());
    }
}

void add_settings_suite(void) {
    CU_pSuite s = CU_add_suite("settings", set_up, tear_down);
    CU_add_test(s, "of versions", settings_of_versions);
    CU_add_test(s, "beside others", settings_beside_others);
    CU_add_test(s, "before the first", settings_before_the_first);
    CU_add_test(s, "a damaged record of an index", damaged_record); /* the last: the tenant is damaged then */
}
