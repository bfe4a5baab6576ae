/* LMDB's assertions. It trusts what it maps: where a page is not what it should be, because someone cut the file short or
 * wrote over it while a transaction ran, it takes that for a defect of its own and calls abort(). Two ways out instead:
 *
 * A call that only reads is left by longjmp() out of LMDB, and gives MDB_CORRUPTED. That is safe for the few calls warded
 * here, and for no others: in LMDB 0.9 they take no lock and change no list of the transaction, with nothing of ours between
 * setjmp() and LMDB; the most that is lost is the memory of one cursor. The transaction is then ended as always, which reads
 * no page, and the file answers nothing any more: other files, and other tenants, go on.
 *
 * A call that writes cannot be left: it holds LMDB's lock, and lists of the transaction point into its stack. So the program
 * ends, as if killed there, which LMDB's commits are made for, but with a word of why, and with CN_EXIT_LOST. */
#include <setjmp.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#include "engine/base/log.h"
#include "index/store/env_inside.h"

static _Thread_local jmp_buf *way_out; /* of the call that reads, if this thread is in one */

static void lost(const char *path, const char *what) {
    static const char text[] = "was damaged or cut short while this program wrote to it; the program ends here, so that nothing is built on it: restore the file from a backup, then start the program anew";
    cn_log(CN_LOG_ERROR, "catalog.lost", "file=\"%s\" lmdb=\"%s\" %s", path, what, text);
    fprintf(stderr, "cairn: %s %s (%s)\n", path, text, what);
    _exit(CN_EXIT_LOST);
}

static void on_assert(MDB_env *mdb, const char *what) {
    cn_env *e = mdb_env_get_userctx(mdb);
    if (!way_out)
        lost(e->path, what);
    if (!atomic_exchange(&e->torn, true))
        cn_log(CN_LOG_ERROR, "catalog.damaged", "file=\"%s\" lmdb=\"%s\" was damaged or cut short while it was read; restore it from a backup, then start the program anew", e->path, what);
    longjmp(*way_out, 1);
}

void cn_env_ward(cn_env *e) {
    mdb_env_set_userctx(e->mdb, e);
    mdb_env_set_assert(e->mdb, on_assert);
}

typedef struct call {
    MDB_txn *txn;
    MDB_dbi dbi;
    const char *name;
    MDB_cursor *cursor;
    MDB_cursor_op op;
    MDB_val *k, *v;
    MDB_stat stat;
} call;

/* That there is nothing (more) is said by no checksum, so the file is asked whether it is all there. */
static int or_cut_short(MDB_txn *txn, int rc) {
    cn_env *e = mdb_env_get_userctx(mdb_txn_env(txn));
    if (rc == MDB_NOTFOUND && cn_env_sound(e) != CN_OK)
        rc = MDB_CORRUPTED;
    if (rc == MDB_CORRUPTED)
        cn_error_note_file(e->path);
    return rc;
}

static int warded(int (*of_lmdb)(call *c), call *c) {
    jmp_buf here;
    if (setjmp(here)) {
        way_out = NULL;
        return or_cut_short(c->txn, MDB_CORRUPTED);
    }
    way_out = &here;
    int rc = of_lmdb(c);
    way_out = NULL;
    return or_cut_short(c->txn, rc);
}

static int get(call *c) { return mdb_get(c->txn, c->dbi, c->k, c->v); }
static int cursor_open(call *c) { return mdb_cursor_open(c->txn, c->dbi, &c->cursor); }
static int cursor_get(call *c) { return mdb_cursor_get(c->cursor, c->k, c->v, c->op); }
static int dbi_open(call *c) { return mdb_dbi_open(c->txn, c->name, 0, &c->dbi); }
static int stat_of(call *c) { return mdb_stat(c->txn, c->dbi, &c->stat); }

int cn_ward_get(MDB_txn *txn, MDB_dbi dbi, MDB_val *k, MDB_val *v) { return warded(get, &(call){.txn = txn, .dbi = dbi, .k = k, .v = v}); }

int cn_ward_dbi(MDB_txn *txn, const char *name, MDB_dbi *ret) {
    call c = {.txn = txn, .name = name};
    int rc = warded(dbi_open, &c);
    if (rc == 0)
        *ret = c.dbi;
    return rc;
}

int cn_cursor_open(MDB_txn *txn, MDB_dbi dbi, MDB_cursor **ret) {
    call c = {.txn = txn, .dbi = dbi};
    int rc = warded(cursor_open, &c);
    if (rc == 0)
        *ret = c.cursor;
    return rc;
}

int cn_cursor_get(MDB_cursor *cursor, MDB_val *k, MDB_val *v, MDB_cursor_op op) {
    return warded(cursor_get, &(call){.txn = mdb_cursor_txn(cursor), .cursor = cursor, .k = k, .v = v, .op = op});
}

cn_err cn_db_count(MDB_txn *txn, MDB_dbi dbi, uint64_t *ret) {
    call c = {.txn = txn, .dbi = dbi};
    cn_env *e = mdb_env_get_userctx(mdb_txn_env(txn));
    CN_TRY(cn_mdb(warded(stat_of, &c), "counting records in %s", e->path));
    CN_TRY(cn_env_sound(e)); /* mdb_stat() passes over errors */
    *ret = c.stat.ms_entries;
    return CN_OK;
}
