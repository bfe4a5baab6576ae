/* segment_format.h -- the bytes of a segment file and of the files derived from it. Format 2, little-endian.
 *
 * A file is one LMDB tree (its main database) of blocks. A block's key is its kind (a letter) and two numbers; a part's
 * key is 'p', its letter, its name. Every value begins with the same 48 bytes and is large enough for overflow pages of
 * its own: LMDB puts such a value 16 bytes into a page, so that the payload lies at a multiple of 64 in the map.
 *
 *   key      0 kind | 1 u32 a, big-endian | 5 u32 b, big-endian                        (9 bytes)
 *   block    0 u32 "CNBK" | 4 u32 kind | 8 u32 a | 12 u32 b | 16 u64 payload bytes | 24 u32 CRC-32C of these 48 (it as 0) and
 *            payload | 28 u32 0 | 32 id of the segment (16) | 48 payload, then zeros up to 4,080 bytes in all
 *
 * Segment, <id>.mdb (a is 0 where not named; b counts from 0):
 *   'h'      header, struct cn_seg_head, then the sources: u32 length, bytes, each
 *   'd' b    documents: u32 first, u32 n, u32 offset[n] (of the payload; multiples of 8), then the records
 *   't' b    texts and outlines, one behind the other
 *   'i' b    CN_IDS_BLOCK documents (the last: the rest): key (32), leaf (32)
 *   'v' b    block_rows rows (the last: the rest) of dim floats
 *   'c' b    classes: u32 first, u32 n, then n times: u32 allow, deny, require; for each label u32 length, bytes
 *   'n'      the job's note, as it was at the end
 *   'a' a    arrays of u32, written at the end: see enum cn_seg_array
 *   'r'      rows of each class: u64 offset[classes + 1] (of what follows), then portable CRoaring bitmaps
 *   'p'      parts: key 'p', letter, name; a = letter, b = 0
 * A document's record: struct cn_doc_head, then id, title, uri, mime, metadata; zeros up to a multiple of 4; n_chunks
 * times struct cn_chunk_rec; the heading paths that these name.
 * A stub is what compaction leaves of an erased document: its key and leaf in 'i', and a record that says only its source,
 * how many chunks it had and whether nobody could read it. Strings, digests, places and chunks of the record are zero, it has
 * no rows, and its class is that of no labels at all. Format 1 has no stubs; where format 2 counts them stand zeros.
 *
 * Derived, <id>.<kind>.mdb (kinds: flat, cells, faiss, postings):
 *   'h'      header, struct cn_derived_head
 *   'x' a b  block b of array a
 *
 * The digest of a file: SHA-256 over, in the order of keys, u64 key bytes, key, the block's first 48 bytes.
 * Owns:    nothing: constants and layouts.
 * Thread:  any.
 * Limits:  a block's payload under 4 GiB, as LMDB's values; those of index/types.h. */
#pragma once
#include "index/store/segment.h"

#define CN_SEG_FORMAT 2
#define CN_DERIVED_FORMAT 1
#define CN_BLOCK_MAGIC 0x4B424E43u /* "CNBK" */
#define CN_BLOCK_HEAD 48
#define CN_BLOCK_LEAST 4080        /* a page of 4,096 less LMDB's 16 */
#define CN_IDS_BLOCK 4096          /* documents; a power of two */
#define CN_SMALL_BLOCK (256u << 10)  /* bytes at which a block of documents or texts is closed */
#define CN_VEC_BLOCK (512u << 10)  /* bytes of a block of vectors, at most (but one row at least) */
#define CN_VEC_BLOCK_MOST (4u << 20) /* the same of files of earlier programs */
#define CN_VEC_BLOCK_ROWS 65536
#define CN_SOURCES_MAX 4096        /* in one segment */
#define CN_CLASS_BYTES_MAX (512ull << 20)
#define CN_RECORD_MAX (1u << 30)   /* bytes of a document's record */

typedef struct cn_block_head {
    uint32_t magic, kind, a, b;
    uint64_t bytes;
    uint32_t crc, zero;
    cn_seg_id id;
} cn_block_head;
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "numbers are stored as they lie in memory");
_Static_assert(sizeof(cn_block_head) == CN_BLOCK_HEAD, "block head");

typedef struct cn_seg_head {
    uint32_t format, state;          /* state: enum cn_seg_state */
    uint32_t dim, block_rows;        /* block_rows is 0 when dim is */
    uint32_t docs, rows, classes, sources;
    uint32_t doc_blocks, text_blocks, class_blocks, stubs; /* stubs: of the documents */
    uint64_t text_bytes;
    int64_t made_us;
} cn_seg_head;
_Static_assert(sizeof(cn_seg_head) == 64, "segment head");
enum cn_seg_state { CN_SEG_OPEN = 1, CN_SEG_SEALED = 2 };

enum cn_seg_array {
    CN_ARRAY_ROW_DOC,   /* u32[rows] document of each row */
    CN_ARRAY_DOC_ROW,   /* u32[docs + 1] first row of each document */
    CN_ARRAY_DOC_CLASS, /* u32[docs] */
    CN_ARRAY_ROW_RANK,  /* u32[rows] place in the order (source, id, chunk) */
    CN_ARRAY_BY_KEY,    /* u32[docs] documents in the order of keys */
    CN_ARRAYS
};

typedef struct cn_id_rec {
    cn_key key;
    cn_digest leaf;
} cn_id_rec;
_Static_assert(sizeof(cn_id_rec) == 64, "id record");

typedef struct cn_text_place {
    uint32_t block, at, bytes;
} cn_text_place;

typedef struct cn_doc_head {
    uint32_t bytes;                  /* of the record */
    uint32_t n_chunks, first_row, cls, source;
    cn_text_place text, outline;
    uint32_t kind;                   /* enum cn_doc_kind */
    int64_t modified;
    cn_digest content, row;
    uint32_t id, title, uri, mime, meta; /* bytes */
    uint32_t gone;                   /* of a stub: chunks that the document had */
} cn_doc_head;
_Static_assert(sizeof(cn_doc_head) == 144, "document head");
enum cn_doc_kind { CN_DOC_WHOLE, CN_DOC_STUB, CN_DOC_STUB_UNLABELLED };

typedef struct cn_chunk_rec {
    uint32_t from, to, page;
    uint32_t headings_at, headings;  /* offset in the record, bytes */
} cn_chunk_rec;
_Static_assert(sizeof(cn_chunk_rec) == 20, "chunk record");

typedef struct cn_derived_head {
    uint32_t format, zero;
    cn_digest of;                    /* digest of the segment */
    char kind[24];                   /* zeros at its end */
} cn_derived_head;
_Static_assert(sizeof(cn_derived_head) == 64, "derived head");

uint32_t cn_seg_block_rows(uint32_t dim); /* rows of a block of vectors; 0 for dim 0 */
