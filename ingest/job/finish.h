/* finish.h -- what sealing and flipping of a job's version share between an ingest (finish.c) and a rebuild (rebuild.c).
 *
 * Owns:    nothing; versions lie in the arena given.
 * Thread:  the caller's of the job.
 * Limits:  those of job.h. */
#pragma once
#include "ingest/job/run.h"

cn_err cn_run_ready(cn_run *r); /* what it was made of is sound, and nobody has asked to stop */
/* Seals the rows written: on the head, or (trial_of) as a trial, on the trial `base`. */
cn_err cn_run_seal(cn_run *r, uint64_t base, uint64_t trial_of, cn_arena *a, cn_version *ret);
void cn_run_tell_version(const cn_version *v, cn_job_result *ret);
cn_err cn_run_maybe_flip(cn_run *r, const cn_version *v, cn_job_result *ret);
cn_err cn_run_unchanged(cn_run *r, cn_job_result *ret); /* nothing was written */
