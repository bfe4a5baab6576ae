/* root.h -- the logical digest of a version: SHA-256 over its recipe and a Merkle tree of its documents (DESIGN.md
 * section 4). The same documents give the same root, whatever segments hold them.
 *
 * leaf    = SHA-256("cairn leaf 1", source, id, content digest, allow, deny, require, metadata,
 *           then for each chunk: from, to, page, headings, SHA-256 of its text, SHA-256 of its vector's bytes)
 * buckets = by the first `bits` bits of the key; bits = 0 for up to 32 documents, then ceil(log2(documents / 32)), at most 16
 * bucket  = SHA-256("cairn bucket 1", its number, each (key, leaf) by key); an empty bucket has no entry
 * root    = SHA-256("cairn root 1", recipe, answer settings, documents, the bucket table: bits, count, each (number, digest))
 * Owns:    nothing.
 * Thread:  any.
 * Limits:  2^16 buckets. */
#pragma once
#include "index/store/segment.h"

cn_err cn_recipe_pack(const cn_recipe *r, cn_buf *out);                 /* canonical bytes */
cn_err cn_recipe_unpack(cn_str bytes, cn_arena *a, cn_recipe *ret);
cn_digest cn_leaf_of(const cn_doc *doc, uint32_t dim);
unsigned cn_root_bits(uint64_t documents);

typedef struct cn_part { /* one segment of a manifest */
    cn_seg_id id;
    cn_digest digest;
} cn_part;

/* A version's documents: segments with the dead ones of each as a serialised CRoaring bitmap of document numbers. */
typedef struct cn_live {
    cn_seg *const *segs;
    const cn_str *dead; /* .n == 0: none */
    uint32_t n;
} cn_live;

/* The bucket table of `live`: from nothing, or from `before` (a table made with the same bits) when only the keys in
 * `changed` differ. Table: u32 bits, u32 count, then (u32 bucket, 32-byte digest) by bucket. */
cn_err cn_buckets_make(const cn_live *live, uint64_t documents, cn_str before, const cn_key *changed, uint64_t n_changed, cn_buf *out);
cn_err cn_buckets_validate(cn_str table);
cn_err cn_root_make(const cn_recipe *r, cn_str answer_settings, uint64_t documents, cn_str buckets, cn_digest *ret);
