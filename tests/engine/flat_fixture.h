/* flat_fixture.h -- rows made by a seed, their codes in memory, and a naive search in double precision to compare with.
 *
 * Owns:    a fixture owns its rows, codes and open cn_flat; fixture_done() frees them.
 * Thread:  one.
 * Limits:  STORE_BLOCKS blocks of codes. */
#pragma once
#include <CUnit/Basic.h>

#include "engine/flat/flat.h"

typedef enum rows_kind {
    ROWS_CLUSTERED, /* 20 directions with noise, off the origin: as embedders give them */
    ROWS_TOPICS,    /* the same directions, each with topics of its own, as real texts have */
    ROWS_UNIFORM,   /* each component by itself: the hardest for codes */
    ROWS_FAR,       /* clustered, a hundred times as far from the origin as from each other */
    ROWS_SPARSE,    /* one component in ten is not zero */
    ROWS_TWINS,     /* clustered, but each row stands there again and again, and each 50th is all zero */
} rows_kind;

typedef struct fixture_plan {
    cn_metric metric;
    uint32_t dim, n, block_rows;
    rows_kind kind;
    float size; /* of a component, about */
} fixture_plan;

#define STORE_BLOCKS 64
typedef struct stored {
    uint32_t array, block;
    void *bytes;
    size_t n;
} stored;

typedef struct store {
    stored at[STORE_BLOCKS];
    uint32_t n;
    uint32_t refuse_after; /* put fails with CN_REFUSED once there are so many; 0: never */
} store;

typedef struct fixture {
    fixture_plan plan;
    cn_vecs vecs;
    cn_space space;
    float *mean;
    store codes;
    cn_flat *flat;
    cn_scratch *scratch;
    uint64_t *all; /* every row permitted */
} fixture;

void fixture_init(fixture *f, fixture_plan plan); /* rows, mean, codes, all opened; asserts that it went well */
void fixture_stretch(fixture *f, float by);       /* two rows in three, and makes the codes anew */
void fixture_done(fixture *f);
float *fixture_query(fixture *f, uint64_t seed);  /* near one of the rows; the caller frees it by cn_free() */

cn_err store_put(void *ctx, uint32_t array, uint32_t block, const void *bytes, size_t n);
cn_err store_get(void *ctx, uint32_t array, uint32_t block, const void **ret_bytes, size_t *ret_n);
void store_done(store *s);
bool store_same(const store *a, const store *b);

uint64_t random_bits(void); /* xorshift64, one sequence for the process */
float random_float(void);   /* uniform in -1..1 */

double naive_score(cn_metric metric, const float *q, const float *x, uint32_t dim);
double naive_slack(const fixture *f, const float *q, const float *x); /* how far a float score may be from it */
/* The answer by cn_score() of each permitted row and sorting; hits has room for k. Returns how many. */
uint32_t brute_force(const fixture *f, const cn_scan *q, cn_scored *hits);
