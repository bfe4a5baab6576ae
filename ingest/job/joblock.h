/* joblock.h -- one lock file a job: held while it lives, so that a killed one is known by its free lock.
 *
 * Owns:    the descriptor handed out; closing it lets the lock go.
 * Thread:  any; an flock belongs to its descriptor, so two threads of a process exclude each other too.
 * Limits:  local file systems. */
#pragma once
#include "ingest/job/job.h"

/* Makes the file when needed and locks it. CN_CONFLICT: held by another. */
cn_err cn_joblock_take(cn_tenant *t, const char *job, int *ret_fd);
cn_err cn_joblock_look(cn_tenant *t, const char *job, bool *ret_held); /* by anyone alive */
bool cn_joblock_held(cn_tenant *t, const char *job);     /* the same; when in doubt, it is */
void cn_joblock_drop(int fd);                            /* -1 is fine */
void cn_joblock_remove(cn_tenant *t, const char *job);   /* unlinks it; while held, before drop */
