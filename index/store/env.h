/* env.h -- LMDB environments: one registry for the process, errors as cn_err, writers that say who holds the lock.
 *
 * LMDB forbids opening a file twice in one process (its locks would be dropped: FACTS.md section 3), so every open goes
 * through the registry, keyed by device and inode; a second open returns the same environment with one reference more.
 * A file's tree and size are checked before LMDB follows them (cn_env_check), so that a truncated or damaged file is an
 * error and never a SIGBUS; one that is cut short while it is open is CN_DAMAGED from the next transaction on. A value lost
 * while it is read gives zeros, which its checksum tells; where LMDB itself walks at that moment, a read is CN_DAMAGED and a
 * write ends the program with CN_EXIT_LOST (env_ward.c). So no one calls LMDB's own reads but by the names below.
 * Owns:    cn_env owns its MDB_env; freed with the last reference.
 * Thread:  any; a transaction belongs to the thread that uses it (MDB_NOTLS is always set).
 * Limits:  CN_READERS readers over all processes; map size by kind. */
#pragma once
#include <lmdb.h>

#include "index/types.h"

#define CN_READERS 1022
#define CN_EXIT_LOST 74 /* exit status: a file was lost under a write to it, and the log says which; EX_IOERR of sysexits.h */

typedef enum cn_env_kind {
    CN_ENV_CONTROL, /* fully durable: host, control */
    CN_ENV_WORK,    /* durable, larger: jobs, evaluations */
    CN_ENV_TRACE,   /* not synced */
    CN_ENV_BUILD,   /* a segment being written: not synced until cn_env_sync */
    CN_ENV_SEALED,  /* a finished segment: read only, no lock file */
} cn_env_kind;

typedef struct cn_env cn_env;
/* create: make the file when it is not there (never for CN_ENV_SEALED). */
cn_err cn_env_open(const char *path, cn_env_kind kind, bool create, cn_env **ret);
cn_env *cn_env_ref(cn_env *e);
void cn_env_close(cn_env *e); /* drops one reference; NULL is fine */
const char *cn_env_path(const cn_env *e);
/* Walks the file's tree with bounds checked, without LMDB: size, meta pages, page numbers, page kinds. */
cn_err cn_env_check(const char *path);
/* Overwrites the pages that are free with zeros, but for those of the last commit, and what lies beyond the last page: what
 * killed writers left. Of a file of kind CN_ENV_BUILD with no transaction under way, whose caller is its only user. */
cn_err cn_env_blank(const char *path);
cn_err cn_env_sync(cn_env *e);
/* Lets the kernel begin to write what was committed without syncing, so that a later sync has less to wait for. */
void cn_env_write_back(cn_env *e);
/* Lengthens the file to its last page, which LMDB may have given out and taken back unwritten: before sealing. */
cn_err cn_env_fill(cn_env *e);
/* Gives the file so many more bytes in blocks, beyond its end, of which its next pages are made; its length stays. */
cn_err cn_env_widen(cn_env *e, uint64_t bytes);
unsigned cn_env_count(void); /* open now, for stats and tests */

/* At the last transaction or stamp another file lay in its place, with a lock file of its own: that of a tenant made anew, or one
 * put there. Whoever knows that it was put there gives up the one that is open: CN_DAMAGED, from now on and to all. */
bool cn_env_displaced(const cn_env *e);
cn_err cn_env_give_up(cn_env *e);

/* Translates an LMDB (or errno) code; MDB_NOTFOUND -> CN_NOT_FOUND, MDB_CORRUPTED ... -> CN_DAMAGED, ENOSPC/MDB_MAP_FULL -> CN_UNAVAILABLE. */
cn_err cn_mdb(int rc, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The code of the last failure that cn_mdb() or a commit told of on this thread since it began to write; 0: none.
 * By it a full disk is known, whatever was made of the error since. */
int cn_mdb_last(void);

/* Named databases are opened once, by name, inside the environment; handles live as long as it does. */
cn_err cn_env_dbi(cn_env *e, const char *name, bool create, MDB_dbi *ret);

cn_err cn_txn_read(cn_env *e, MDB_txn **ret);
/* Waits for the writer; a wait over a second logs the pid and age of the transaction that holds the lock; over
 * CN_WRITER_WAIT_MS it gives up with CN_OVERLOADED naming them. */
#define CN_WRITER_WAIT_MS 10000
cn_err cn_txn_write(cn_env *e, MDB_txn **ret);
cn_err cn_txn_write_now(cn_env *e, MDB_txn **ret); /* waits for no writer: CN_OVERLOADED at once */
cn_err cn_txn_commit(cn_env *e, MDB_txn *txn);
void cn_txn_abort(cn_env *e, MDB_txn *txn); /* also ends a read transaction; NULL is fine */

/* Tells commits apart without a transaction: as long as it stays the same, what was read in a transaction of that
 * mdb_txn_id() is still so, whichever process commits. Errors as cn_txn_read; a file cut short is noticed within
 * milliseconds here, at once there. 0: nothing was ever committed. */
cn_err cn_env_stamp(cn_env *e, uint64_t *ret);
/* One number of the file, kept with the stamp that it was read under; false: not under this one. */
bool cn_env_recall(cn_env *e, uint64_t stamp, uint64_t *ret);
void cn_env_keep(cn_env *e, uint64_t stamp, uint64_t number);

/* Values are borrowed from the transaction. CN_NOT_FOUND is returned without a text being formatted (it is an answer, not a failure). */
cn_err cn_db_get(MDB_txn *txn, MDB_dbi dbi, cn_str key, cn_str *ret);
cn_err cn_db_put(MDB_txn *txn, MDB_dbi dbi, cn_str key, cn_str value);
cn_err cn_db_del(MDB_txn *txn, MDB_dbi dbi, cn_str key); /* CN_OK also when it was not there */
/* As mdb_cursor_open() and mdb_cursor_get(); MDB_CORRUPTED where those would end the program, and MDB_NOTFOUND only while the
 * file is whole. */
int cn_cursor_open(MDB_txn *txn, MDB_dbi dbi, MDB_cursor **ret);
int cn_cursor_get(MDB_cursor *cursor, MDB_val *k, MDB_val *v, MDB_cursor_op op);
cn_err cn_db_count(MDB_txn *txn, MDB_dbi dbi, uint64_t *ret); /* its records */
void cn_cursor_close(MDB_cursor **c); /* for CN_CLEANUP; NULL is fine */
/* CN_DAMAGED: the file has a database of none of these names; the last is NULL. */
cn_err cn_db_only(MDB_txn *txn, const char *const *names);
/* Calls fn for each pair whose key starts with prefix, in key order, until fn fails or sets *stop. */
typedef cn_err cn_db_each_fn(void *ctx, cn_str key, cn_str value, bool *stop);
cn_err cn_db_each(MDB_txn *txn, MDB_dbi dbi, cn_str prefix, cn_db_each_fn *fn, void *ctx);
