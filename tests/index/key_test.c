/* Keys: a record that is not whole opens nothing, whatever is missing in it. */
#include <CUnit/CUnit.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "index/policy/key.h"
#include "tests/index/small.h"
#include "tests/index/suites.h"

#define OK(x) CU_ASSERT_EQUAL(x, CN_OK)

static char key[CN_KEY_TEXT], id[9];
static cn_digest secret;
static char row_name[9];
static cn_str row = {row_name, sizeof row_name};

/* A narrow key: each of its fields bounds it. */
static int set_up(void) {
    cn_key_info k = {.tenant = CN_STR("acme"), .scopes = CN_SCOPE(query) | CN_SCOPE(act_as), .principals = CN_STR("user:a*"), .index = CN_STR("docs"),
                     .expires_us = INT64_MAX / 2};
    if (!s_open() || cn_key_add(s_data, &k, &s_who, key) != CN_OK || cn_key_split(cn_str_of(key), id, &secret) != CN_OK)
        return 1;
    row_name[0] = 'k';
    memcpy(row_name + 1, id, 8);
    return 0;
}

static int tear_down(void) {
    s_close();
    return 0;
}

static cn_err opens(cn_key_info *ret) { return cn_key_check_secret(s_data, id, &secret, &s_arena, ret); }

/* The value of a row of the host's list of keys; put: takes its place. */
static void exchange(cn_str name, cn_buf *kept, const cn_str *put) {
    MDB_dbi dbi;
    MDB_txn *txn;
    cn_str v;
    OK(cn_env_dbi(cn_data_host(s_data), "keys", false, &dbi));
    OK(cn_txn_write(cn_data_host(s_data), &txn));
    if (kept && cn_db_get(txn, dbi, name, &v) == CN_OK) {
        cn_buf_reset(kept);
        cn_buf_add(kept, v.p, v.n);
    }
    if (put)
        OK(put->n ? cn_db_put(txn, dbi, name, *put) : cn_db_del(txn, dbi, name));
    OK(cn_txn_commit(cn_data_host(s_data), txn));
}

static void test_as_made(void) {
    cn_key_info k;
    OK(opens(&k));
    CU_ASSERT(cn_str_is(k.tenant, "acme") && cn_str_is(k.principals, "user:a*") && cn_str_is(k.index, "docs") && k.labels.n == 0);
    CU_ASSERT(k.scopes == (CN_SCOPE(query) | CN_SCOPE(act_as)) && k.expires_us == INT64_MAX / 2 && !k.revoked);
    cn_key_info labelled = {.tenant = CN_STR("acme"), .scopes = CN_SCOPE(query), .labels = s_labels("public,group:x"), .expires_us = CN_NO_TIME};
    char other[CN_KEY_TEXT], other_id[9];
    cn_digest s;
    OK(cn_key_add(s_data, &labelled, &s_who, other));
    OK(cn_key_split(cn_str_of(other), other_id, &s));
    OK(cn_key_check_secret(s_data, other_id, &s, &s_arena, &k));
    CU_ASSERT(k.labels.n == 2 && cn_str_is(k.labels.v[0], "group:x") && cn_str_is(k.labels.v[1], "public"));
}

/* The record without its i-th field, its checksum right. */
static void without(cn_str value, uint32_t left_out, cn_buf *out) {
    CN_AUTO_UNPACKED cn_unpacked u = {0};
    OK(cn_record_read(&u, value, 1, "key"));
    size_t at = cn_record_open(out, 1);
    cn_pack_map(out, u.o.via.map.size - 1);
    for (uint32_t i = 0; i < u.o.via.map.size; i++)
        if (i != left_out) {
            cn_pack_object(out, &u.o.via.map.ptr[i].key);
            cn_pack_object(out, &u.o.via.map.ptr[i].val);
        }
    cn_record_close(out, at);
}

static cn_err count(void *ctx, const cn_key_info *k) {
    (void)k;
    ++*(unsigned *)ctx;
    return CN_OK;
}

static unsigned listed(void) {
    unsigned n = 0;
    OK(cn_key_list(s_data, CN_STR("acme"), count, &n));
    return n;
}

static void check_refused(cn_str changed, cn_str whole, const char *what, size_t at) {
    cn_key_info k;
    unsigned others = listed() - 1;
    exchange(row, NULL, &changed);
    cn_err e = opens(&k);
    if (e != CN_DAMAGED || !strstr(cn_error_detail(), id))
        printf("\n  %s %zu: %s %s", what, at, cn_err_name(e), cn_error_detail());
    CU_ASSERT_EQUAL(e, CN_DAMAGED);
    CU_ASSERT_EQUAL(listed(), others); /* they can still be seen */
    exchange(row, NULL, &whole);
    OK(opens(&k));
}

static void test_fields_left_out(void) {
    CN_AUTO_BUF cn_buf whole = {.cap = 65536};
    exchange(row, &whole, NULL);
    for (uint32_t i = 0; i < 10; i++) {
        CN_AUTO_BUF cn_buf less = {.cap = 65536};
        without(cn_buf_str(&whole), i, &less);
        check_refused(cn_buf_str(&less), cn_buf_str(&whole), "field", i);
    }
}

static void test_each_byte(void) {
    CN_AUTO_BUF cn_buf whole = {.cap = 65536};
    exchange(row, &whole, NULL);
    for (size_t at = 0; at < whole.n; at++) {
        CN_AUTO_BUF cn_buf changed = {.cap = 65536};
        cn_buf_add(&changed, whole.p, whole.n);
        changed.p[at] ^= 4;
        check_refused(cn_buf_str(&changed), cn_buf_str(&whole), "byte", at);
    }
}

/* Another key's record in its place. */
static void test_anothers_record(void) {
    CN_AUTO_BUF cn_buf whole = {.cap = 65536};
    CN_AUTO_BUF cn_buf other = {.cap = 65536};
    cn_key_info k = {.tenant = CN_STR("acme"), .scopes = CN_SCOPE(admin), .expires_us = CN_NO_TIME};
    char text[CN_KEY_TEXT], name[9] = "k";
    OK(cn_key_add(s_data, &k, &s_who, text));
    memcpy(name + 1, k.id, 8);
    exchange((cn_str){name, sizeof name}, &other, NULL);
    exchange(row, &whole, NULL);
    check_refused(cn_buf_str(&other), cn_buf_str(&whole), "another's", 0);
}

static uint64_t records(void) {
    uint64_t n = 0;
    cn_digest head;
    OK(cn_audit_verify(s_tenant, &n, &head));
    return n;
}

static void test_refusals_are_recorded(void) {
    cn_key_info bad = {.tenant = CN_STR("acme"), .expires_us = CN_NO_TIME}, nowhere = {.tenant = CN_STR("nobody"), .scopes = 1, .expires_us = CN_NO_TIME};
    cn_key_info host = {.scopes = CN_SCOPE(operate), .expires_us = CN_NO_TIME};
    char text[CN_KEY_TEXT];
    uint64_t n = records();
    CU_ASSERT_EQUAL(cn_key_add(s_data, &bad, &s_who, text), CN_INVALID); /* no scope */
    CU_ASSERT(strstr(cn_error_detail(), "scope") != NULL);
    CU_ASSERT_EQUAL(records(), n + 1);
    CU_ASSERT_EQUAL(cn_key_revoke(s_data, CN_STR("acme"), CN_STR("aaaaaaaa"), &s_who), CN_NOT_FOUND);
    CU_ASSERT_EQUAL(cn_key_revoke(s_data, CN_STR("acme"), CN_STR("\xff too long and no text"), &s_who), CN_NOT_FOUND);
    CU_ASSERT_EQUAL(records(), n + 3);
    OK(cn_key_add(s_data, &host, &s_who, text));
    CU_ASSERT_EQUAL(cn_key_revoke(s_data, CN_STR("acme"), cn_str_of(host.id), &s_who), CN_NOT_FOUND); /* not this tenant's */
    CU_ASSERT_EQUAL(records(), n + 4);
    OK(cn_key_revoke(s_data, CN_STR(""), cn_str_of(host.id), &s_who));
    CU_ASSERT_EQUAL(cn_key_add(s_data, &nowhere, &s_who, text), CN_NOT_FOUND);
    CU_ASSERT_EQUAL(records(), n + 4); /* there is no chain */
}

static void test_a_lost_epoch(void) {
    CN_AUTO_BUF cn_buf kept = {.cap = 65536};
    uint64_t before, epoch;
    cn_key_info k = {.tenant = CN_STR("acme"), .scopes = CN_SCOPE(query), .expires_us = CN_NO_TIME};
    char text[CN_KEY_TEXT];
    OK(cn_keys_epoch(s_data, &before));
    CU_ASSERT(before > 0);
    const cn_str none = {0};
    exchange(CN_STR("epoch"), &kept, &none);
    CU_ASSERT_EQUAL(cn_keys_epoch(s_data, &epoch), CN_DAMAGED);
    CU_ASSERT_EQUAL(cn_key_add(s_data, &k, &s_who, text), CN_DAMAGED);
    const cn_str again = cn_buf_str(&kept);
    exchange(CN_STR("epoch"), NULL, &again);
    OK(cn_keys_epoch(s_data, &epoch));
    CU_ASSERT_EQUAL(epoch, before);
}

/* ---------- a tenant that goes while keys of it are made ---------- */
static void *make_keys(void *arg) {
    cn_err err = CN_OK;
    (void)arg;
    while (err == CN_OK) {
        cn_key_info k = {.tenant = CN_STR("going"), .scopes = CN_SCOPE(query), .expires_us = CN_NO_TIME};
        char text[CN_KEY_TEXT];
        err = cn_key_add(s_data, &k, &s_who, text);
    }
    CU_ASSERT_EQUAL(err, CN_NOT_FOUND);
    return NULL;
}

static cn_err count_valid(void *ctx, const cn_key_info *k) {
    *(unsigned *)ctx += !k->revoked;
    return CN_OK;
}

/* Whatever its keys were, they open no later tenant of its name. */
static void test_a_dropped_tenant(void) {
    const cn_str going = CN_STR("going");
    for (int i = 0; i < 30; i++) {
        unsigned valid = 0;
        pthread_t maker;
        OK(cn_tenant_create(s_data, going, &s_who));
        CU_ASSERT_EQUAL_FATAL(pthread_create(&maker, NULL, make_keys, NULL), 0);
        while (valid == 0)
            OK(cn_key_list(s_data, going, count_valid, &valid));
        OK(cn_key_drop_tenant(s_data, going, &s_who));
        pthread_join(maker, NULL);
        OK(cn_tenant_create(s_data, going, &s_who));
        valid = 0;
        OK(cn_key_list(s_data, going, count_valid, &valid));
        CU_ASSERT_EQUAL(valid, 0);
        OK(cn_key_drop_tenant(s_data, going, &s_who));
    }
    CU_ASSERT_EQUAL(cn_key_drop_tenant(s_data, going, &s_who), CN_NOT_FOUND);
}

void add_key_suite(void) {
    CU_pSuite s = CU_add_suite("keys", set_up, tear_down);
    CU_add_test(s, "as made", test_as_made);
    CU_add_test(s, "fields left out", test_fields_left_out);
    CU_add_test(s, "each byte", test_each_byte);
    CU_add_test(s, "another's record", test_anothers_record);
    CU_add_test(s, "refusals are recorded", test_refusals_are_recorded);
    CU_add_test(s, "a lost epoch", test_a_lost_epoch);
    CU_add_test(s, "a dropped tenant", test_a_dropped_tenant);
}
