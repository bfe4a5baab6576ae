/* env_inside.h -- what env.c, env_check.c, env_error.c, env_meta.c, scrub.c and writer.c share and no one else includes.
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
cn_err cn_writer_lock(cn_writer *w, const char *env_path);
void cn_writer_unlock(cn_writer *w);

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
cn_err cn_meta_save(MDB_txn *txn, const char *path, cn_meta_saved *ret);
void cn_meta_put_back(const cn_meta_saved *s); /* as well as the disk allows */
void cn_mdb_forget(void); /* cn_mdb_last() is 0 again */
/* LMDB answers nothing any more: the write of a meta page has failed. */
bool cn_mdb_broken(MDB_env *mdb);

/* A guard of the whole map, so that what is cut off while it is read is no SIGBUS. NULL: nothing is in it yet, or no memory. */
cn_map_guard *cn_env_watch(MDB_env *mdb, MDB_txn *txn);

/* env_kind.c -- the size of its map in bytes (CAIRN_MAPSIZE_MIB makes it small), and mdb_env_open()'s flags. */
struct stat;
size_t cn_env_map_size(cn_env_kind kind, const struct stat *st);
unsigned cn_env_flags(cn_env_kind kind);
