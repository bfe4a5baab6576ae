/* flat.h -- exact search over one segment's vectors, fast by stages.
 *
 * vectors as given -> (normalise, centre, rotate) -> few-bit codes and int8 codes -> staged scan -> exact float rerank.
 * `exact` proves its answer (float scores over every permitted row that a rigorous bound cannot rule out); `staged`
 * trades a rare miss for speed (recall@10 >= .999). Both return the true float score of each hit.
 * Follows ENGINE.md 1.3 (FhtKac rotation), 1.4 (RaBitQ estimator, arXiv 2405.12497), 1.9 (kernels).
 * Owns:    cn_flat owns what it allocates at open; vectors, codes and mean are borrowed and must outlive it.
 * Thread:  an open cn_flat is read by any number of threads; a cn_scratch belongs to one at a time.
 * Limits:  dimension 1 to CN_DIM_MAX; k 1 to CN_K_MAX; 2^31 rows. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "engine/base/arrays.h"
#include "engine/base/top.h"

#define CN_DIM_MAX 4096

typedef enum cn_metric { CN_COSINE, CN_IP, CN_L2 } cn_metric;
const char *cn_metric_name(cn_metric m);              /* "cosine", "ip", "l2" */
cn_err cn_metric_parse(const char *name, cn_metric *ret);

/* n rows of dim floats, in blocks of block_rows (a power of two); each block is 64-byte aligned, rows lie dense. */
typedef struct cn_vecs {
    const float *const *blocks;
    uint32_t n, dim, block_rows;
} cn_vecs;

static inline const float *cn_vec(const cn_vecs *v, uint32_t row) {
    uint32_t in = row & (v->block_rows - 1);
    return v->blocks[row / v->block_rows] + (uint64_t)in * v->dim;
}

/* The space all codes of one index live in: frozen before its first codes are made, the same for all its segments, so that
 * one rotated query serves them all. mean: dim floats (of normalised rows for cosine); NULL: all zero. */
typedef struct cn_space {
    cn_metric metric;
    uint32_t dim;
    uint64_t seed;
    const float *mean;
} cn_space;

/* The mean of at most 65,536 rows spread evenly, in steps of at least 64 times what one of them moves it: it outlives its
 * rows, and whoever knows all of them but one does not get that one from it. Of few rows it is zero, or nearly. */
cn_err cn_space_mean(const cn_vecs *v, cn_metric metric, float *mean);

/* CN_INVALID for a vector that cannot be searched: a component that is not finite (named), or one so long that scores
 * overflow (over 7e18), or (cosine) all zero or shorter than 1e-18. Scores of two that pass are finite. */
cn_err cn_vec_check(const float *x, uint32_t dim, cn_metric metric);
/* The one definition of a score: fp32 products summed in 16 lanes, lanes folded in a fixed order (equal on every ISA);
 * cosine divides by both norms; L2 is minus the squared distance. Higher is better. */
float cn_score(cn_metric metric, const float *q, const float *x, uint32_t dim);

/* --- codes: derived arrays (arrays.h) --- */

#define CN_FLAT_KIND "flat"
#define CN_FLAT_FORMAT 2

/* The same rows and space give the same bytes on every ISA. threads: how many to use, 1 or more. */
cn_err cn_flat_build(const cn_vecs *v, const cn_space *space, unsigned threads, cn_put_array *put, void *ctx);

typedef struct cn_flat cn_flat;
/* get NULL: no codes; then every search is the plain float scan. Sizes and headers are checked; CN_DAMAGED if wrong. */
cn_err cn_flat_open(const cn_vecs *v, const cn_space *space, cn_get_array *get, void *ctx, cn_flat **ret);
void cn_flat_close(cn_flat *f); /* NULL is fine */

typedef struct cn_scratch cn_scratch; /* grows to what the largest search needs, then allocates nothing */
cn_err cn_scratch_new(cn_scratch **ret);
void cn_scratch_free(cn_scratch *s);

typedef struct cn_scan {
    const float *query;        /* dim floats as given */
    uint32_t k;
    const uint64_t *permitted; /* a bit a row, ceil(n/64) words; never NULL: there is no unfiltered search */
    uint32_t n_permitted;      /* bits set */
    const uint32_t *rank;      /* of each row in the order of ties; NULL: the row number */
    bool (*stop)(void *ctx);   /* asked now and then; true: give up with CN_DEADLINE; NULL: never */
    void *stop_ctx;
} cn_scan;

/* The best k permitted rows, best first, ties by rank. hits has room for k; *ret_n <= k. */
cn_err cn_flat_exact(const cn_flat *f, const cn_scan *q, cn_scratch *s, cn_scored *hits, uint32_t *ret_n);
cn_err cn_flat_staged(const cn_flat *f, const cn_scan *q, cn_scratch *s, cn_scored *hits, uint32_t *ret_n);
