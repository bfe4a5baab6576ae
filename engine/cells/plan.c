/* What a search costs by cells and by the flat scan, counted in rows whose few bits are read; measured with benchmarks/cells.
 * Reading by cells has a budget: all rows once, where that is cheaper than the scan, else half of what the scan costs. A search that
 * needs more is the scan's, at less than twice its cost. */
#include <string.h>

#include "engine/cells/inside.h"

const uint32_t cn_cells_ks[CN_CELLS_KS] = {10, CN_CELLS_K_MAX};
const double cn_cells_recalls[CN_CELLS_RECALLS] = {.9, .95, .98, CN_CELLS_RECALL_MAX};

#define CELL_COST 16.0f      /* a centroid ranked */
#define FOUND_COST 60.0f     /* an estimate that is looked at again */
#define ROW_COST 25.0f       /* a float score of a row somewhere */
#define SCAN_ROWS 2400.0f    /* float scores of the flat scan by codes */
#define FEW_PERMITTED 8192u  /* rows, or fewer: the scan's, which takes no chances with where they lie */
#define FURTHER_MOST 2.0f    /* steps from one k of the table to the next, over which its numbers are carried on */

static _Atomic uint32_t from_rows = CN_CELLS_FROM;
uint32_t cn_cells_from(void) { return from_rows; }
void cn_cells_set_from(uint32_t rows) { from_rows = rows; }
static bool eager(void) { return from_rows < CN_CELLS_FROM; }

/* The logarithm to base 2, by a straight line between powers: the same bits everywhere. */
static float lg(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return (float)bits * 0x1p-23f - 127;
}

/* Of share s the best k are about the best k / s of all: how far that is between the table's first k and its last. */
static float further(float k, float share) {
    float first = lg((float)cn_cells_ks[0]), step = lg((float)cn_cells_ks[CN_CELLS_KS - 1]) - first, at = (lg(k / share) - first) / step;
    return at < 0 ? 0 : at > FURTHER_MOST ? FURTHER_MOST : at;
}

static float between(float a, float b, float at) { return a + (b - a) * at; }

static bool find_aim(const cn_cells *c, const cn_scan *q, double recall, cn_aim *ret) {
    uint32_t j = 0;
    if (c->head.cells == 0 || q->k > CN_CELLS_K_MAX || (q->n_permitted <= FEW_PERMITTED && !eager()) || !(recall <= CN_CELLS_RECALL_MAX))
        return false;
    while (recall > cn_cells_recalls[j])
        j++;
    const cn_aim *few = &c->head.aims[0][j], *many = &c->head.aims[CN_CELLS_KS - 1][j];
    float k = (float)q->k, at = further(k, (float)q->n_permitted / (float)c->head.rows), own = further(k, 1);
    if (!few->depth || (at > 0 && !many->depth))
        return false;
    uint32_t depth = (uint32_t)between((float)few->depth, (float)many->depth, own);
    *ret = (cn_aim){between(few->reach, many->reach, at), depth > q->k ? depth : q->k, (uint32_t)between((float)few->rows, (float)many->rows, at), few->recall};
    return true;
}

/* (1 - share)^32: the share of blocks of 32 rows that hold none of the permitted, where these lie anywhere. */
static float untouched(float share) {
    float x = 1 - share;
    for (int i = 0; i < 5; i++)
        x *= x;
    return x;
}

cn_cells_told cn_cells_choose(const cn_cells *c, const cn_scan *q, double recall, cn_aim *ret_aim, uint32_t *ret_budget) {
    cn_cells_told told = {CN_WAY_SCAN, 0, 0, 0};
    cn_aim aim;
    if (!find_aim(c, q, recall, &aim))
        return told;
    float n = (float)c->head.rows, permitted = (float)q->n_permitted;
    float more = CELL_COST * (float)c->head.cells + FOUND_COST * (float)aim.depth;
    float scan = cn_scan_codes(c->flat, q) ? n * (1 - untouched(permitted / n)) + ROW_COST * SCAN_ROWS : ROW_COST * permitted;
    told.expected = aim.rows < c->head.rows ? aim.rows : c->head.rows;
    if ((float)told.expected + more < scan || eager()) {
        told.way = CN_WAY_CELLS;
        *ret_aim = aim;
        *ret_budget = eager() || scan > n ? c->head.rows : (uint32_t)(scan / 2);
    }
    return told;
}
