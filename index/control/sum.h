/* sum.h -- a count and a digest over all records of a database, so that none can be missing or changed unnoticed.
 *
 * control.mdb, databases policy, inforce and members: key "=" -> record (pack.h), format 1, {records: u64, digest: bin 32}, the
 * XOR of the SHA-256 of each other (key, value). A new tenant has one of each, of no records.
 * Owns:    nothing.
 * Thread:  any; put inside the caller's write transaction.
 * Limits:  none of its own. */
#pragma once
#include "index/store/env.h"

typedef struct cn_sum {
    uint64_t records;
    cn_digest digest;
} cn_sum;

void cn_sum_add(cn_sum *s, cn_str key, cn_str value);
void cn_sum_remove(cn_sum *s, cn_str key, cn_str value);
void cn_sum_join(cn_sum *s, const cn_sum *more); /* of other records */
bool cn_sum_same(const cn_sum *a, const cn_sum *b);
bool cn_sum_is(cn_str key); /* the key of the sum itself */
/* what: "policy", for the text. CN_DAMAGED when there is none. */
cn_err cn_sum_get(MDB_txn *txn, MDB_dbi dbi, const char *what, cn_sum *ret);
cn_err cn_sum_put(MDB_txn *txn, MDB_dbi dbi, const cn_sum *s);
cn_err cn_sum_differs(const char *what); /* CN_DAMAGED, with what to do */
/* Replaces a record (value.n 0: removes it) and keeps the sum, which is the caller's to put, in step. */
cn_err cn_sum_replace(MDB_txn *txn, MDB_dbi dbi, cn_str key, cn_str value, cn_sum *io);
