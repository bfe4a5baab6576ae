/* vector_cache.h -- vectors by digest, the least recently used given up first.
 *
 * The key covers all that the vector depends on (model digest and text), so an entry is never stale.
 * Owns:    copies of the vectors.
 * Thread:  any.
 * Limits:  the number of entries given at start. */
#pragma once
#include "engine/base/digest.h"

typedef struct cn_vector_cache cn_vector_cache;
cn_err cn_vector_cache_new(uint32_t entries, cn_vector_cache **ret);
void cn_vector_cache_free(cn_vector_cache *c);
bool cn_vector_cache_get(cn_vector_cache *c, const cn_digest *key, float *out, uint32_t dim, bool *ret_cut);
void cn_vector_cache_put(cn_vector_cache *c, const cn_digest *key, const float *v, uint32_t dim, bool cut); /* without memory: does nothing */
