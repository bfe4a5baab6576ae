/* spread.h -- the rows of a loop, shared among threads.
 *
 * A function runs once on each thread, the caller's own among them, and takes the next few rows until none are left: what it
 * needs for itself (room, sums) lives on its stack. What a row gets must depend on nothing that another row of the same loop
 * gets: then the result has the same bits whatever the threads.
 * Owns:    its threads, which end with the call.
 * Thread:  any.
 * Limits:  CN_SPREAD_MAX threads; those that cannot be started leave their share to the others. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#define CN_SPREAD_MAX 256

typedef struct cn_shares cn_shares;
/* The next rows [from, to); false: none are left, or the loop was ended. */
bool cn_shares_next(cn_shares *s, uint32_t *ret_from, uint32_t *ret_to);
void cn_shares_end(cn_shares *s); /* of what is left nobody takes any: something failed */

/* share: rows that are taken at a time, at least 1. */
typedef void cn_spread_fn(void *ctx, cn_shares *s);
void cn_spread(unsigned threads, uint32_t rows, uint32_t share, cn_spread_fn *fn, void *ctx);
/* The same, where a thread needs nothing of its own. */
typedef void cn_rows_fn(void *ctx, uint32_t from, uint32_t to);
void cn_spread_rows(unsigned threads, uint32_t rows, uint32_t share, cn_rows_fn *fn, void *ctx);
