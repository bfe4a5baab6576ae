/* top.h -- the best k of a scan: a binary heap with the worst on top.
 *
 * Higher scores are better; ties go by rank, lower first.
 * Owns:    its heap, freed by cn_top_done(); the ranks are borrowed.
 * Thread:  one at a time.
 * Limits:  none of its own; a k that was reached before allocates nothing. */
#pragma once
#include <math.h>
#include <stdint.h>

#include "engine/base/error.h"

#define CN_K_MAX 10000 /* the most that a search gives */

typedef struct cn_scored {
    float score;
    uint32_t row;
} cn_scored;

typedef struct cn_ranked { /* of two the one with the larger key is better: scores in order above, ties below */
    uint64_t key;
    uint32_t row;
} cn_ranked;

typedef struct cn_top {
    cn_ranked *heap;
    uint32_t n, k, room;
    const uint32_t *rank; /* of each row in the order of ties; NULL: the row number */
    float bar;            /* cn_top_bar() */
} cn_top;

/* Empties it and sees to room for k. */
cn_err cn_top_begin(cn_top *t, uint32_t k, const uint32_t *rank);
void cn_top_done(cn_top *t);
void cn_top_empty(cn_top *t); /* for the same k */
void cn_top_offer(cn_top *t, cn_scored x); /* a score that is no number is none of the best */
void cn_top_take(cn_top *t, cn_scored *hits, uint32_t *ret_n); /* best first; empties t */
void cn_top_drain(cn_top *t, cn_scored *hits, uint32_t *ret_n); /* the same in no order */
/* What a row's score must reach to be among the best; -infinity while there are fewer than k. */
static inline float cn_top_bar(const cn_top *t) { return t->bar; }
float cn_ranked_score(const cn_ranked *r);
