#include "index/catalog/records.h"

/* A record of fixed length, read for each query: no zone, no heap. Payload: MessagePack uint 64. */
#define EPOCH_FORMAT 1
#define EPOCH_BYTES (CN_RECORD_HEAD + 9)

static cn_err epoch_read(MDB_txn *txn, MDB_dbi meta, uint64_t *ret) {
    cn_str v;
    cn_err err = cn_db_get(txn, meta, CN_STR("epoch"), &v);
    CN_TRY(err);
    const uint8_t *p = (const uint8_t *)v.p;
    if (v.n != EPOCH_BYTES || p[0] != EPOCH_FORMAT || p[CN_RECORD_HEAD] != 0xcf)
        return cn_fail(CN_DAMAGED, "the tenant's epoch is not readable");
    uint32_t crc = (uint32_t)p[1] | (uint32_t)p[2] << 8 | (uint32_t)p[3] << 16 | (uint32_t)p[4] << 24;
    if (crc != cn_crc32c(0, p + CN_RECORD_HEAD, 9))
        return cn_fail(CN_DAMAGED, "the tenant's epoch: its checksum does not hold");
    *ret = cn_be64(v.p + CN_RECORD_HEAD + 1);
    return CN_OK;
}

/* None is right only before the first change; a tenant that had an index has seen some. */
cn_err cn_epoch_of(MDB_txn *txn, MDB_dbi meta, uint64_t *ret) {
    cn_str v;
    cn_err err = epoch_read(txn, meta, ret);
    if (err != CN_NOT_FOUND)
        return err;
    *ret = 0;
    err = cn_db_get(txn, meta, CN_STR("ids"), &v);
    return err == CN_OK ? cn_fail(CN_DAMAGED, "the tenant's epoch is missing") : err == CN_NOT_FOUND ? CN_OK : err;
}

cn_err cn_epoch(cn_tenant *t, uint64_t *ret) {
    cn_env *env = cn_tenant_control(t);
    MDB_dbi meta;
    MDB_txn *txn;
    CN_TRY(cn_env_dbi(env, "meta", true, &meta));
    CN_TRY(cn_txn_read(env, &txn));
    cn_err err = cn_epoch_of(txn, meta, ret);
    cn_txn_abort(env, txn);
    return err;
}

cn_err cn_epoch_raise(cn_tenant *t, MDB_txn *txn, uint64_t *ret) {
    MDB_dbi meta;
    uint64_t epoch = 0;
    CN_TRY(cn_env_dbi(cn_tenant_control(t), "meta", false, &meta));
    cn_err err = epoch_read(txn, meta, &epoch);
    if (err != CN_OK && err != CN_NOT_FOUND)
        return err;
    uint8_t v[EPOCH_BYTES] = {EPOCH_FORMAT};
    epoch++;
    v[CN_RECORD_HEAD] = 0xcf;
    for (int i = 0; i < 8; i++)
        v[CN_RECORD_HEAD + 1 + i] = (uint8_t)(epoch >> (56 - 8 * i));
    uint32_t crc = cn_crc32c(0, v + CN_RECORD_HEAD, 9);
    for (int i = 0; i < 4; i++)
        v[1 + i] = (uint8_t)(crc >> (8 * i));
    CN_TRY(cn_db_put(txn, meta, CN_STR("epoch"), (cn_str){(const char *)v, sizeof v}));
    if (ret)
        *ret = epoch;
    return CN_OK;
}
