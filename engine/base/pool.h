/* pool.h -- a bounded pool of threads with a bounded queue, in lanes that take turns.
 *
 * A lane is a number that the caller chooses (for a server: a tenant). Jobs of one lane keep their order; lanes with
 * waiting jobs are served round robin, and one alone fills at most half of the queue, so that whoever floods it waits
 * for itself.
 * Owns:    its threads; cn_pool_free() runs what is queued, then joins.
 * Thread:  any may submit; a job may submit.
 * Limits:  the queue's length given at start; where there is no place a job is refused (CN_OVERLOADED). */
#pragma once
#include "engine/base/error.h"

#define CN_POOL_LANES 256

typedef struct cn_pool cn_pool;
typedef void cn_job_fn(void *arg);

typedef struct cn_pool_opts {
    unsigned threads, queue;
    int nice;       /* of its threads and of those that they start, 0 to 19 (setpriority(2)); for what others should not wait for */
    bool one_each;  /* one job of a lane at a time: where they would only wait for each other */
    bool keep_one;  /* for jobs that run long: lanes of which no job runs go first, and the last free thread is theirs alone */
} cn_pool_opts;

cn_err cn_pool_new(const cn_pool_opts *o, cn_pool **ret);
void cn_pool_free(cn_pool *p);
cn_err cn_pool_submit(cn_pool *p, unsigned lane, cn_job_fn *fn, void *arg); /* lane: modulo CN_POOL_LANES */
unsigned cn_pool_threads(const cn_pool *p);
unsigned cn_pool_waiting(cn_pool *p); /* jobs that no thread has taken yet, at this moment */
unsigned cn_pool_lane_waiting(const cn_pool *p, unsigned lane); /* the same of one lane, without the lock: a moment ago */
