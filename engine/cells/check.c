/* Every number of cells that are open, looked at. */
#include <math.h>
#include <string.h>

#include "engine/cells/inside.h"

static cn_err check_centroid(const cn_cells *c, uint32_t cell) {
    for (uint32_t i = 0; i < c->head.padded; i++)
        if (!isfinite(c->centroid[cell][i]))
            return cn_fail(CN_DAMAGED, "component %u of the centroid of cell %u is not finite", i, cell);
    return CN_OK;
}

/* What a row adds is the flat codes' number; empty places are all zeros, as far as their factors tell. */
static cn_err check_block(const cn_cells *c, uint32_t block) {
    const cn_flat *f = c->flat;
    const uint8_t *numbers = cn_cells_block(c, block) + (size_t)f->head.planes * 4 * f->head.padded;
    float add[CN_FASTSCAN_ROWS], factor[CN_FASTSCAN_ROWS];
    memcpy(add, numbers, sizeof add);
    memcpy(factor, numbers + sizeof add, sizeof factor);
    for (uint32_t i = 0; i < CN_FASTSCAN_ROWS; i++) {
        uint32_t row = c->rows[(size_t)block * CN_FASTSCAN_ROWS + i];
        float want = row == CN_NO_ROW ? 0 : f->chunk[row / CN_CHUNK_ROWS].add[row % CN_CHUNK_ROWS];
        if (memcmp(&add[i], &want, sizeof want) != 0 || !(factor[i] >= 0) || !isfinite(factor[i]) || (row == CN_NO_ROW && factor[i] > 0))
            return cn_fail(CN_DAMAGED, "place %u of block %u of the cells has odd numbers", i, block);
    }
    return CN_OK;
}

cn_err cn_cells_validate(const cn_cells *c) {
    for (uint32_t i = 0; i < c->head.cells; i++)
        CN_TRY(check_centroid(c, i));
    for (uint32_t i = 0; i < c->head.blocks; i++)
        CN_TRY(check_block(c, i));
    return CN_OK;
}
