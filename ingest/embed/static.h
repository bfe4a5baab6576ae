/* static.h -- texts to vectors by a table (table.h): the sum of the rows of a text's pieces, at length 1.
 *
 * No layer looks at a word's neighbours: hundreds of times as fast as the model that the table was made from, and coarser.
 * Sums are of whole numbers and exact; what follows is one sum of squares in a fixed order, one root and one product for
 * each number. So the bits of a vector depend on the table and the text alone, whatever the instruction set.
 * Owns:    nothing.
 * Thread:  any; the sums are one call's.
 * Limits:  those of table.h. */
#pragma once
#include "ingest/embed/table.h"

#define CN_STATIC_PAD 16 /* numbers that are summed together */
static inline uint32_t cn_static_room(uint32_t dim) { return (dim + CN_STATIC_PAD - 1) / CN_STATIC_PAD * CN_STATIC_PAD; }

/* A text that gives nothing (no words, or rows that are all 0) gets the row of [CLS]. CN_INVALID: the table and its
 * vocabulary are not of one kind, or that row is all 0. */
cn_err cn_static_check(const cn_token_table *t, const cn_wordpiece *w);
/* v[n]: at most CN_TABLE_TOKENS_MAX pieces of the table's vocabulary; sums[cn_static_room(dim)] is scratch; out[dim]. */
void cn_static_run(const cn_token_table *t, uint32_t cls, const cn_token *v, uint32_t n, int32_t *sums, float *out);
