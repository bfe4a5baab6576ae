/* runner.h -- jobs that go on after the call that began them has been answered.
 *
 * Owns:    one thread for each running job.
 * Thread:  any may start one.
 * Limits:  CN_RUNNER_MAX jobs at a time; one more is refused (CN_OVERLOADED). */
#pragma once
#include "ingest/job/job.h"

#define CN_RUNNER_MAX 16

typedef struct cn_runner cn_runner;
/* run() does the job; ask() asks it to stop; both get arg; run() frees it. */
typedef struct cn_runner_job {
    void (*run)(void *arg);
    void (*ask)(void *arg);
    void *arg;
} cn_runner_job;

cn_err cn_runner_new(cn_runner **ret);
cn_err cn_runner_start(cn_runner *r, cn_runner_job job);
void cn_runner_free(cn_runner *r); /* asks all to stop and waits for them */
