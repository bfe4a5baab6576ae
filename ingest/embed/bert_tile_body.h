/* bert_tile_body.h -- the matrix products of bert_ops.h on fused multiply-adds; included after bert_ops_body.h.
 *
 * The file that includes it sets TILE_ROWS and TILE_BLOCKS: what of a product stays in registers, so many features of so
 * many blocks of tokens (Goto and van de Geijn 2008, "Anatomy of High-Performance Matrix Multiplication"). A tile goes over
 * CN_PANEL_DEPTH inputs, is stored, and is taken up again for the next ones: one chain of additions, whatever the depth.
 * Owns:    nothing.
 * Thread:  any.
 * Limits:  everything here is static, as in bert_ops_body.h. */
#pragma once
#define AHEAD 1024        /* floats: the weights come from beyond the second-level cache */

/* rows[] of a: `next` apart from row to row, `step` from input to input. */
typedef struct left_side {
    const float *a;
    size_t next, step;
    uint32_t rows, depth;
} left_side;

typedef enum start { START_ZERO, START_BIAS, START_MORE } start;

/* out[v blocks][rows][16]; blocks are xs and os apart. next, step, v and rows >= TILE_ROWS are known when this is compiled. */
INLINE void tile(const left_side *l, const float *x, size_t xs, start from, const float *bias, float *out, size_t os, uint32_t v) {
    const float *a = l->a;
    vec c[TILE_ROWS][TILE_BLOCKS * PARTS];
    UNROLL for (uint32_t r = 0; r < TILE_ROWS; r++)
        UNROLL for (uint32_t j = 0; j < v * PARTS; j++)
            c[r][j] = from == START_ZERO || r >= l->rows ? all(0) : from == START_BIAS ? all(bias[r]) : load(out + (j / PARTS) * os + r * LANES + j % PARTS * W);
    for (uint32_t p = 0; p < l->depth; p++, a += l->step, x += LANES) {
        vec b[TILE_BLOCKS * PARTS];
        __builtin_prefetch(a + AHEAD);
        UNROLL for (uint32_t j = 0; j < v * PARTS; j++)
            b[j] = load(x + (j / PARTS) * xs + j % PARTS * W);
        UNROLL for (uint32_t r = 0; r < TILE_ROWS; r++)
            UNROLL for (uint32_t j = 0; j < v * PARTS; j++)
                c[r][j] = madd(b[j], all(a[r * l->next]), c[r][j]);
    }
    UNROLL for (uint32_t r = 0; r < TILE_ROWS; r++)
        if (r < l->rows)
            UNROLL for (uint32_t j = 0; j < v * PARTS; j++)
                store(out + (j / PARTS) * os + r * LANES + j % PARTS * W, c[r][j]);
}

/* All rows of l, in tiles; `panel` from one CN_PANEL rows to the next. */
INLINE void strip(left_side l, size_t panel, const float *x, size_t xs, start from, const float *bias, float *out, size_t os, uint32_t v) {
    for (uint32_t r = 0, rows = l.rows; r < rows; r += CN_PANEL, l.a += panel)
        for (uint32_t i = 0; i < CN_PANEL && r + i < rows; i += TILE_ROWS) {
            left_side part = {l.a + i * l.next, l.next, l.step, rows - r - i, l.depth};
            tile(&part, x, xs, from, bias ? bias + r + i : NULL, out + (size_t)(r + i) * LANES, os, v);
        }
}

/* Four blocks are two and two: one by itself keeps the processor waiting. */
static uint32_t take(uint32_t blocks) { return blocks == 4 && TILE_BLOCKS == 3 ? 2 : blocks < TILE_BLOCKS ? blocks : TILE_BLOCKS; }

INLINE void product(left_side l, size_t panel, const float *x, size_t xs, uint32_t blocks, start from, const float *bias, float *out, size_t os) {
    for (uint32_t v; blocks; blocks -= v, x += v * xs, out += v * os) {
        v = take(blocks);
        if (v == 1)
            strip(l, panel, x, xs, from, bias, out, os, 1);
#if TILE_BLOCKS == 3
        else if (v == 2)
            strip(l, panel, x, xs, from, bias, out, os, 2);
        else
            strip(l, panel, x, xs, from, bias, out, os, 3);
#endif
    }
}

static void dense(const cn_bert_dense *d, const float *x, uint32_t blocks, float *out) {
    size_t height = (size_t)cn_bert_panels(d->n) * CN_PANEL;
    for (uint32_t p = 0; p < d->k; p += CN_PANEL_DEPTH) {
        uint32_t depth = d->k - p < CN_PANEL_DEPTH ? d->k - p : CN_PANEL_DEPTH;
        left_side l = {d->w + height * p, 1, CN_PANEL, d->n, depth};
        product(l, (size_t)CN_PANEL * depth, x + (size_t)p * LANES, (size_t)d->k * LANES, blocks, p ? START_MORE : START_BIAS, d->bias, out, (size_t)d->n * LANES);
    }
}

static void scores(const float *query, const float *key, size_t stride, uint32_t d, uint32_t n, float *out) {
    uint32_t blocks = BLOCKS(n);
    size_t each = (size_t)blocks * LANES * LANES;
    for (uint32_t b = 0; b < blocks; b++) {
        left_side l = {key + b * stride, 1, LANES, LANES, d};
        product(l, CN_PANEL, query, stride, blocks, START_ZERO, NULL, out + (size_t)b * LANES * LANES, each);
    }
}

static void context(const float *value, size_t stride, const float *s, uint32_t d, uint32_t n, float *out, size_t out_stride) {
    uint32_t blocks = BLOCKS(n);
    size_t each = (size_t)blocks * LANES * LANES;
    for (uint32_t b = 0; b < blocks; b++) {
        left_side l = {value + b * stride, LANES, 1, d, n - b * LANES < LANES ? n - b * LANES : LANES};
        product(l, (size_t)CN_PANEL * LANES, s + (size_t)b * LANES * LANES, each, blocks, b ? START_MORE : START_ZERO, NULL, out, out_stride);
    }
}
