/* behind.h -- blocks into a file that is being built, written by a thread of its own while their maker goes on.
 *
 * LMDB copies a block twice, and checksums and the page cache cost as much again: of an ingest of ready vectors that is half
 * of the writer's time. Puts and commits are done in the order they were asked for, so what a commit holds is what was put
 * before it. The first CN_BEHIND_FROM bytes are written by the caller itself: a small file starts no thread. LMDB writes all
 * of a commit at once, and a kernel that does not interrupt itself (PREEMPT_NONE) lets nothing else run on that processor
 * meanwhile, 5 ms for 10 MB: so the maker says where a file may be cut, and what has come together there is committed.
 * Owns:    the thread, copies of the blocks it has not written yet, and the open write transaction.
 * Thread:  one at a time calls; the thread is its own matter.
 * Limits:  CN_BEHIND_BYTES waiting; a put waits for room, a single larger block passes alone. */
#pragma once
#include "index/store/blocks.h"
#include "index/store/env.h"

#define CN_BEHIND_FROM (4u << 20)
#define CN_BEHIND_BYTES (16u << 20)
#define CN_BEHIND_COMMIT (16u << 20) /* bytes put, after which a commit is due: the caller's to ask for */
#define CN_BEHIND_STEP (512u << 10)   /* bytes put, after which a step commits */

typedef struct cn_behind cn_behind;

/* env (borrowed) is of kind CN_ENV_BUILD, without LMDB's lock: any thread may end a transaction that another began. */
cn_err cn_behind_new(cn_env *env, const cn_seg_id *id, cn_behind **ret);
/* Stops soon: what was not committed is lost, and an open transaction is taken back. NULL is fine. */
void cn_behind_free(cn_behind *b);

/* As cn_block_put(). The failure of an earlier put or commit is told here, or by any call below; from then on each fails so. */
cn_err cn_behind_put(cn_behind *b, char kind, uint32_t a, uint32_t no, cn_str key_tail, const cn_piece *pieces, unsigned n);
cn_err cn_behind_commit(cn_behind *b); /* of what was put before; nothing where there is nothing */
cn_err cn_behind_step(cn_behind *b);   /* a file that ended with what was put before would do: committed when it is CN_BEHIND_STEP */
uint64_t cn_behind_dirty(const cn_behind *b); /* bytes put since the last commit that was asked for */
uint64_t cn_behind_cpu_ns(cn_behind *b);      /* what its thread has spent by now */

/* Waits until all that was asked for is done, and for commits that they are in the file. */
cn_err cn_behind_wait(cn_behind *b);
/* Waits, and lends the write transaction (begun if need be) until the next call. */
cn_err cn_behind_txn(cn_behind *b, MDB_txn **ret_txn, MDB_dbi *ret_dbi);
