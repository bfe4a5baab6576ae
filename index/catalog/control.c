#include "index/catalog/control.h"

#include <stdio.h>

cn_err cn_control_handles(cn_tenant *t, cn_control *ret) {
    cn_env *e = cn_tenant_control(t);
    ret->t = t;
    CN_TRY(cn_env_dbi(e, "meta", true, &ret->meta));
    CN_TRY(cn_env_dbi(e, "indexes", true, &ret->indexes));
    CN_TRY(cn_env_dbi(e, "versions", true, &ret->versions));
    CN_TRY(cn_env_dbi(e, "spaces", true, &ret->spaces));
    CN_TRY(cn_env_dbi(e, "inforce", true, &ret->inforce));
    CN_TRY(cn_env_dbi(e, "audit", true, &ret->audit));
    return cn_env_dbi(e, "retired", true, &ret->retired);
}

cn_err cn_control_read(cn_tenant *t, cn_control *ret) {
    *ret = (cn_control){0};
    CN_TRY(cn_control_handles(t, ret));
    return cn_txn_read(cn_tenant_control(t), &ret->txn);
}

cn_err cn_control_write(cn_tenant *t, cn_control *ret) {
    *ret = (cn_control){0};
    CN_TRY(cn_control_handles(t, ret));
    return cn_txn_write(cn_tenant_control(t), &ret->txn);
}

cn_err cn_control_commit(cn_control *c) {
    MDB_txn *txn = c->txn;
    c->txn = NULL;
    return cn_txn_commit(cn_tenant_control(c->t), txn);
}

void cn_control_end(cn_control *c) {
    if (c->txn)
        cn_txn_abort(cn_tenant_control(c->t), c->txn);
    c->txn = NULL;
}

cn_err cn_meta_u64(const cn_control *c, const char *key, uint64_t *ret) {
    cn_str v;
    cn_err e = cn_db_get(c->txn, c->meta, cn_str_of(key), &v);
    uint64_t n = 0;
    if (e == CN_OK && v.n != sizeof n)
        return cn_fail(CN_DAMAGED, "the control record \"%s\" has %zu bytes", key, v.n);
    if (e == CN_OK)
        memcpy(&n, v.p, sizeof n);
    else if (e != CN_NOT_FOUND)
        return e;
    *ret = n;
    return CN_OK;
}

cn_err cn_meta_put_u64(const cn_control *c, const char *key, uint64_t v) {
    return cn_db_put(c->txn, c->meta, cn_str_of(key), (cn_str){(const char *)&v, sizeof v});
}

static void put_be(uint8_t *p, uint64_t v) {
    for (int i = 0; i < 8; i++)
        p[i] = (uint8_t)(v >> (56 - 8 * i));
}

void cn_version_key(uint64_t index_id, uint64_t number, uint8_t key[CN_VERSION_KEY]) {
    put_be(key, index_id);
    put_be(key + 8, number);
}

cn_str cn_target(char text[128], cn_str index, uint64_t number) {
    int n = number ? snprintf(text, 128, CN_STR_FMT "/%llu", CN_STR_ARG(index), (unsigned long long)number) : snprintf(text, 128, CN_STR_FMT, CN_STR_ARG(index));
    return (cn_str){text, n > 127 ? 127 : (size_t)n};
}

cn_err cn_epoch(cn_tenant *t, uint64_t *ret) {
    CN_AUTO_CONTROL cn_control c;
    CN_TRY(cn_control_read(t, &c));
    return cn_meta_u64(&c, "epoch", ret);
}

cn_err cn_epoch_raise(cn_tenant *t, MDB_txn *txn, uint64_t *ret) {
    cn_control c = {0};
    uint64_t now;
    CN_TRY(cn_control_handles(t, &c));
    c.txn = txn;
    CN_TRY(cn_meta_u64(&c, "epoch", &now));
    CN_TRY(cn_meta_put_u64(&c, "epoch", now + 1));
    if (ret)
        *ret = now + 1;
    return CN_OK;
}
