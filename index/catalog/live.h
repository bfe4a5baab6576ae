/* live.h -- the documents of one version: its segments, and which of their documents are dead in it. What sealing, diff and
 * compaction share.
 *
 * A stub of an erased document (segment.h) is dead in every version, so that nobody reads it. Where it stands for a document
 * of the version it is among `stubs` too: counted, part of the root, and replaced or deleted like a document.
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
    roaring_bitmap_t **stubs; /* those of the dead that are the version's all the same */
    cn_seg *own;             /* the version's own file; NULL for no version at all */
} cn_living;

/* v NULL: an index without any version yet, which has no documents. */
cn_err cn_live_open(cn_tenant *t, const cn_version *v, cn_living *ret);
void cn_live_close(cn_living *l);
/* Where the document lives; false when it does not. */
bool cn_live_find(const cn_living *l, const cn_key *key, uint32_t *ret_part, uint32_t *ret_doc);
/* The same for one that is the version's as a stub. */
bool cn_live_find_stub(const cn_living *l, const cn_key *key, uint32_t *ret_part, uint32_t *ret_doc);
/* Documents of part i that are not the version's, in the form of root.h's cn_live: the dead without the stubs. */
cn_err cn_live_roots(const cn_living *l, uint32_t i, cn_arena *a, cn_str *ret);
/* Writes the lists of one segment into the version's own file. */
cn_err cn_live_put(cn_segw *w, const cn_seg_id *segment, const roaring_bitmap_t *dead, const roaring_bitmap_t *stubs);
