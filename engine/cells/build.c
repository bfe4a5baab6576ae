/* Rows to cells: train, assign, order, encode, measure, and put. */
#include <math.h>
#include <string.h>

#include "engine/base/mem.h"
#include "engine/base/spread.h"
#include "engine/cells/inside.h"

#define SHARE 64u

typedef struct build {
    cn_cells c;
    cn_near near;
    float *centroids, *half;
    uint32_t *cell_of;        /* of each row */
    uint8_t *bits;            /* all blocks */
} build;

static void assign(void *ctx, uint32_t from, uint32_t to) {
    build *b = ctx;
    const cn_flat *f = b->c.flat;
    float r[CN_PADDED_MAX], room[CN_CELLS_MAX];
    for (uint32_t i = from; i < to; i++) {
        cn_into_space(&f->space, &f->rotation, cn_vec(&f->v, i), r);
        b->cell_of[i] = cn_nearest(&b->near, r, room);
    }
}

/* Places for all rows; *ret_blocks of them. */
static cn_err make_places(build *b) {
    cn_cells *c = &b->c;
    uint32_t block = 0;
    for (uint32_t i = 0; i < c->head.rows; i++)
        c->cell[b->cell_of[i]].rows++;
    for (uint32_t i = 0; i < c->head.cells; i++) {
        c->cell[i].block = block;
        block += cn_cell_blocks(&c->cell[i]);
        c->cell[i].rows = 0;
    }
    c->head.blocks = block;
    c->rows = cn_alloc((size_t)block * CN_FASTSCAN_ROWS * sizeof *c->rows);
    if (!c->rows)
        return cn_fail_memory();
    memset(c->rows, 0xff, (size_t)block * CN_FASTSCAN_ROWS * sizeof *c->rows);
    for (uint32_t i = 0; i < c->head.rows; i++) {
        cn_cell *in = &c->cell[b->cell_of[i]];
        c->rows[(size_t)in->block * CN_FASTSCAN_ROWS + in->rows++] = i;
    }
    return CN_OK;
}

static float encode_row(build *b, const float *centroid, uint32_t place, float *r, float *room, uint8_t *bits) {
    const cn_flat *f = b->c.flat;
    uint32_t row = b->c.rows[place], padded = f->head.padded;
    float rr;
    const float *at = r;
    cn_into_space(&f->space, &f->rotation, cn_vec(&f->v, row), r);
    for (uint32_t i = 0; i < padded; i++)
        r[i] -= centroid[i];
    cn_kernels_now()->dots(r, &at, padded, 1, &rr);
    cn_code code = cn_encode(r, padded, f->head.planes, room, bits, NULL);
    code.add = f->chunk[row / CN_CHUNK_ROWS].add[row % CN_CHUNK_ROWS];
    cn_code_put(b->bits + place / CN_FASTSCAN_ROWS * cn_code_block_bytes(&f->head), &f->head, place % CN_FASTSCAN_ROWS, bits, &code);
    return rr;
}

static void encode_cells(void *ctx, uint32_t from, uint32_t to) {
    build *b = ctx;
    float r[CN_PADDED_MAX], room[CN_PADDED_MAX];
    uint8_t bits[CN_PADDED_MAX];
    for (uint32_t i = from; i < to; i++) {
        cn_cell *cell = &b->c.cell[i];
        double add = 0, square = 0;
        for (uint32_t j = 0; j < cell->rows; j++) {
            uint32_t place = cell->block * CN_FASTSCAN_ROWS + j, row = b->c.rows[place];
            square += (double)encode_row(b, b->near.centroid[i], place, r, room, bits);
            add += (double)b->c.flat->chunk[row / CN_CHUNK_ROWS].add[row % CN_CHUNK_ROWS];
        }
        uint32_t n = cell->rows ? cell->rows : 1;
        cell->add = (float)(add / n);
        cell->spread = (float)sqrt(square / n / b->c.head.padded);
    }
}

static cn_err make_cells(build *b, unsigned threads) {
    cn_cells *c = &b->c;
    const cn_cells_head *h = &c->head;
    CN_TRY(cn_cells_train(c->flat, h->cells, threads, b->centroids));
    for (uint32_t i = 0; i < h->cells; i++) {
        c->centroid[i] = b->centroids + (size_t)i * h->padded;
        float xx;
        cn_kernels_now()->dots(c->centroid[i], &c->centroid[i], h->padded, 1, &xx);
        b->half[i] = xx / 2;
    }
    b->near = (cn_near){c->centroid, b->half, h->cells, h->padded};
    cn_spread_rows(threads, h->rows, SHARE, assign, b);
    CN_TRY(make_places(b));
    size_t block = cn_code_block_bytes(&c->flat->head);
    uint32_t chunks = cn_cells_chunks(h->blocks);
    b->bits = cn_alloc_aligned(64, h->blocks * block);
    c->chunk = cn_alloc((chunks + 1u) * sizeof *c->chunk);
    if (!b->bits || !c->chunk)
        return cn_fail_memory();
    memset(b->bits, 0, h->blocks * block);
    for (uint32_t i = 0; i < chunks; i++)
        c->chunk[i] = b->bits + (size_t)i * CN_CELLS_CHUNK * block;
    cn_spread_rows(threads, h->cells, 1, encode_cells, b);
    CN_TRY(cn_cells_round(c));
    return cn_cells_measure(c, b->cell_of, threads);
}

static cn_err put_all(const build *b, cn_put_array *put, void *ctx) {
    const cn_cells_head *h = &b->c.head;
    size_t block = cn_code_block_bytes(&b->c.flat->head);
    CN_TRY(put(ctx, CN_CELLS_ARRAY_CELLS, 0, b->c.cell, h->cells * sizeof *b->c.cell));
    CN_TRY(put(ctx, CN_CELLS_ARRAY_CENTROIDS, 0, b->centroids, (size_t)h->cells * h->padded * sizeof *b->centroids));
    CN_TRY(put(ctx, CN_CELLS_ARRAY_ROWS, 0, b->c.rows, (size_t)h->blocks * CN_FASTSCAN_ROWS * sizeof *b->c.rows));
    for (uint32_t i = 0; i < cn_cells_chunks(h->blocks); i++) {
        uint32_t left = h->blocks - i * CN_CELLS_CHUNK, n = left < CN_CELLS_CHUNK ? left : CN_CELLS_CHUNK;
        CN_TRY(put(ctx, CN_CELLS_ARRAY_BITS, i, b->c.chunk[i], n * block));
    }
    return put(ctx, CN_CELLS_ARRAY_HEAD, 0, h, sizeof *h);
}

static cn_err build_all(build *b, unsigned threads, cn_put_array *put, void *ctx) {
    cn_cells_head *h = &b->c.head;
    uint32_t n = h->cells;
    b->centroids = cn_alloc_aligned(64, (size_t)n * h->padded * sizeof *b->centroids);
    b->half = cn_alloc(n * sizeof *b->half);
    b->cell_of = cn_alloc(h->rows * sizeof *b->cell_of);
    b->c.cell = cn_calloc(n, sizeof *b->c.cell);
    b->c.centroid = cn_alloc(n * sizeof *b->c.centroid);
    if (!b->centroids || !b->half || !b->cell_of || !b->c.cell || !b->c.centroid)
        return cn_fail_memory();
    CN_TRY(make_cells(b, threads));
    return put_all(b, put, ctx);
}

cn_err cn_cells_build(const cn_flat *f, unsigned threads, cn_put_array *put, void *ctx) {
    const cn_flat_head *of = &f->head;
    bool coded = f->rotation.signs && f->v.n > 0;
    build b = {.c = {.flat = f, .head = {.magic = "cncell01", .dim = f->v.dim, .padded = of->padded, .planes = of->planes, .rows = f->v.n, .cells = coded ? cn_cells_number(f->v.n) : 0}}};
    CN_ASSERT(threads >= 1 && of->padded);
    cn_err e = coded ? build_all(&b, threads, put, ctx) : put(ctx, CN_CELLS_ARRAY_HEAD, 0, &b.c.head, sizeof b.c.head);
    cn_cells_done(&b.c);
    cn_free(b.centroids);
    cn_free(b.half);
    cn_free(b.cell_of);
    cn_free(b.bits);
    return e;
}
