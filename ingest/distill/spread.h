/* spread.h -- the rows of a loop, shared among threads.
 *
 * What a row gets must depend on nothing that another row of the same loop gets: then the result has the same bits whatever
 * the threads.
 * Owns:    its threads, which end with the call.
 * Thread:  any.
 * Limits:  CN_SPREAD_MAX threads; those that cannot be started leave their share to the others. */
#pragma once
#include <stdint.h>

#define CN_SPREAD_MAX 256

typedef void cn_spread_fn(void *ctx, uint32_t from, uint32_t to);
void cn_spread(unsigned threads, uint32_t rows, cn_spread_fn *fn, void *ctx);
