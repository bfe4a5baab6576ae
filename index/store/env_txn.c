/* Transactions of an environment, and the stamps that tell its commits apart. */
#include <errno.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <time.h>

#include "engine/base/os.h"
#include "index/store/env_inside.h"

#define READER_CHECK_NS 30000000000ull
#define LOCKS_LOST 4 /* so many in one begin: somebody works against us */

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
static cn_err sound(cn_env *e) {
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
    return shorter || e->torn ? cn_fail_file(e->path, " was cut short or damaged while this program had it open; restore it from a backup and start the program anew") : CN_OK;
}

static cn_err is_another(const cn_env *e) {
    return cn_fail_file(e->path, " was replaced or overwritten while a program had it open; end every program that uses the directory, restore it from a backup, and start them again");
}

/* What is written to a file that is replaced nobody finds again. */
cn_err cn_env_sound(cn_env *e) {
    CN_TRY(sound(e));
    if (cn_env_shared(e) && !e->replaced && cn_lock_finds_another(e)) {
        e->displaced = true;
        if (cn_lock_keeps_another(e))
            e->replaced = true;
    }
    return e->replaced ? is_another(e) : CN_OK;
}

bool cn_env_displaced(const cn_env *e) { return e->displaced; }

cn_err cn_env_give_up(cn_env *e) {
    e->replaced = true;
    return is_another(e);
}

cn_err cn_env_went_out(cn_env *e, cn_err err) {
    e->inside--;
    return err;
}

/* True: what LMDB would be asked may be answered. */
static bool may_ask(cn_env *e, bool look) {
    cn_lock_is is = look ? cn_lock_look(e) : CN_LOCK_SOUND;
    if (is != CN_LOCK_SOUND && !atomic_exchange(&e->broken, true))
        cn_lock_tell(e, is);
    return !e->broken;
}

/* Before anything is asked of LMDB; cn_env_went_out() follows. look: at its lock file. */
static cn_err step_in(cn_env *e, bool look) {
    for (int i = 0; i < LOCKS_LOST; i++) {
        e->inside++;
        if (may_ask(e, look))
            return CN_OK;
        e->inside--;
        CN_TRY(cn_env_revive(e));
    }
    return cn_fail(CN_UNAVAILABLE, "%s: its lock file is taken away again and again; end whatever does that", e->path);
}

/* Before a transaction of this process begins; cn_env_went_out() follows its end. */
cn_err cn_env_go_in(cn_env *e) {
    CN_TRY(step_in(e, true));
    cn_err err = cn_env_sound(e);
    return err == CN_OK ? CN_OK : cn_env_went_out(e, err);
}

static void raise_newest(cn_env *e, uint64_t id) {
    for (uint64_t was = e->newest; id > was && !atomic_compare_exchange_weak(&e->newest, &was, id);)
        ;
}

/* A transaction that has just begun takes its number from the lock file. least: the lowest that it can be. */
static bool is_behind(cn_env *e, uint64_t id, uint64_t least) {
    bool is = cn_env_shared(e) && (id < least || cn_map_torn(e->lock.guard));
    if (is && !atomic_exchange(&e->broken, true))
        cn_lock_tell(e, CN_LOCK_CUT);
    return is;
}

/* Lock file and meta pages tell of the same commits, whose number (of the newest) is written to the latter first. A copy brought
 * back under a program's lock file is behind it, also for who opens it only now. */
static cn_err check_newest(cn_env *e, uint64_t newest) {
    MDB_envinfo info;
    if (!cn_env_shared(e))
        return CN_OK;
    atomic_thread_fence(memory_order_acquire);
    CN_TRY(cn_mdb(mdb_env_info(e->mdb, &info), "reading %s", e->path));
    if (info.me_last_txnid >= newest)
        return CN_OK;
    CN_TRY(sound(e)); /* what was cut off is no number */
    e->replaced = true;
    return is_another(e);
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

static int begin_reading(cn_env *e, MDB_txn **ret) {
    MDB_txn *txn = take_idle(e);
    int rc = txn ? 0 : mdb_txn_begin(e->mdb, NULL, MDB_RDONLY, &txn);
    if (rc == MDB_READERS_FULL) { /* perhaps by the slots of killed processes */
        int dead;
        mdb_reader_check(e->mdb, &dead);
        rc = mdb_txn_begin(e->mdb, NULL, MDB_RDONLY, &txn);
    }
    if (rc == 0)
        *ret = txn;
    return rc;
}

/* CN_END: on a lock file that was lost; to be tried again. */
static cn_err try_reading(cn_env *e, MDB_txn **ret) {
    MDB_txn *txn;
    CN_TRY(cn_env_go_in(e));
    uint64_t least = e->newest;
    int rc = begin_reading(e, &txn);
    if (rc)
        return cn_env_went_out(e, cn_mdb(rc, "reading %s", e->path));
    if (is_behind(e, mdb_txn_id(txn), least)) {
        mdb_txn_abort(txn);
        return cn_env_went_out(e, CN_END);
    }
    cn_err err = check_newest(e, mdb_txn_id(txn));
    if (err != CN_OK) {
        mdb_txn_abort(txn);
        return cn_env_went_out(e, err);
    }
    raise_newest(e, mdb_txn_id(txn));
    *ret = txn;
    return CN_OK;
}

static cn_err try_writing(cn_env *e, MDB_txn **ret) {
    MDB_txn *txn;
    CN_TRY(cn_env_go_in(e));
    if (cn_env_shared(e))
        check_readers(e);
    uint64_t least = e->newest + 1;
    int rc = mdb_txn_begin(e->mdb, NULL, 0, &txn);
    if (rc)
        return cn_env_went_out(e, cn_mdb(rc, "writing %s", e->path));
    if (is_behind(e, mdb_txn_id(txn), least)) {
        mdb_txn_abort(txn);
        return cn_env_went_out(e, CN_END);
    }
    cn_err err = check_newest(e, mdb_txn_id(txn) - 1);
    if (err != CN_OK) {
        mdb_txn_abort(txn);
        return cn_env_went_out(e, err);
    }
    e->writing = txn;
    *ret = txn;
    return CN_OK;
}

static cn_err begin(cn_env *e, cn_err (*try_it)(cn_env *e, MDB_txn **ret), MDB_txn **ret) {
    cn_err err = CN_END;
    for (int i = 0; err == CN_END && i < LOCKS_LOST; i++)
        err = try_it(e, ret);
    return err == CN_END ? cn_fail(CN_UNAVAILABLE, "%s: its lock file is cut short again and again; end whatever does that", e->path) : err;
}

cn_err cn_txn_read(cn_env *e, MDB_txn **ret) { return begin(e, try_reading, ret); }

static cn_err write_within(cn_env *e, uint64_t most_ms, MDB_txn **ret) {
    cn_mdb_forget();
    if (cn_env_shared(e))
        CN_TRY(cn_writer_lock(&e->writer, e->path, most_ms));
    cn_err err = begin(e, try_writing, ret);
    if (err != CN_OK && cn_env_shared(e))
        cn_writer_unlock(&e->writer);
    return err;
}

cn_err cn_txn_write(cn_env *e, MDB_txn **ret) { return write_within(e, CN_WRITER_WAIT_MS, ret); }
cn_err cn_txn_write_now(cn_env *e, MDB_txn **ret) { return write_within(e, 0, ret); }

/* Says whether the transaction about to end is the writer; it is no longer. */
static bool end_writing(cn_env *e, const MDB_txn *txn) {
    if (e->writing != txn)
        return false;
    e->writing = NULL;
    return cn_env_shared(e);
}

/* LMDB lets go of its mutex, which may be lost (env_lock.c). */
static int end_shared(cn_env *e, MDB_txn *txn, bool commit) {
    int rc = 0;
    cn_map_letting_go(e->path);
    if (commit)
        rc = mdb_txn_commit(txn);
    else
        mdb_txn_abort(txn);
    cn_map_letting_go(NULL);
    cn_lock_after_writing(e);
    return rc;
}

static cn_err commit_shared(cn_env *e, MDB_txn *txn) {
    cn_meta_saved meta;
    MDB_envinfo info;
    cn_err err = cn_meta_save(txn, e->path, &meta);
    if (err != CN_OK) {
        end_shared(e, txn, false);
        return err;
    }
    int rc = end_shared(e, txn, true);
    if (rc == 0 && mdb_env_info(e->mdb, &info) == 0)
        raise_newest(e, info.me_last_txnid); /* which one without changes leaves as it was */
    if (rc && cn_mdb_broken(e->mdb)) {
        cn_meta_put_back(&meta);
        e->broken = true;
    }
    return cn_mdb(rc, "committing to %s", e->path);
}

cn_err cn_txn_commit(cn_env *e, MDB_txn *txn) {
    bool writes = e->writing == txn, writer = end_writing(e, txn); /* writer: where several may write */
    cn_err err = writes ? cn_env_sound(e) : CN_OK;
    if (err != CN_OK && writer)
        end_shared(e, txn, false);
    else if (err != CN_OK)
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
        bool writer = end_writing(e, txn);
        if (writer)
            end_shared(e, txn, false);
        else
            mdb_txn_abort(txn);
        if (writer)
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

/* A stamp reads no tree, so that the files need not be looked at each time. */
static bool looked_just_now(cn_env *e) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
    uint64_t now = (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
    return atomic_exchange_explicit(&e->looked, now, memory_order_relaxed) == now && !e->torn;
}

cn_err cn_env_stamp(cn_env *e, uint64_t *ret) {
    MDB_envinfo info;
    CN_TRY(looked_just_now(e) ? step_in(e, false) : cn_env_go_in(e));
    cn_err err = cn_mdb(mdb_env_info(e->mdb, &info), "reading %s", e->path);
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
