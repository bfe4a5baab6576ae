/* cells.h -- approximate search over one segment: rows grouped by cells, of which a query reads the few that may matter.
 *
 * rows in the space of engine/flat -> k-means -> few-bit codes of what a row is beside its cell's centroid -> cells in the
 * order of what they promise, until no other can hold one of the best -> int8 bounds -> float scores of what is left.
 * A query asks for recall, not for knobs: how far to read was measured when the cells were made, with rows as queries. Where
 * another way is cheaper, or reading falls behind, it is cn_flat_staged()'s answer: a filter costs time, never hits.
 * Follows ENGINE.md 1.7 (cells, one table a query), 2.3 (plans), 6.5 (self-test).
 * Owns:    a cn_cells owns what it allocates at open; arrays and the cn_flat are borrowed and must outlive it.
 * Thread:  an open cn_cells is read by any number of threads; a cn_cells_scratch belongs to one at a time.
 * Limits:  those of flat.h; CN_CELLS_MAX cells. Building keeps the few-bit codes of all rows in memory. */
#pragma once
#include "engine/flat/flat.h"

#define CN_CELLS_KIND "cells"
#define CN_CELLS_FORMAT 1
#define CN_CELLS_MAX 8192
#define CN_CELLS_K_MAX 100      /* more hits are the flat scan's */
#define CN_CELLS_RECALL_MAX .99 /* more recall too */
#define CN_CELLS_FROM 32768     /* rows; the scan of fewer by codes is as fast */

/* From how many rows a segment has cells. Tests set fewer, before anything is searched: then cells are also read wherever they
 * can be, whatever that costs. */
uint32_t cn_cells_from(void);
void cn_cells_set_from(uint32_t rows);

/* Over the codes of the same rows, which cells stand on. The same rows and space give the same bytes, whatever the threads and
 * the ISA. Where f has no codes there are no cells either: an index that sends every query to the flat scan. */
cn_err cn_cells_build(const cn_flat *f, unsigned threads, cn_put_array *put, void *ctx);

typedef struct cn_cells cn_cells;
/* Sizes, head and the order of rows are checked; CN_DAMAGED if wrong. f: an open one of the same rows, with its codes. */
cn_err cn_cells_open(const cn_flat *f, cn_get_array *get, void *ctx, cn_cells **ret);
void cn_cells_close(cn_cells *c); /* NULL is fine */
/* Looks at every number of what is borrowed too: CN_DAMAGED and what is wrong. Reads all of it. */
cn_err cn_cells_validate(const cn_cells *c);

typedef struct cn_cells_scratch cn_cells_scratch; /* grows to what the largest search needs, then allocates nothing */
cn_err cn_cells_scratch_new(cn_cells_scratch **ret);
void cn_cells_scratch_free(cn_cells_scratch *s);

typedef enum cn_cells_way {
    CN_WAY_SCAN,      /* the flat scan from the start */
    CN_WAY_CELLS,
    CN_WAY_ABANDONED, /* cells first, which fell behind; the answer is the flat scan's */
} cn_cells_way;
typedef struct cn_cells_told { /* of one search */
    cn_cells_way way;
    uint32_t expected;  /* rows that the plan thought to read by cells; 0: none */
    uint32_t cells, rows; /* that were read */
} cn_cells_told;

/* The best k permitted rows as far as the recall goes (over 0, to 1; over CN_CELLS_RECALL_MAX as cn_flat_staged() gives them), best
 * first, ties by rank, with their true scores: min(k, n_permitted) hits. hits has room for k. */
cn_err cn_cells_search(const cn_cells *c, const cn_scan *q, double recall, cn_scratch *flat, cn_cells_scratch *s, cn_scored *hits, uint32_t *ret_n,
                       cn_cells_told *ret_told);
