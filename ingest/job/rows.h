/* rows.h -- jobs as kept in work.mdb, their locks, and what they rejected.
 *
 *   jobs         <job>                     -> record 1: one map (see rows.c)
 *   job_running  <index> \0 <source>       -> job            the one that runs, or was killed while it ran
 *   job_rejects  <job> \0 u64 big-endian   -> record 1: {doc, where, why, skipped, of: its key}; the number of the row read, so that a resumed job
 *                                             writes the same entry again
 *   DATA/tenants/<tenant>/jobs/<job>.lock     held by flock while the job lives: a job whose row says "running" and
 *                                             whose lock is free was interrupted
 * Owns:    a cn_job_row owns its lock (a file descriptor) from claim or take-up to end; its strings live in its arena.
 * Thread:  one at a time for a row; any process for the rest.
 * Limits:  CN_JOB_REJECTS_MAX rejected documents a job, CN_JOBS_KEPT jobs. */
#pragma once
#include "engine/base/pack.h"
#include "ingest/job/job.h"

typedef struct cn_job_row {
    cn_arena arena;
    char id[CN_JOB_ID_TEXT];
    cn_str index, source, kind;      /* kind: "ingest", "put", "rebuild" */
    cn_str who, via;
    cn_str opts;                     /* what to resume with (opts.h) */
    cn_job_state state;
    char step[16];
    double share, seconds_left;      /* as in cn_job_progress */
    int64_t pid, started_us, updated_us;
    bool has_file;
    cn_seg_id file;                  /* being built */
    cn_counts counts;
    uint64_t version;
    cn_digest root;
    bool activated;
    char why[512];
    int lock;                        /* -1: not held */
} cn_job_row;

void cn_job_row_init(cn_job_row *r);
void cn_job_row_done(cn_job_row *r); /* frees memory and lets the lock go; the row stays as it is */

/* Enters the job as running. CN_CONFLICT names the job that runs for the same index and source, and its pid. One that was
 * killed there is marked as superseded: *ret_old then tells its file, for the caller to remove. */
cn_err cn_jobs_claim(cn_tenant *t, cn_job_row *r, bool *ret_has_old, cn_seg_id *ret_old);
/* Takes up an interrupted or failed job of this kind. CN_NOT_FOUND; CN_CONFLICT: it runs, or another does; CN_INVALID: it has ended,
 * or is of another kind. */
cn_err cn_jobs_take_up(cn_tenant *t, cn_str job, const char *kind, cn_job_row *r);
/* Writes the row; *ret_cancel: someone asked the job to stop (r->why then says who). */
cn_err cn_jobs_save(cn_tenant *t, cn_job_row *r, bool *ret_cancel);
/* The same, but nothing is written, so no disk is waited for. */
cn_err cn_jobs_wish(cn_tenant *t, cn_job_row *r, bool *ret_cancel);
/* Writes the row in its last state, and lets the next job of its index and source begin. */
cn_err cn_jobs_end(cn_tenant *t, cn_job_row *r);
/* Reads a row; a running one whose lock is free is shown as interrupted. */
cn_err cn_jobs_get(cn_tenant *t, cn_str job, cn_job_row *r);

typedef struct cn_reject {
    uint64_t seq;            /* number of the row read, from 0 */
    cn_str doc, where, why;
    bool skipped;            /* a file that is no document, and need not be one */
} cn_reject;
cn_err cn_rejects_add(cn_tenant *t, const char *job, const cn_reject *v, uint32_t n);
cn_err cn_rejects_cut(cn_tenant *t, const char *job, uint64_t from_seq); /* forgets those from here on */
cn_err cn_rejects_count(cn_tenant *t, const char *job, uint64_t *ret);
struct cn_folders;
/* Appends an array of maps {doc, where, why, skipped}, why without these folders (folders.h). */
cn_err cn_rejects_list(cn_tenant *t, const char *job, const struct cn_folders *hidden, cn_buf *out);

void cn_counts_pack(const cn_counts *c, cn_buf *out);
cn_err cn_counts_unpack(const msgpack_object *map, cn_counts *ret);
