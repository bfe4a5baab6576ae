/* inforce.h -- whose revocation lists count, and what they say (DESIGN.md section 7, "revoked").
 *
 * control.mdb, database "inforce": key = index id and version number N, each u64 big-endian; value = record (pack.h),
 * format 1: {own: bin 16, digest: bin 32}, the file that holds N's list. Written by the flip that first activates a
 * version with a list; it stays through every rollback and counts for all versions below N (info.h: lists_after). Key "=": sum.h.
 *
 * The list is the part CN_PART_REVOKED, name "", of that file, and is always there, if empty:
 *   0  4  format, u32 little-endian: 1
 *   4  4  zero
 *   8  8  entries, u64 little-endian
 *  16  .. for each, by key: MessagePack [key: bin 32, [revoked label...], [later denial...], [later requirement...]]
 * Owns:    nothing.
 * Thread:  any; withdraw inside the caller's control write transaction.
 * Limits:  CN_REVOKED_LABELS_MAX. */
#pragma once
#include "engine/base/arena.h"
#include "engine/base/buf.h"
#include "index/control/sum.h"
#include "index/store/data.h"
#include "index/store/root.h"

cn_err cn_inforce_put(MDB_txn *txn, MDB_dbi inforce, uint64_t index_id, uint64_t number, const cn_part *own);
cn_err cn_inforce_sum_get(MDB_txn *txn, MDB_dbi inforce, cn_sum *ret); /* equal sums: the same lists are in force */
/* Ends the lists of an index's versions up to `to`. */
cn_err cn_inforce_end(MDB_txn *txn, MDB_dbi inforce, uint64_t index_id, uint64_t to);

typedef cn_err cn_inforce_fn(void *ctx, uint64_t index_id, uint64_t number, const cn_part *own);
/* Calls fn for each list in force, by index and number, until it fails. CN_DAMAGED when they are not those that were put. */
cn_err cn_inforce_each(cn_tenant *t, MDB_txn *txn, cn_inforce_fn *fn, void *ctx);
/* CN_NOT_FOUND when N's list is not in force. Raising the epoch and the audit record are the caller's. */
cn_err cn_inforce_withdraw(cn_tenant *t, MDB_txn *txn, uint64_t index_id, uint64_t number);

#define CN_PART_REVOKED 'r' /* of a version's own file: the list */
#define CN_REVOKED_LABELS_MAX (64u * CN_LABELS_MAX) /* of one document, in each of the three */
/* gone->allow: labels taken away; deny, require: what came later. Valid during the call; the labels' bytes, while `own`
 * stays open. */
typedef cn_err cn_revoked_fn(void *ctx, const cn_key *key, const cn_triple *gone);
/* Every entry of a version's list, checked as it is read. CN_DAMAGED when there is none or it is not whole. */
cn_err cn_revoked_each(cn_seg *own, cn_revoked_fn *fn, void *ctx);
