/* inside.h -- the bytes of cells, and the steps of a search; for engine/cells only.
 *
 * With y, p and base as engine/flat/inside.h has them, and c the centroid of the row's cell:
 *   score = base + add + <p, c> + <p, r - c>;  <p, r - c> ~ factor <p, u>, u the few bits of r - c
 * so that a query's one table of engine/flat serves every cell, and <p, c> is one more product for each cell that is read. A cell promises
 *   most = mean of its rows' add + <p, c> + 2 |p| spread,  spread = root mean square of a component of r - c
 * and is read as long as most + reach |p| is not under the worst of the `depth` best estimates so far. That bar falls where a
 * filter leaves little, so that more cells are read just then. Where the worst of these estimates is so near to the best scores
 * that rows as good as these may have been left out, by the deviation that estimates have, the search goes deeper: so it is where a filter
 * leaves only rows of the crowd in the middle. `reach` and `depth` are measured (measure.c) for each recall.
 *
 * The arrays of kind "cells", format 1, little-endian floats. Each cell begins with a block of 32 places of its own; places
 * that the cell's last block has left over are empty.
 *   array 0   head       one block: cn_cells_head
 *   array 1   cells      cn_cell[cells]
 *   array 2   centroids  float[cells x padded]
 *   array 3   rows       u32[blocks x 32]: the row at each place, in ascending order within a cell; CN_NO_ROW in empty ones
 *   array 4   few bits   blocks as engine/flat has them, CN_CELLS_CHUNK a block of the array
 *
 * Owns:    see each struct.
 * Thread:  a cn_cells is read-only; a cn_cells_scratch belongs to one search at a time.
 * Limits:  those of cells.h. */
#pragma once
#include <string.h>

#include "engine/cells/cells.h"
#include "engine/flat/inside.h"

#define CN_CELLS_CHUNK 512u     /* blocks of 32 rows */
#define CN_NO_ROW UINT32_MAX
#define CN_CELLS_GROUP 32u      /* cells whose best promise is kept */
#define CN_DEPTH_MAX 4096u      /* deeper, the flat scan is cheaper */

enum { CN_CELLS_ARRAY_HEAD, CN_CELLS_ARRAY_CELLS, CN_CELLS_ARRAY_CENTROIDS, CN_CELLS_ARRAY_ROWS, CN_CELLS_ARRAY_BITS };

/* How far to read for a recall: measured for cn_cells_ks[i] hits and recall up to cn_cells_recalls[j]. */
#define CN_CELLS_KS 2
#define CN_CELLS_RECALLS 4
extern const uint32_t cn_cells_ks[CN_CELLS_KS];
extern const double cn_cells_recalls[CN_CELLS_RECALLS];

typedef struct cn_aim {
    float reach;
    uint32_t depth;   /* at least k; 0: this recall was not reached */
    uint32_t rows;    /* that a query read on average */
    float recall;     /* that was measured */
} cn_aim;

#define CN_CELLS_LOSS 1.0 /* of the misses that a recall allows, those that may be expected from estimates before a search goes deeper */

typedef struct cn_cells_head {
    char magic[8];    /* "cncell01" */
    uint32_t dim, padded, planes, rows;
    uint32_t cells;   /* 0: none, for the rows have no codes */
    uint32_t blocks;
    cn_aim aims[CN_CELLS_KS][CN_CELLS_RECALLS];
} cn_cells_head;
_Static_assert(sizeof(cn_cells_head) == 160, "drawn above");

typedef struct cn_cell {
    uint32_t block, rows; /* its first block; rows from there on */
    float add, spread;
} cn_cell;
_Static_assert(sizeof(cn_cell) == 16, "drawn above");

struct cn_cells {
    const cn_flat *flat;
    cn_cells_head head;
    cn_cell *cell;            /* its own copies: what was checked stays so */
    uint32_t *rows;
    const float **centroid;   /* its own; borrowed rows */
    uint8_t *round;           /* centroids in bytes, to rank by: component ~ round_scale x (byte - 128) */
    const uint8_t **at_round; /* of each cell */
    float *round_scale;
    const uint8_t **chunk;    /* its own; borrowed blocks */
};

static inline uint32_t cn_cells_chunks(uint32_t blocks) { return blocks / CN_CELLS_CHUNK + (blocks % CN_CELLS_CHUNK != 0); }
static inline uint32_t cn_cell_blocks(const cn_cell *c) { return c->rows / CN_FASTSCAN_ROWS + (c->rows % CN_FASTSCAN_ROWS != 0); }
static inline const uint8_t *cn_cells_block(const cn_cells *c, uint32_t block) {
    return c->chunk[block / CN_CELLS_CHUNK] + block % CN_CELLS_CHUNK * cn_code_block_bytes(&c->flat->head);
}

static inline float cn_cells_factor(const cn_cells *c, uint32_t place) {
    float ret;
    const cn_flat_head *h = &c->flat->head;
    memcpy(&ret, cn_cells_block(c, place / CN_FASTSCAN_ROWS) + (size_t)h->planes * 4 * h->padded + (CN_FASTSCAN_ROWS + place % CN_FASTSCAN_ROWS) * sizeof ret, sizeof ret);
    return ret;
}

/* --- building --- */
uint32_t cn_cells_number(uint32_t rows); /* of cells for so many rows */
/* k-means over rows spread evenly: cells x padded floats, in the space of the codes. */
cn_err cn_cells_train(const cn_flat *f, uint32_t cells, unsigned threads, float *ret_centroids);
typedef struct cn_near { /* which centroid is nearest */
    const float *const *centroid;
    const float *half;  /* of each, its squared length over two */
    uint32_t cells, padded;
} cn_near;
uint32_t cn_nearest(const cn_near *n, const float *r, float *room); /* room: cells floats */
/* Fills the aims of c->head by searches of c. cell_of: each row's cell. */
cn_err cn_cells_measure(cn_cells *c, const uint32_t *cell_of, unsigned threads);
void cn_cells_done(cn_cells *c); /* what it owns */
cn_err cn_cells_round(cn_cells *c); /* from the centroids; CN_DAMAGED where one is not finite */

/* --- a search, step by step --- */
typedef struct cn_promise {
    float most;
    uint32_t cell;
} cn_promise;
struct cn_cells_scratch {
    cn_top best;          /* places by their estimates, less base; then rows by what bounds leave to them */
    int32_t *sum;         /* u8dots of each cell */
    float *dot;           /* <p, c> of each cell, as its bytes say */
    float *most, *peak;   /* what each cell promises, -INFINITY once it was read; the most of each CN_CELLS_GROUP of them */
    uint32_t n_groups;
    cn_scored *found;     /* best, in order */
    float factor;         /* of those found by estimate, on average */
    uint32_t over, may;   /* rows whose estimates were over the bar, and those of them that are permitted */
    uint32_t room_groups, room_found;
};
/* Ranks the cells for the query that `flat` is prepared for, and empties `best`. */
cn_err cn_cells_rank(const cn_cells *c, const cn_scratch *flat, uint32_t depth, cn_cells_scratch *s);
bool cn_cells_next(cn_cells_scratch *s, cn_promise *ret); /* false: all were read */
/* ahead: the cell that is probably read next; NULL: none. */
void cn_cells_read(const cn_cells *c, const uint64_t *permitted, const cn_scratch *flat, uint32_t cell, const cn_cell *ahead, cn_cells_scratch *s);
/* What a search will do: by cells with this aim, within a budget of rows, or CN_WAY_SCAN. */
cn_cells_told cn_cells_choose(const cn_cells *c, const cn_scan *q, double recall, cn_aim *ret_aim, uint32_t *ret_budget);
/* Once cn_scan_begin() has made `flat` ready: the answer into flat's top. recall: what the aim is for. *ret_all false: more than `budget` rows would have had to
 * be read, estimates are too crowded, or fewer hits were found than there are. */
cn_err cn_cells_by(const cn_cells *c, const cn_scan *q, const cn_aim *aim, double recall, uint32_t budget, cn_scratch *flat, cn_cells_scratch *s, cn_cells_told *io,
                   bool *ret_all);
