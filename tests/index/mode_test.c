/* Incident modes: what each lets happen in the catalog and what none of them prevents, the modes of the host, a tenant and an
 * index together, tenants that cannot be told of the host's, and a name that this program does not know. */
#include <CUnit/CUnit.h>
#include <stdio.h>

#include "engine/base/os.h"
#include "index/catalog/compact.h"
#include "tests/index/small.h"
#include "tests/index/suites.h"

#define OK(x) CU_ASSERT_EQUAL(x, CN_OK)
#define IS(x, code) CU_ASSERT_EQUAL(x, code)

static const s_row rows[] = {{"a", "first", "public", "", ""}, {"b", "second", "public", "", ""}, {"c", "third", "public", "", ""}};

static int set_up(void) {
    if (!s_open())
        return 1;
    s_index("m");
    for (uint64_t i = 0; i < 2; i++)
        if (s_seal("m", &rows[i], 1, NULL) != i + 1 || s_activate("m", i + 1) != CN_OK)
            return 1;
    return 0;
}

static int tear_down(void) {
    s_close();
    return 0;
}

static cn_err mode(const char *index, const char *name, const char *text) {
    return cn_mode_set(s_tenant, cn_str_of(index), cn_str_of(name), cn_str_of(text), &s_why);
}

#define HOST "*" /* no index is called so */

static cn_err host_mode(const char *name, const char *text) { return cn_host_mode_set(s_data, cn_str_of(name), cn_str_of(text), &s_why); }

static cn_err mode_of(const char *holder, const char *name) { return strcmp(holder, HOST) == 0 ? host_mode(name, "") : mode(holder, name, ""); }

static cn_modes modes(void) {
    cn_modes m = {0};
    OK(cn_modes_get(s_tenant, CN_STR("m"), &s_arena, &m));
    return m;
}

static cn_err job_activates(uint64_t number) {
    return cn_version_activate(s_tenant, CN_STR("m"), number, CN_ANY_VERSION, true, &s_who, NULL);
}

static uint64_t records(void) {
    uint64_t n = 0;
    cn_digest head;
    OK(cn_audit_verify(s_tenant, &n, &head));
    return n;
}

static void what_can_be_set(void) {
    static char longest[CN_MODE_TEXT + 2];
    uint64_t epoch = s_epoch(), before = records();
    IS(mode("m", "lexical-only", ""), CN_INVALID);
    CU_ASSERT_PTR_NOT_NULL(strstr(cn_error_detail(), "lexical"));
    IS(mode("m", "Freeze", ""), CN_INVALID);
    IS(mode("m", "", ""), CN_INVALID);
    IS(mode("m", "refuse", ""), CN_INVALID);
    IS(mode("m", "freeze", "text"), CN_INVALID);
    IS(mode("m", "refuse", "two\nlines"), CN_INVALID);
    IS(mode("m", "refuse", "\xff"), CN_INVALID);
    memset(longest, 'x', CN_MODE_TEXT + 1);
    IS(mode("m", "refuse", longest), CN_INVALID);
    IS(mode("nowhere", "freeze", ""), CN_NOT_FOUND);
    CU_ASSERT_EQUAL(records(), before + 9); /* each is in the chain */
    CU_ASSERT_EQUAL(s_epoch(), epoch);
    CU_ASSERT_EQUAL(modes().index.kind, CN_INCIDENT_NORMAL);
    longest[CN_MODE_TEXT] = 0;
    OK(mode("m", "refuse", longest));
    CU_ASSERT_EQUAL(s_epoch(), epoch + 1);
    cn_modes m = modes();
    CU_ASSERT_TRUE(cn_str_is(m.index.text, longest) && cn_str_eq(m.index.by, s_why.who) && cn_str_eq(m.index.reason, s_why.reason) && m.index.at_us > 0);
    OK(mode("m", "normal", ""));
    CU_ASSERT_TRUE(modes().index.kind == CN_INCIDENT_NORMAL && modes().index.at_us == CN_NO_TIME);
    IS(cn_mode_set(s_tenant, CN_STR("m"), CN_STR("normal"), CN_STR("x"), &s_why), CN_INVALID);
}

/* Denial and the ways back, in whatever mode. */
static void nothing_prevents_these(void) {
    uint64_t from, to, before = records();
    OK(s_policy(CN_POLICY_HIDE, "a", "", &s_why));
    OK(s_policy(CN_POLICY_UNHIDE, "a", "", &s_why));
    OK(s_policy(CN_POLICY_DENY, "a", "group:x", &s_why));
    OK(s_policy(CN_POLICY_ERASE, "gone", "", &s_why));
    OK(cn_version_rollback(s_tenant, CN_STR("m"), 0, &s_why, &from, &to));
    CU_ASSERT_TRUE(from == 2 && to == 1);
    OK(cn_version_release(s_tenant, CN_STR("m"), &s_why));
    OK(s_activate("m", 2));
    OK(cn_version_mark(s_tenant, CN_STR("m"), 1, CN_MARK_QUARANTINED, 0, &s_why));
    OK(cn_version_mark(s_tenant, CN_STR("m"), 1, 0, CN_MARK_QUARANTINED, &s_why));
    OK(cn_audit_asked(s_tenant, &s_why, "incident.find", CN_STR("m"), (cn_str){0}));
    CU_ASSERT_EQUAL(records(), before + 10);
}

static void freeze(const char *holder) {
    cn_gc_result got;
    cn_compact_result compacted;
    uint64_t idle = s_seal("m", &rows[2], 1, NULL);
    OK(mode_of(holder, "freeze"));
    cn_modes m = modes();
    OK(cn_modes_may_answer(&m));
    IS(cn_modes_may_begin(&m), CN_REFUSED);
    uint64_t before = records();
    IS(job_activates(idle), CN_REFUSED);
    IS(cn_modes_let_job(s_tenant, CN_STR("m"), true, &s_who), CN_REFUSED);
    IS(cn_modes_let_job(s_tenant, CN_STR("m"), false, &s_who), CN_REFUSED);
    IS(cn_version_gc(s_tenant, CN_STR("m"), false, &s_why, &got), CN_REFUSED);
    OK(cn_version_gc(s_tenant, CN_STR("m"), true, &s_why, &got));
    IS(cn_version_compact(s_tenant, CN_STR("m"), &(cn_compact_opts){0}, &s_why, &compacted), CN_REFUSED);
    OK(cn_version_compact(s_tenant, CN_STR("m"), &(cn_compact_opts){.dry = true}, &s_why, &compacted));
    IS(cn_version_drop(s_tenant, CN_STR("m"), 1, &s_why), CN_REFUSED);
    IS(cn_index_drop(s_tenant, CN_STR("m"), &s_why), CN_REFUSED);
    CU_ASSERT_EQUAL(s_seal("m", &(s_row){"late", "row", "public", "", ""}, 1, NULL), 0); /* a job that had looked before */
    CU_ASSERT_EQUAL(records(), before + 8);
    CU_ASSERT_EQUAL(s_sees("m", 0, "public", "a"), 1);
    nothing_prevents_these();
    OK(mode_of(holder, "normal"));
    OK(cn_version_drop(s_tenant, CN_STR("m"), idle, &s_why));
}

static void an_index_is_frozen(void) { freeze("m"); }
static void a_tenant_is_frozen(void) { freeze(""); }
static void the_host_is_frozen(void) { freeze(HOST); }

static void questions_are_refused(void) {
    OK(mode("m", "refuse", "ask again at noon"));
    cn_modes m = modes();
    IS(cn_modes_may_answer(&m), CN_REFUSED);
    CU_ASSERT_STRING_EQUAL(cn_error_detail(), "ask again at noon");
    OK(cn_modes_may_begin(&m));
    OK(mode("", "refuse", "all of it"));
    m = modes();
    IS(cn_modes_may_answer(&m), CN_REFUSED);
    CU_ASSERT_STRING_EQUAL(cn_error_detail(), "all of it");
    nothing_prevents_these();
    OK(mode("m", "normal", ""));
    m = modes();
    IS(cn_modes_may_answer(&m), CN_REFUSED);
    OK(host_mode("refuse", "everywhere"));
    m = modes();
    IS(cn_modes_may_answer(&m), CN_REFUSED);
    CU_ASSERT_STRING_EQUAL(cn_error_detail(), "everywhere");
    nothing_prevents_these();
    OK(mode("", "normal", "")); /* ends the tenant's own alone */
    m = modes();
    IS(cn_modes_may_answer(&m), CN_REFUSED);
    OK(host_mode("normal", ""));
    m = modes();
    OK(cn_modes_may_answer(&m));
}

/* What is written and how is answered are two things: to set one leaves the other as it was. */
static void frozen_and_refused(void) {
    static const char *const order[][2] = {{"freeze", "refuse"}, {"refuse", "freeze"}};
    for (int i = 0; i < 2; i++) {
        for (int j = 0; j < 2; j++)
            OK(mode("m", order[i][j], strcmp(order[i][j], "refuse") == 0 ? "ask again at noon" : ""));
        cn_modes m = modes();
        CU_ASSERT_TRUE(cn_str_is(m.index.name, "freeze+refuse"));
        IS(cn_modes_may_answer(&m), CN_REFUSED);
        CU_ASSERT_STRING_EQUAL(cn_error_detail(), "ask again at noon");
        IS(cn_modes_may_write(&m), CN_REFUSED);
        OK(mode("m", i ? "answer" : "thaw", ""));
        m = modes();
        IS(cn_modes_may_answer(&m), i ? CN_OK : CN_REFUSED);
        IS(cn_modes_may_write(&m), i ? CN_REFUSED : CN_OK);
        OK(mode("m", "exact", ""));
        m = modes();
        CU_ASSERT_TRUE(cn_str_is(m.index.name, i ? "freeze+exact" : "exact") && m.index.text.n == 0);
        OK(mode("m", "drain", ""));
        m = modes();
        CU_ASSERT_TRUE(cn_str_is(m.index.name, "drain+exact"));
        OK(mode("m", "normal", ""));
        CU_ASSERT_EQUAL(modes().index.kind, CN_INCIDENT_NORMAL);
    }
}

static void jobs_are_drained(void) {
    OK(mode("", "drain", ""));
    cn_modes m = modes();
    OK(cn_modes_may_answer(&m));
    OK(cn_modes_may_write(&m));
    IS(cn_modes_let_job(s_tenant, CN_STR("m"), true, &s_who), CN_REFUSED);
    OK(cn_modes_let_job(s_tenant, CN_STR("m"), false, &s_who));
    uint64_t n = s_seal("m", &rows[2], 1, NULL);
    CU_ASSERT_NOT_EQUAL(n, 0);
    OK(job_activates(n));
    OK(s_activate("m", 2));
    OK(cn_version_drop(s_tenant, CN_STR("m"), n, &s_why));
    nothing_prevents_these();
    OK(mode("", "normal", ""));
}

/* What a newer program might have written. */
static cn_err put_unknown(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    cn_str name = CN_STR("twilight"), none = CN_STR("");
    int64_t at = cn_wall_us();
    char key[12] = "mode";
    const cn_field f[] = {{"mode", CN_F_STR, &name, 0}, {"text", CN_F_STR, &none, 0}, {"by", CN_F_STR, &none, 0}, {"at", CN_F_I64, &at, 0}, {"reason", CN_F_STR, &none, 0}};
    cn_catalog_key id = cn_key2(*(const uint64_t *)ctx, 0);
    memcpy(key + 4, id.b, 8);
    CN_TRY(cn_fields_put(txn, c->meta, (cn_str){key, sizeof key}, f, 5));
    return cn_epoch_raise(s_tenant, txn, NULL);
}

/* In the host's settings alone: so is a host left whose setting was cut short before any tenant was told. */
static cn_err put_host_alone(const char *name) {
    cn_str mode = cn_str_of(name), none = CN_STR("");
    int64_t at = cn_wall_us();
    const cn_field f[] = {{"mode", CN_F_STR, &mode, 0}, {"text", CN_F_STR, &none, 0}, {"by", CN_F_STR, &none, 0}, {"at", CN_F_I64, &at, 0}, {"reason", CN_F_STR, &none, 0}};
    cn_env *host = cn_data_host(s_data);
    MDB_dbi settings;
    MDB_txn *txn;
    CN_TRY(cn_env_dbi(host, "settings", false, &settings));
    CN_TRY(cn_txn_write(host, &txn));
    OK(cn_fields_put(txn, settings, CN_STR("mode"), f, 5));
    return cn_txn_commit(host, txn);
}

static void an_unknown_mode_refuses(void) {
    cn_index_info ix;
    cn_view *v;
    OK(cn_index_get(s_tenant, CN_STR("m"), &s_arena, &ix));
    uint64_t none = 0;
    static const char *const holders[] = {"m", "", HOST};
    for (int i = 0; i < 3; i++) {
        OK(i == 2 ? put_host_alone("twilight") : cn_catalog_write(s_tenant, put_unknown, i ? &none : &ix.id));
        OK(cn_view_open(s_tenant, CN_STR("m"), 0, &v));
        IS(cn_modes_may_answer(cn_view_modes(v)), CN_REFUSED);
        CU_ASSERT_PTR_NOT_NULL(strstr(cn_error_detail(), "\"twilight\""));
        IS(cn_modes_may_write(cn_view_modes(v)), CN_REFUSED);
        IS(cn_modes_may_begin(cn_view_modes(v)), CN_REFUSED);
        cn_view_unref(v);
        IS(job_activates(1), CN_REFUSED);
        nothing_prevents_these();
        OK(mode_of(holders[i], "normal"));
        OK(cn_view_open(s_tenant, CN_STR("m"), 0, &v));
        OK(cn_modes_may_answer(cn_view_modes(v)));
        cn_view_unref(v);
    }
}

/* Of what a newer program set, what this one knows goes on until it is ended by name. */
static void a_freeze_beside_an_unknown_mode_stays(void) {
    OK(put_host_alone("freeze+twilight"));
    IS(cn_modes_may_answer(&(cn_modes){.host = modes().host}), CN_REFUSED);
    OK(host_mode("answer", ""));
    CU_ASSERT_TRUE(modes().host.kind == CN_INCIDENT_FREEZE && cn_str_is(modes().host.name, "freeze"));
    OK(host_mode("normal", ""));
}

static void what_the_host_can_be_set_to(void) {
    cn_mode_info m;
    uint64_t epoch = s_epoch(), before = records();
    IS(host_mode("Freeze", ""), CN_INVALID);
    IS(host_mode("refuse", ""), CN_INVALID);
    IS(host_mode("drain", "text"), CN_INVALID);
    CU_ASSERT_TRUE(modes().host.kind == CN_INCIDENT_NORMAL && records() == before && s_epoch() == epoch);
    OK(host_mode("refuse", "not now"));
    CU_ASSERT_TRUE(records() == before + 1 && s_epoch() == epoch + 1);
    OK(cn_host_mode_get(s_data, &s_arena, &m));
    CU_ASSERT_TRUE(m.kind == CN_INCIDENT_REFUSE && cn_str_is(m.text, "not now") && cn_str_eq(m.by, s_why.who) && cn_str_eq(m.reason, s_why.reason) && m.at_us > 0);
    CU_ASSERT_TRUE(modes().tenant.kind == CN_INCIDENT_NORMAL && modes().index.kind == CN_INCIDENT_NORMAL);
    OK(host_mode("normal", ""));
    CU_ASSERT_TRUE(modes().host.kind == CN_INCIDENT_NORMAL && modes().host.at_us == CN_NO_TIME && records() == before + 2);
}

/* It holds from its own commit on: a view kept from before is none of that moment. */
static void nobody_waits_to_be_told(void) {
    cn_view *old, *now;
    OK(cn_view_open(s_tenant, CN_STR("m"), 0, &old));
    uint64_t epoch = s_epoch();
    OK(put_host_alone("exact"));
    OK(cn_view_open(s_tenant, CN_STR("m"), 0, &now));
    CU_ASSERT_TRUE(cn_modes_are(cn_view_modes(now), CN_INCIDENT_EXACT) && !cn_modes_are(cn_view_modes(old), CN_INCIDENT_EXACT));
    cn_view_unref(old);
    OK(cn_view_open(s_tenant, CN_STR("m"), 0, &old));
    CU_ASSERT_PTR_EQUAL(old, now); /* and from then on is kept */
    cn_view_unref(old);
    cn_view_unref(now);
    CU_ASSERT_EQUAL(s_epoch(), epoch);
    OK(host_mode("exact", "")); /* run again: the chains tell of it */
    CU_ASSERT_EQUAL(s_epoch(), epoch + 1);
    OK(host_mode("normal", ""));
}

static void a_tenant_of_later_is_in_it_too(void) {
    cn_tenant *t;
    cn_modes m;
    OK(host_mode("drain", ""));
    OK(cn_tenant_create(s_data, CN_STR("later"), &s_why));
    OK(cn_tenant_open(s_data, CN_STR("later"), &t));
    OK(cn_modes_get(t, (cn_str){0}, &s_arena, &m));
    IS(cn_modes_may_begin(&m), CN_REFUSED);
    CU_ASSERT_PTR_NOT_NULL(strstr(cn_error_detail(), "the host is in mode drain"));
    CU_ASSERT_PTR_NOT_NULL(strstr(cn_error_detail(), "cairn mode --host thaw"));
    cn_tenant_unref(t);
    OK(host_mode("normal", ""));
    OK(cn_tenant_drop(s_data, CN_STR("later"), NULL, NULL, &s_why));
}

static void one_that_cannot_be_told_keeps_it_from_nobody(void) {
    char there[128], away[128];
    uint64_t before = records();
    OK(cn_tenant_create(s_data, CN_STR("aaa"), &s_why)); /* before acme, and never opened */
    snprintf(there, sizeof there, "%s/tenants/aaa/control.mdb", s_dir);
    snprintf(away, sizeof away, "%s/tenants/aaa/away", s_dir);
    CU_ASSERT_EQUAL_FATAL(rename(there, away), 0);
    CU_ASSERT_NOT_EQUAL(host_mode("freeze", ""), CN_OK);
    CU_ASSERT_PTR_NOT_NULL(strstr(cn_error_detail(), "The first: tenant aaa: "));
    CU_ASSERT_PTR_NOT_NULL(strstr(cn_error_detail(), "1 tenants"));
    CU_ASSERT_TRUE(modes().host.kind == CN_INCIDENT_FREEZE && records() == before + 1);
    CU_ASSERT_EQUAL_FATAL(rename(away, there), 0);
    OK(host_mode("freeze", ""));
    OK(host_mode("normal", ""));
    OK(cn_tenant_drop(s_data, CN_STR("aaa"), NULL, NULL, &s_why));
}

/* An index that goes takes its mode with it; one of the same name later is another. */
static void a_mode_goes_with_its_index(void) {
    cn_modes m;
    s_index("short");
    OK(mode("short", "exact", ""));
    OK(cn_modes_get(s_tenant, CN_STR("short"), &s_arena, &m));
    CU_ASSERT_TRUE(cn_modes_are(&m, CN_INCIDENT_EXACT) && m.tenant.kind == CN_INCIDENT_NORMAL);
    OK(cn_index_drop(s_tenant, CN_STR("short"), &s_why));
    s_index("short");
    OK(cn_modes_get(s_tenant, CN_STR("short"), &s_arena, &m));
    CU_ASSERT_FALSE(cn_modes_are(&m, CN_INCIDENT_EXACT));
}

void add_mode_suite(void) {
    CU_pSuite s = CU_add_suite("modes", set_up, tear_down);
    CU_add_test(s, "what can be set, and that it is audited", what_can_be_set);
    CU_add_test(s, "an index is frozen", an_index_is_frozen);
    CU_add_test(s, "a tenant is frozen", a_tenant_is_frozen);
    CU_add_test(s, "the host is frozen", the_host_is_frozen);
    CU_add_test(s, "what the host can be set to, and that each tenant's chain tells of it", what_the_host_can_be_set_to);
    CU_add_test(s, "the host's mode holds before any tenant is told", nobody_waits_to_be_told);
    CU_add_test(s, "a tenant made later is in the host's mode too", a_tenant_of_later_is_in_it_too);
    CU_add_test(s, "a tenant that cannot be told keeps the host's mode from nobody", one_that_cannot_be_told_keeps_it_from_nobody);
    CU_add_test(s, "questions are refused", questions_are_refused);
    CU_add_test(s, "frozen and refused at once, whichever came first", frozen_and_refused);
    CU_add_test(s, "jobs are drained", jobs_are_drained);
    CU_add_test(s, "an unknown mode lets nothing be answered or written", an_unknown_mode_refuses);
    CU_add_test(s, "a freeze beside an unknown mode stays", a_freeze_beside_an_unknown_mode_stays);
    CU_add_test(s, "a mode goes with its index", a_mode_goes_with_its_index);
}
