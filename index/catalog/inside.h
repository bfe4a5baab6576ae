/* inside.h -- what the catalog's own files share on versions: an index's whole state, and the key of its code space.
 *
 * Owns:    nothing.
 * Thread:  one at a time.
 * Limits:  none of its own. */
#pragma once
#include "index/catalog/records.h"

/* An index and all its versions as of one moment. */
cn_err cn_version_state(cn_tenant *t, cn_str index, cn_arena *a, cn_index_info *ret_ix, cn_version **ret, uint32_t *ret_n);

typedef struct cn_space_key {
    uint8_t b[48]; /* index id, dim, digest of embedder and metric */
} cn_space_key;
cn_space_key cn_space_key_of(uint64_t index_id, const cn_recipe *r);

