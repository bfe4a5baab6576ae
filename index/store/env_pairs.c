/* Values by their keys, within a transaction. */
#include <string.h>

#include "engine/base/mem.h"
#include "index/store/env_inside.h"

static MDB_val val_of(cn_str s) { return (MDB_val){s.n, (void *)(uintptr_t)s.p}; }
static cn_str str_of(MDB_val v) { return (cn_str){v.mv_data, v.mv_size}; }

/* What LMDB says of a file that was cut short is whatever it stumbles over first: the file's own state is said before that. */
static cn_err told(MDB_txn *txn, int rc, const char *doing) {
    cn_env *e = mdb_env_get_userctx(mdb_txn_env(txn));
    cn_err err = cn_mdb(rc, "%s %s", doing, e->path);
    return err != CN_OK && (rc == MDB_CORRUPTED || rc == MDB_BAD_TXN) && cn_env_sound(e) != CN_OK ? CN_DAMAGED : err;
}

cn_err cn_db_get(MDB_txn *txn, MDB_dbi dbi, cn_str key, cn_str *ret) {
    MDB_val k = val_of(key), v;
    int rc = cn_ward_get(txn, dbi, &k, &v);
    if (rc == MDB_NOTFOUND)
        return CN_NOT_FOUND;
    if (rc)
        return told(txn, rc, "reading");
    *ret = str_of(v);
    return CN_OK;
}

cn_err cn_db_put(MDB_txn *txn, MDB_dbi dbi, cn_str key, cn_str value) {
    MDB_val k = val_of(key), v = val_of(value);
    return told(txn, mdb_put(txn, dbi, &k, &v, 0), "writing");
}

cn_err cn_db_del(MDB_txn *txn, MDB_dbi dbi, cn_str key) {
    MDB_val k = val_of(key);
    int rc = mdb_del(txn, dbi, &k, NULL);
    return rc == MDB_NOTFOUND ? CN_OK : told(txn, rc, "writing");
}

void cn_cursor_close(MDB_cursor **c) {
    if (*c)
        mdb_cursor_close(*c);
}

cn_err cn_db_each(MDB_txn *txn, MDB_dbi dbi, cn_str prefix, cn_db_each_fn *fn, void *ctx) {
    CN_CLEANUP(cn_cursor_close) MDB_cursor *c = NULL;
    CN_TRY(told(txn, cn_cursor_open(txn, dbi, &c), "reading"));
    MDB_val k = val_of(prefix), v;
    int rc = cn_cursor_get(c, &k, &v, prefix.n ? MDB_SET_RANGE : MDB_FIRST);
    for (bool stop = false; rc == 0 && !stop; rc = stop ? 0 : cn_cursor_get(c, &k, &v, MDB_NEXT)) {
        if (k.mv_size < prefix.n || (prefix.n && memcmp(k.mv_data, prefix.p, prefix.n) != 0))
            return CN_OK;
        CN_TRY(fn(ctx, str_of(k), str_of(v), &stop));
    }
    return rc == MDB_NOTFOUND ? CN_OK : told(txn, rc, "reading");
}

static cn_err is_named(void *ctx, cn_str key, cn_str value, bool *stop) {
    (void)value, (void)stop;
    for (const char *const *name = ctx; *name; name++)
        if (cn_str_is(key, *name))
            return CN_OK;
    return cn_fail(CN_DAMAGED, "a database of a name that none has");
}

cn_err cn_db_only(MDB_txn *txn, const char *const *names) {
    MDB_dbi main_tree;
    CN_TRY(told(txn, mdb_dbi_open(txn, NULL, 0, &main_tree), "reading"));
    return cn_db_each(txn, main_tree, (cn_str){0}, is_named, (void *)(uintptr_t)names);
}
