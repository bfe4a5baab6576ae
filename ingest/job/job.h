/* job.h -- one batch of documents into one new version: read, parse, chunk, embed and write, overlapped and bounded.
 *
 * Steps run side by side, joined by bounded queues, and rows are written in the order they were read. Unchanged documents
 * (same content digest in the head, same recipe) cost a look-up. A killed job resumes from its file; nothing is visible
 * before the version is sealed.
 * Owns:    the job's row in work.mdb and its lock; the file being built.
 * Thread:  cn_job_run() blocks its caller; cancel and list from any thread or process.
 * Limits:  one job at a time for each (index, source); memory by CN_JOB_BYTES of documents under way. */
#pragma once
#include "index/catalog/version.h"
#include "ingest/chunk/chunk.h"
#include "ingest/source/source.h"

#define CN_JOB_BYTES ((uint64_t)256 << 20)

typedef struct cn_job_opts {
    cn_str index;
    cn_source_opts from;
    bool sync, activate, reparse, dry_run, strict_input;
    bool activate_set;                       /* activate was said; else the index's setting */
    uint64_t max_deleted, max_relabelled, max_rejected; /* guards; UINT64_MAX: the default of 10% and 1,000 */
    cn_str resume;                           /* job id to take up */
    unsigned threads;                        /* 0: all processors */
} cn_job_opts;

typedef enum cn_job_state { CN_JOB_RUNNING, CN_JOB_DONE, CN_JOB_UNCHANGED, CN_JOB_GUARDED, CN_JOB_HELD, CN_JOB_FAILED, CN_JOB_CANCELLED, CN_JOB_INTERRUPTED } cn_job_state;
const char *cn_job_state_name(cn_job_state s);

typedef struct cn_job_progress {
    cn_job_state state;
    char step[16];                           /* "reading", "embedding", "sealing" */
    cn_counts counts;
    uint64_t chunks_embedded, tokens, bytes_done, bytes_all, docs_all; /* 0: unknown */
    uint64_t elapsed_ms;
} cn_job_progress;
typedef void cn_job_progress_fn(void *ctx, const cn_job_progress *p);

typedef struct cn_job_result {
    char job[33];
    cn_job_state state;
    cn_counts counts;
    uint64_t version;        /* sealed; 0: nothing changed, or a dry run */
    cn_digest root;
    bool activated;
    uint64_t est_chunks, est_ms; /* dry run */
    uint64_t embed_ns, elapsed_ms; /* embed_ns: CPU time inside the embedder */
    char why[512];           /* why it was not activated, or what failed */
} cn_job_result;

cn_err cn_job_run(cn_tenant *t, const cn_job_opts *o, const cn_actor *who, cn_job_progress_fn *progress, void *ctx, cn_job_result *ret);
/* Small writes handed over in memory (documents.put, documents.delete): the same path, one version. */
cn_err cn_job_put(cn_tenant *t, const cn_job_opts *o, const cn_raw *docs, uint32_t n, const cn_actor *who, cn_job_result *ret);
/* A new version from stored text: another chunker or embedder. */
cn_err cn_job_rebuild(cn_tenant *t, cn_str index, cn_str embedder, cn_str precision, cn_str chunker, bool activate, const cn_actor *who, cn_job_progress_fn *progress, void *ctx, cn_job_result *ret);

/* Each appends maps {job, index, source, state, step, started, updated, counts, version, why, ...}. */
cn_err cn_job_list(cn_tenant *t, cn_buf *out);
cn_err cn_job_show(cn_tenant *t, cn_str job, bool rejected, cn_buf *out);
cn_err cn_job_cancel(cn_tenant *t, cn_str job, const cn_actor *who); /* asks; the job stops at its next document */
