/* pool.h -- a bounded pool of threads with a bounded queue.
 *
 * Owns:    its threads; cn_pool_free() runs what is queued, then joins.
 * Thread:  any may submit; a job may submit.
 * Limits:  the queue's length given at start; a full queue refuses (CN_OVERLOADED), it never grows. */
#pragma once
#include "engine/base/error.h"

typedef struct cn_pool cn_pool;
typedef void cn_job_fn(void *arg);

cn_err cn_pool_new(unsigned threads, unsigned queue, cn_pool **ret);
void cn_pool_free(cn_pool *p);
cn_err cn_pool_submit(cn_pool *p, cn_job_fn *fn, void *arg);
unsigned cn_pool_threads(const cn_pool *p);
/* Runs fn(arg, i) for i in 0..n-1 on the pool and the caller, and returns when all are done. p NULL: the caller alone. */
void cn_pool_each(cn_pool *p, unsigned n, void (*fn)(void *arg, unsigned i), void *arg);
