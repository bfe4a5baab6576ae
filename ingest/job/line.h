/* line.h -- batches of documents through three steps that run side by side: fill, work, write.
 *
 *   fill (one thread, in order) -> work (many threads, any order) -> write (one thread, in the order of filling)
 *
 * One ring of batches under one mutex joins the steps, so what is under way is bounded by batches and by bytes, and a
 * slow step makes the ones before it wait. Queues of messages for each step were the other choice; a ring needs no
 * reordering buffer and stops cleanly from any step.
 * Owns:    the threads and the batches with their arenas, for the time of cn_line_run().
 * Thread:  cn_line_stop(), cn_line_stopping() and cn_line_spare() may be called from any.
 * Limits:  CN_LINE_BATCHES batches; a new batch is filled only while less than max_bytes are under way (a single one
 *          larger than that passes alone). */
#pragma once
#include <stdatomic.h>

#include "engine/base/arena.h"
#include "engine/base/error.h"

#define CN_LINE_BATCHES 64
#define CN_LINE_WORKERS_MAX 64
#define CN_LINE_KEEP ((size_t)4 << 20) /* a batch's arena larger than this is given back after use */

typedef struct cn_line cn_line;

typedef struct cn_batch {
    cn_arena arena;   /* everything of this batch; emptied after write */
    void *items;      /* the caller's, in the arena */
    uint32_t n;       /* items; 0 after fill: the end of the input */
} cn_batch;

typedef struct cn_line_ops {
    cn_err (*fill)(void *ctx, cn_batch *b);
    cn_err (*work)(void *ctx, cn_line *l, unsigned worker, cn_batch *b); /* worker: 0 to workers - 1 */
    cn_err (*write)(void *ctx, cn_batch *b);
} cn_line_ops;

cn_err cn_line_new(const cn_line_ops *ops, void *ctx, unsigned workers, uint64_t max_bytes, size_t arena_cap, cn_line **ret);
void cn_line_free(cn_line *l); /* NULL is fine */
/* Runs to the end of the input or the first error, which is returned with its text. Once for a line. */
cn_err cn_line_run(cn_line *l);
/* Ends the run soon with this error (any thread). The first one counts. */
void cn_line_stop(cn_line *l, cn_err err, const char *text);
bool cn_line_stopping(cn_line *l);
/* Workers that have nothing to do now: whoever works may use as many threads more. */
unsigned cn_line_spare(cn_line *l);
