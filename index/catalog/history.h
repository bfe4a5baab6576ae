/* history.h -- how one document stands in each version of an index that is left.
 *
 * Owns:    nothing; what is told is borrowed for the call of fn.
 * Thread:  any.
 * Limits:  opens the segments of two versions at a time. */
#pragma once
#include "index/catalog/version.h"

typedef struct cn_stand {
    cn_digest leaf, content; /* equal leaf: the document is the same in all that a version says of it */
    bool erased;             /* nothing but a stub is left of it: no content, no labels; chunks: that it had */
    cn_triple labels;
    uint32_t chunks;
    cn_seg *seg;
    uint32_t doc;
} cn_stand;

/* stand NULL: err CN_OK, and the document is not in this version; or the version cannot be read, and the error text says why. */
typedef cn_err cn_history_fn(void *ctx, const cn_version *v, const cn_stand *stand, cn_err err);
/* Versions that were not dropped, oldest first. */
cn_err cn_version_history(cn_tenant *t, cn_str index, cn_str source, cn_str id, cn_history_fn *fn, void *ctx);
