/* Frozen sets: one form, one digest; damaged, too many, frozen anew; what versions showed of them; versions in numbers. */
#include <CUnit/CUnit.h>
#include <stdio.h>

#include "engine/base/json.h"
#include "index/catalog/check.h"
#include "index/catalog/facts.h"
#include "index/catalog/gate_inside.h"
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
    return cn_gate_set_read(&u.o, &s_arena, ret);
}

static cn_err freeze(const char *name, const char *json, cn_digest *ret) {
    cn_frozen_set s = {0};
    CN_TRY(read_set(json, &s));
    s.name = cn_str_of(name);
    return cn_gate_set_freeze(s_tenant, INDEX, &s, &s_why, ret);
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
    OK(cn_gate_sets(s_tenant, INDEX, &s_arena, &v, &n));
    CU_ASSERT_EQUAL_FATAL(n, 3);
    CU_ASSERT(cn_str_is(v[0].name, "one") && cn_str_is(v[1].name, "other") && cn_str_is(v[2].name, "same"));
    const cn_gate_question *q = &v[0].v[0];
    CU_ASSERT(v[0].n == 1 && v[0].k == CN_GATE_K && v[0].n_graded == 1 && v[0].n_find == 1 && v[0].n_unseen == 0 && cn_str_is(v[0].source, "default"));
    CU_ASSERT(cn_str_is(q->text, "what") && q->n_grades == 2 && cn_str_is(q->grades[0].doc, "a") && q->grades[0].grade == 2 && q->labels.n == 2);
    CU_ASSERT(v[1].v[0].labels.n == 1 && cn_str_is(v[1].v[0].labels.v[0], "public"));
    IS(cn_gate_sets(s_tenant, CN_STR("nowhere"), &s_arena, &v, &n), CN_NOT_FOUND);
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
    OK(cn_gate_set_drop(s_tenant, INDEX, CN_STR("core"), &s_why));
    CU_ASSERT(!shown(2, "core/AP") && shown(2, "core2/AP"));
    IS(cn_gate_set_drop(s_tenant, INDEX, CN_STR("core"), &s_why), CN_NOT_FOUND);
    IS(record(2, "core", &y, "core/AP", 1, 1), CN_CONFLICT);
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
    OK(cn_gate_set_drop(s_tenant, INDEX, CN_STR("core"), &s_why));
}

/* A comparison with what is not active any more meets nothing, whoever asks. */
static void stale(void) {
    const cn_str require[] = {CN_STR("documents:change>=0")};
    cn_digest x;
    cn_gate_results r;
    OK(freeze("core", one, &x));
    OK(cn_gate_set(s_tenant, INDEX, require, 1, &s_why));
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
    OK(cn_gate_set(s_tenant, INDEX, NULL, 0, &s_why));
}

typedef struct spoil {
    uint64_t index_id;
    bool cut;
} spoil;

/* Another body under the digest that was frozen. */
static cn_err spoil_set(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    spoil *s = ctx;
    cn_index_info ix;
    cn_str value, name = {NULL, 0}, by = {NULL, 0}, reason = {NULL, 0}, body = {NULL, 0};
    cn_digest digest;
    int64_t at;
    const cn_field f[] = {{"name", CN_F_STR, &name, 0}, {"digest", CN_F_FIXED, &digest, sizeof digest}, {"body", CN_F_BIN, &body, 0},
                          {"by", CN_F_STR, &by, 0}, {"at", CN_F_I64, &at, 0}, {"reason", CN_F_STR, &reason, 0}};
    CN_TRY(cn_index_load(c, txn, INDEX, &s_arena, &ix));
    cn_catalog_key key = cn_key2(ix.id, (uint64_t)1 << 63);
    CN_TRY(cn_db_get(txn, c->gate, cn_key2_str(&key), &value));
    CN_TRY(cn_fields_read(value, "a set", &s_arena, f, 6));
    char *p = cn_arena_alloc(&s_arena, body.n);
    memcpy(p, body.p, body.n);
    p[body.n - 1] ^= 1;
    body = (cn_str){p, s->cut ? body.n - 1 : body.n};
    return cn_fields_put(txn, c->gate, cn_key2_str(&key), f, 6);
}

static void note_bad(void *ctx, cn_str what, cn_err err) {
    if (err != CN_OK)
        snprintf(ctx, CN_TARGET, CN_STR_FMT, CN_STR_ARG(what));
}

static void damaged(void) {
    char bad[CN_TARGET] = "";
    cn_frozen_set *v = NULL;
    uint32_t n = 77;
    cn_digest x;
    for (int cut = 0; cut < 2; cut++) {
        spoil s = {.cut = cut};
        OK(cn_catalog_write(s_tenant, spoil_set, &s));
        IS(cn_gate_sets(s_tenant, INDEX, &s_arena, &v, &n), CN_DAMAGED);
        SAYS("is not what was frozen");
        CU_ASSERT(v == NULL && n == 77);
        OK(cn_tenant_check(s_tenant, note_bad, bad));
        CU_ASSERT_STRING_EQUAL(bad, "g/gate");
    }
    OK(freeze("one", one, &x)); /* the way out */
    OK(cn_gate_sets(s_tenant, INDEX, &s_arena, &v, &n));
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
    return cn_gate_set_read(&u.o, &s_arena, &s);
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
static void facts(void) {
    const s_row first[] = {{"a", "alike", "public", "", ""}, {"b", "alike", "public", "", ""}, {"c", "other", "public", "group:y", ""}, {"d", "more", "public", "", "group:x"}},
                second[] = {{"a", "alike", "public,group:x", "", ""}, {"c", "other", "public", "", ""}, {"d", "more", "", "", "group:x"}, {"e", "new", "public", "", ""}};
    cn_facts f, g;
    cn_change c;
    s_index("f");
    CU_ASSERT_EQUAL(s_seal("f", first, 4, NULL), 1);
    CU_ASSERT_EQUAL(s_seal("f", second, 4, "b"), 2);
    OK(cn_version_facts(s_tenant, CN_STR("f"), 1, &f));
    OK(cn_version_facts(s_tenant, CN_STR("f"), 2, &g));
    CU_ASSERT(f.documents == 4 && f.unlabelled == 0 && f.chunks == 4 && f.duplicates == 1 && f.bytes > 0);
    CU_ASSERT(g.documents == 4 && g.unlabelled == 1 && g.duplicates == 0 && g.bytes > 0);
    OK(cn_version_change(s_tenant, CN_STR("f"), 1, 2, &c));
    CU_ASSERT(c.added == 1 && c.deleted == 1 && c.widened == 2 && c.narrowed == 1);
    OK(cn_version_change(s_tenant, CN_STR("f"), 2, 1, &c));
    CU_ASSERT(c.added == 1 && c.deleted == 1 && c.widened == 1 && c.narrowed == 2);
    IS(cn_version_facts(s_tenant, CN_STR("f"), 9, &f), CN_NOT_FOUND);
}

void add_gate_set_suite(void) {
    CU_pSuite s = CU_add_suite("frozen sets", set_up, tear_down);
    CU_add_test(s, "one form, one digest", one_form);
    CU_add_test(s, "damaged", damaged);
    CU_add_test(s, "results go with their set", results_go_with_their_set);
    CU_add_test(s, "no comparison", no_comparison);
    CU_add_test(s, "stale", stale);
    CU_add_test(s, "limits", limits);
    CU_add_test(s, "versions in numbers", facts);
}
