/* run.h -- what the files of a running job share: one cn_run from its options to its result.
 *
 *   feed.c  where rows come from (a source, memory, the head itself)      one thread
 *   make.c  what becomes of a row: look up, parse, chunk, embed           worker threads
 *   reuse.c vectors that a changed row keeps
 *   write.c rows into the file, in order, with counts and notes           the caller's thread
 *   rebuild.c  a rebuild's steps;  again.c  rows made once more, after a rebuild became active under the job
 *   job.c   the steps from claim to flip;  watch.c  progress, cancelling  one thread of its own
 * Owns:    cn_run owns everything it opened, until cn_job_run() and its like end.
 * Thread:  each field says whose it is.
 * Limits:  those of job.h. */
#pragma once
#include <pthread.h>
#include <stdatomic.h>

#include "engine/base/os.h"
#include "index/policy/policy.h"
#include "index/store/root.h"
#include "ingest/job/keyset.h"
#include "ingest/job/ledger.h"
#include "ingest/job/line.h"
#include "ingest/job/rows.h"

#define CN_ARENA_CAP ((size_t)8 << 30)    /* of one batch: a document of 1 GiB with its text, chunks and vectors */
#define CN_BATCH_ITEMS 1024u
#define CN_BATCH_BYTES ((size_t)1 << 20)  /* of ready vectors and texts that are not embedded */
#define CN_BATCH_EMBED ((size_t)48 << 10) /* of text to embed: about 64 chunks, so that all threads have work */
#define CN_EMBED_CALL 128u                /* texts a call */
#define CN_SAMPLE 32u                     /* texts that a dry run embeds to know the speed */

typedef enum cn_fate { CN_FATE_ADDED, CN_FATE_UNCHANGED, CN_FATE_CHANGED, CN_FATE_RELABELLED, CN_FATE_REJECTED, CN_FATE_DELETED, CN_FATE_SKIPPED } cn_fate;
/* Where the row to write comes from: nowhere, the stored row as it is, the stored text, the bytes brought. */
typedef enum cn_how { CN_HOW_KEEP, CN_HOW_COPY, CN_HOW_STORED, CN_HOW_PARSE } cn_how;

typedef struct cn_item {
    cn_raw raw;
    cn_key key;
    cn_digest row, said; /* said: of what its source says, as the chain over the rows read has it */
    cn_digest vector;   /* of raw.vector; zero: none */
    cn_place at;        /* in the head, when found */
    bool found, rest;   /* rest: not read from the source but from the head, to be made anew */
    bool own;           /* at is in run.own: a row of this job, to be made again */
    bool erased;        /* the row found is one of an erased document: nothing of it may be used again */
    bool skip;          /* a resumed job has done it already */
    cn_fate fate;
    cn_how how;
    cn_doc doc;         /* what to write */
    cn_digest leaf;     /* of doc */
    cn_chunk *chunks;   /* of doc, while vectors are missing; NULL: none is */
    cn_str why;
    uint32_t est_chunks;  /* of a dry run: what would be embedded of it */
    uint64_t est_tokens;
} cn_item;

/* Where CPU time goes. A worker's clock is read around parsing and chunking; the rest of its time is matching. */
typedef enum cn_cost { CN_COST_READ, CN_COST_MATCH, CN_COST_PARSE, CN_COST_CHUNK, CN_COST_EMBED, CN_COST_WRITE, CN_COST_SEAL, CN_COSTS } cn_cost;

typedef struct cn_run cn_run;
typedef struct cn_feed {
    cn_err (*next)(cn_run *r, cn_arena *a, cn_item *ret); /* CN_END at the end */
    cn_source *source;
    const cn_raw *docs; /* the run's */
    uint32_t n_docs, next_doc;
    cn_place place;
    const cn_place *places; /* documents of the head to be made anew */
    uint64_t n_places;
    uint64_t bytes_done, bytes_all; /* of documents of the head: guessed by their chunks, for progress */
} cn_feed;

typedef struct cn_run {
    cn_tenant *t;
    cn_job_opts o;
    cn_actor who;
    cn_job_progress_fn *progress;
    void *progress_ctx;
    bool rebuild, dry;
    uint64_t of;               /* of a rebuild that goes on: the version whose documents it made; 0: the head */
    bool put;                  /* docs are its input, not a source */
    const cn_raw *docs;
    uint32_t n_docs;
    bool withheld;             /* it was to activate, and who resumed it may not */
    unsigned threads;
    cn_arena arena;            /* for the run's own strings */

    /* read by all, set before the line starts */
    cn_index_info index;
    cn_version head;
    bool has_head, remake;     /* remake: another model or chunker than the head's, so every row is made anew */
    cn_recipe recipe;
    cn_analyser analyser;     /* its name is the recipe's */
    char chunker_text[96];
    cn_digest recipe_digest;   /* of index, model, precision and chunker, as a note has it */
    cn_chunker chunker;
    cn_ledger ledger;
    cn_policy *policy;
    bool of_before;            /* of a rebuild gone on with: rows were made under a policy that is not known any more */
    cn_err (*measure)(void *ctx, uint64_t version, uint64_t until_ns, const atomic_bool *halt); /* of a rebuild: see cn_rebuild_opts */
    void *measure_ctx;
    cn_seg *own;               /* rows of this job, of the model of before; NULL but in again.c */
    cn_embedder *embedder;     /* NULL: none */
    int model_fd;              /* holds it against removal; -1: none */
    cn_parser *parser;         /* made when first needed */
    cn_err parser_err;
    pthread_mutex_t parser_lock;
    uint64_t skip_to;          /* rows that a resumed job has done */

    /* the feed's thread */
    cn_feed feed;
    uint64_t fed;
    bool dim_known;            /* recipe.dim holds for this job */

    /* the writer's thread */
    cn_segw *w;
    uint64_t seq;
    cn_digest chain, skip_chain;
    uint64_t kept_ns;          /* when what was written was last committed to the file */
    bool whole;                /* a resumed job's rows are all there, to be made again */
    bool reads_again;          /* they are not kept for that: a resume takes the input anew */
    bool stale;                /* the input is not what the job was stopped at */
    cn_counts counts;
    bool found_any;            /* its source held a document: a row that deletes is none, nor is the rest of the head */
    uint64_t unnamed;          /* rejected rows of which no one knows whose they were */
    uint64_t parsed_over;      /* documents of the head made anew from their bytes, or deleted */
    cn_key *removed;
    uint64_t n_removed, room_removed;
    cn_key *unfit;             /* of a rebuild: documents that are in no version of it, since nothing could be made of them */
    uint64_t n_unfit, room_unfit;
    uint64_t listed;           /* rejected documents listed */
    cn_keyset dry_keys;        /* a dry run's: what its file would hold */
    uint64_t est_chunks, est_tokens; /* of those */

    /* shared */
    pthread_mutex_t saving;    /* taken before `lock`: rows are written one after the other, so that an older one never comes last */
    pthread_mutex_t lock;      /* row and now */
    cn_job_row row;
    cn_job_progress now;
    double told, told_s;       /* the watch's: the share done in this time, when it was told of last, and how long that was */
    uint64_t fed_now;          /* documents that its bytes_done brought; counts.read of them are done */
    cn_line *line;
    atomic_bool halt;          /* cancelled, or left */
    bool cancelled, left, over; /* left: told to leave; over: no more watching */
    pthread_cond_t wake;
    _Atomic uint64_t cost[CN_COSTS], embedded, tokens, sample_ns, sample_tokens, told_tokens; /* told: of the sample, as the embedder counts */
    _Atomic bool sampled;
    uint64_t start_ns, children_ns; /* children_ns: spent by ended children before the job began */
} cn_run;

static inline void cn_spend(cn_run *r, cn_cost c, uint64_t from_ns) { atomic_fetch_add(&r->cost[c], cn_thread_cpu_ns() - from_ns); }

/* By which command it is asked for, and gone on with. */
static inline const char *cn_run_verb(const cn_run *r) { return r->rebuild ? "rebuild" : "ingest"; }

/* feed.c */
cn_err cn_feed_source(cn_run *r, cn_arena *a, cn_item *ret);
cn_err cn_feed_memory(cn_run *r, cn_arena *a, cn_item *ret);
cn_err cn_feed_rest(cn_run *r, cn_arena *a, cn_item *ret);
cn_err cn_feed_places(cn_run *r, cn_arena *a, cn_item *ret);
void cn_feed_begin_rest(cn_run *r); /* the rest of the head comes next: progress knows how much that is */
cn_err cn_run_fill(void *run, cn_batch *b);
/* again.c: is the head of another model than what this job built on? Then its rows, whose sealing failed, are made by that. */
cn_err cn_run_note_whole(cn_run *r, cn_str *ret); /* write.c: a note that a resume makes all rows again by; empty where it cannot */
bool cn_run_model_changed(cn_run *r);
cn_err cn_run_again(cn_run *r);
cn_err cn_feed_own(cn_run *r, cn_arena *a, cn_item *ret);
/* make.c */
cn_err cn_run_work(void *run, cn_line *l, unsigned worker, cn_batch *b);
/* classify.c: key, digests, fate and how of one row */
cn_err cn_classify(cn_run *r, cn_arena *a, cn_item *it);
/* reuse.c: gives the item's chunks the vectors that the row found has for them */
cn_err cn_reuse_vectors(cn_run *r, cn_arena *a, cn_item *it);
cn_err cn_item_reject(cn_arena *a, cn_item *it, const char *why);
/* write.c */
cn_err cn_run_write(void *run, cn_batch *b);
cn_err cn_run_take_up(cn_run *r);       /* opens the file of an interrupted job and reads its note */
/* Has the head been built on this version, and on none that was there, and set aside, when `newest` was the newest? Else what was
 * unchanged in it need not be so in the head. */
cn_err cn_run_built_on(const cn_run *r, uint64_t base, uint64_t newest, bool *ret);
cn_err cn_run_start_anew(cn_run *r);    /* throws away what was built */
/* Of a rebuild: opens the file again, before the head, and tells which version it is made of; then what is in it is not made again. */
cn_err cn_run_take_up_rebuild(cn_run *r, uint64_t *ret_of);
cn_err cn_run_pass_over(cn_run *r);
cn_err cn_remove_key(void *run, const cn_key *key);
/* watch.c */
cn_err cn_watch_start(cn_run *r, pthread_t *ret);
void cn_watch_stop(cn_run *r, pthread_t thread);
void cn_run_step(cn_run *r, const char *step);
cn_err cn_run_cancelled(const cn_run *r); /* CN_REFUSED, with its text */
cn_err cn_run_left(const cn_run *r);      /* CN_UNAVAILABLE, with its text */
cn_err cn_run_save(cn_run *r);            /* the row as it is now; learns whether someone asked to stop */
cn_err cn_run_may_go_on(cn_run *r);       /* looks now whether someone asked to stop */
/* job.c */
cn_err cn_run_line(cn_run *r);            /* what the feed gives, to its end */
cn_err cn_run_rest(cn_run *r);            /* what of the head came in no row, where another model makes it anew */
/* rebuild.c: from the first row to the flip */
cn_err cn_run_rebuild(cn_run *r, bool resumed, cn_job_result *ret);
/* setup.c: index, head, recipe, embedder, ledger */
cn_err cn_run_open(cn_run *r);
void cn_run_close(cn_run *r); /* so that it can be opened again, on another head */
bool cn_run_other_rows(const cn_recipe *a, const cn_recipe *b); /* of another model, metric or chunker */
cn_err cn_run_recipe_end(cn_run *r);    /* what is known only after the last row: dimension, parsers */
/* finish.c */
cn_err cn_run_finish(cn_run *r, cn_job_result *ret);      /* seal, guards, flip */
cn_err cn_run_find_sealed(cn_run *r, cn_job_result *ret); /* CN_NOT_FOUND: it had not been sealed */
