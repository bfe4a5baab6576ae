/* rows.h -- documents, texts, keys and vectors of a segment, found in its blocks: what the reader and the last steps of the
 * writer share.
 *
 * Owns:    the table of first documents; the blocks are borrowed.
 * Thread:  loaded once, then any.
 * Limits:  none. */
#pragma once
#include "index/store/blocks.h"

typedef struct cn_rows {
    cn_blocks *blocks;
    cn_seg_head head;
    uint32_t doc0, text0, ids0, vec0, class0; /* where each kind begins in the table of blocks */
    uint32_t *doc_first;                      /* first document of each block; doc_blocks + 1 entries */
} cn_rows;

/* A document's record, its bounds checked. */
typedef struct cn_record {
    cn_doc_head head;
    const char *bytes; /* the record; head.bytes of them */
    cn_str id, title, uri, mime, meta;
    const cn_chunk_rec *chunks; /* head.n_chunks */
} cn_record;

static inline uint32_t cn_blocks_for(uint32_t n, uint32_t each) { return each ? n / each + (n % each != 0) : 0; }

/* The header alone, checked by itself. */
cn_err cn_rows_head(cn_blocks *b, cn_seg_head *ret);
/* Checks that the blocks are those that the header counts. */
cn_err cn_rows_load(cn_rows *r, cn_blocks *b);
void cn_rows_done(cn_rows *r);
cn_err cn_rows_doc(const cn_rows *r, uint32_t doc, cn_record *ret);
cn_err cn_rows_text(const cn_rows *r, const cn_text_place *place, cn_str *ret);
cn_err cn_rows_id(const cn_rows *r, uint32_t doc, const cn_id_rec **ret);
/* A chunk of a record, without its vector. */
cn_err cn_rows_chunk(const cn_rows *r, const cn_record *rec, uint32_t chunk, cn_chunk *ret);
/* The classes of block b (0 .. class_blocks - 1): begin, then next() until it is false; `left` is then 0, or the block is damaged. */
typedef struct cn_class_iter {
    size_t at;
    uint32_t first, left;
} cn_class_iter;
cn_err cn_classes_begin(cn_class_iter *it, const cn_rows *r, uint32_t b, cn_str *ret_block);
bool cn_class_next(cn_class_iter *it, cn_str block, cn_str *ret_class);
/* The sources' names from the header's payload, into v[head.sources]. */
cn_err cn_rows_sources(const cn_rows *r, cn_str *v);
