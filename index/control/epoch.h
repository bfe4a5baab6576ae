/* epoch.h -- the number that caches are keyed by: a tenant's grows with every flip, policy, member or mode change; the host's
 * with every change of keys.
 *
 * In a tenant's "meta", or the host's "keys": "epoch" -> record (pack.h), format 1, of one MessagePack uint 64. Beside a tenant's
 * "widened": the epoch of the last change by which somebody may see more than before; none: there was no such change.
 * Owns:    nothing.
 * Thread:  any; put and raise inside the caller's write transaction.
 * Limits:  none of its own. */
#pragma once
#include "index/store/data.h"

cn_err cn_epoch(cn_tenant *t, uint64_t *ret);
cn_err cn_epoch_raise(cn_tenant *t, MDB_txn *txn, uint64_t *ret);
cn_err cn_epoch_raise_widened(cn_tenant *t, MDB_txn *txn, uint64_t *ret); /* for such a change */
cn_err cn_epoch_widened(MDB_txn *txn, MDB_dbi meta, uint64_t *ret);        /* 0: none */
/* Of an open database. CN_DAMAGED when there is none. */
cn_err cn_epoch_of(MDB_txn *txn, MDB_dbi dbi, uint64_t *ret);
/* The same of the last commit, without a transaction while there was no other: of the database of that name. */
cn_err cn_epoch_now(cn_env *env, const char *db, uint64_t *ret);
cn_err cn_epoch_put(MDB_txn *txn, MDB_dbi dbi, uint64_t epoch);
