/* run.h -- which processes keep request records of a data directory by the batch, and whether one ended before it had written all.
 *
 *   DATA/recording/<16 digits>   empty; held by flock while its process lives, unlinked when that ended with all written
 *   DATA/recording/cut           its time of change: when it was last noticed that one had not
 * A name whose lock is free is of a process that was killed, or of a machine that went down: records that it had in memory, or
 * the system had not written, are missing, and nobody knows of which tenants. So it counts for all.
 * Owns:    a cn_trace_run owns its file's descriptor.
 * Thread:  any.
 * Limits:  local file systems. What the last cut was is known, not those before. */
#pragma once
#include "index/store/data.h"

typedef struct cn_trace_run cn_trace_run;
/* Notices those that were cut, and is one itself from then on. */
cn_err cn_trace_run_begin(cn_data *d, cn_trace_run **ret);
void cn_trace_run_end(cn_trace_run *r, bool whole); /* whole: all is written; NULL is fine */
/* Up to when a process was cut (cn_wall_us(); now, while nobody has noticed it yet); CN_NO_TIME: none ever was. */
cn_err cn_trace_run_cut(cn_data *d, int64_t *ret_us);
