/* distill.h -- makes a static embedder (embed/static.h) out of a BERT-class one: a row for each piece of its vocabulary.
 *
 * The known good recipe (Arora et al. 2017; model2vec), with a fit where there is text:
 *   1. the teacher embeds each piece of its vocabulary alone, and passages of the texts at hand;
 *   2. principal components of the vectors: the `dim` that vary most;
 *   3. a piece's prior is its own vector, weighed down where it is common (by its rank: vocabularies are sorted so);
 *   4. ridge regression (ridge.h) moves the rows, so that a passage's sum comes near its vector;
 *   5. components that vary much are scaled down, common pieces weighed down once more, and all is rounded to 14 bits.
 * The same texts, whatever their order and the threads, give the same table on the same host (OpenBLAS's bits depend on the
 * processor). Nothing is kept unless all of it was made.
 * Owns:    nothing.
 * Thread:  any; progress is called on the caller's.
 * Limits:  CN_DISTILL_...; memory of about 20 bytes for each piece and dimension, and 8 for each passage and dimension. */
#pragma once
#include "ingest/embed/embed.h"

#define CN_DISTILL_PASSAGES 30000u
#define CN_DISTILL_PASSAGES_MAX 1000000u
#define CN_DISTILL_DIM 256u
#define CN_DISTILL_DIM_MIN 8u

typedef struct cn_distill_opts {
    const char *data_dir;
    cn_str name, from;
    const char *const *texts; /* files, folders, globs: as an ingest takes them */
    uint32_t n_texts;
    cn_str tenant, index;     /* its active version's documents too; empty: none */
    uint32_t dim;             /* 0: CN_DISTILL_DIM, or the teacher's where that has fewer */
    uint32_t passages;        /* at most; 0: CN_DISTILL_PASSAGES */
    unsigned threads;
    void (*progress)(void *ctx, const char *step, uint64_t done, uint64_t all); /* all 0: not known; NULL */
    void *progress_ctx;
} cn_distill_opts;

typedef struct cn_distill_report {
    uint64_t documents, rejected;  /* read; that could not be */
    uint64_t offered, passages;    /* passages they have; of them, that were embedded */
    uint32_t words, fitted, dim;   /* pieces of the vocabulary; that a passage holds; dimensions */
    double likeness;               /* mean cosine between sum and teacher of passages left out of the fit; NAN: too few */
} cn_distill_report;

/* CN_NOT_FOUND: no such teacher; CN_INVALID: it is not of kind bert, the options, no text in what was given; CN_CONFLICT: the
 * name is taken. */
cn_err cn_distill(const cn_distill_opts *o, cn_distill_report *ret);
