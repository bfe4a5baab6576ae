/* Transactions of an environment, and the stamps that tell its commits apart. */
#include <errno.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <time.h>

#include "engine/base/os.h"
#include "index/store/env_inside.h"

#define READER_CHECK_NS 30000000000ull

static void check_readers(cn_env *e) {
    uint64_t now = cn_mono_ns();
    int dead;
    if (now - e->readers_checked < READER_CHECK_NS)
        return;
    e->readers_checked = now; /* under the writer's lock: one at a time */
    mdb_reader_check(e->mdb, &dead);
}

/* LMDB follows page numbers into the map unasked: where the file has been cut short, each is a SIGBUS. So its size is asked
 * for before each transaction; what is cut off while one runs finds the guard's zeros, is not committed, and the next
 * transaction refuses.
 * Whoever lengthens the file again has not brought back what it held: it stays refused until it is opened anew. */
cn_err cn_env_sound(cn_env *e) {
    struct stat st;
    uint64_t before = e->bytes, most = before; /* read first: others see the file grow, too */
    int fd = e->fd; /* -1: not open, and nothing is read from it: who begins a transaction opens it anew first */
    if (fd >= 0 && fstat(fd, &st) < 0)
        return cn_fail_errno(errno, "%s", e->path);
    uint64_t now = fd < 0 ? before : (uint64_t)st.st_size;
    while (now > most && !atomic_compare_exchange_weak(&e->bytes, &most, now))
        ;
    bool shorter = now < before;
    if (e->kind != CN_ENV_SEALED && (shorter || cn_map_torn(e->guard))) /* of sealed ones the blocks keep that (blocks.h) */
        e->torn = true;
    return shorter || e->torn ? cn_fail(CN_DAMAGED, "%s was cut short or damaged while this program had it open; restore it from a backup and start the program anew", e->path) : CN_OK;
}

cn_err cn_env_went_out(cn_env *e, cn_err err) {
    e->inside--;
    return err;
}

/* Before anything is asked of LMDB; cn_env_went_out() follows. */
static cn_err step_in(cn_env *e) {
    for (;;) {
        e->inside++;
        if (!e->broken)
            return CN_OK;
        e->inside--;
        CN_TRY(cn_env_revive(e));
    }
}

/* Before a transaction of this process begins; cn_env_went_out() follows its end. */
cn_err cn_env_go_in(cn_env *e) {
    CN_TRY(step_in(e));
    cn_err err = cn_env_sound(e);
    return err == CN_OK ? CN_OK : cn_env_went_out(e, err);
}

/* A read transaction at rest keeps its reader's slot and pins no page. */
static MDB_txn *take_idle(cn_env *e) {
    pthread_mutex_lock(&e->idling);
    MDB_txn *txn = e->n_idle ? e->idle[--e->n_idle] : NULL;
    pthread_mutex_unlock(&e->idling);
    if (txn && mdb_txn_renew(txn) != 0) {
        mdb_txn_abort(txn);
        txn = NULL;
    }
    return txn;
}

static void end_reading(cn_env *e, MDB_txn *txn) {
    mdb_txn_reset(txn);
    pthread_mutex_lock(&e->idling);
    bool kept = cn_env_shared(e) && e->n_idle < CN_IDLE_MAX;
    if (kept)
        e->idle[e->n_idle++] = txn;
    pthread_mutex_unlock(&e->idling);
    if (!kept)
        mdb_txn_abort(txn);
}

cn_err cn_txn_read(cn_env *e, MDB_txn **ret) {
    CN_TRY(cn_env_go_in(e));
    MDB_txn *txn = take_idle(e);
    int rc = txn ? 0 : mdb_txn_begin(e->mdb, NULL, MDB_RDONLY, &txn);
    if (rc == MDB_READERS_FULL) { /* perhaps by the slots of killed processes */
        int dead;
        mdb_reader_check(e->mdb, &dead);
        rc = mdb_txn_begin(e->mdb, NULL, MDB_RDONLY, &txn);
    }
    if (rc)
        return cn_env_went_out(e, cn_mdb(rc, "reading %s", e->path));
    *ret = txn;
    return CN_OK;
}

cn_err cn_txn_write(cn_env *e, MDB_txn **ret) {
    cn_mdb_forget();
    if (cn_env_shared(e))
        CN_TRY(cn_writer_lock(&e->writer, e->path));
    cn_err err = cn_env_go_in(e);
    if (err != CN_OK) {
        if (cn_env_shared(e))
            cn_writer_unlock(&e->writer);
        return err;
    }
    if (cn_env_shared(e))
        check_readers(e);
    MDB_txn *txn;
    int rc = mdb_txn_begin(e->mdb, NULL, 0, &txn);
    if (rc) {
        if (cn_env_shared(e))
            cn_writer_unlock(&e->writer);
        return cn_env_went_out(e, cn_mdb(rc, "writing %s", e->path));
    }
    e->writing = txn;
    *ret = txn;
    return CN_OK;
}

/* Says whether the transaction about to end is the writer; it is no longer. */
static bool end_writing(cn_env *e, const MDB_txn *txn) {
    if (e->writing != txn)
        return false;
    e->writing = NULL;
    return cn_env_shared(e);
}

static cn_err commit_shared(cn_env *e, MDB_txn *txn) {
    cn_meta_saved meta;
    cn_err err = cn_meta_save(txn, e->path, &meta);
    if (err != CN_OK) {
        mdb_txn_abort(txn);
        return err;
    }
    int rc = mdb_txn_commit(txn);
    if (rc && cn_mdb_broken(e->mdb)) {
        cn_meta_put_back(&meta);
        e->broken = true;
    }
    return cn_mdb(rc, "committing to %s", e->path);
}

cn_err cn_txn_commit(cn_env *e, MDB_txn *txn) {
    bool writes = e->writing == txn, writer = end_writing(e, txn); /* writer: where several may write */
    cn_err err = writes ? cn_env_sound(e) : CN_OK;
    if (err != CN_OK)
        mdb_txn_abort(txn);
    else
        err = writer ? commit_shared(e, txn) : cn_mdb(mdb_txn_commit(txn), "committing to %s", e->path);
    if (writes && err == CN_OK) {
        cn_env_watch(e); /* for the commits to come: this one is made */
        err = cn_env_sound(e);
    }
    if (writer)
        cn_writer_unlock(&e->writer);
    return cn_env_went_out(e, err);
}

void cn_txn_abort(cn_env *e, MDB_txn *txn) {
    if (!txn)
        return;
    if (e->writing != txn) {
        end_reading(e, txn);
    } else {
        bool unlock = end_writing(e, txn);
        mdb_txn_abort(txn);
        if (unlock)
            cn_writer_unlock(&e->writer);
    }
    e->inside--;
}

/* Where the map lies is known once there is something in it. */
cn_err cn_env_watch(cn_env *e) {
    MDB_txn *txn;
    if (e->guard || e->kind == CN_ENV_SEALED)
        return CN_OK;
    CN_TRY(cn_txn_read(e, &txn));
    e->guard = cn_env_guard(e->mdb, txn);
    cn_txn_abort(e, txn);
    return cn_env_sound(e);
}

/* ---------- stamps ---------- */

/* A stamp reads no tree, so that the size need not be asked for each time. */
static cn_err check_size_at_times(cn_env *e) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
    uint64_t now = (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
    bool just = atomic_exchange_explicit(&e->looked, now, memory_order_relaxed) == now;
    return just && !e->torn ? CN_OK : cn_env_sound(e);
}

cn_err cn_env_stamp(cn_env *e, uint64_t *ret) {
    MDB_envinfo info;
    CN_TRY(step_in(e));
    cn_err err = check_size_at_times(e);
    if (err == CN_OK)
        err = cn_mdb(mdb_env_info(e->mdb, &info), "reading %s", e->path);
    if (err == CN_OK)
        *ret = info.me_last_txnid;
    return cn_env_went_out(e, err);
}

bool cn_env_recall(cn_env *e, uint64_t stamp, uint64_t *ret) {
    pthread_mutex_lock(&e->keeping);
    bool known = stamp != 0 && e->kept_stamp == stamp;
    if (known)
        *ret = e->kept;
    pthread_mutex_unlock(&e->keeping);
    return known;
}

void cn_env_keep(cn_env *e, uint64_t stamp, uint64_t number) {
    pthread_mutex_lock(&e->keeping);
    e->kept = number;
    e->kept_stamp = stamp;
    pthread_mutex_unlock(&e->keeping);
}
