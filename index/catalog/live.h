/* live.h -- the documents of one version: its segments, and which of their documents are dead in it. What sealing, diff and
 * compaction share.
 *
 * A stub of an erased document (segment.h) is dead in every version, so that nobody reads it. Where it stands for a document
 * of the version it is among `stubs` too: counted, part of the root, and replaced or deleted like a document.
 *
 * A version's own file says both of each segment of its manifest, in one part (CN_PART_DEAD):
 *   u32 format (1), u32 segments, then for each, by id: id, u64 offset, u32 bytes of `dead`, u32 bytes of `stubs` (0: none);
 *   then the bitmaps (portable CRoaring), each `stubs` behind its `dead`. Numbers are little-endian.
 *
 * Owns:    references to the segments and the decoded bitmaps, until cn_live_close().
 * Thread:  opened by one; then any may read.
 * Limits:  a manifest's length. */
#pragma once
#include "index/catalog/version.h"
#include "index/store/bitmap.h"

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
/* The same documents, of which others may die, and room for so many more segments; without the version's own file. To be closed
 * after an error, too. */
cn_err cn_live_copy(const cn_living *l, uint32_t more, cn_living *ret);
cn_err cn_live_add(cn_living *l, cn_seg *seg); /* in that room: one with all its documents alive */
/* Where the document lives; false when it does not. */
bool cn_live_find(const cn_living *l, const cn_key *key, uint32_t *ret_part, uint32_t *ret_doc);
/* The same for one that is the version's as a stub. */
bool cn_live_find_stub(const cn_living *l, const cn_key *key, uint32_t *ret_part, uint32_t *ret_doc);
/* Documents of part i that are not the version's, in the form of root.h's cn_live: the dead without the stubs. */
cn_err cn_live_roots(const cn_living *l, uint32_t i, cn_arena *a, cn_str *ret);
/* Gathers the lists of a manifest's segments, and writes them into the version's own file. */
typedef struct cn_lists {
    cn_buf entries, bytes;
} cn_lists;
void cn_lists_init(cn_lists *l);
cn_err cn_lists_add(cn_lists *l, const cn_seg_id *segment, const roaring_bitmap_t *dead, const roaring_bitmap_t *stubs);
cn_err cn_lists_put(cn_lists *l, cn_segw *w);
void cn_lists_done(cn_lists *l);
