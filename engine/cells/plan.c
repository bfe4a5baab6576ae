/* What a search costs by cells and by the flat scan, counted in rows whose few bits are read; measured with
 * benchmarks/cells (see its README line on costs). */
#include <math.h>

#include "engine/cells/inside.h"

const uint32_t cn_cells_ks[CN_CELLS_KS] = {10, CN_CELLS_K_MAX};
const double cn_cells_recalls[CN_CELLS_RECALLS] = {.9, .95, .98, CN_CELLS_RECALL_MAX};

#define CELL_COST 8.0f     /* a centroid ranked */
#define FOUND_COST 30.0f   /* an estimate that is looked at again */
#define ROW_COST 100.0f    /* a float score of a row somewhere */
#define SCAN_ROWS 1000.0f  /* float scores of the flat scan by codes */

const cn_aim *cn_cells_aim(const cn_cells *c, uint32_t k, double recall) {
    if (c->head.cells == 0 || k > CN_CELLS_K_MAX || !(recall <= CN_CELLS_RECALL_MAX))
        return NULL;
    uint32_t i = 0, j = 0;
    while (k > cn_cells_ks[i])
        i++;
    while (recall > cn_cells_recalls[j])
        j++;
    const cn_aim *a = &c->head.aims[i][j];
    return a->depth ? a : NULL;
}

/* (1 - share)^32: the share of blocks of 32 rows that hold none of the permitted, where these lie anywhere. */
static float untouched(float share) {
    float x = 1 - share;
    for (int i = 0; i < 5; i++)
        x *= x;
    return x;
}

cn_cells_told cn_cells_plan(const cn_cells *c, const cn_scan *q, double recall) {
    const cn_aim *a = cn_cells_aim(c, q->k, recall);
    if (!a || q->n_permitted <= q->k)
        return (cn_cells_told){CN_WAY_SCAN, 0, 0, 0};
    float n = (float)c->head.rows, permitted = (float)q->n_permitted, share = permitted / n;
    float rows = (float)a->rows / sqrtf(share); /* where fewer are permitted the best of them are further off */
    float cells = rows + CELL_COST * (float)c->head.cells + FOUND_COST * (float)a->depth;
    float scan = n * (1 - untouched(share)) + ROW_COST * SCAN_ROWS;
    float plain = ROW_COST * permitted;
    bool pays = rows < n / 2 && cells < (scan < plain ? scan : plain);
    return (cn_cells_told){pays ? CN_WAY_CELLS : CN_WAY_SCAN, rows < n ? (uint32_t)rows : c->head.rows, 0, 0};
}
