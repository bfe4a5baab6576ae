/* Records of one list of fields: what an earlier and a later program wrote, and what is damaged. */
#include <stdio.h>

#include "index/store/fields.h"
#include "tests/index/store_test.h"

typedef struct record {
    uint64_t id;
    cn_str name;
    bool flag;
    cn_str note;
    uint32_t most;
    uint8_t salt[4];
} record;

enum { EARLIER = 2, LATER = 6 };
static fixture fix;
static MDB_dbi dbi;

static bool begin(void) { return fixture_init(&fix) && OK(cn_env_dbi(cn_tenant_control(fix.tenant), "meta", true, &dbi)); }

static void fields(record *r, cn_field f[LATER]) {
    const cn_field all[LATER] = {{"id", CN_F_U64, &r->id, 0}, {"name", CN_F_STR, &r->name, 0},
                                 {"flag", CN_F_BOOL | CN_F_MAYBE, &r->flag, 0}, {"note", CN_F_STR | CN_F_MAYBE, &r->note, 0},
                                 {"most", CN_F_U32 | CN_F_MAYBE, &r->most, 0}, {"salt", CN_F_FIXED | CN_F_MAYBE, r->salt, 4}};
    memcpy(f, all, sizeof all);
}

/* Writes with the first n fields, and reads with the first m of another record that held something before. */
static cn_err through(record *r, unsigned n, unsigned m, record *ret) {
    cn_field f[LATER];
    MDB_txn *txn;
    cn_str v;
    cn_env *env = cn_tenant_control(fix.tenant);
    fields(r, f);
    CN_TRY(cn_txn_write(env, &txn));
    cn_err e = cn_fields_put(txn, dbi, CN_STR("key"), f, n);
    if (e == CN_OK)
        e = cn_db_get(txn, dbi, CN_STR("key"), &v);
    fields(ret, f);
    if (e == CN_OK)
        e = cn_fields_read(v, "a record", NULL, f, m);
    cn_txn_abort(env, txn);
    return e;
}

static record before(void) { return (record){9, CN_STR("before"), true, CN_STR("before"), 9, {9, 9, 9, 9}}; }

static void records_grow_at_their_tail(void) {
    if (!begin())
        return;
    record old = {.id = 7, .name = CN_STR("seven")}, got = before();
    OK(through(&old, EARLIER, LATER, &got)); /* an earlier program's, by this one: what it does not say is zero */
    CU_ASSERT(got.id == 7 && !got.flag && got.note.n == 0 && got.most == 0 && got.salt[0] == 0 && got.salt[3] == 0);
    OK(through(&old, LATER, EARLIER, &got)); /* this one's that says nothing new, by an earlier program */
    record new = {7, CN_STR("seven"), true, CN_STR("x"), 3, {0, 0, 0, 1}};
    got = (record){0};
    OK(through(&new, LATER, LATER, &got));
    CU_ASSERT(got.id == 7 && got.flag && got.note.n == 1 && got.most == 3 && got.salt[3] == 1);
    record some = {.id = 7, .name = CN_STR(""), .most = 3}; /* of those that may be missing, one in the middle */
    got = before();
    OK(through(&some, LATER, LATER, &got));
    CU_ASSERT(got.name.n == 0 && !got.flag && got.note.n == 0 && got.most == 3 && got.salt[0] == 0);
    FAILS(through(&some, LATER, EARLIER, &got), CN_DAMAGED); /* an earlier program refuses what it does not know */
    fixture_done(&fix);
}

/* A map that one field makes wrong: missing though it must be there, unknown, twice, of another kind. */
static void what_does_not_fit_is_damaged(void) {
    if (!begin())
        return;
    static const cn_field none[1];
    record r = {.id = 7, .name = CN_STR("seven"), .flag = true}, got = before();
    uint64_t number = 5;
    cn_str text = CN_STR("no");
    MDB_txn *txn;
    cn_str v;
    cn_env *env = cn_tenant_control(fix.tenant);
    const cn_field extra[] = {{"other", CN_F_U64, &number, 0}, {"flag", CN_F_BOOL, &r.flag, 0}, {"most", CN_F_STR, &text, 0}, {"salt", CN_F_BIN, &text, 0}};
    for (unsigned i = 0; i < 4; i++) {
        cn_field f[LATER];
        fields(&r, f);
        f[3] = extra[i];
        f[2].kind = CN_F_BOOL;
        OK(cn_txn_write(env, &txn));
        OK(cn_fields_put(txn, dbi, CN_STR("key"), f, 4));
        OK(cn_db_get(txn, dbi, CN_STR("key"), &v));
        fields(&got, f);
        FAILS(cn_fields_read(v, "a record", NULL, f, LATER), CN_DAMAGED);
        CU_ASSERT_PTR_NOT_NULL(strstr(cn_error_detail(), "a record"));
        cn_txn_abort(env, txn);
    }
    FAILS(through(&r, 1, LATER, &got), CN_DAMAGED); /* "name" must be there */
    OK(cn_txn_write(env, &txn));
    OK(cn_fields_put(txn, dbi, CN_STR("key"), none, 0));
    OK(cn_db_get(txn, dbi, CN_STR("key"), &v));
    cn_field f[LATER];
    fields(&got, f);
    FAILS(cn_fields_read(v, "a record", NULL, f, LATER), CN_DAMAGED);
    cn_txn_abort(env, txn);
    fixture_done(&fix);
}

void fields_suite(void) {
    CU_pSuite s = CU_add_suite("fields", NULL, NULL);
    CU_ADD_TEST(s, records_grow_at_their_tail);
    CU_ADD_TEST(s, what_does_not_fit_is_damaged);
}
