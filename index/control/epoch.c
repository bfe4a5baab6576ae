#include "index/control/epoch.h"

#include "index/control/records.h"

/* A record of fixed length, read for each query: no zone, no heap. Payload: MessagePack uint 64. */
#define EPOCH_FORMAT 1
#define EPOCH_BYTES (CN_RECORD_HEAD + 9)

#define EPOCH CN_STR("epoch")
#define WIDENED CN_STR("widened")

/* CN_NOT_FOUND leaves no text. */
static cn_err get(MDB_txn *txn, MDB_dbi dbi, cn_str key, uint64_t *ret) {
    cn_str v;
    CN_TRY(cn_db_get(txn, dbi, key, &v));
    const uint8_t *p = (const uint8_t *)v.p;
    if (v.n != EPOCH_BYTES || p[0] != EPOCH_FORMAT || p[CN_RECORD_HEAD] != 0xcf)
        return cn_fail(CN_DAMAGED, "the epoch is not readable; restore control.mdb (of keys: cairn.mdb) from a backup");
    if (!cn_record_holds(v))
        return cn_fail(CN_DAMAGED, "the epoch: its checksum does not hold; restore control.mdb (of keys: cairn.mdb) from a backup");
    *ret = cn_be64(v.p + CN_RECORD_HEAD + 1);
    return CN_OK;
}

/* There is one from the making on: one that began anew would let old caches pass for current. */
cn_err cn_epoch_of(MDB_txn *txn, MDB_dbi dbi, uint64_t *ret) {
    cn_err err = get(txn, dbi, EPOCH, ret);
    return err == CN_NOT_FOUND ? cn_fail(CN_DAMAGED, "the epoch is missing; restore control.mdb (of keys: cairn.mdb) from a backup") : err;
}

cn_err cn_epoch_widened(MDB_txn *txn, MDB_dbi meta, uint64_t *ret) {
    cn_err err = get(txn, meta, WIDENED, ret);
    if (err != CN_NOT_FOUND)
        return err;
    *ret = 0;
    return CN_OK;
}

/* Read from the file once for each of its commits: a query asks several times. */
cn_err cn_epoch_now(cn_env *env, const char *db, uint64_t *ret) {
    MDB_dbi dbi;
    MDB_txn *txn;
    uint64_t stamp;
    CN_TRY(cn_env_stamp(env, &stamp));
    if (cn_env_recall(env, stamp, ret))
        return CN_OK;
    CN_TRY(cn_env_dbi(env, db, true, &dbi));
    CN_TRY(cn_txn_read(env, &txn));
    cn_err err = cn_epoch_of(txn, dbi, ret);
    if (err == CN_OK)
        cn_env_keep(env, mdb_txn_id(txn), *ret);
    cn_txn_abort(env, txn);
    return err;
}

cn_err cn_epoch(cn_tenant *t, uint64_t *ret) { return cn_epoch_now(cn_tenant_control(t), "meta", ret); }

static cn_err put(MDB_txn *txn, MDB_dbi dbi, cn_str key, uint64_t epoch) {
    uint8_t v[EPOCH_BYTES] = {EPOCH_FORMAT};
    v[CN_RECORD_HEAD] = 0xcf;
    for (int i = 0; i < 8; i++)
        v[CN_RECORD_HEAD + 1 + i] = (uint8_t)(epoch >> (56 - 8 * i));
    uint32_t crc = cn_crc32c(0, v + CN_RECORD_HEAD, 9);
    for (int i = 0; i < 4; i++)
        v[1 + i] = (uint8_t)(crc >> (8 * i));
    return cn_db_put(txn, dbi, key, (cn_str){(const char *)v, sizeof v});
}

cn_err cn_epoch_put(MDB_txn *txn, MDB_dbi dbi, uint64_t epoch) { return put(txn, dbi, EPOCH, epoch); }

cn_err cn_epoch_raise(cn_tenant *t, MDB_txn *txn, uint64_t *ret) {
    MDB_dbi meta;
    uint64_t epoch;
    CN_TRY(cn_env_dbi(cn_tenant_control(t), "meta", false, &meta));
    CN_TRY(cn_epoch_of(txn, meta, &epoch));
    CN_TRY(cn_epoch_put(txn, meta, ++epoch));
    if (ret)
        *ret = epoch;
    return CN_OK;
}

cn_err cn_epoch_raise_widened(cn_tenant *t, MDB_txn *txn, uint64_t *ret) {
    MDB_dbi meta;
    uint64_t epoch;
    CN_TRY(cn_epoch_raise(t, txn, &epoch));
    CN_TRY(cn_env_dbi(cn_tenant_control(t), "meta", false, &meta));
    CN_TRY(put(txn, meta, WIDENED, epoch));
    if (ret)
        *ret = epoch;
    return CN_OK;
}
