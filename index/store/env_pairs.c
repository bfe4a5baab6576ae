/* Values by their keys, within a transaction. */
#include <string.h>

#include "engine/base/mem.h"
#include "index/store/env.h"

static MDB_val val_of(cn_str s) { return (MDB_val){s.n, (void *)(uintptr_t)s.p}; }
static cn_str str_of(MDB_val v) { return (cn_str){v.mv_data, v.mv_size}; }

cn_err cn_db_get(MDB_txn *txn, MDB_dbi dbi, cn_str key, cn_str *ret) {
    MDB_val k = val_of(key), v;
    int rc = mdb_get(txn, dbi, &k, &v);
    if (rc == MDB_NOTFOUND)
        return CN_NOT_FOUND;
    if (rc)
        return cn_mdb(rc, "reading a value");
    *ret = str_of(v);
    return CN_OK;
}

cn_err cn_db_put(MDB_txn *txn, MDB_dbi dbi, cn_str key, cn_str value) {
    MDB_val k = val_of(key), v = val_of(value);
    return cn_mdb(mdb_put(txn, dbi, &k, &v, 0), "writing a value");
}

cn_err cn_db_del(MDB_txn *txn, MDB_dbi dbi, cn_str key) {
    MDB_val k = val_of(key);
    int rc = mdb_del(txn, dbi, &k, NULL);
    return rc == MDB_NOTFOUND ? CN_OK : cn_mdb(rc, "deleting a value");
}

void cn_cursor_close(MDB_cursor **c) {
    if (*c)
        mdb_cursor_close(*c);
}

cn_err cn_db_each(MDB_txn *txn, MDB_dbi dbi, cn_str prefix, cn_db_each_fn *fn, void *ctx) {
    CN_CLEANUP(cn_cursor_close) MDB_cursor *c = NULL;
    CN_TRY(cn_mdb(mdb_cursor_open(txn, dbi, &c), "reading a database"));
    MDB_val k = val_of(prefix), v;
    int rc = mdb_cursor_get(c, &k, &v, prefix.n ? MDB_SET_RANGE : MDB_FIRST);
    for (bool stop = false; rc == 0 && !stop; rc = stop ? 0 : mdb_cursor_get(c, &k, &v, MDB_NEXT)) {
        if (k.mv_size < prefix.n || (prefix.n && memcmp(k.mv_data, prefix.p, prefix.n) != 0))
            return CN_OK;
        CN_TRY(fn(ctx, str_of(k), str_of(v), &stop));
    }
    return rc == MDB_NOTFOUND ? CN_OK : cn_mdb(rc, "reading a database");
}
