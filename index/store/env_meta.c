/* The meta page that a commit writes over: kept, and put back when that write fails. */
#include <unistd.h>

#include "index/store/env_inside.h"

cn_err cn_meta_save(MDB_txn *txn, const char *path, cn_meta_saved *ret) {
    MDB_env *mdb = mdb_txn_env(txn);
    MDB_stat st;
    CN_TRY(cn_mdb(mdb_env_stat(mdb, &st), "committing to %s", path));
    CN_TRY(cn_mdb(mdb_env_get_fd(mdb, &ret->fd), "committing to %s", path));
    ret->at = (off_t)(mdb_txn_id(txn) & 1) * (off_t)st.ms_psize;
    ssize_t n = pread(ret->fd, ret->bytes, sizeof ret->bytes, ret->at);
    return n == (ssize_t)sizeof ret->bytes ? CN_OK : cn_fail(CN_UNAVAILABLE, "committing to %s: its meta page cannot be read", path);
}

void cn_meta_put_back(const cn_meta_saved *s) {
    if (pwrite(s->fd, s->bytes, sizeof s->bytes, s->at) == (ssize_t)sizeof s->bytes)
        fdatasync(s->fd);
}

bool cn_mdb_broken(MDB_env *mdb) {
    MDB_txn *txn;
    int rc = mdb_txn_begin(mdb, NULL, MDB_RDONLY, &txn);
    if (rc == 0)
        mdb_txn_abort(txn);
    return rc == MDB_PANIC;
}
