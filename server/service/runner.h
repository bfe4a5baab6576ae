/* runner.h -- jobs that go on after the call that began them has been answered.
 *
 * Owns:    one thread for each running job.
 * Thread:  any may start one.
 * Limits:  CN_RUNNER_MAX jobs at a time; one more is refused (CN_OVERLOADED). */
#pragma once
#include "ingest/job/job.h"

#define CN_RUNNER_MAX 16

typedef struct cn_runner cn_runner;
/* run() does the job and frees arg; it looks at cn_runner_leaving() and ends when that is true. */
typedef struct cn_runner_job {
    void (*run)(void *arg);
    void *arg;
} cn_runner_job;

cn_err cn_runner_new(cn_runner **ret);
cn_err cn_runner_start(cn_runner *r, cn_runner_job job);
const atomic_bool *cn_runner_leaving(const cn_runner *r);
void cn_runner_leave(cn_runner *r); /* every job that looks at it ends soon; no other begins */
void cn_runner_free(cn_runner *r);  /* the same, and waits for them */
