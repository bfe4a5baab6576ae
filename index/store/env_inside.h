/* env_inside.h -- what env*.c, scrub.c and writer.c share and no one else includes, but tests of faults.
 *
 * Owns:    a cn_writer owns its lock file's descriptor.
 * Thread:  any.
 * Limits:  none. */
#pragma once
#include <pthread.h>

#include "index/store/env.h"
#include "index/store/mapguard.h"

/* Who may write: a mutex for the threads of this process, and a lock on `<path>-writer` for the processes. Both are taken
 * before LMDB's own lock, which therefore never has to be waited for. The kernel drops the lock of a killed process. */
typedef struct cn_writer {
    pthread_mutex_t mutex;
    int fd;
    _Atomic int64_t since_us; /* wall time at which the thread of this process that holds the mutex got it */
} cn_writer;

cn_err cn_writer_init(cn_writer *w, const char *env_path);
void cn_writer_done(cn_writer *w);
cn_err cn_writer_lock(cn_writer *w, const char *env_path, uint64_t most_ms);
void cn_writer_unlock(cn_writer *w);

/* LMDB's lock file as it was when the environment was opened. */
typedef struct cn_lock_file {
    dev_t dev;
    ino_t ino;
    uint64_t bytes;
    cn_map_guard *guard;
} cn_lock_file;

#define CN_NAMED_MAX 32
#define CN_NAMED_BYTES 32
#define CN_IDLE_MAX 16
struct cn_env {
    cn_env *next;
    dev_t dev;
    ino_t ino;
    unsigned refs;
    cn_env_kind kind;
    MDB_env *mdb;
    char *path;
    cn_lock_file lock;             /* where several may write */
    _Atomic uint64_t newest;       /* the highest number of a transaction that was seen: none lower follows */
    cn_writer writer;              /* only where several may write: not for BUILD and SEALED */
    _Atomic int fd;                /* LMDB's own, of the file; -1: it could not be opened anew */
    _Atomic uint64_t bytes;        /* the most that the file was seen to have: it never gets shorter by itself */
    _Atomic uint64_t looked;       /* the coarse clock when a stamp last looked at its size */
    _Atomic bool torn;             /* it did get shorter, or LMDB met what cannot be */
    _Atomic bool displaced;        /* another file lies in its place, of which is not said here whether it was put there */
    _Atomic bool replaced;         /* another file lies in its place, or its bytes are not those that its lock file speaks of */
    cn_map_guard *_Atomic guard;   /* of its map, for what is cut off while it is read */
    _Atomic(MDB_txn *) writing;    /* the write transaction under way */
    _Atomic unsigned inside;       /* transactions of this process */
    _Atomic bool broken;           /* LMDB has given up: opened anew when none is inside */
    _Atomic uint64_t readers_checked;
    pthread_mutex_t idling;        /* guards read transactions at rest: renewing one takes nothing from the heap */
    MDB_txn *idle[CN_IDLE_MAX];
    unsigned n_idle;
    pthread_mutex_t keeping;       /* guards the number kept, and its stamp */
    uint64_t kept, kept_stamp;
    pthread_mutex_t naming;        /* guards growth of the table below, and mdb_dbi_open, which LMDB allows one thread at a time */
    struct {
        char name[CN_NAMED_BYTES];
        MDB_dbi dbi;
    } named[CN_NAMED_MAX];
    _Atomic unsigned n_named;      /* entries before it never change: looked up without the lock, so also inside a write transaction */
};
static inline bool cn_env_shared(const cn_env *e) { return e->kind != CN_ENV_BUILD && e->kind != CN_ENV_SEALED; } /* several may write */

/* env_txn.c. Before a transaction of this process begins, and after its end; went_out gives err back. */
cn_err cn_env_go_in(cn_env *e);
cn_err cn_env_went_out(cn_env *e, cn_err err);
/* CN_DAMAGED once the file was cut short or replaced while it was open. */
cn_err cn_env_sound(cn_env *e);
/* Sets the guard of its map, unless nothing is in it yet; a sealed one is watched by who reads it (blocks.h). */
cn_err cn_env_watch(cn_env *e);
/* env.c: opens it anew after LMDB has given up, if none of this process is inside. */
cn_err cn_env_revive(cn_env *e);

/* env_lock.c: LMDB's lock file. note: after opening. look: is it still the one that was noted, and whole? */
#define CN_LOCK_PATH 4096
typedef enum cn_lock_is { CN_LOCK_SOUND, CN_LOCK_GONE, CN_LOCK_CUT } cn_lock_is;
cn_err cn_lock_reserve(const char *env_path);
void cn_lock_note(cn_env *e);
cn_lock_is cn_lock_look(const cn_env *e);
bool cn_lock_finds_another(const cn_env *e); /* in place of the file that is open lies another */
bool cn_lock_keeps_another(const cn_env *e); /* the same, and it was put there: its lock file is that of the one that is open */
void cn_lock_tell(const cn_env *e, cn_lock_is is);
void cn_lock_after_writing(const cn_env *e); /* LMDB has let go of its mutex, or thinks so: ends the program where that was lost */
void cn_lock_close(cn_env *e); /* with the environment */

/* env_ward.c: where LMDB meets what it takes for a defect of its own (and would abort), the answer is that of a damaged file. */
void cn_env_ward(cn_env *e);
int cn_ward_get(MDB_txn *txn, MDB_dbi dbi, MDB_val *k, MDB_val *v);
int cn_ward_dbi(MDB_txn *txn, const char *name, MDB_dbi *ret);

/* whole: the file must also hold every page up to the last (sealed files do; a live one may not yet). */
cn_err cn_env_check_file(const char *path, bool whole);

/* The meta page that a commit is about to write over. When that one write fails LMDB puts back numbers that do not belong
 * to the trees beside them, which cn_env_check() would take for damage: so the page's own bytes are put back. */
#define CN_META_BYTES 256
typedef struct cn_meta_saved {
    int fd;
    off_t at;
    char bytes[CN_META_BYTES];
} cn_meta_saved;
/* CN_UNAVAILABLE: that page is of a commit made since txn began, which only another lock file lets happen. */
cn_err cn_meta_save(MDB_txn *txn, const char *path, cn_meta_saved *ret);
void cn_meta_put_back(const cn_meta_saved *s); /* as well as the disk allows */
/* A path of the data directory that is a link, a directory or the like is damage, and no fault of who asked. */
cn_err cn_env_no_file(int errnum, const char *doing, const char *path);
void cn_mdb_forget(void); /* cn_mdb_last() is 0 again */
/* LMDB answers nothing any more: the write of a meta page has failed. */
bool cn_mdb_broken(MDB_env *mdb);

/* A guard of the whole map, so that what is cut off while it is read is no SIGBUS. NULL: nothing is in it yet, or no memory. */
cn_map_guard *cn_env_guard(MDB_env *mdb, MDB_txn *txn);

/* env_kind.c -- the size of its map in bytes (CAIRN_MAPSIZE_MIB makes it small), and mdb_env_open()'s flags. */
struct stat;
size_t cn_env_map_size(cn_env_kind kind, const struct stat *st);
unsigned cn_env_flags(cn_env_kind kind);
