/* opts.h -- a job's options as one MessagePack map, kept in its row so that it can be resumed with the same ones.
 *
 * Owns:    what is read lives in the arena given.
 * Thread:  any.
 * Limits:  those of source.h. */
#pragma once
#include "engine/base/pack.h"
#include "ingest/job/job.h"

/* Paths are kept with the working directory before those that are relative. */
cn_err cn_opts_pack(const cn_job_opts *o, cn_buf *out);
/* Leaves resume and id alone. */
cn_err cn_opts_unpack(cn_str bytes, cn_arena *a, cn_job_opts *ret);
