/* live.h -- the documents of one version: its segments, and which of their documents are dead in it. What sealing, diff and
 * the ledger of jobs share.
 *
 * Owns:    references to the segments and the decoded bitmaps, until cn_live_close().
 * Thread:  opened by one; then any may read.
 * Limits:  a manifest's length. */
#pragma once
#include <roaring/roaring.h>

#include "index/catalog/version.h"

typedef struct cn_living {
    uint32_t n;
    cn_seg **segs;
    roaring_bitmap_t **dead; /* of document numbers */
    cn_seg *own;             /* the version's own file; NULL for no version at all */
} cn_living;

/* v NULL: an index without any version yet, which has no documents. */
cn_err cn_live_open(cn_tenant *t, const cn_version *v, cn_living *ret);
void cn_live_close(cn_living *l);
/* Where the document lives; false when it does not. */
bool cn_live_find(const cn_living *l, const cn_key *key, uint32_t *ret_part, uint32_t *ret_doc);
