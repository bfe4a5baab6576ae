#include "index/control/sum.h"

#include "index/control/records.h"

#define KEY CN_STR("=")

static void toggle(cn_sum *s, cn_str key, cn_str value) {
    cn_sha256 h;
    cn_sha256_begin(&h);
    cn_sha256_field(&h, key);
    cn_sha256_field(&h, value);
    cn_digest d = cn_sha256_get(&h);
    cn_sha256_end(&h);
    for (size_t i = 0; i < sizeof d.b; i++)
        s->digest.b[i] ^= d.b[i];
}

void cn_sum_add(cn_sum *s, cn_str key, cn_str value) {
    toggle(s, key, value);
    s->records++;
}

void cn_sum_remove(cn_sum *s, cn_str key, cn_str value) {
    toggle(s, key, value);
    s->records--;
}

void cn_sum_join(cn_sum *s, const cn_sum *more) {
    for (size_t i = 0; i < sizeof s->digest.b; i++)
        s->digest.b[i] ^= more->digest.b[i];
    s->records += more->records;
}

bool cn_sum_same(const cn_sum *a, const cn_sum *b) { return a->records == b->records && cn_digest_eq(&a->digest, &b->digest); }
bool cn_sum_is(cn_str key) { return cn_str_eq(key, KEY); }

#define FIELDS(s) {{"records", CN_F_U64, &(s)->records, 0}, {"digest", CN_F_FIXED, (s)->digest.b, 32}}

cn_err cn_sum_get(MDB_txn *txn, MDB_dbi dbi, const char *what, cn_sum *ret) {
    cn_str value;
    cn_sum s = {0};
    const cn_field f[] = FIELDS(&s);
    cn_err e = cn_db_get(txn, dbi, KEY, &value);
    if (e == CN_NOT_FOUND)
        return cn_fail(CN_DAMAGED, "the count and digest of the %s are missing; without them no document may be shown: restore control.mdb from a backup", what);
    CN_TRY(e);
    e = cn_fields_read(value, "the record of its count and digest", NULL, f, 2);
    if (e != CN_OK)
        return e == CN_DAMAGED ? cn_wrap(e, "the %s; no document is shown until control.mdb is restored", what) : e;
    *ret = s;
    return CN_OK;
}

cn_err cn_sum_put(MDB_txn *txn, MDB_dbi dbi, const cn_sum *s) {
    cn_sum copy = *s;
    const cn_field f[] = FIELDS(&copy);
    return cn_fields_put(txn, dbi, KEY, f, 2);
}

cn_err cn_sum_differs(const char *what) {
    return cn_fail(CN_DAMAGED, "the %s does not match its stored count and digest; no document is shown until control.mdb is restored from a backup", what);
}

cn_err cn_sum_replace(MDB_txn *txn, MDB_dbi dbi, cn_str key, cn_str value, cn_sum *io) {
    cn_str old;
    cn_err e = cn_db_get(txn, dbi, key, &old);
    if (e == CN_OK)
        cn_sum_remove(io, key, old);
    else if (e != CN_NOT_FOUND)
        return e;
    if (value.n == 0)
        return cn_db_del(txn, dbi, key);
    cn_sum_add(io, key, value);
    return cn_db_put(txn, dbi, key, value);
}
