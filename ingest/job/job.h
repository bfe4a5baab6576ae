/* job.h -- one batch of documents into one new version: read, parse, chunk, embed and write, overlapped and bounded.
 *
 * Steps run side by side (line.h), and rows are written in the order they were read. A document whose content, labels and
 * metadata are those of the index's head costs a look-up; one with other labels or metadata is rewritten with its stored
 * text and vectors. A killed job resumes from its file; nothing is visible before the version is sealed.
 *
 * Counts: every document read is one of added, unchanged, changed, relabelled, rejected, and read is their sum. A row that
 * deletes is counted in `deleted` alone, and as read and unchanged where there is nothing to delete. `changed` also holds
 * documents made anew because the model, the chunker or (with reparse) the parser is another. `unlabelled` counts the
 * documents read that nobody may see. documents = before + added - deleted.
 * Owns:    the job's row in work.mdb and its lock; the file being built.
 * Thread:  cn_job_run() blocks its caller; progress is called from one thread of the job's own; cancel and list from any
 *          thread or process.
 * Limits:  one job at a time for each (index, source); memory by CN_JOB_BYTES of documents under way; CN_JOB_REJECTS_MAX
 *          rejected documents are listed, the rest only counted; the last CN_JOBS_KEPT jobs are listed. */
#pragma once
#include <stdatomic.h>

#include "index/catalog/version.h"
#include "ingest/chunk/chunk.h"
#include "ingest/source/source.h"

#define CN_JOB_BYTES ((uint64_t)256 << 20)
#define CN_JOB_ID_TEXT 33
#define CN_JOB_REJECTS_MAX 100000u
#define CN_JOBS_KEPT 1000u

typedef struct cn_job_opts {
    cn_str index;
    cn_source_opts from;
    bool sync, activate, reparse, dry_run, strict_input;
    bool activate_set;                       /* activate was said; else the index's setting */
    uint64_t max_deleted, max_relabelled, max_rejected; /* guards; UINT64_MAX: the default of 10% and 1,000 */
    cn_str embedder, precision, chunker, analyser; /* of a rebuild: as it wants them; empty: as the head has it */
    uint64_t catch_up;                       /* of a rebuild: the trial it goes on from; 0: none */
    cn_str resume;                           /* job id to take up, with the options it was started with; it activates only with `activate` too */
    char id[CN_JOB_ID_TEXT];                 /* from cn_job_new_id(), for a caller who must know it before; "": one is made */
    unsigned threads;                        /* 0: all processors */
    const atomic_bool *leave;                /* once true the job ends as if killed, to be resumed; NULL: never */
    const atomic_bool *gone;                 /* once true a dry run ends, whose answer nobody waits for any more; NULL: never */
    void (*begun)(void *ctx);                /* called once its row is committed, so that it can be listed and resumed; NULL: nobody waits for that */
    void *begun_ctx;
} cn_job_opts;

/* Every field as a plain `cairn ingest` would have it. */
void cn_job_opts_default(cn_job_opts *o);
/* Sortable by time, to the microsecond (five hex digits behind the dash): "20261123T102030-1f2e3d4c5b6a7988". */
void cn_job_new_id(char ret[CN_JOB_ID_TEXT]);

typedef enum cn_job_state { CN_JOB_RUNNING, CN_JOB_DONE, CN_JOB_UNCHANGED, CN_JOB_GUARDED, CN_JOB_HELD, CN_JOB_FAILED, CN_JOB_CANCELLED, CN_JOB_INTERRUPTED } cn_job_state;
const char *cn_job_state_name(cn_job_state s);

/* CPU time by step, in nanoseconds; with processes begun for parsing, which in a server may be another job's too. */
typedef struct cn_job_cost {
    uint64_t read, match, parse, chunk, embed, write, seal; /* match: digests and look-ups; seal: of its first thread */
} cn_job_cost;

typedef struct cn_job_progress {
    cn_job_state state;
    char step[16];                           /* "reading", "embedding", "sealing" */
    cn_counts counts;
    uint64_t chunks_embedded, tokens, bytes_done, bytes_all, docs_all; /* 0: unknown */
    uint64_t elapsed_ms, docs_before;        /* docs_before: of counts.read, done before a stop: not in this time */
    double share, seconds_left;              /* share: of all, 0 to 1, never falling. Below 0: not known, as of standard input */
} cn_job_progress;
typedef void cn_job_progress_fn(void *ctx, const cn_job_progress *p);

typedef struct cn_job_result {
    char job[CN_JOB_ID_TEXT]; /* "" for a dry run */
    cn_job_state state;
    cn_counts counts;
    uint64_t version;        /* sealed; 0: nothing changed, or a dry run */
    cn_digest root;
    bool activated;
    uint64_t est_chunks, est_tokens, est_ms; /* dry run: chunks of rows it would keep that want a vector, their tokens, and how long those take */
    double price;            /* of a million tokens, where the embedder has one; else 0 */
    uint64_t chunks_embedded, tokens, elapsed_ms;
    cn_job_cost cost;
    char why[512];           /* why it was not activated, or what failed */
} cn_job_result;

/* An error is returned when the job failed or was cancelled; *ret then holds the job's id, state and counts so far. With
 * strict_input and rejected documents the version is sealed but never activated, and CN_OK is returned: look at
 * counts.rejected. CN_CONFLICT: another job runs for this index and source (its id and pid are in the text). */
cn_err cn_job_run(cn_tenant *t, const cn_job_opts *o, const cn_actor *who, cn_job_progress_fn *progress, void *ctx, cn_job_result *ret);
/* Small writes handed over in memory (documents.put, documents.delete): the same path, one version. Of o->from only the
 * source's name counts. The documents are borrowed for the call. */
cn_err cn_job_put(cn_tenant *t, const cn_job_opts *o, const cn_raw *docs, uint32_t n, const cn_actor *who, cn_job_result *ret);

typedef struct cn_rebuild_opts {
    cn_str index;
    cn_str embedder, precision, chunker, analyser; /* empty: as the head has it */
    uint64_t catch_up;                       /* not 0: bring this trial up to date, by its own model, chunker and analyser */
    bool activate;                           /* never by the index's setting: no job flips to another model by itself */
    bool dry_run;                            /* of a whole rebuild: with catch_up or resume CN_INVALID */
    cn_str resume;                           /* as in cn_job_opts */
    char id[CN_JOB_ID_TEXT];
    unsigned threads;
    const atomic_bool *leave, *gone;         /* as in cn_job_opts */
    void (*begun)(void *ctx);                /* as in cn_job_opts */
    void *begun_ctx;
    /* Stores what the index's gate asks of this version, as far as it can be measured, by then (cn_mono_ns(); 0: however long it
     * takes) and unless it is to halt; NULL: nobody can. */
    cn_err (*measure)(void *ctx, uint64_t version, uint64_t until_ns, const atomic_bool *halt);
    void *measure_ctx;
} cn_rebuild_opts;
/* A new version from stored text: another chunker, embedder or analyser. It is sealed as a trial (index/catalog/version.h), and what other
 * jobs brought meanwhile is made too, as another trial on the first, until nothing is missing; those passed on the way are dropped.
 * A document that the new model or chunker can make nothing of is rejected, and not in the version. With activate and an index whose
 * gate asks for results the version is measured, and once more where others came since: results of one say nothing of the next. */
cn_err cn_job_rebuild(cn_tenant *t, const cn_rebuild_opts *o, const cn_actor *who, cn_job_progress_fn *progress, void *ctx, cn_job_result *ret);

/* What a job was told about labels, as far as its row says: a row's own labels win over the first rule that fits, which wins
 * over labels; whether a row brought any of its own is not kept. CN_NOT_FOUND: the row is gone. All in the arena. */
typedef struct cn_job_labels {
    cn_str kind, who, rows;       /* rows: the file of --rows; empty: none */
    cn_str rule;                  /* the first label rule that fits the document's id; empty: none */
    cn_labels rule_gives, labels; /* of that rule; of --label */
    unsigned trust;               /* CN_TRUST_ bits */
    int64_t started_us;
} cn_job_labels;
cn_err cn_job_labels_of(cn_tenant *t, cn_str job, cn_str id, cn_arena *a, cn_job_labels *ret);

/* Who is told of jobs; NULL in its place: the host's operator, who is told all. Others hear of no process's number, and of a file
 * not the folders of this host: of a client's job not the import roots (absolute paths), of another not where what it was given lies. */
typedef struct cn_job_reader {
    const cn_str *roots;
    uint32_t n_roots;
} cn_job_reader;

/* list appends an array of maps, show one map: {job, index, source, state, step, share, seconds_left, started, updated, counts, version, why, ...}; newest job first. */
cn_err cn_job_list(cn_tenant *t, bool (*seen)(void *ctx, cn_str index), void *ctx, const cn_job_reader *to, cn_buf *out); /* seen NULL: all */
cn_err cn_job_index(cn_tenant *t, cn_str job, cn_arena *a, cn_str *ret);  /* which index it works on; in the arena */
/* CN_DENIED, with no word of the path: what the job was given lies where this reader (from.rooted, from.roots) may not look. */
cn_err cn_job_may_resume(cn_tenant *t, cn_str job, const cn_source_opts *from, cn_arena *a);
cn_err cn_job_unknown(cn_str job);                                        /* CN_NOT_FOUND and its text: the same for a job that may not be seen */
cn_err cn_job_show(cn_tenant *t, cn_str job, bool rejected, const cn_job_reader *to, cn_buf *out);
/* Asks a job to stop, which it does at its next document. One that is dead is given up: what it had built is removed. */
cn_err cn_job_cancel(cn_tenant *t, cn_str job, const cn_actor *who);
