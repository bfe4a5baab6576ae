/* The directory of members: what damage to it does to a denial of a group, and what the check of a tenant finds. */
#include <CUnit/CUnit.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/utf8.h"
#include "index/catalog/check.h"
#include "index/policy/principal.h"
#include "tests/index/small.h"
#include "tests/index/suites.h"

#define OK(x) CU_ASSERT_EQUAL(x, CN_OK)
#define NO_ANSWER (-2)

/* Document a is everyone's, but nobody's of group:out; user:ana is in it by way of group:team. */
static int set_up(void) {
    static const s_row rows[] = {{"a", "first", "public", "", ""}, {"b", "second", "public", "", ""}};
    if (!s_open())
        return 1;
    s_index("m");
    return s_seal("m", rows, 2, NULL) != 1 || s_activate("m", 1) != CN_OK || s_policy(CN_POLICY_DENY, "a", "group:out", &s_who) != CN_OK ||
           cn_member_set(s_tenant, CN_STR("user:ana"), s_labels("group:team"), &s_who) != CN_OK ||
           cn_member_set(s_tenant, CN_STR("group:team"), s_labels("group:out,group:staff"), &s_who) != CN_OK ||
           cn_member_set(s_tenant, CN_STR("user:zoe"), s_labels("group:staff"), &s_who) != CN_OK;
}

static int tear_down(void) {
    s_close();
    return 0;
}

static int sees(const char *principal, const char *id) {
    cn_labels l;
    char commas[512] = "";
    if (cn_principal_expand(s_tenant, cn_str_of(principal), &s_arena, &l) != CN_OK)
        return NO_ANSWER;
    for (uint32_t i = 0; i < l.n; i++)
        snprintf(commas + strlen(commas), sizeof commas - strlen(commas), "%s" CN_STR_FMT, i ? "," : "", CN_STR_ARG(l.v[i]));
    return s_sees("m", 0, commas, id);
}

static void reopen(void) {
    cn_tenant_unref(s_tenant);
    cn_data_close(s_data);
    CU_ASSERT_FATAL(s_open_again());
}

/* ---------- what the check of a tenant says ---------- */
typedef struct told {
    const char *what;
    unsigned things, damaged;
    cn_err of; /* the one asked about */
} told;

static void tell(void *ctx, cn_str what, cn_err err) {
    told *x = ctx;
    x->things++;
    x->damaged += err == CN_DAMAGED;
    if (cn_str_is(what, x->what))
        x->of = err;
}

static told checked(const char *what) {
    told x = {.what = what, .of = CN_INTERNAL};
    OK(cn_tenant_check(s_tenant, tell, &x));
    return x;
}

/* ---------- damage ---------- */
typedef struct harm {
    const char *db, *key;
    enum { REMOVE, ADD, CHANGE } how;
    size_t at;     /* byte changed; its record's own checksum is put right again */
    char kept[4096];
    size_t n;
} harm;

static cn_err do_harm(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    harm *h = ctx;
    MDB_dbi dbi = h->db[0] == 'm' ? c->members : c->policy;
    cn_str key = cn_str_of(h->key), v;
    CN_TRY(cn_db_get(txn, dbi, h->how == ADD ? CN_STR("user:zoe") : key, &v));
    memcpy(h->kept, v.p, h->n = v.n);
    if (h->how == REMOVE)
        return cn_db_del(txn, dbi, key);
    char changed[4096];
    memcpy(changed, h->kept, h->n);
    if (h->how == CHANGE)
        changed[h->at % h->n] ^= 4;
    uint32_t crc = cn_crc32c(0, changed + CN_RECORD_HEAD, h->n - CN_RECORD_HEAD);
    if (h->at % h->n >= CN_RECORD_HEAD)
        memcpy(changed + 1, &crc, 4);
    return cn_db_put(txn, dbi, key, (cn_str){changed, h->n});
}

static cn_err mend(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    const harm *h = ctx;
    MDB_dbi dbi = h->db[0] == 'm' ? c->members : c->policy;
    return h->how == ADD ? cn_db_del(txn, dbi, cn_str_of(h->key)) : cn_db_put(txn, dbi, cn_str_of(h->key), (cn_str){h->kept, h->n});
}

static void check_harm(harm h, int line) {
    OK(cn_catalog_write(s_tenant, do_harm, &h));
    reopen();
    int got = sees("user:ana", "a");
    if (got != NO_ANSWER || !strstr(cn_error_detail(), "member"))
        printf("\n  line %d, byte %zu: %d \"%s\"", line, h.at, got, cn_error_detail());
    CU_ASSERT_EQUAL(got, NO_ANSWER);
    cn_labels l;
    CU_ASSERT_EQUAL(cn_principal_expand(s_tenant, CN_STR("user:ana"), &s_arena, &l), CN_DAMAGED);
    CU_ASSERT(strstr(cn_error_detail(), "control.mdb") != NULL);
    told x = checked("members");
    CU_ASSERT(x.of == CN_DAMAGED && x.damaged == 1);
    OK(cn_catalog_write(s_tenant, mend, &h));
    reopen();
    CU_ASSERT_EQUAL(sees("user:ana", "a"), 0);
    CU_ASSERT_EQUAL(sees("user:zoe", "a"), 1);
}

static void test_damage(void) {
    CU_ASSERT_EQUAL(sees("user:ana", "a"), 0);
    CU_ASSERT_EQUAL(sees("user:ana", "b"), 1);
    CU_ASSERT_EQUAL(sees("user:zoe", "a"), 1);
    check_harm((harm){.db = "members", .key = "user:ana", .how = REMOVE}, __LINE__);
    check_harm((harm){.db = "members", .key = "group:team", .how = REMOVE}, __LINE__);
    check_harm((harm){.db = "members", .key = "=", .how = REMOVE}, __LINE__);
    check_harm((harm){.db = "members", .key = "user:new", .how = ADD}, __LINE__);
    for (size_t at = 0; at < 15; at++)
        check_harm((harm){.db = "members", .key = "user:ana", .how = CHANGE, .at = at}, __LINE__);
    for (size_t at = 0; at < 70; at++)
        check_harm((harm){.db = "members", .key = "=", .how = CHANGE, .at = at}, __LINE__);
}

/* Found by the check although what was loaded before the damage is still in use. */
static void test_found_behind_a_cache(void) {
    harm h = {.db = "members", .key = "user:ana", .how = REMOVE};
    CU_ASSERT_EQUAL(sees("user:ana", "a"), 0);
    OK(cn_catalog_write(s_tenant, do_harm, &h));
    CU_ASSERT_EQUAL(checked("members").of, CN_DAMAGED);
    OK(cn_catalog_write(s_tenant, mend, &h));
    CU_ASSERT_EQUAL(checked("members").of, CN_OK);
}

static void test_changes_hold_at_once(void) {
    uint32_t n;
    OK(cn_member_add(s_tenant, CN_STR("user:zoe"), s_labels("group:out"), &s_who));
    CU_ASSERT_EQUAL(sees("user:zoe", "a"), 0);
    OK(cn_member_set(s_tenant, CN_STR("user:zoe"), s_labels("group:staff"), &s_who));
    CU_ASSERT_EQUAL(sees("user:zoe", "a"), 1);
    OK(cn_member_remove(s_tenant, CN_STR("user:ana"), &s_who));
    CU_ASSERT_EQUAL(sees("user:ana", "a"), 1);
    OK(cn_member_sync(s_tenant, CN_STR("user:ana group:team\ngroup:team group:out,group:staff\nuser:zoe group:staff\n"), &s_who, &n));
    CU_ASSERT_EQUAL(n, 3);
    CU_ASSERT_EQUAL(sees("user:ana", "a"), 0);
    reopen();
    CU_ASSERT_EQUAL(sees("user:ana", "a"), 0);
    CU_ASSERT_EQUAL(checked("members").damaged, 0);
}

/* ---------- the whole directory at once ---------- */
#define MANY 3000
static char text[MANY * 64];

static cn_err sync_many(int changed, uint32_t *ret) {
    size_t n = 0;
    for (int i = 0; i < MANY; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "user:p%d group:%s,group:staff\n", i * 7 % MANY, i == changed ? "other" : "some");
    return cn_member_sync(s_tenant, (cn_str){text, n}, &s_who, ret);
}

static uint64_t pages(void) {
    MDB_txn *txn;
    MDB_envinfo info;
    OK(cn_txn_read(cn_tenant_control(s_tenant), &txn));
    CU_ASSERT_EQUAL(mdb_env_info(mdb_txn_env(txn), &info), 0);
    cn_txn_abort(cn_tenant_control(s_tenant), txn);
    return info.me_last_pgno;
}

/* What stays as it is is not written, so a transaction is as long as what differs. */
static void test_sync_writes_what_differs(void) {
    uint32_t n;
    cn_labels l;
    OK(sync_many(-1, &n));
    uint64_t before = pages();
    CU_ASSERT(n == MANY && before > 50);
    OK(sync_many(5, &n));
    CU_ASSERT(n == MANY && pages() < before + 20);
    OK(cn_principal_expand(s_tenant, CN_STR("user:p35"), &s_arena, &l));
    CU_ASSERT(l.n == 4 && cn_labels_has(l, CN_STR("group:other")));
    OK(cn_principal_expand(s_tenant, CN_STR("user:p36"), &s_arena, &l));
    CU_ASSERT(cn_labels_has(l, CN_STR("group:some")));
    OK(cn_principal_expand(s_tenant, CN_STR("group:team"), &s_arena, &l));
    CU_ASSERT_EQUAL(l.n, 2); /* it is no member any more */
    CU_ASSERT_EQUAL(checked("members").of, CN_OK);
}

#define OURS "user:ana group:team\n# and\ngroup:team group:out,group:staff\n\nuser:zoe group:staff\n"

static void test_sync_again(void) {
    uint32_t n = 7;
    CU_ASSERT_EQUAL(cn_member_sync(s_tenant, CN_STR("user:b group:x\nuser:a group:x\nuser:b group:y\n"), &s_who, &n), CN_INVALID);
    CU_ASSERT(strstr(cn_error_detail(), "line 3: \"user:b\" stands there twice") != NULL);
    CU_ASSERT_EQUAL(cn_member_sync(s_tenant, CN_STR("user:b group:x\nuser:a\n"), &s_who, &n), CN_INVALID);
    CU_ASSERT(strstr(cn_error_detail(), "line 2") != NULL);
    CU_ASSERT_EQUAL(cn_member_sync(s_tenant, CN_STR("# nobody\n"), &s_who, &n), CN_REFUSED);
    CU_ASSERT(n == 7 && checked("members").of == CN_OK);
    OK(cn_member_sync(s_tenant, CN_STR(OURS), &s_who, &n));
    CU_ASSERT(n == 3 && sees("user:ana", "a") == 0 && sees("user:zoe", "a") == 1);
    harm lost = {.db = "members", .key = "=", .how = REMOVE}, hurt = {.db = "members", .key = "group:team", .how = CHANGE, .at = 9};
    OK(cn_catalog_write(s_tenant, do_harm, &lost));
    OK(cn_catalog_write(s_tenant, do_harm, &hurt));
    reopen();
    CU_ASSERT_EQUAL(sees("user:ana", "a"), NO_ANSWER);
    OK(cn_member_sync(s_tenant, CN_STR(OURS), &s_who, &n)); /* which is the whole, whatever was there */
    CU_ASSERT(n == 3 && sees("user:ana", "a") == 0 && sees("user:zoe", "a") == 1);
    CU_ASSERT_EQUAL(checked("members").of, CN_OK);
}

/* ---------- refused attempts ---------- */
static uint64_t records(void) {
    uint64_t n = 0;
    cn_digest head;
    OK(cn_audit_verify(s_tenant, &n, &head));
    return n;
}

/* Each is in the chain once, as text that can be read. */
static void test_refusals_are_recorded(void) {
    static char lengthy[CN_DOC_ID_MAX + 100], reason[CN_REASON_MAX + 2];
    cn_labels staff = s_labels("group:staff");
    uint64_t n = records();
    memset(lengthy, 'x', sizeof lengthy - 1);
    for (size_t i = 0; i + 2 < sizeof reason; i += 3)
        memcpy(reason + i, "\xe2\x82\xac", 3); /* the cut is inside one */
    cn_actor wordy = {s_who.who, s_who.via, {reason, sizeof reason}};
    CU_ASSERT_EQUAL(cn_member_set(s_tenant, CN_STR("public"), staff, &s_who), CN_INVALID);
    CU_ASSERT_EQUAL(cn_member_set(s_tenant, CN_STR("no label"), staff, &s_who), CN_INVALID);
    CU_ASSERT_EQUAL(cn_member_set(s_tenant, cn_str_of(lengthy), staff, &s_who), CN_INVALID);
    CU_ASSERT_EQUAL(cn_member_set(s_tenant, CN_STR("user:\xff"), staff, &s_who), CN_INVALID);
    CU_ASSERT_EQUAL(cn_member_add(s_tenant, CN_STR("user:ana"), (cn_labels){0}, &s_who), CN_INVALID);
    CU_ASSERT_EQUAL(cn_member_remove(s_tenant, CN_STR("nobody\xff"), &s_who), CN_INVALID);
    CU_ASSERT_EQUAL(cn_member_remove(s_tenant, CN_STR("user:nobody"), &s_who), CN_NOT_FOUND);
    CU_ASSERT_EQUAL(records(), n + 7);
    CU_ASSERT_EQUAL(cn_version_activate(s_tenant, CN_STR("m"), 1, CN_ANY_VERSION, false, &wordy, NULL), CN_INVALID);
    CU_ASSERT(strstr(cn_error_detail(), "reason") != NULL);
    CU_ASSERT_EQUAL(cn_version_mark(s_tenant, CN_STR("m"), 1, CN_MARK_PINNED, 0, &wordy), CN_INVALID);
    CU_ASSERT_EQUAL(cn_version_drop(s_tenant, CN_STR("m"), 1, &wordy), CN_REFUSED);
    CU_ASSERT_EQUAL(records(), n + 10);
    CN_AUTO_BUF cn_buf b = {.cap = 1 << 20};
    CN_AUTO_UNPACKED cn_unpacked u = {0};
    OK(cn_audit_list(s_tenant, 0, 10, NULL, NULL, &b));
    OK(cn_unpack(&u, b.p, b.n));
    CU_ASSERT_EQUAL_FATAL(u.o.via.array.size, 10);
    for (uint32_t i = 0; i < 10; i++) {
        const msgpack_object *r = &u.o.via.array.ptr[i];
        cn_str outcome = cn_obj_str(cn_get(r, "outcome"));
        CU_ASSERT(outcome.n > 8 && memcmp(outcome.p, "refused:", 8) == 0);
        CU_ASSERT(cn_utf8_ok(outcome) && cn_utf8_ok(cn_obj_str(cn_get(r, "target"))) && cn_utf8_ok(cn_obj_str(cn_get(r, "reason"))));
    }
}

/* ---------- the epoch ---------- */
static cn_err lose_epoch(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    char *kept = ctx;
    cn_str v;
    CN_TRY(cn_db_get(txn, c->meta, CN_STR("epoch"), &v));
    memcpy(kept + 1, v.p, (size_t)(kept[0] = (char)v.n));
    return cn_db_del(txn, c->meta, CN_STR("epoch"));
}

static cn_err mend_epoch(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    const char *kept = ctx;
    return cn_db_put(txn, c->meta, CN_STR("epoch"), (cn_str){kept + 1, (size_t)kept[0]});
}

/* It does not begin anew: what was cached under the number then reached again would be taken for current. */
static void test_a_lost_epoch(void) {
    char kept[64];
    uint64_t epoch, before = s_epoch();
    cn_labels l;
    OK(cn_catalog_write(s_tenant, lose_epoch, kept));
    CU_ASSERT_EQUAL(cn_epoch(s_tenant, &epoch), CN_DAMAGED);
    CU_ASSERT(strstr(cn_error_detail(), "backup") != NULL);
    CU_ASSERT_EQUAL(s_policy(CN_POLICY_HIDE, "b", "", &s_who), CN_DAMAGED);
    CU_ASSERT_EQUAL(cn_member_add(s_tenant, CN_STR("user:new"), s_labels("group:staff"), &s_who), CN_DAMAGED);
    CU_ASSERT_EQUAL(s_activate("m", 1), CN_DAMAGED);
    CU_ASSERT_EQUAL(cn_principal_expand(s_tenant, CN_STR("user:zoe"), &s_arena, &l), CN_DAMAGED);
    CU_ASSERT_EQUAL(s_sees("m", 0, "public", "b"), NO_ANSWER);
    OK(cn_catalog_write(s_tenant, mend_epoch, kept));
    CU_ASSERT_EQUAL(s_epoch(), before);
    CU_ASSERT_EQUAL(s_sees("m", 0, "public", "b"), 1);
}

/* ---------- a tenant's check ---------- */
static cn_err lose_policy(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    (void)ctx;
    return cn_db_del(txn, c->policy, CN_STR("="));
}

/* Without any index too. */
static void test_a_new_tenant(void) {
    cn_tenant *acme = s_tenant;
    OK(cn_tenant_create(s_data, CN_STR("fresh"), &s_who));
    OK(cn_tenant_open(s_data, CN_STR("fresh"), &s_tenant));
    told x = checked("policy");
    CU_ASSERT(x.of == CN_OK && x.damaged == 0 && x.things == 4);
    OK(cn_catalog_write(s_tenant, lose_policy, NULL));
    CU_ASSERT_EQUAL(checked("policy").of, CN_DAMAGED);
    char kept[64];
    CU_ASSERT_EQUAL(s_epoch(), 0);
    OK(cn_catalog_write(s_tenant, lose_epoch, kept));
    CU_ASSERT_EQUAL(cn_member_set(s_tenant, CN_STR("user:ana"), s_labels("group:x"), &s_who), CN_DAMAGED);
    cn_tenant_unref(s_tenant);
    s_tenant = acme;
}

typedef struct space {
    char key[64], value[4096];
    size_t key_n, n;
    bool lose;
} space;

static cn_err first_space(void *ctx, cn_str key, cn_str value, bool *stop) {
    space *s = ctx;
    memcpy(s->key, key.p, s->key_n = key.n);
    memcpy(s->value, value.p, s->n = value.n);
    *stop = true;
    return CN_OK;
}

static cn_err hurt_space(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    space *s = ctx;
    CN_TRY(cn_db_each(txn, c->space, CN_STR(""), first_space, s));
    if (s->lose)
        return cn_db_del(txn, c->space, (cn_str){s->key, s->key_n});
    char changed[4096];
    memcpy(changed, s->value, s->n);
    float none = NAN;
    memcpy(changed + s->n - sizeof none, &none, sizeof none); /* the last of the mean, the record's last field */
    uint32_t crc = cn_crc32c(0, changed + CN_RECORD_HEAD, s->n - CN_RECORD_HEAD);
    memcpy(changed + 1, &crc, 4);
    return cn_db_put(txn, c->space, (cn_str){s->key, s->key_n}, (cn_str){changed, s->n});
}

static cn_err mend_space(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    const space *s = ctx;
    return cn_db_put(txn, c->space, (cn_str){s->key, s->key_n}, (cn_str){s->value, s->n});
}

static void test_spaces(void) {
    space wrong = {.lose = false}, lost = {.lose = true};
    CU_ASSERT_EQUAL(checked("spaces").damaged, 0);
    OK(cn_catalog_write(s_tenant, hurt_space, &wrong));
    CU_ASSERT_EQUAL(checked("spaces").of, CN_DAMAGED);
    OK(cn_catalog_write(s_tenant, mend_space, &wrong));
    OK(cn_catalog_write(s_tenant, hurt_space, &lost));
    CU_ASSERT_EQUAL(checked("m/1").of, CN_DAMAGED);
    OK(cn_catalog_write(s_tenant, mend_space, &lost));
    CU_ASSERT_EQUAL(checked("m/1").damaged, 0);
}

void add_member_suite(void) {
    CU_pSuite s = CU_add_suite("members", set_up, tear_down);
    CU_add_test(s, "damage", test_damage);
    CU_add_test(s, "found behind a cache", test_found_behind_a_cache);
    CU_add_test(s, "changes hold at once", test_changes_hold_at_once);
    CU_add_test(s, "sync writes what differs", test_sync_writes_what_differs);
    CU_add_test(s, "sync again", test_sync_again);
    CU_add_test(s, "refusals are recorded", test_refusals_are_recorded);
    CU_add_test(s, "a lost epoch", test_a_lost_epoch);
    CU_add_test(s, "a new tenant", test_a_new_tenant);
    CU_add_test(s, "spaces", test_spaces);
}
