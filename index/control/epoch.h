/* epoch.h -- the number that caches are keyed by: a tenant's grows with every flip, policy, member or mode change; the host's
 * with every change of keys.
 *
 * In a tenant's "meta", or the host's "keys": "epoch" -> record (pack.h), format 1, of one MessagePack uint 64.
 * Owns:    nothing.
 * Thread:  any; put and raise inside the caller's write transaction.
 * Limits:  none of its own. */
#pragma once
#include "index/store/data.h"

cn_err cn_epoch(cn_tenant *t, uint64_t *ret);
cn_err cn_epoch_raise(cn_tenant *t, MDB_txn *txn, uint64_t *ret);
/* Of an open database. CN_DAMAGED when there is none. */
cn_err cn_epoch_of(MDB_txn *txn, MDB_dbi dbi, uint64_t *ret);
/* The same of the last commit, without a transaction while there was no other: of the database of that name. */
cn_err cn_epoch_now(cn_env *env, const char *db, uint64_t *ret);
cn_err cn_epoch_put(MDB_txn *txn, MDB_dbi dbi, uint64_t epoch);
