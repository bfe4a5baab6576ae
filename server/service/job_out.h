/* job_out.h -- what is told of a job while it runs and when it has ended. For server/service only.
 *
 * Owns:    nothing.
 * Thread:  any, of a buffer of its own.
 * Limits:  none of its own. */
#pragma once
#include "engine/base/pack.h"
#include "ingest/job/job.h"

void cn_out_job_progress(cn_buf *b, cn_str job, const cn_job_progress *n);
void cn_out_job_result(cn_buf *out, const cn_job_result *r, bool dry);
