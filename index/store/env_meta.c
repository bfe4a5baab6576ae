/* The meta page that a commit writes over: kept, and put back when that write fails. Where LMDB put the map. */
#include <string.h>
#include <unistd.h>

#include "index/store/env_inside.h"

/* Of a meta page: a page's head, then magic, version, address, size of the map, the two trees, the last page; then the number. */
#define META_TXN (16 + 4 + 4 + 8 + 8 + 2 * 48 + 8)

static cn_err is_older(const cn_meta_saved *s, MDB_txn *txn, const char *path) {
    uint64_t of;
    memcpy(&of, s->bytes + META_TXN, sizeof of);
    return of < mdb_txn_id(txn) ? CN_OK : cn_fail(CN_UNAVAILABLE, "committing to %s: another program has committed meanwhile, by another lock file; try again", path);
}

cn_err cn_meta_save(MDB_txn *txn, const char *path, cn_meta_saved *ret) {
    MDB_env *mdb = mdb_txn_env(txn);
    MDB_stat st;
    CN_TRY(cn_mdb(mdb_env_stat(mdb, &st), "committing to %s", path));
    CN_TRY(cn_mdb(mdb_env_get_fd(mdb, &ret->fd), "committing to %s", path));
    ret->at = (off_t)(mdb_txn_id(txn) & 1) * (off_t)st.ms_psize;
    ssize_t n = pread(ret->fd, ret->bytes, sizeof ret->bytes, ret->at);
    return n == (ssize_t)sizeof ret->bytes ? is_older(ret, txn, path) : cn_fail(CN_UNAVAILABLE, "committing to %s: its meta page cannot be read", path);
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

/* The head of each page has the page's number, so any value tells where the map begins. */
cn_map_guard *cn_env_guard(MDB_env *mdb, MDB_txn *txn) {
    cn_map_guard *guard = NULL;
    MDB_cursor *c;
    MDB_val k, v;
    MDB_dbi main_tree;
    MDB_stat st;
    MDB_envinfo info;
    uint64_t number;
    if (mdb_env_stat(mdb, &st) || mdb_env_info(mdb, &info) || mdb_dbi_open(txn, NULL, 0, &main_tree) || cn_cursor_open(txn, main_tree, &c))
        return NULL;
    if (cn_cursor_get(c, &k, &v, MDB_FIRST) == 0) {
        const char *page = (const char *)k.mv_data - (uintptr_t)k.mv_data % st.ms_psize;
        memcpy(&number, page, sizeof number);
        guard = cn_map_watch(page - number * st.ms_psize, info.me_mapsize);
    }
    mdb_cursor_close(c);
    return guard;
}
