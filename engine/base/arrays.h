/* arrays.h -- what is derived from a segment, as arrays: their builder puts them, their reader gets them back in place.
 *
 * Whoever calls the builder stores them, by array number and block number; neither builder nor reader knows where.
 * Owns:    nothing; the bytes are the caller's, in both directions.
 * Thread:  as the functions handed over say.
 * Limits:  none. */
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "engine/base/error.h"

typedef cn_err cn_put_array(void *ctx, uint32_t array, uint32_t block, const void *bytes, size_t n);
/* *ret_bytes is 64-byte aligned; CN_NOT_FOUND when there is none. */
typedef cn_err cn_get_array(void *ctx, uint32_t array, uint32_t block, const void **ret_bytes, size_t *ret_n);

/* One whose bytes are known beforehand. what: the noun of a message, "codes". */
static inline cn_err cn_get_sized(cn_get_array *get, void *ctx, const char *what, uint32_t array, uint32_t block, size_t want, const void **ret) {
    size_t n;
    CN_TRY(get(ctx, array, block, ret, &n));
    if (n != want)
        return cn_fail(CN_DAMAGED, "array %u block %u of the %s has %zu bytes, not %zu; they will be made anew", array, block, what, n, want);
    return CN_OK;
}
