/* The gate: what is a requirement, what meets it, whom it stops, what it never stops, and a record that cannot be read. */
#include <CUnit/CUnit.h>
#include <math.h>
#include <stdio.h>

#include "index/catalog/gate.h"
#include "index/catalog/inside.h"
#include "tests/index/small.h"
#include "tests/index/suites.h"

#define OK(x) CU_ASSERT_EQUAL(x, CN_OK)
#define IS(x, code) CU_ASSERT_EQUAL(x, code)
#define SAYS(part) CU_ASSERT_PTR_NOT_NULL(strstr(cn_error_detail(), part))

static const s_row rows[] = {{"a", "first", "public", "", ""}, {"b", "second", "public", "", ""}, {"c", "third", "public", "", ""}, {"d", "fourth", "public", "", ""}};

static int set_up(void) {
    if (!s_open())
        return 1;
    s_index("m");
    for (uint64_t i = 0; i < 2; i++)
        if (s_seal("m", &rows[i], 1, NULL) != i + 1 || s_activate("m", i + 1) != CN_OK)
            return 1;
    return s_seal("m", &rows[2], 1, NULL) == 3 ? 0 : 1;
}

static int tear_down(void) {
    s_close();
    return 0;
}

static cn_err require(const char *one, const char *two) {
    const cn_str texts[] = {cn_str_of(one ? one : ""), cn_str_of(two ? two : "")};
    return cn_gate_require(s_tenant, CN_STR("m"), texts, (one ? 1u : 0u) + (two ? 1u : 0u), &s_why);
}

static cn_err submit(uint64_t version, const char *name, double value) {
    const cn_gate_result r = {.name = cn_str_of(name), .value = value};
    return cn_gate_submit(s_tenant, CN_STR("m"), version, &r, 1, &s_who);
}

static cn_err force(uint64_t version, const cn_actor *who) { return cn_version_force(s_tenant, CN_STR("m"), version, CN_ANY_VERSION, who, NULL); }

static uint64_t active(void) {
    cn_index_info ix;
    OK(cn_index_get(s_tenant, CN_STR("m"), &s_arena, &ix));
    return ix.active;
}

static uint64_t records(void) {
    uint64_t n = 0;
    cn_digest head;
    OK(cn_audit_verify(s_tenant, &n, &head));
    return n;
}

static void what_is_a_requirement(void) {
    static const char *const bad[] = {"", "recall", "recall@10", "recall>=", ">=0.9", "recall=0.9", "recall>=high", "recall>=0x1p3", "recall>=nan", "recall>=inf", "re call!>=1",
                                      "recall>=1e999", "recall>=0.9>=0.8", "a\"b>=1", "recall>=1111111111111111111111111111111111"};
    cn_gate g;
    uint64_t before = records();
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        IS(require(bad[i], NULL), CN_INVALID);
    CU_ASSERT_EQUAL(records(), before + sizeof bad / sizeof *bad);
    IS(cn_gate_require(s_tenant, CN_STR("nowhere"), NULL, 0, &s_why), CN_NOT_FOUND);
    OK(cn_gate_get(s_tenant, CN_STR("m"), &s_arena, &g));
    CU_ASSERT_TRUE(g.n == 0 && g.at_us == CN_NO_TIME);
    OK(require(" recall@10 >= 0.95 ", "p95_ms<2e1"));
    OK(cn_gate_get(s_tenant, CN_STR("m"), &s_arena, &g));
    CU_ASSERT_EQUAL_FATAL(g.n, 2);
    CU_ASSERT_TRUE(cn_str_is(g.v[0].text, "recall@10>=0.95") && cn_str_is(g.v[0].name, "recall@10") && g.v[0].op == CN_GATE_LEAST && g.v[0].bound == 0.95);
    CU_ASSERT_TRUE(cn_str_is(g.v[1].name, "p95_ms") && g.v[1].op == CN_GATE_UNDER && g.v[1].bound == 20);
    CU_ASSERT_TRUE(cn_str_eq(g.by, s_why.who) && cn_str_eq(g.reason, s_why.reason) && g.at_us > 0);
    OK(require(NULL, NULL));
}

static void what_meets_it(void) {
    static const struct {
        cn_gate_op op;
        bool under, same, over;
    } want[] = {{CN_GATE_LEAST, false, true, true}, {CN_GATE_MOST, true, true, false}, {CN_GATE_OVER, false, false, true}, {CN_GATE_UNDER, true, false, false}};
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        const cn_requirement r = {.op = want[i].op, .bound = 0.5};
        CU_ASSERT_EQUAL(cn_gate_meets(&r, &(cn_gate_result){.value = 0.4}), want[i].under);
        CU_ASSERT_EQUAL(cn_gate_meets(&r, &(cn_gate_result){.value = 0.5}), want[i].same);
        CU_ASSERT_EQUAL(cn_gate_meets(&r, &(cn_gate_result){.value = 0.6}), want[i].over);
        CU_ASSERT_FALSE(cn_gate_meets(&r, &(cn_gate_result){.value = (double)NAN}));
        CU_ASSERT_FALSE(cn_gate_meets(&r, NULL));
    }
}

static void whom_it_stops(void) {
    OK(require("recall@10>=0.95", "p95_ms<20"));
    uint64_t before = records();
    IS(s_activate("m", 3), CN_REFUSED);
    SAYS("recall@10>=0.95 (none is stored), p95_ms<20 (none is stored)");
    SAYS("cairn gate submit");
    IS(cn_version_activate(s_tenant, CN_STR("m"), 3, CN_ANY_VERSION, true, &s_who, NULL), CN_REFUSED);
    OK(submit(3, "recall@10", 0.949));
    OK(submit(3, "p95_ms", 11));
    IS(s_activate("m", 3), CN_REFUSED);
    SAYS("recall@10>=0.95 (it is 0.949)");
    CU_ASSERT_PTR_NULL(strstr(cn_error_detail(), "p95_ms"));
    CU_ASSERT_EQUAL(active(), 2);
    OK(submit(3, "recall@10", 0.95)); /* measured again */
    OK(submit(2, "recall@10", 0.1));  /* of another version: of no matter to this one, nor to its own being active */
    OK(s_activate("m", 2));
    OK(cn_version_activate(s_tenant, CN_STR("m"), 3, 2, true, &s_who, NULL));
    CU_ASSERT_EQUAL(active(), 3);
    CU_ASSERT_EQUAL(records(), before + 9);
}

static void what_it_never_stops(void) {
    uint64_t from, to;
    OK(cn_version_rollback(s_tenant, CN_STR("m"), 0, &s_why, &from, &to));
    CU_ASSERT_TRUE(from == 3 && to == 2);
    OK(cn_version_rollback(s_tenant, CN_STR("m"), 1, &s_why, &from, &to)); /* never measured */
    CU_ASSERT_EQUAL(active(), 1);
    OK(cn_version_release(s_tenant, CN_STR("m"), &s_why));
    OK(cn_version_activate(s_tenant, CN_STR("m"), 3, 1, false, &s_why, NULL));
}

static void force_needs_a_reason(void) {
    uint64_t n = s_seal("m", &rows[3], 1, NULL), before = records();
    CU_ASSERT_EQUAL_FATAL(n, 4);
    IS(force(4, &s_who), CN_REFUSED);
    SAYS("--reason");
    CU_ASSERT_EQUAL(active(), 3);
    OK(cn_version_mark(s_tenant, CN_STR("m"), 4, CN_MARK_QUARANTINED, 0, &s_why));
    IS(force(4, &s_why), CN_REFUSED);
    SAYS("quarantined");
    OK(cn_version_mark(s_tenant, CN_STR("m"), 4, 0, CN_MARK_QUARANTINED, &s_why));
    OK(force(4, &s_why));
    CU_ASSERT_EQUAL(active(), 4);
    CU_ASSERT_EQUAL(records(), before + 5);
}

/* 2 was never active, and so is no way back past the gate; 1, which was not measured either, is one. */
static void a_rollback_to_what_never_answered(void) {
    cn_str index = CN_STR("back"), asks = CN_STR("recall@10>=0.95");
    uint64_t from = 0, to = 0, before;
    s_index("back");
    for (uint64_t i = 0; i < 3; i++)
        CU_ASSERT_EQUAL_FATAL(s_seal("back", &rows[i], 1, NULL), i + 1);
    OK(s_activate("back", 1));
    OK(s_activate("back", 3));
    OK(cn_gate_require(s_tenant, index, &asks, 1, &s_why));
    before = records();
    IS(cn_version_rollback(s_tenant, index, 2, &s_why, &from, &to), CN_REFUSED);
    SAYS("asks of version 2: recall@10>=0.95 (none is stored)");
    IS(cn_version_force_back(s_tenant, index, 2, &s_who, &from, &to), CN_REFUSED);
    SAYS("--reason");
    CU_ASSERT_EQUAL(from, 0);
    OK(cn_version_force_back(s_tenant, index, 2, &s_why, &from, &to));
    CU_ASSERT_TRUE(from == 3 && to == 2);
    OK(cn_version_force(s_tenant, index, 3, 2, &s_why, NULL));
    OK(cn_version_rollback(s_tenant, index, 2, &s_who, &from, &to)); /* it has answered by now */
    OK(cn_version_rollback(s_tenant, index, 1, &s_who, &from, &to));
    CU_ASSERT_TRUE(from == 2 && to == 1);
    CU_ASSERT_EQUAL(records(), before + 6);
    OK(cn_index_drop(s_tenant, index, &s_why)); /* the tests to come count all that is kept of gates */
}

static void what_can_be_handed_in(void) {
    cn_gate_results r;
    static const char *const measured[] = {"documents", "documents:change", "labels:widened", "duplicates:delta", "bytes"};
    cn_gate_result many[CN_GATE_HANDED_MAX + 1];
    char names[CN_GATE_HANDED_MAX + 1][8];
    IS(submit(0, "x", 1), CN_NOT_FOUND);
    IS(submit(99, "x", 1), CN_NOT_FOUND);
    IS(submit(3, "a b", 1), CN_INVALID);
    IS(submit(3, "", 1), CN_INVALID);
    IS(submit(3, "x", (double)NAN), CN_INVALID);
    IS(submit(3, "x", (double)INFINITY), CN_INVALID);
    IS(cn_gate_submit(s_tenant, CN_STR("m"), 3, NULL, 0, &s_who), CN_INVALID);
    for (size_t i = 0; i < sizeof measured / sizeof *measured; i++) {
        IS(submit(3, measured[i], 0), CN_REFUSED);
        SAYS("cairn gate run");
    }
    for (int i = 0; i <= CN_GATE_HANDED_MAX; i++) {
        snprintf(names[i], sizeof names[i], "n%02d", i);
        many[i] = (cn_gate_result){.name = cn_str_of(names[i]), .value = i};
    }
    IS(cn_gate_submit(s_tenant, CN_STR("m"), 3, many, CN_GATE_HANDED_MAX + 1, &s_who), CN_INVALID);
    IS(cn_gate_submit(s_tenant, CN_STR("m"), 3, many, CN_GATE_HANDED_MAX, &s_who), CN_INVALID); /* two are there */
    SAYS("cairn gate forget");
    OK(cn_gate_submit(s_tenant, CN_STR("m"), 3, many, CN_GATE_HANDED_MAX - 2, &s_who));
    OK(cn_gate_results_of(s_tenant, CN_STR("m"), 3, &s_arena, &r));
    CU_ASSERT_EQUAL_FATAL(r.n, CN_GATE_HANDED_MAX);
    CU_ASSERT_EQUAL(cn_gate_find(&r, CN_STR("recall@10"))->value, 0.95);
    CU_ASSERT_EQUAL(cn_gate_find(&r, CN_STR("n07"))->value, 7);
    for (uint32_t i = 1; i < r.n; i++)
        CU_ASSERT_TRUE(cn_str_cmp(r.v[i - 1].name, r.v[i].name) < 0);
}

static uint32_t stored(void) {
    cn_gate_results r;
    OK(cn_gate_results_of(s_tenant, CN_STR("m"), 3, &s_arena, &r));
    return r.n;
}

static void what_can_be_forgotten(void) {
    const cn_str names[] = {CN_STR("n03"), CN_STR("n05"), CN_STR("nothing")};
    uint64_t before = records();
    IS(cn_gate_forget_results(s_tenant, CN_STR("m"), 3, names, 3, &s_who), CN_NOT_FOUND);
    SAYS("\"nothing\"");
    IS(cn_gate_forget_results(s_tenant, CN_STR("m"), 3, names, 0, &s_who), CN_INVALID);
    IS(cn_gate_forget_results(s_tenant, CN_STR("m"), 99, names, 1, &s_who), CN_NOT_FOUND);
    CU_ASSERT_EQUAL(stored(), CN_GATE_HANDED_MAX); /* all of them or none */
    OK(cn_gate_forget_results(s_tenant, CN_STR("m"), 3, names, 2, &s_who));
    CU_ASSERT_EQUAL(stored(), CN_GATE_HANDED_MAX - 2);
    OK(submit(3, "new", 1)); /* there is room again */
    IS(cn_gate_forget_results(s_tenant, CN_STR("m"), 3, names, 1, &s_who), CN_NOT_FOUND);
    CU_ASSERT_EQUAL(records(), before + 6);
}

static cn_err spoil(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    cn_catalog_key key = cn_key2(*(const uint64_t *)ctx, 0);
    return cn_db_put(txn, c->gate, cn_key2_str(&key), CN_STR("\1garbage"));
}

static void one_that_cannot_be_read(void) {
    cn_index_info ix;
    cn_gate g;
    uint64_t from, to;
    OK(cn_index_get(s_tenant, CN_STR("m"), &s_arena, &ix));
    OK(cn_catalog_write(s_tenant, spoil, &ix.id));
    IS(cn_gate_get(s_tenant, CN_STR("m"), &s_arena, &g), CN_DAMAGED);
    IS(cn_version_activate(s_tenant, CN_STR("m"), 3, CN_ANY_VERSION, false, &s_why, NULL), CN_DAMAGED);
    IS(force(3, &s_why), CN_DAMAGED);
    CU_ASSERT_EQUAL(active(), 4);
    OK(cn_version_rollback(s_tenant, CN_STR("m"), 0, &s_why, &from, &to));
    OK(require("recall@10>=0.5", NULL)); /* set anew */
    OK(cn_version_release(s_tenant, CN_STR("m"), &s_why));
}

static cn_err count(void *ctx, cn_str key, cn_str value, bool *stop) {
    (void)key, (void)value, (void)stop;
    ++*(unsigned *)ctx;
    return CN_OK;
}

static cn_err count_all(void *ctx, const cn_catalog *c, MDB_txn *txn) { return cn_db_each(txn, c->gate, (cn_str){0}, count, ctx); }

static void records_go_with_what_they_are_of(void) {
    cn_gate_results r;
    cn_gc_result got;
    unsigned n = 0;
    OK(cn_catalog_read(s_tenant, count_all, &n));
    CU_ASSERT_EQUAL(n, 3); /* the requirements, and two versions' results */
    CU_ASSERT_EQUAL(active(), 3);
    OK(cn_version_drop(s_tenant, CN_STR("m"), 2, &s_why));
    OK(cn_gate_results_of(s_tenant, CN_STR("m"), 2, &s_arena, &r));
    CU_ASSERT_EQUAL(r.n, 0);
    IS(submit(2, "x", 1), CN_NOT_FOUND);
    OK(cn_index_drop(s_tenant, CN_STR("m"), &s_why));
    s_index("m");
    IS(submit(1, "x", 1), CN_NOT_FOUND);
    OK(cn_version_gc(s_tenant, CN_STR("m"), false, &s_why, &got));
    n = 0;
    OK(cn_catalog_read(s_tenant, count_all, &n));
    CU_ASSERT_EQUAL(n, 0);
}

/* As builds before epochs wrote it: from before the first widening. */
static cn_err put_leaked_without_epoch(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    CN_AUTO_BUF cn_buf b;
    cn_index_info ix;
    (void)ctx;
    cn_buf_init(&b, 4096);
    cn_pack_array(&b, 2);
    for (int i = 0; i < 2; i++) {
        cn_pack_array(&b, 5);
        cn_pack_cstr(&b, i ? "core/leaked" : "core/AP"), cn_pack_f64(&b, 0), cn_pack_cstr(&b, "who"), cn_pack_int(&b, 1), cn_pack_uint(&b, 0);
    }
    cn_str packed = cn_buf_str(&b);
    const cn_field f[] = {{"results", CN_F_BIN, &packed, 0}};
    CN_TRY(cn_index_load(c, txn, CN_STR("m"), &s_arena, &ix));
    cn_catalog_key key = cn_key2(ix.id, 2);
    return cn_fields_put(txn, c->gate, cn_key2_str(&key), f, 1);
}

static void leaks_measured_before_epochs(void) {
    cn_gate_results all;
    OK(cn_catalog_write(s_tenant, put_leaked_without_epoch, NULL));
    OK(s_policy(CN_POLICY_ALLOW, "a", "group:y", &s_why));
    OK(cn_gate_results_of(s_tenant, CN_STR("m"), 2, &s_arena, &all));
    CU_ASSERT(cn_gate_find(&all, CN_STR("core/leaked"))->stale && !cn_gate_find(&all, CN_STR("core/AP"))->stale);
    OK(s_policy(CN_POLICY_CLEAR, "a", "", &s_why));
}

void add_gate_suite(void) {
    CU_pSuite s = CU_add_suite("gate", set_up, tear_down);
    CU_add_test(s, "what is a requirement", what_is_a_requirement);
    CU_add_test(s, "what meets it", what_meets_it);
    CU_add_test(s, "whom it stops", whom_it_stops);
    CU_add_test(s, "what it never stops", what_it_never_stops);
    CU_add_test(s, "force needs a reason", force_needs_a_reason);
    CU_add_test(s, "a rollback to what never answered", a_rollback_to_what_never_answered);
    CU_add_test(s, "what can be handed in", what_can_be_handed_in);
    CU_add_test(s, "what can be forgotten", what_can_be_forgotten);
    CU_add_test(s, "one that cannot be read", one_that_cannot_be_read);
    CU_add_test(s, "leaks measured before epochs", leaks_measured_before_epochs);
    CU_add_test(s, "records go with what they are of", records_go_with_what_they_are_of);
}
