/* pack.h -- stretches of text, one after the other, to chunks within a budget, with overlap.
 *
 * Owns:    its window of stretches: those of the chunk under way. Chunks grow in the arena's list through `out`.
 * Thread:  one at a time.
 * Limits:  the window never holds more than the budget's tokens. */
#pragma once
#include "ingest/chunk/split.h"

typedef struct cn_chunk_list {
    cn_chunk *v;
    uint32_t n, room;
} cn_chunk_list;
cn_err cn_chunk_list_add(cn_chunk_list *l, const cn_chunk *c); /* CN_INVALID past CN_CHUNKS_MAX */
void cn_chunk_list_done(cn_chunk_list *l);

typedef struct cn_packer {
    uint32_t budget, overlap;
    bool exact;          /* fixed windows: cut where the budget ends */
    cn_str headings;     /* of the chunks made now */
    cn_chunk_list *out;
    cn_atom *v;
    uint32_t n, room;
    uint32_t fresh;      /* stretches before it are in a chunk already */
    uint32_t cost;       /* of all n */
} cn_packer;

cn_err cn_packer_add(void *packer, const cn_atom *a); /* a cn_atom_fn */
/* The last chunk of a section; the next one shares nothing with it. */
cn_err cn_packer_end(cn_packer *p);
void cn_packer_done(cn_packer *p);
