#include "index/store/env.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "index/store/env_inside.h"
#include "index/store/stripes.h"

#define REVIVE_TRIES 2000 /* of a millisecond */
#define BUCKETS 4096

/* The registry. LMDB allows one open of a file in a process; closing a second one would drop the first one's locks. */
static pthread_mutex_t registry = PTHREAD_MUTEX_INITIALIZER;
static cn_env *envs[BUCKETS]; /* those that are open, by their files: a version may have thousands of segments */
static cn_stripes stripes = CN_STRIPES_INIT; /* by device and inode */

/* ---------- open and close ---------- */

static void free_env(cn_env *e) {
    if (!e)
        return;
    while (e->n_idle)
        mdb_txn_abort(e->idle[--e->n_idle]);
    cn_map_unwatch(e->guard);
    if (e->mdb)
        cn_lock_close(e);
    cn_writer_done(&e->writer);
    pthread_mutex_destroy(&e->naming);
    pthread_mutex_destroy(&e->idling);
    pthread_mutex_destroy(&e->keeping);
    cn_free(e->path);
    cn_free(e);
}

static cn_env *new_env(const char *path, cn_env_kind kind, const struct stat *st) {
    cn_env *e = cn_calloc(1, sizeof *e);
    if (!e)
        return NULL;
    e->kind = kind;
    e->dev = st->st_dev;
    e->ino = st->st_ino;
    e->refs = 1;
    e->fd = -1;
    e->writer.fd = -1;
    pthread_mutex_init(&e->naming, NULL);
    pthread_mutex_init(&e->idling, NULL);
    pthread_mutex_init(&e->keeping, NULL);
    e->path = cn_strdup_n(path, strlen(path));
    if (e->path)
        return e;
    free_env(e);
    return NULL;
}

static cn_err start_mdb(cn_env *e, const struct stat *st) {
    CN_TRY(cn_mdb(mdb_env_create(&e->mdb), "opening %s", e->path));
    CN_TRY(cn_mdb(mdb_env_set_maxdbs(e->mdb, CN_NAMED_MAX), "opening %s", e->path));
    CN_TRY(cn_mdb(mdb_env_set_maxreaders(e->mdb, CN_READERS), "opening %s", e->path));
    CN_TRY(cn_mdb(mdb_env_set_mapsize(e->mdb, cn_env_map_size(e->kind, st)), "opening %s", e->path));
    cn_env_ward(e);
    if (cn_env_shared(e))
        CN_TRY(cn_lock_reserve(e->path));
    int fd, rc = mdb_env_open(e->mdb, e->path, cn_env_flags(e->kind), 0600);
    if (rc == 0 && mdb_env_get_fd(e->mdb, &fd) == 0)
        e->fd = fd;
    if (rc == 0 && cn_env_shared(e))
        cn_lock_note(e);
    return cn_mdb(rc, rc == ENOMEM && e->kind != CN_ENV_SEALED ? "opening %s, whose map takes %zu MiB of address space (CAIRN_MAPSIZE_MIB)" : "opening %s", e->path, cn_env_map_size(e->kind, st) >> 20);
}

static cn_err open_mdb(cn_env *e, const struct stat *st) {
    CN_TRY(start_mdb(e, st));
    if (cn_env_shared(e)) {
        CN_TRY(cn_writer_init(&e->writer, e->path));
        int dead;
        CN_TRY(cn_mdb(mdb_reader_check(e->mdb, &dead), "clearing dead readers of %s", e->path));
    }
    e->readers_checked = cn_mono_ns();
    return CN_OK;
}

static cn_err make_file(const char *path) {
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return cn_env_no_file(errno, "making", path);
    close(fd);
    return CN_OK;
}

static cn_err stat_file(const char *path, cn_env_kind kind, struct stat *st) {
    if (stat(path, st) < 0)
        return cn_env_no_file(errno, "reading", path);
    if (!S_ISREG(st->st_mode))
        return cn_fail(CN_DAMAGED, "%s is not a regular file; take it away and restore the file from a backup", path);
    if (access(path, kind == CN_ENV_SEALED ? R_OK : R_OK | W_OK) < 0)
        return cn_fail_errno(errno, "%s", path);
    return CN_OK;
}

static cn_env **bucket_of(dev_t dev, ino_t ino) {
    const uint64_t key[2] = {dev, ino};
    uint32_t h = cn_hash_bytes(CN_HASH_BEGIN, (cn_str){(const char *)key, sizeof key});
    return &envs[(h ^ h >> 16) % BUCKETS];
}

static cn_env *find(const struct stat *st) {
    cn_env *e = *bucket_of(st->st_dev, st->st_ino);
    while (e && (e->dev != st->st_dev || e->ino != st->st_ino))
        e = e->next;
    return e;
}

static pthread_mutex_t *stripe_of(dev_t dev, ino_t ino) {
    const uint64_t key[2] = {dev, ino};
    return cn_stripe(&stripes, key, sizeof key);
}

static cn_err open_new(const char *path, cn_env_kind kind, bool create, const struct stat *st, cn_env **ret) {
    if (st->st_size > 0 || !create) /* an empty file would be taken for a new one: right only where one may be made */
        CN_TRY(cn_env_check_file(path, kind == CN_ENV_SEALED));
    cn_env *e = new_env(path, kind, st);
    if (!e)
        return cn_fail_memory();
    cn_map_expect(&e->torn);
    cn_err err = open_mdb(e, st);
    if (err == CN_OK)
        err = cn_env_watch(e);
    cn_map_expect(NULL);
    if (err != CN_OK) {
        free_env(e);
        return err;
    }
    pthread_mutex_lock(&registry);
    cn_env **at = bucket_of(e->dev, e->ino);
    e->next = *at;
    *at = e;
    pthread_mutex_unlock(&registry);
    *ret = e;
    return CN_OK;
}

/* Whether what is still open of this path says that another file was put in its place. Not so where a tenant was dropped and made
 * anew, whatever it was dropped for. */
static cn_err in_place_of(const char *path) {
    cn_err err = CN_OK;
    for (unsigned i = 0; i < BUCKETS; i++)
        for (cn_env *x = envs[i]; x && err == CN_OK; x = x->next)
            if (cn_env_shared(x) && strcmp(x->path, path) == 0 && cn_lock_keeps_another(x))
                err = cn_env_sound(x);
    return err;
}

/* Under the file's stripe. */
static cn_err open_one(const char *path, cn_env_kind kind, bool create, const struct stat *st, cn_env **ret) {
    pthread_mutex_lock(&registry);
    cn_env *e = find(st);
    bool fits = e && e->kind == kind;
    cn_err err = fits ? cn_env_sound(e) : CN_OK;
    if (!e && kind != CN_ENV_BUILD && kind != CN_ENV_SEALED)
        err = in_place_of(path);
    if (fits && err == CN_OK)
        e->refs++;
    pthread_mutex_unlock(&registry);
    CN_TRY(err);
    if (!e)
        return open_new(path, kind, create, st, ret);
    if (!fits)
        return cn_fail(CN_CONFLICT, "%s is open already for another use", path);
    *ret = e; /* only with a reference: whoever is refused closes what it was given */
    return CN_OK;
}

cn_err cn_env_open(const char *path, cn_env_kind kind, bool create, cn_env **ret) {
    struct stat st, now;
    if (create && kind != CN_ENV_SEALED)
        CN_TRY(make_file(path));
    for (;;) {
        CN_TRY(stat_file(path, kind, &st));
        pthread_mutex_t *stripe = stripe_of(st.st_dev, st.st_ino);
        pthread_mutex_lock(stripe);
        cn_err e = stat_file(path, kind, &now);
        bool same = e != CN_OK || (now.st_dev == st.st_dev && now.st_ino == st.st_ino); /* else another file was put there */
        if (e == CN_OK && same)
            e = open_one(path, kind, create, &now, ret);
        pthread_mutex_unlock(stripe);
        if (same)
            return e;
    }
}

cn_env *cn_env_ref(cn_env *e) {
    pthread_mutex_lock(&registry);
    e->refs++;
    pthread_mutex_unlock(&registry);
    return e;
}

void cn_env_close(cn_env *e) {
    if (!e)
        return;
    pthread_mutex_t *stripe = stripe_of(e->dev, e->ino); /* no one may open the file anew while it is half closed */
    pthread_mutex_lock(stripe);
    pthread_mutex_lock(&registry);
    bool last = --e->refs == 0;
    if (last) {
        cn_env **at = bucket_of(e->dev, e->ino);
        while (*at != e)
            at = &(*at)->next;
        *at = e->next;
    }
    pthread_mutex_unlock(&registry);
    if (last)
        free_env(e);
    pthread_mutex_unlock(stripe);
}

const char *cn_env_path(const cn_env *e) { return e->path; }

unsigned cn_env_count(void) {
    pthread_mutex_lock(&registry);
    unsigned n = 0;
    for (unsigned i = 0; i < BUCKETS; i++)
        for (cn_env *e = envs[i]; e; e = e->next)
            n++;
    pthread_mutex_unlock(&registry);
    return n;
}

cn_err cn_env_check(const char *path) { return cn_env_check_file(path, false); }
cn_err cn_env_fill(cn_env *e) {
    MDB_envinfo info;
    MDB_stat stat_;
    struct stat st;
    CN_TRY(cn_mdb(mdb_env_info(e->mdb, &info), "%s", e->path));
    CN_TRY(cn_mdb(mdb_env_stat(e->mdb, &stat_), "%s", e->path));
    off_t want = (off_t)((info.me_last_pgno + 1) * stat_.ms_psize);
    if (stat(e->path, &st) < 0 || (st.st_size < want && truncate(e->path, want) < 0))
        return cn_fail_errno(errno, "%s", e->path);
    return CN_OK;
}

void cn_env_write_back(cn_env *e) {
    int fd;
    if (mdb_env_get_fd(e->mdb, &fd) == 0)
        sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE); /* where it fails the sync does all of it */
}

/* Pages that LMDB never wrote are holes, which need blocks too when it does. */
cn_err cn_env_widen(cn_env *e, uint64_t bytes) {
    int fd;
    struct stat st;
    CN_TRY(cn_mdb(mdb_env_get_fd(e->mdb, &fd), "%s", e->path));
    if (fstat(fd, &st) < 0)
        return cn_fail_errno(errno, "%s", e->path);
    off_t blocks = (off_t)st.st_blocks * 512, from = blocks > st.st_size ? blocks : st.st_size; /* what was given before is behind its end still */
    if (fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, from + (off_t)bytes) == 0)
        return CN_OK;
    return errno == EOPNOTSUPP || errno == ENOSYS ? CN_OK : cn_fail_errno(errno, "%s", e->path);
}

cn_err cn_env_sync(cn_env *e) { return cn_mdb(mdb_env_sync(e->mdb, 1), "syncing %s", e->path); }

/* ---------- opened anew ---------- */

/* After a failed write of a meta page, which makes LMDB refuse everything, and after a lock file that was lost: done by whoever
 * comes next, once this process's transactions have ended. The handles keep their numbers, since they are opened in their
 * order. Another file that was put under the path is not what was open. */
static cn_err open_again(cn_env *e) {
    struct stat st;
    MDB_txn *txn;
    while (e->n_idle)
        mdb_txn_abort(e->idle[--e->n_idle]);
    cn_map_unwatch(e->guard);
    e->guard = NULL;
    cn_lock_close(e);
    e->fd = -1;
    CN_TRY(stat_file(e->path, e->kind, &st));
    if (st.st_dev != e->dev || st.st_ino != e->ino)
        return cn_fail(CN_UNAVAILABLE, "%s was replaced by another file while this program had it open; start the program anew", e->path);
    cn_map_expect(&e->torn);
    CN_TRY(start_mdb(e, &st));
    CN_TRY(cn_mdb(mdb_txn_begin(e->mdb, NULL, MDB_RDONLY, &txn), "reading %s", e->path));
    for (unsigned i = 0; i < e->n_named; i++) {
        MDB_dbi dbi;
        int rc = cn_ward_dbi(txn, e->named[i].name, &dbi);
        if (rc || dbi != e->named[i].dbi) {
            mdb_txn_abort(txn);
            return cn_mdb(rc ? rc : MDB_BAD_DBI, "opening %s anew", e->path);
        }
    }
    e->guard = cn_env_guard(e->mdb, txn);
    return cn_mdb(mdb_txn_commit(txn), "opening %s anew", e->path);
}

/* false: someone is inside still. Who comes after this has looked finds it broken and leaves (step_in). */
static bool try_again(cn_env *e, cn_err *ret) {
    cn_err err = CN_OK;
    pthread_mutex_lock(&registry);
    bool idle = !e->broken || !e->inside;
    if (idle && e->broken) {
        err = open_again(e);
        cn_map_expect(NULL);
        e->broken = err != CN_OK;
    }
    pthread_mutex_unlock(&registry);
    if (idle)
        *ret = err;
    return idle;
}

cn_err cn_env_revive(cn_env *e) {
    cn_err err;
    for (int i = 0; i < REVIVE_TRIES; i++) {
        if (try_again(e, &err))
            return err;
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    return cn_fail(CN_UNAVAILABLE, "%s: an earlier write failed, and who still reads keeps it from being opened anew", e->path);
}

/* ---------- named databases ---------- */

static bool known(cn_env *e, const char *name, MDB_dbi *ret) {
    for (unsigned i = 0; i < e->n_named; i++)
        if (strcmp(e->named[i].name, name) == 0) {
            *ret = e->named[i].dbi;
            return true;
        }
    return false;
}

/* One try in a transaction of its own; a handle outlives it only when it is committed, a read one too. */
static cn_err open_dbi(cn_env *e, const char *name, bool write, MDB_dbi *ret) {
    MDB_txn *txn;
    CN_TRY(write ? cn_txn_write(e, &txn) : cn_txn_read(e, &txn));
    int rc = write ? mdb_dbi_open(txn, name, MDB_CREATE, ret) : cn_ward_dbi(txn, name, ret);
    if (rc) {
        cn_txn_abort(e, txn);
        return rc == MDB_NOTFOUND ? CN_NOT_FOUND : cn_mdb(rc, "opening %s in %s", name, e->path);
    }
    return cn_txn_commit(e, txn);
}

static cn_err dbi_locked(cn_env *e, const char *name, bool create, MDB_dbi *ret) {
    MDB_dbi dbi;
    if (known(e, name, ret))
        return CN_OK;
    CN_ASSERT(strlen(name) < CN_NAMED_BYTES && e->n_named < CN_NAMED_MAX);
    cn_err err = open_dbi(e, name, false, &dbi);
    if (err == CN_NOT_FOUND && create)
        err = open_dbi(e, name, true, &dbi);
    else if (err == CN_NOT_FOUND)
        return cn_fail(CN_NOT_FOUND, "there is no database %s in %s", name, e->path);
    CN_TRY(err);
    unsigned n = e->n_named;
    memcpy(e->named[n].name, name, strlen(name) + 1);
    e->named[n].dbi = dbi;
    e->n_named = n + 1;
    *ret = dbi;
    return CN_OK;
}

cn_err cn_env_dbi(cn_env *e, const char *name, bool create, MDB_dbi *ret) {
    if (known(e, name, ret))
        return CN_OK;
    CN_TRY(cn_env_go_in(e)); /* so that no handle is given out by an environment that is opened anew before its name is noted */
    pthread_mutex_lock(&e->naming);
    cn_err err = dbi_locked(e, name, create, ret);
    pthread_mutex_unlock(&e->naming);
    return cn_env_went_out(e, err);
}
