/* A segment's cells found and checked. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "engine/base/mem.h"
#include "engine/cells/inside.h"

static bool same_aim(const cn_aim *a) { return isfinite(a->reach) && a->depth <= CN_DEPTH_MAX && a->recall >= 0 && a->recall <= 1; }

static bool same_head(const cn_cells_head *h, const cn_flat *f) {
    bool coded = f->rotation.signs && f->v.n > 0;
    if (memcmp(h->magic, "cncell01", 8) != 0 || h->dim != f->v.dim || h->padded != f->head.padded || h->planes != f->head.planes || h->rows != f->v.n ||
        h->cells != (coded ? cn_cells_number(f->v.n) : 0) || h->blocks > h->rows / CN_FASTSCAN_ROWS + h->cells)
        return false;
    for (uint32_t i = 0; i < CN_CELLS_KS; i++)
        for (uint32_t j = 0; j < CN_CELLS_RECALLS; j++)
            if (!same_aim(&h->aims[i][j]))
                return false;
    return true;
}

/* Cells follow one another without a gap and hold all rows. */
static cn_err check_cells(const cn_cells *c) {
    uint64_t rows = 0, block = 0;
    for (uint32_t i = 0; i < c->head.cells; i++) {
        const cn_cell *x = &c->cell[i];
        if (x->block != block || x->rows > c->head.rows || !isfinite(x->add) || !(x->spread >= 0) || !isfinite(x->spread))
            return cn_fail(CN_DAMAGED, "cell %u does not follow the one before it, or has odd numbers; they will be made anew", i);
        block += cn_cell_blocks(x);
        rows += x->rows;
    }
    if (rows != c->head.rows || block != c->head.blocks)
        return cn_fail(CN_DAMAGED, "the cells hold %llu rows of %u; they will be made anew", (unsigned long long)rows, c->head.rows);
    return CN_OK;
}

/* Each row stands at one place, in ascending order within its cell; what is left over is empty. */
static cn_err check_rows(const cn_cells *c) {
    CN_AUTO_FREE uint64_t *seen = cn_calloc(c->head.rows / 64 + 1u, sizeof *seen);
    if (!seen)
        return cn_fail_memory();
    for (uint32_t i = 0; i < c->head.cells; i++) {
        const uint32_t *rows = c->rows + (size_t)c->cell[i].block * CN_FASTSCAN_ROWS;
        uint32_t places = cn_cell_blocks(&c->cell[i]) * CN_FASTSCAN_ROWS;
        for (uint32_t j = 0; j < places; j++) {
            bool held = j < c->cell[i].rows, good = held ? rows[j] < c->head.rows && (j == 0 || rows[j - 1] < rows[j]) : rows[j] == CN_NO_ROW;
            if (!good || (held && seen[rows[j] / 64] >> (rows[j] % 64) & 1))
                return cn_fail(CN_DAMAGED, "the rows of cell %u are not in order; they will be made anew", i);
            if (held)
                seen[rows[j] / 64] |= UINT64_C(1) << (rows[j] % 64);
        }
    }
    return CN_OK;
}

static cn_err copy(cn_get_array *get, void *ctx, uint32_t array, size_t bytes, void *ret) {
    const void *from;
    void *p;
    CN_TRY(cn_get_sized(get, ctx, "cells", array, 0, bytes, &from));
    p = cn_alloc(bytes);
    if (!p)
        return cn_fail_memory();
    memcpy(p, from, bytes);
    memcpy(ret, &p, sizeof p);
    return CN_OK;
}

static cn_err round_one(cn_cells *c, uint32_t cell) {
    uint8_t *to = c->round + (size_t)cell * c->head.padded;
    const float *x = c->centroid[cell];
    float most = 0;
    bool finite = true;
    for (uint32_t i = 0; i < c->head.padded; i++) {
        finite &= isfinite(x[i]) != 0;
        most = cn_maxf(most, fabsf(x[i]));
    }
    if (!finite)
        return cn_fail(CN_DAMAGED, "the centroid of cell %u is not finite; the cells will be made anew", cell);
    float scale = c->round_scale[cell] = most / 127 >= FLT_MIN ? most / 127 : 0;
    for (uint32_t i = 0; i < c->head.padded; i++)
        to[i] = (uint8_t)(128 + (scale > 0 ? (int)nearbyintf(x[i] / scale) : 0));
    c->at_round[cell] = to;
    return CN_OK;
}

cn_err cn_cells_round(cn_cells *c) {
    c->round = cn_alloc_aligned(64, (size_t)c->head.cells * c->head.padded);
    c->at_round = cn_alloc(c->head.cells * sizeof *c->at_round);
    c->round_scale = cn_alloc(c->head.cells * sizeof *c->round_scale);
    if (!c->round || !c->at_round || !c->round_scale)
        return cn_fail_memory();
    for (uint32_t i = 0; i < c->head.cells; i++)
        CN_TRY(round_one(c, i));
    return CN_OK;
}

static cn_err open_arrays(cn_cells *c, cn_get_array *get, void *ctx) {
    const cn_cells_head *h = &c->head;
    const void *p;
    CN_TRY(copy(get, ctx, CN_CELLS_ARRAY_CELLS, h->cells * sizeof *c->cell, &c->cell));
    CN_TRY(check_cells(c));
    CN_TRY(copy(get, ctx, CN_CELLS_ARRAY_ROWS, (size_t)h->blocks * CN_FASTSCAN_ROWS * sizeof *c->rows, &c->rows));
    CN_TRY(check_rows(c));
    CN_TRY(cn_get_sized(get, ctx, "cells", CN_CELLS_ARRAY_CENTROIDS, 0, (size_t)h->cells * h->padded * sizeof(float), &p));
    uint32_t chunks = cn_cells_chunks(h->blocks);
    c->centroid = cn_alloc(h->cells * sizeof *c->centroid);
    c->chunk = cn_alloc(chunks * sizeof *c->chunk);
    if (!c->centroid || !c->chunk)
        return cn_fail_memory();
    for (uint32_t i = 0; i < h->cells; i++)
        c->centroid[i] = (const float *)p + (size_t)i * h->padded;
    for (uint32_t i = 0; i < chunks; i++) {
        uint32_t left = h->blocks - i * CN_CELLS_CHUNK, n = left < CN_CELLS_CHUNK ? left : CN_CELLS_CHUNK;
        CN_TRY(cn_get_sized(get, ctx, "cells", CN_CELLS_ARRAY_BITS, i, n * cn_code_block_bytes(&c->flat->head), &p));
        c->chunk[i] = p;
    }
    return cn_cells_round(c);
}

static cn_err open_all(cn_cells *c, cn_get_array *get, void *ctx) {
    const void *p;
    CN_TRY(cn_get_sized(get, ctx, "cells", CN_CELLS_ARRAY_HEAD, 0, sizeof c->head, &p));
    memcpy(&c->head, p, sizeof c->head);
    if (!same_head(&c->head, c->flat))
        return cn_fail(CN_DAMAGED, "the head of the cells does not fit the segment's codes; they will be made anew");
    return c->head.cells ? open_arrays(c, get, ctx) : CN_OK;
}

cn_err cn_cells_open(const cn_flat *f, cn_get_array *get, void *ctx, cn_cells **ret) {
    cn_cells *c = cn_calloc(1, sizeof *c);
    if (!c)
        return cn_fail_memory();
    c->flat = f;
    cn_err e = open_all(c, get, ctx);
    if (e != CN_OK) {
        cn_cells_close(c);
        return e;
    }
    *ret = c;
    return CN_OK;
}

void cn_cells_done(cn_cells *c) {
    cn_free(c->cell);
    cn_free(c->rows);
    cn_free((void *)(uintptr_t)c->centroid);
    cn_free(c->round);
    cn_free((void *)(uintptr_t)c->at_round);
    cn_free(c->round_scale);
    cn_free((void *)(uintptr_t)c->chunk);
}

void cn_cells_close(cn_cells *c) {
    if (c)
        cn_cells_done(c);
    cn_free(c);
}
