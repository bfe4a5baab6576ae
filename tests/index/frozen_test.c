/* Frozen sets: one form, one digest; where they lie, damaged, of an old form, swept; what is refused; what versions showed of them;
 * versions in numbers. */
#include <CUnit/CUnit.h>
#include <stdio.h>

#include "engine/base/json.h"
#include "index/catalog/check.h"
#include "index/catalog/facts.h"
#include "index/catalog/gate_inside.h"
#include "index/catalog/sweep.h"
#include "index/policy/principal.h"
#include "tests/index/small.h"
#include "tests/index/suites.h"

#define OK(x) CU_ASSERT_EQUAL(x, CN_OK)
#define IS(x, code) CU_ASSERT_EQUAL(x, code)
#define SAYS(part) CU_ASSERT_PTR_NOT_NULL(strstr(cn_error_detail(), part))
#define INDEX CN_STR("g")

static const s_row rows[] = {{"a", "first", "public", "", ""}, {"b", "second", "public,group:x", "", ""}, {"c", "third", "public", "", ""}, {"d", "fourth", "group:x", "", ""}};

static int set_up(void) {
    if (!s_open())
        return 1;
    s_index("g");
    return s_seal("g", rows, 2, NULL) == 1 && s_activate("g", 1) == CN_OK && s_seal("g", rows + 2, 2, NULL) == 2 ? 0 : 1;
}

static int tear_down(void) {
    s_close();
    return 0;
}

static cn_err read_set(const char *json, cn_frozen_set *ret) {
    CN_AUTO_BUF cn_buf b;
    CN_AUTO_UNPACKED cn_unpacked u = {0};
    cn_buf_init(&b, 1 << 20);
    OK(cn_json_parse(cn_str_of(json), &b));
    OK(cn_unpack(&u, b.p, b.n));
    return cn_frozen_set_read(&u.o, &s_arena, ret);
}

static cn_err freeze(const char *name, const char *json, cn_digest *ret) {
    cn_frozen_set s = {0};
    CN_TRY(read_set(json, &s));
    s.name = cn_str_of(name);
    return cn_frozen_set_put(s_tenant, INDEX, &s, &s_why, ret);
}

static const char one[] = "{\"queries\": [{\"id\": \"q\", \"text\": \"what\", \"relevant\": {\"b\": 1, \"a\": 2}, \"must_find\": [\"a\"], \"labels\": [\"public\", \"group:x\"]}]}",
                  same[] = "{\"k\": 100, \"labels\": [\"group:x\", \"public\"], \"queries\": [{\"must_find\": [\"a\"], \"relevant\": {\"a\": 2, \"b\": 1}, \"text\": \"what\", \"id\": \"q\"}]}",
                  other[] = "{\"queries\": [{\"id\": \"q\", \"text\": \"what\", \"relevant\": {\"b\": 1, \"a\": 2}, \"must_find\": [\"a\"]}]}";

static void one_form(void) {
    cn_digest x, y, z;
    cn_frozen_set *v;
    uint32_t n;
    OK(freeze("one", one, &x));
    OK(freeze("same", same, &y));
    OK(freeze("other", other, &z)); /* asked by others: another set */
    CU_ASSERT(cn_digest_eq(&x, &y) && !cn_digest_eq(&x, &z));
    OK(cn_frozen_sets(s_tenant, INDEX, &s_arena, &v, &n));
    CU_ASSERT_EQUAL_FATAL(n, 3);
    CU_ASSERT(cn_str_is(v[0].name, "one") && cn_str_is(v[1].name, "other") && cn_str_is(v[2].name, "same"));
    const cn_frozen_question *q = &v[0].v[0];
    CU_ASSERT(v[0].n == 1 && v[0].k == CN_FROZEN_K && v[0].n_graded == 1 && v[0].n_find == 1 && v[0].n_unseen == 0 && v[0].v[0].source.n == 0);
    CU_ASSERT(cn_str_is(q->text, "what") && cn_str_is(q->find[0].id, "a") && q->n_grades == 2 && cn_str_is(q->grades[0].doc, "a") && q->grades[0].grade == 2 && q->labels.n == 2);
    CU_ASSERT(v[1].v[0].labels.n == 1 && cn_str_is(v[1].v[0].labels.v[0], "public"));
    IS(cn_frozen_sets(s_tenant, CN_STR("nowhere"), &s_arena, &v, &n), CN_NOT_FOUND);
}

static uint32_t shown(uint64_t version, const char *name) {
    cn_gate_results r;
    OK(cn_gate_results_of(s_tenant, INDEX, version, &s_arena, &r));
    return cn_gate_find(&r, cn_str_of(name)) ? 1 : 0;
}

static cn_err record(uint64_t version, const char *set, const cn_digest *digest, const char *name, double value, uint64_t against) {
    const cn_gate_result r = {.name = cn_str_of(name), .value = value};
    const cn_frozen_set s = {.name = cn_str_of(set), .digest = *digest};
    return cn_gate_record(s_tenant, INDEX, version, &r, 1, against, &s, 1, &s_why);
}

static void results_go_with_their_set(void) {
    cn_digest x, y;
    OK(freeze("core", one, &x));
    OK(freeze("core2", one, &y));
    const cn_gate_result by_hand = {.name = CN_STR("core/leaked"), .value = 0};
    IS(cn_gate_submit(s_tenant, INDEX, 1, &by_hand, 1, &s_why), CN_REFUSED);
    SAYS("cairn gate run");
    OK(record(1, "core", &x, "core/AP", 1, 1));
    OK(record(2, "core", &x, "core/AP", 1, 1));
    OK(record(2, "core2", &y, "core2/AP", 1, 1));
    OK(freeze("core", same, &y)); /* the same set */
    CU_ASSERT(shown(1, "core/AP") && shown(2, "core/AP"));
    OK(freeze("core", other, &y));
    CU_ASSERT(!shown(1, "core/AP") && !shown(2, "core/AP") && shown(2, "core2/AP"));
    IS(record(2, "core", &x, "core/AP", 1, 1), CN_CONFLICT); /* measured by the one before */
    SAYS("frozen anew");
    OK(record(2, "core", &y, "core/AP", 1, 1));
    OK(cn_frozen_set_drop(s_tenant, INDEX, CN_STR("core"), &s_why));
    CU_ASSERT(!shown(2, "core/AP") && shown(2, "core2/AP"));
    IS(cn_frozen_set_drop(s_tenant, INDEX, CN_STR("core"), &s_why), CN_NOT_FOUND);
    IS(record(2, "core", &y, "core/AP", 1, 1), CN_CONFLICT);
}

/* What was handed in under the name of a set to come is not what the set measured. */
static void a_name_that_becomes_a_sets(void) {
    const cn_gate_result by_hand = {.name = CN_STR("later/leaked"), .value = 0};
    cn_digest x;
    OK(cn_gate_submit(s_tenant, INDEX, 2, &by_hand, 1, &s_why));
    CU_ASSERT_EQUAL(shown(2, "later/leaked"), 1);
    OK(freeze("later", other, &x));
    CU_ASSERT_EQUAL(shown(2, "later/leaked"), 0);
    OK(cn_frozen_set_drop(s_tenant, INDEX, CN_STR("later"), &s_why));
}

/* A run always finds a place for what it measured, however much was handed in. */
static void places_of_a_run(void) {
    cn_gate_result many[CN_GATE_HANDED_MAX], own[CN_FROZEN_RESULTS];
    char names[CN_GATE_HANDED_MAX][16], set_names[CN_FROZEN_SETS_MAX][8], own_names[CN_FROZEN_RESULTS][16];
    cn_frozen_set *v;
    uint32_t n;
    for (int i = 0; i < CN_GATE_HANDED_MAX; i++) {
        snprintf(names[i], sizeof names[i], "hand%d", i);
        many[i] = (cn_gate_result){.name = cn_str_of(names[i]), .value = i};
    }
    OK(cn_gate_submit(s_tenant, INDEX, 2, many, CN_GATE_HANDED_MAX, &s_why));
    OK(cn_frozen_sets(s_tenant, INDEX, &s_arena, &v, &n));
    for (uint32_t i = n; i < CN_FROZEN_SETS_MAX; i++) {
        cn_digest x;
        snprintf(set_names[i], sizeof set_names[i], "f%u", i);
        OK(freeze(set_names[i], one, &x));
    }
    OK(cn_frozen_sets(s_tenant, INDEX, &s_arena, &v, &n));
    CU_ASSERT_EQUAL_FATAL(n, CN_FROZEN_SETS_MAX);
    for (uint32_t i = 0; i < n; i++) {
        for (int k = 0; k < CN_FROZEN_RESULTS; k++) {
            snprintf(own_names[k], sizeof own_names[k], CN_STR_FMT "/r%d", CN_STR_ARG(v[i].name), k);
            own[k] = (cn_gate_result){.name = cn_str_of(own_names[k]), .value = k};
        }
        OK(cn_gate_record(s_tenant, INDEX, 2, own, CN_FROZEN_RESULTS, 1, &v[i], 1, &s_why));
    }
    const cn_gate_result one_more = {.name = CN_STR("one_more"), .value = 1};
    IS(cn_gate_submit(s_tenant, INDEX, 2, &one_more, 1, &s_why), CN_INVALID);
    SAYS("cairn gate forget");
    for (uint32_t i = 0; i < n; i++)
        OK(cn_frozen_set_drop(s_tenant, INDEX, v[i].name, &s_why));
}

/* A run that could not compare leaves no comparison of the one before it. */
static void no_comparison(void) {
    cn_digest x, y;
    OK(freeze("core", one, &x));
    OK(freeze("core2", one, &y));
    OK(record(2, "core", &x, "core/AP:delta", 1, 1));
    OK(record(2, "core2", &y, "core2/AP:delta", 1, 1));
    OK(record(2, "core", &x, "core/AP", 1, 1));
    CU_ASSERT(shown(2, "core/AP") && !shown(2, "core/AP:delta") && shown(2, "core2/AP:delta"));
    OK(cn_frozen_set_drop(s_tenant, INDEX, CN_STR("core"), &s_why));
}

/* That nobody sees a document who must not was measured under a policy: a wider one since, and it is to be measured again. */
static void measured_before_the_policy_was_widened(void) {
    const cn_str require[] = {CN_STR("core/leaked<=0")};
    const cn_labels x = s_labels("group:x");
    cn_digest d;
    cn_index_info ix;
    OK(freeze("core", one, &d));
    OK(cn_gate_require(s_tenant, INDEX, require, 1, &s_why));
    const cn_frozen_set set = {.name = CN_STR("core"), .digest = d};
    OK(cn_index_get(s_tenant, INDEX, &s_arena, &ix));
    uint64_t to = ix.active == 1 ? 2 : 1;
    for (int i = 0; i < 9; i++) {
        switch (i) { /* before the result that holds, so that each is alone after it */
        case 1: case 2: OK(s_policy(CN_POLICY_HIDE, "a", "", &s_why)); break;
        case 4: OK(s_policy(CN_POLICY_ERASE, "widen", "", &s_why)); break;
        case 7: OK(s_policy(CN_POLICY_DENY, "a", "group:x", &s_why)); break;
        case 8: OK(s_policy(CN_POLICY_ALLOW, "a", "group:x", &s_why)); break;
        default: break;
        }
        cn_gate_result r = {.name = CN_STR("core/leaked"), .value = 0, .epoch = s_epoch()};
        cn_gate_results all;
        OK(cn_gate_record(s_tenant, INDEX, to, &r, 1, ix.active, &set, 1, &s_why));
        switch (i) {
        case 0: OK(s_policy(CN_POLICY_HIDE, "b", "", &s_why)); OK(s_policy(CN_POLICY_DENY, "b", "group:x", &s_why)); break; /* narrower */
        case 1: OK(s_policy(CN_POLICY_UNHIDE, "a", "", &s_why)); break;
        case 2: OK(s_policy(CN_POLICY_UNHIDE, "a", "", &s_why)); OK(s_policy(CN_POLICY_HIDE, "a", "", &s_why)); break; /* what came after it does not count */
        case 3: OK(s_policy(CN_POLICY_ALLOW, "a", "group:x", &s_why)); break;
        case 4: OK(s_policy(CN_POLICY_RESTORE, "widen", "", &s_why)); break;
        case 5: OK(cn_member_add(s_tenant, CN_STR("user:ana"), x, &s_why)); break;
        case 6: OK(cn_member_remove(s_tenant, CN_STR("user:ana"), &s_why)); break;
        default: OK(s_policy(CN_POLICY_CLEAR, "a", "", &s_why)); break;
        }
        OK(cn_gate_results_of(s_tenant, INDEX, to, &s_arena, &all));
        CU_ASSERT_EQUAL(cn_gate_find(&all, CN_STR("core/leaked"))->stale, i > 0);
    }
    IS(s_activate("g", to), CN_REFUSED);
    SAYS("before the policy was widened; run the gate again");
    cn_gate_result again = {.name = CN_STR("core/leaked"), .value = 0, .epoch = s_epoch()};
    OK(cn_gate_record(s_tenant, INDEX, to, &again, 1, ix.active, &set, 1, &s_why));
    OK(s_activate("g", to));
    OK(cn_gate_require(s_tenant, INDEX, NULL, 0, &s_why));
    OK(s_activate("g", ix.active));
    OK(s_policy(CN_POLICY_UNHIDE, "a", "", &s_why));
    OK(s_policy(CN_POLICY_UNHIDE, "b", "", &s_why));
    OK(s_policy(CN_POLICY_CLEAR, "b", "", &s_why));
    OK(cn_frozen_set_drop(s_tenant, INDEX, CN_STR("core"), &s_why));
}

/* An identity provider may send the same members every few minutes: what was measured holds. */
static void changes_that_change_nothing(void) {
    const cn_labels x = s_labels("group:x");
    const cn_str members = CN_STR("user:ana group:x\nuser:bo group:x\n");
    const cn_policy_change hides = {.op = CN_POLICY_UNHIDE_SOURCE, .source = CN_STR("nowhere")};
    cn_digest d;
    cn_gate_results all;
    uint32_t n;
    OK(freeze("core", one, &d));
    OK(cn_member_sync(s_tenant, members, &s_why, &n));
    OK(s_policy(CN_POLICY_ALLOW, "a", "group:x", &s_why));
    const cn_frozen_set set = {.name = CN_STR("core"), .digest = d};
    for (int i = 0; i < 7; i++) {
        cn_gate_result r = {.name = CN_STR("core/leaked"), .value = 0, .epoch = s_epoch()};
        OK(cn_gate_record(s_tenant, INDEX, 2, &r, 1, 1, &set, 1, &s_why));
        switch (i) {
        case 0: OK(cn_member_sync(s_tenant, members, &s_why, &n)); break;
        case 1: OK(cn_member_set(s_tenant, CN_STR("user:ana"), x, &s_why)); break;
        case 2: OK(cn_member_add(s_tenant, CN_STR("user:ana"), x, &s_why)); break;
        case 3: OK(s_policy(CN_POLICY_ALLOW, "a", "group:x", &s_why)); break;
        case 4: OK(s_policy(CN_POLICY_UNHIDE, "a", "", &s_why)); break;
        case 5: OK(cn_policy_apply(s_tenant, &hides, 1, &s_why, &r.epoch)); break;
        default: OK(cn_member_sync(s_tenant, CN_STR("user:ana group:x"), &s_why, &n)); break; /* one less, which does count */
        }
        OK(cn_gate_results_of(s_tenant, INDEX, 2, &s_arena, &all));
        CU_ASSERT_EQUAL(cn_gate_find(&all, CN_STR("core/leaked"))->stale, i == 6);
    }
    OK(s_policy(CN_POLICY_CLEAR, "a", "", &s_why));
    OK(cn_frozen_set_drop(s_tenant, INDEX, CN_STR("core"), &s_why));
}

/* A comparison with what is not active any more meets nothing, whoever asks. */
static void stale(void) {
    const cn_str require[] = {CN_STR("documents:change>=0")};
    cn_digest x;
    cn_gate_results r;
    OK(freeze("core", one, &x));
    OK(cn_gate_require(s_tenant, INDEX, require, 1, &s_why));
    CU_ASSERT_EQUAL_FATAL(s_seal("g", &(s_row){"a", "first again", "public", "", ""}, 1, NULL), 3);
    OK(record(2, "core", &x, "documents:change", 1, 1));
    CU_ASSERT_EQUAL_FATAL(shown(2, "documents:change"), 1);
    OK(record(3, "core", &x, "documents:change", 1, 1));
    OK(s_activate("g", 2));
    OK(cn_gate_results_of(s_tenant, INDEX, 2, &s_arena, &r)); /* the active one is not asked anew */
    CU_ASSERT(!cn_gate_find(&r, CN_STR("documents:change"))->stale);
    OK(cn_gate_results_of(s_tenant, INDEX, 3, &s_arena, &r));
    CU_ASSERT(cn_gate_find(&r, CN_STR("documents:change"))->stale);
    IS(s_activate("g", 3), CN_REFUSED);
    SAYS("which has changed");
    OK(record(3, "core", &x, "documents:change", 1, 0)); /* said to have had nothing beside it: that is no comparison either */
    IS(s_activate("g", 3), CN_REFUSED);
    SAYS("no active version");
    OK(record(3, "core", &x, "documents:change", 1, 2));
    OK(s_activate("g", 3));
    OK(cn_gate_require(s_tenant, INDEX, NULL, 0, &s_why));
}

/* ---------- where they lie ---------- */
static cn_str digest_key(const cn_digest *d) { return (cn_str){(const char *)d->b, sizeof d->b}; }

/* What lies in work.mdb under a digest; body NULL: nothing any more. */
static void put_body(const cn_digest *d, const cn_str *body, int64_t at) {
    cn_env *env;
    MDB_dbi dbi;
    MDB_txn *txn;
    cn_str value = body ? *body : (cn_str){"", 0};
    const cn_field f[] = {{"at", CN_F_I64, &at, 0}, {"body", CN_F_BIN, &value, 0}};
    OK(cn_tenant_work(s_tenant, &env));
    OK(cn_env_dbi(env, "frozen", true, &dbi));
    OK(cn_txn_write(env, &txn));
    OK(body ? cn_fields_put(txn, dbi, digest_key(d), f, 2) : cn_db_del(txn, dbi, digest_key(d)));
    OK(cn_txn_commit(env, txn));
}

static cn_str body_of(const cn_digest *d) {
    cn_str body = {NULL, 0};
    CU_ASSERT_EQUAL_FATAL(cn_frozen_body_get(s_tenant, d, &s_arena, &body), CN_OK);
    return body;
}

/* Another body under the digest that was frozen. */
static void spoil_set(const cn_digest *d, bool cut) {
    cn_str body = body_of(d);
    char *p = cn_arena_alloc(&s_arena, body.n);
    memcpy(p, body.p, body.n);
    p[body.n - 1] ^= 1;
    put_body(d, &(cn_str){p, cut ? body.n - 1 : body.n}, 0);
}

static void note_bad(void *ctx, cn_str what, cn_err err) {
    if (err != CN_OK)
        snprintf(ctx, CN_TARGET, CN_STR_FMT, CN_STR_ARG(what));
}

static void is_damaged(void) {
    char bad[CN_TARGET] = "";
    cn_frozen_set *v = NULL;
    uint32_t n = 77;
    IS(cn_frozen_sets(s_tenant, INDEX, &s_arena, &v, &n), CN_DAMAGED);
    SAYS("is not what was frozen");
    CU_ASSERT(v == NULL && n == 77);
    OK(cn_tenant_check(s_tenant, note_bad, bad));
    CU_ASSERT_STRING_EQUAL(bad, "g/gate");
}

static void damaged(void) {
    cn_frozen_set *v;
    uint32_t n;
    cn_digest x;
    OK(freeze("one", one, &x));
    for (int cut = 0; cut < 2; cut++) {
        spoil_set(&x, cut);
        is_damaged();
        OK(freeze("one", one, &x)); /* the way out */
        OK(cn_frozen_sets(s_tenant, INDEX, &s_arena, &v, &n));
    }
    put_body(&x, NULL, 0);
    is_damaged();
    OK(freeze("one", one, &x));
}

/* control.mdb, which every flip writes, keeps a digest of them. */
static cn_err record_bytes(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    cn_index_info ix;
    cn_str value;
    CN_TRY(cn_index_load(c, txn, INDEX, &s_arena, &ix));
    cn_catalog_key key = cn_key2(ix.id, CN_FROZEN_PLACES);
    CN_TRY(cn_db_get(txn, c->gate, cn_key2_str(&key), &value));
    *(size_t *)ctx = value.n;
    return CN_OK;
}

static void a_small_record(void) {
    CN_AUTO_BUF cn_buf b;
    cn_digest x;
    size_t bytes = 0;
    cn_frozen_set *v;
    uint32_t n;
    cn_buf_init(&b, 1 << 20);
    cn_buf_puts(&b, "{\"queries\": [");
    for (int i = 0; i < 2000; i++)
        cn_buf_printf(&b, "%s{\"id\": \"q%d\", \"text\": \"a question of some length about thing %d\", \"must_find\": [\"d%d\"]}", i ? ", " : "", i, i, i);
    cn_buf_puts(&b, "]}");
    cn_buf_add(&b, "", 1);
    CU_ASSERT_FALSE_FATAL(b.failed);
    OK(freeze("one", b.p, &x)); /* in the first place */
    OK(cn_catalog_read(s_tenant, record_bytes, &bytes));
    CU_ASSERT(bytes > 0 && bytes < 512);
    CU_ASSERT(body_of(&x).n > 100000);
    OK(cn_frozen_sets(s_tenant, INDEX, &s_arena, &v, &n));
    CU_ASSERT_EQUAL(v[0].n, 2000);
    OK(freeze("one", one, &x));
}

/* As builds before the first release wrote it: never misread, and not in the way. */
static cn_err put_old(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    cn_index_info ix;
    cn_str name = CN_STR("old"), body = CN_STR("\x83"), by = CN_STR("who"), reason = CN_STR("");
    cn_digest digest = {{1}};
    int64_t at = 1;
    const cn_field f[] = {{"name", CN_F_STR, &name, 0}, {"digest", CN_F_FIXED, &digest, sizeof digest}, {"body", CN_F_BIN, &body, 0},
                          {"by", CN_F_STR, &by, 0}, {"at", CN_F_I64, &at, 0}, {"reason", CN_F_STR, &reason, 0}};
    (void)ctx;
    CN_TRY(cn_index_load(c, txn, INDEX, &s_arena, &ix));
    cn_catalog_key key = cn_key2(ix.id, CN_FROZEN_PLACES + 7);
    return cn_fields_put(txn, c->gate, cn_key2_str(&key), f, 6);
}

static void an_old_form(void) {
    cn_frozen_set *v;
    uint32_t n;
    cn_digest x;
    for (int again = 0; again < 2; again++) {
        OK(cn_catalog_write(s_tenant, put_old, NULL));
        IS(cn_frozen_sets(s_tenant, INDEX, &s_arena, &v, &n), CN_REFUSED);
        SAYS("frozen set \"old\" has the form of a build before the first release");
        OK(freeze("one", one, &x)); /* another can be frozen beside it */
        OK(again ? freeze("old", one, &x) : cn_frozen_set_drop(s_tenant, INDEX, CN_STR("old"), &s_why));
        OK(cn_frozen_sets(s_tenant, INDEX, &s_arena, &v, &n));
    }
    OK(cn_frozen_set_drop(s_tenant, INDEX, CN_STR("old"), &s_why));
}

/* Bodies that no set names any more go, an hour after they were put. */
static void swept(void) {
    cn_digest x, y;
    cn_str body;
    cn_gc_result got = {0};
    OK(freeze("one", one, &x));
    OK(freeze("gone", other, &y));
    OK(cn_frozen_set_drop(s_tenant, INDEX, CN_STR("gone"), &s_why));
    OK(cn_frozen_set_drop(s_tenant, INDEX, CN_STR("other"), &s_why)); /* the same questions */
    OK(cn_catalog_sweep(s_tenant, &s_who, &got));
    body = body_of(&y); /* somebody may be about to name it */
    put_body(&y, &body, 1);
    body = body_of(&x);
    put_body(&x, &body, 1);
    OK(cn_catalog_sweep(s_tenant, &s_who, &got));
    body_of(&x);
    IS(cn_frozen_body_get(s_tenant, &y, &s_arena, &body), CN_NOT_FOUND);
}

/* Where nobody may be told of it, nothing is written: not 8 MiB for a name that is none. */
static void refused_before_it_is_written(void) {
    static const char json[] = "{\"queries\": [{\"id\": \"q\", \"text\": \"never kept\", \"must_find\": [\"a\"]}]}";
    cn_digest x = {{0}};
    cn_frozen_set s;
    IS(freeze("a/b", json, &x), CN_INVALID);
    OK(read_set(json, &s));
    s.name = CN_STR("fine");
    IS(cn_frozen_set_put(s_tenant, CN_STR("nowhere"), &s, &s_why, &x), CN_NOT_FOUND);
    CU_ASSERT_EQUAL(s_files_with("never kept", 10), 0);
}

/* ---------- documents of sources ---------- */
static void sources(void) {
    static const char json[] = "{\"source\": \"wiki\", \"queries\": [{\"id\": \"q\", \"text\": \"t\", \"relevant\": {\"a\": 1}, \"must_find\": [\"a\", {\"doc\": \"b\", \"source\": \"hr\"}]},"
                               "{\"id\": \"r\", \"text\": \"t\", \"source\": \"mail\", \"must_not_see\": [\"a\", {\"doc\": \"b\"}]}]}",
                      same_json[] = "{\"queries\": [{\"id\": \"q\", \"text\": \"t\", \"source\": \"wiki\", \"relevant\": {\"a\": 1}, \"must_find\": [{\"doc\": \"a\", \"source\": \"wiki\"}, {\"source\": \"hr\", \"doc\": \"b\"}]},"
                                    "{\"id\": \"r\", \"text\": \"t\", \"must_not_see\": [{\"doc\": \"a\", \"source\": \"mail\"}, {\"doc\": \"b\", \"source\": \"mail\"}]}]}";
    cn_frozen_set *v, s;
    cn_digest x, y;
    uint32_t n;
    OK(freeze("one", json, &x));
    OK(cn_frozen_sets(s_tenant, INDEX, &s_arena, &v, &n));
    const cn_frozen_question *q = v[0].v;
    CU_ASSERT(cn_str_is(q[0].source, "wiki") && cn_str_is(q[0].find[0].source, "wiki") && cn_str_is(q[0].find[1].source, "hr") && cn_str_is(q[0].find[1].id, "b"));
    CU_ASSERT(cn_str_is(q[1].unseen[0].source, "mail") && cn_str_is(q[1].unseen[1].source, "mail"));
    OK(freeze("one", same_json, &y)); /* the same, said otherwise */
    CU_ASSERT(cn_digest_eq(&x, &y));
    OK(freeze("one", one, &x));
    OK(cn_frozen_sets(s_tenant, INDEX, &s_arena, &v, &n));
    CU_ASSERT(v[0].v[0].source.n == 0 && v[0].v[0].find[0].source.n == 0); /* any */
    IS(read_set("{\"queries\": [{\"id\": \"q\", \"text\": \"t\", \"must_find\": [{\"doc\": \"a\", \"source\": \"\"}]}]}", &s), CN_INVALID);
    IS(read_set("{\"queries\": [{\"id\": \"q\", \"text\": \"t\", \"must_find\": [{\"source\": \"wiki\"}]}]}", &s), CN_INVALID);
    IS(read_set("{\"source\": \"No Name\", \"queries\": [{\"id\": \"q\", \"text\": \"t\", \"must_find\": [\"a\"]}]}", &s), CN_INVALID);
}

/* ---------- what could never be shown ---------- */
static void in_vain(const char *fields, const char *part) {
    char json[1024];
    cn_frozen_set s;
    snprintf(json, sizeof json, "{\"k\": 12, \"queries\": [{\"id\": \"good\", \"text\": \"t\", \"must_find\": [\"a\"]}, {\"id\": \"bad\", \"text\": \"t\", \"where\": \"cases.jsonl:7\", %s}]}", fields);
    IS(read_set(json, &s), part ? CN_INVALID : CN_OK);
    if (part)
        SAYS(part);
    if (part)
        SAYS("question 2 \"bad\" (cases.jsonl:7): ");
}

static void in_vain_all(void) {
    in_vain("\"relevant\": {\"a\": 0, \"b\": -1}", "graded over 0");
    in_vain("\"relevant\": {\"a\": 0, \"b\": 1}", NULL);
    in_vain("\"relevant\": {}, \"must_find\": []", "nothing that could be measured");
    in_vain("\"must_find\": [\"a\", \"b\", \"a\"]", "\"a\" stands twice in \"must_find\"");
    in_vain("\"must_find\": [{\"doc\": \"a\", \"source\": \"x\"}, {\"doc\": \"a\", \"source\": \"y\"}]", NULL);
    in_vain("\"must_find\": [{\"doc\": \"a\", \"source\": \"x\"}, {\"doc\": \"a\", \"source\": \"x\"}]", "stands twice");
    in_vain("\"source\": \"x\", \"must_find\": [\"a\", {\"doc\": \"a\", \"source\": \"x\"}]", "stands twice");
    in_vain("\"must_not_see\": [\"a\", \"a\"]", "stands twice in \"must_not_see\"");
    in_vain("\"must_find\": [\"1\",\"2\",\"3\",\"4\",\"5\",\"6\",\"7\",\"8\",\"9\",\"10\"]", NULL);
    in_vain("\"must_find\": [\"1\",\"2\",\"3\",\"4\",\"5\",\"6\",\"7\",\"8\",\"9\",\"10\",\"11\"]", "among the first 10");
    in_vain("\"must_find\": [\"a\"], \"must_not_see\": [\"a\"]", "must be found, and must not be seen");
    in_vain("\"must_find\": [{\"doc\": \"a\", \"source\": \"x\"}], \"must_not_see\": [\"a\"]", "must be found, and must not be seen");
    in_vain("\"must_find\": [\"a\"], \"must_not_see\": [{\"doc\": \"a\", \"source\": \"x\"}]", NULL); /* one of another source will do */
    in_vain("\"must_find\": [{\"doc\": \"a\", \"source\": \"x\"}], \"must_not_see\": [{\"doc\": \"a\", \"source\": \"y\"}]", NULL);
    in_vain("\"relevant\": {\"a\": 1}, \"must_not_see\": [\"a\"]", "is graded 1, and must not be seen");
    in_vain("\"relevant\": {\"a\": -1, \"b\": 1}, \"must_not_see\": [\"a\"]", NULL);
}

/* JSON has no such numbers; the wire has. */
static cn_err read_graded(uint64_t grade) {
    CN_AUTO_BUF cn_buf b;
    CN_AUTO_UNPACKED cn_unpacked u = {0};
    cn_frozen_set s;
    cn_buf_init(&b, 1 << 10);
    cn_pack_map(&b, 1), cn_pack_cstr(&b, "queries"), cn_pack_array(&b, 1);
    cn_pack_map(&b, 3);
    cn_pack_cstr(&b, "id"), cn_pack_cstr(&b, "q"), cn_pack_cstr(&b, "text"), cn_pack_cstr(&b, "t");
    cn_pack_cstr(&b, "relevant"), cn_pack_map(&b, 1), cn_pack_cstr(&b, "a"), cn_pack_uint(&b, grade);
    OK(cn_unpack(&u, b.p, b.n));
    return cn_frozen_set_read(&u.o, &s_arena, &s);
}

static void limits(void) {
    char name[16];
    cn_digest x;
    cn_frozen_set s;
    cn_err err = CN_OK;
    int n = 0;
    for (; err == CN_OK && n < 20; n++) {
        snprintf(name, sizeof name, "s%d", n);
        err = freeze(name, one, &x);
    }
    IS(err, CN_INVALID);
    SAYS("at most 8");
    OK(freeze("s0", other, &x)); /* in the place of one there is room */
    IS(read_set("{\"queries\": []}", &s), CN_INVALID);
    IS(read_set("{\"queries\": [{\"id\": \"q\", \"text\": \"t\", \"relevant\": {\"a\": 1000001}}]}", &s), CN_INVALID);
    IS(read_graded(UINT64_MAX), CN_INVALID); /* no -1 */
    OK(read_graded(1000000));
    IS(read_set("{\"queries\": [{\"id\": \"q\", \"text\": \"t\", \"relevant\": {\"a\": -1000001}}]}", &s), CN_INVALID);
    OK(read_set("{\"queries\": [{\"id\": \"q\", \"text\": \"t\", \"relevant\": {\"a\": -1000000, \"b\": 1000000}}]}", &s));
    IS(read_set("{\"queries\": [{\"id\": \"q\", \"text\": \"t\", \"must_find\": [\"a\"]}], \"k\": 1001}", &s), CN_INVALID);
}

/* ---------- versions in numbers ---------- */
static cn_err not_now(void *ctx) {
    (void)ctx;
    return cn_fail(CN_DEADLINE, "not now");
}

static void facts(void) {
    const s_row first[] = {{"a", "alike", "public", "", ""}, {"b", "alike", "public", "", ""}, {"c", "other", "public", "group:y", ""}, {"d", "more", "public", "", "group:x"}},
                second[] = {{"a", "alike", "public,group:x", "", ""}, {"c", "other", "public", "", ""}, {"d", "more", "", "", "group:x"}, {"e", "new", "public", "", ""}};
    cn_facts f, g;
    cn_change c;
    s_index("f");
    CU_ASSERT_EQUAL(s_seal("f", first, 4, NULL), 1);
    CU_ASSERT_EQUAL(s_seal("f", second, 4, "b"), 2);
    OK(cn_version_facts(s_tenant, CN_STR("f"), 1, NULL, NULL, &f));
    OK(cn_version_facts(s_tenant, CN_STR("f"), 2, NULL, NULL, &g));
    CU_ASSERT(f.documents == 4 && f.unlabelled == 0 && f.chunks == 4 && f.duplicates == 1 && f.bytes > 0);
    CU_ASSERT(g.documents == 4 && g.unlabelled == 1 && g.duplicates == 0 && g.bytes > 0);
    OK(cn_version_change(s_tenant, CN_STR("f"), 1, 2, NULL, NULL, &c));
    CU_ASSERT(c.added == 1 && c.deleted == 1 && c.widened == 2 && c.narrowed == 1);
    OK(cn_version_change(s_tenant, CN_STR("f"), 2, 1, NULL, NULL, &c));
    CU_ASSERT(c.added == 1 && c.deleted == 1 && c.widened == 1 && c.narrowed == 2);
    IS(cn_version_facts(s_tenant, CN_STR("f"), 9, NULL, NULL, &f), CN_NOT_FOUND);
    IS(cn_version_facts(s_tenant, CN_STR("f"), 1, not_now, NULL, &f), CN_DEADLINE);
    IS(cn_version_change(s_tenant, CN_STR("f"), 1, 2, not_now, NULL, &c), CN_DEADLINE);
}

static cn_err spoil_record(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    cn_index_info ix;
    CN_TRY(cn_index_load(c, txn, cn_str_of(ctx), &s_arena, &ix));
    cn_catalog_key key = cn_key2(ix.id, CN_FROZEN_PLACES);
    return cn_db_put(txn, c->gate, cn_key2_str(&key), CN_STR("damaged"));
}

/* What a refusal only advises by stands in the way of no one's word past the gate. */
static void advice_stops_nobody(void) {
    const cn_str required[] = {CN_STR("hits>=1")};
    char index[] = "h";
    s_index(index);
    for (uint64_t i = 0; i < 2; i++)
        CU_ASSERT_EQUAL(s_seal(index, &rows[i], 1, NULL), i + 1);
    OK(s_activate(index, 1));
    OK(cn_gate_require(s_tenant, CN_STR("h"), required, 1, &s_why));
    OK(cn_catalog_write(s_tenant, spoil_record, index));
    IS(s_activate(index, 2), CN_REFUSED);
    SAYS("hits>=1 (none is stored)");
    SAYS("cairn gate run");
    OK(cn_version_force(s_tenant, CN_STR("h"), 2, CN_ANY_VERSION, &s_why, NULL));
    OK(cn_index_drop(s_tenant, CN_STR("h"), &s_why));
}

void add_frozen_suite(void) {
    CU_pSuite s = CU_add_suite("frozen sets", set_up, tear_down);
    CU_add_test(s, "one form, one digest", one_form);
    CU_add_test(s, "damaged", damaged);
    CU_add_test(s, "a small record", a_small_record);
    CU_add_test(s, "an old form", an_old_form);
    CU_add_test(s, "swept", swept);
    CU_add_test(s, "refused before it is written", refused_before_it_is_written);
    CU_add_test(s, "documents of sources", sources);
    CU_add_test(s, "what could never be shown", in_vain_all);
    CU_add_test(s, "a name that becomes a set's", a_name_that_becomes_a_sets);
    CU_add_test(s, "results go with their set", results_go_with_their_set);
    CU_add_test(s, "no comparison", no_comparison);
    CU_add_test(s, "measured before the policy was widened", measured_before_the_policy_was_widened);
    CU_add_test(s, "changes that change nothing", changes_that_change_nothing);
    CU_add_test(s, "stale", stale);
    CU_add_test(s, "places of a run", places_of_a_run);
    CU_add_test(s, "advice stops nobody", advice_stops_nobody);
    CU_add_test(s, "limits", limits);
    CU_add_test(s, "versions in numbers", facts);
}
