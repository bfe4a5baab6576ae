/* blocks.h -- checked blocks in an LMDB file, as segment_format.h draws them: written with a checksum, found by number,
 * verified at their first touch.
 *
 * Owns:    a cn_blocks owns its table; what it points to lives in the environment's map.
 * Thread:  writing, one at a time; a loaded table, any.
 * Limits:  2^32 - 64 bytes a block. */
#pragma once
#include "index/store/mapguard.h"
#include "index/store/segment_format.h"

#define CN_BLOCK_MAX (UINT32_MAX - 63u)

typedef struct cn_piece {
    const void *p;
    size_t n;
} cn_piece;

/* Writes a block whose payload is the pieces joined. key_tail: of a part (its letter and name); {NULL, 0} for the others. */
cn_err cn_block_put(MDB_txn *txn, MDB_dbi dbi, const cn_seg_id *id, char kind, uint32_t a, uint32_t b, cn_str key_tail, const cn_piece *pieces, unsigned n);

typedef struct cn_block {
    const cn_block_head *head;
    cn_str key;
} cn_block;

typedef struct cn_blocks {
    const char *path;          /* for texts */
    cn_block *v;               /* in the order of keys */
    uint32_t n;
    _Atomic uint64_t *verified; /* a bit a block */
    cn_digest digest;
    cn_map_guard *guard;       /* over all blocks */
} cn_blocks;

/* Reads the table of all blocks (their heads, not their payloads) inside `txn`. CN_DAMAGED. */
cn_err cn_blocks_load(cn_blocks *b, const char *path, const cn_seg_id *id, MDB_txn *txn, MDB_dbi dbi);
void cn_blocks_done(cn_blocks *b);
/* Where the blocks of a kind (and, for derived files, of an array) begin, and how many there are. */
uint32_t cn_blocks_first(const cn_blocks *b, char kind, uint32_t a, uint32_t *ret_n);
/* The payload of block i of the table, verified. */
cn_err cn_blocks_get(cn_blocks *b, uint32_t i, cn_str *ret);
static inline cn_str cn_block_raw(const cn_blocks *b, uint32_t i) {
    return (cn_str){(const char *)(b->v[i].head + 1), b->v[i].head->bytes};
}
/* Verifies n blocks from i on, with as many threads as help. */
cn_err cn_blocks_verify(cn_blocks *b, uint32_t i, uint32_t n);
/* Verifies one block whether that was done before or not. */
cn_err cn_blocks_again(cn_blocks *b, uint32_t i);
/* Whoever has these blocks mapped finds them unsound from now on. */
void cn_blocks_refuse(const cn_blocks *b);
/* CN_DAMAGED when the file was cut short while it was mapped, or refused: what was read in place may be zeros. Look after reading. */
cn_err cn_blocks_sound(const cn_blocks *b);
/* A part's block; CN_NOT_FOUND. */
cn_err cn_blocks_part(cn_blocks *b, cn_str key_tail, cn_str *ret);
