/* bert_int8_body.h -- the source of every table of bert_int8.h.
 *
 * The file that includes it sets INT8_NAME, INT8_TABLE, INT8_PER (values of a word), TILE_ROWS, TILE_BLOCKS and what
 * bert_vec.h wants, and defines dot(sums, inputs, weights): sums + for each word its inputs times the weights' word.
 * Owns:    nothing.
 * Thread:  any.
 * Limits:  everything here is static, as in bert_vec.h. */
#pragma once
#include "ingest/embed/bert_int8.h"

#define PER INT8_PER
#define SHIFT 12582912.0f /* 1.5 x 2^23: adding it rounds to a whole number */
#define SHIFT_BITS 0x4b400000

INLINE ivec load_i(const void *p) { return *(const iloose *)p; }
INLINE void store_i(void *p, ivec v) { *(iloose *)p = v; }
INLINE ivec all_i(int32_t v) { return v - (ivec){0}; }
INLINE ivec clamp(ivec v) { /* to 0..255 */
    ivec low = v < 0, high = v > 255;
    return (~low & ~high & v) | (high & 255);
}
INLINE vec smaller(vec a, vec b) { return -larger(-a, -b); }
INLINE ivec rounded(vec x, vec by) { return (ivec)madd(x, by, all(SHIFT)) - SHIFT_BITS; }

/* Inputs [from, to) of one register's width of tokens; q: their first word. */
INLINE void quantise_part(const float *x, const uint32_t *order, uint32_t from, uint32_t to, uint32_t *q, float *scale, int32_t *zero) {
    vec low = all(0), high = all(0), by;
    for (uint32_t i = from; i < to; i++) {
        vec v = load(x + (size_t)order[i] * LANES);
        low = smaller(low, v);
        high = larger(high, v);
    }
    vec range = high - low;
    for (uint32_t i = 0; i < W; i++)
        by[i] = range[i] > 1e-30f ? 255.0f / range[i] : 0;
    ivec z = clamp(rounded(-low, by));
    store(scale, range * (1.0f / 255));
    store_i(zero, z);
    for (uint32_t i = from; i < to; i += PER, q += LANES) {
        ivec word = {0};
        for (uint32_t p = 0; p < PER; p++) {
            ivec v = i + p < to ? clamp(rounded(load(x + (size_t)order[i + p] * LANES), by) + z) : z;
            word |= v << (int32_t)(p * (32 / PER));
        }
        store_i(q, word);
    }
}

static void quantise(const cn_bert_dense8 *d, const float *x, uint32_t blocks, uint32_t *q, cn_lanes8 *lanes) {
    size_t words = (size_t)((d->k + PER - 1) / PER) * LANES, first = (size_t)(d->large / PER) * LANES;
    for (uint32_t b = 0; b < blocks; b++, x += (size_t)d->k * LANES, q += words, lanes += 2)
        for (uint32_t j = 0; j < LANES; j += W) {
            quantise_part(x + j, d->order, 0, d->large, q + j, lanes[0].scale + j, lanes[0].zero + j);
            quantise_part(x + j, d->order, d->large, d->k, q + first + j, lanes[1].scale + j, lanes[1].zero + j);
        }
}

typedef struct side8 { /* a tile's inputs and weights in one part */
    const uint32_t *w, *q;
    size_t each;          /* words from one block's inputs to the next */
    uint32_t groups, part;
} side8;

/* Adds one part of the inputs to TILE_ROWS rows of v blocks in `out`; the first sets them. Sums stay in registers. */
INLINE void tile8(const cn_bert_dense8 *d, const side8 *s, uint32_t row, const cn_lanes8 *lanes, float *out, uint32_t v) {
    const uint32_t *w = s->w, *q = s->q;
    ivec c[TILE_ROWS][TILE_BLOCKS * PARTS];
    UNROLL for (uint32_t r = 0; r < TILE_ROWS; r++)
        UNROLL for (uint32_t j = 0; j < v * PARTS; j++)
            c[r][j] = (ivec){0};
    for (uint32_t g = 0; g < s->groups; g++, w += CN_PANEL, q += LANES) {
        ivec b[TILE_BLOCKS * PARTS];
        __builtin_prefetch(w + 1024);
        UNROLL for (uint32_t j = 0; j < v * PARTS; j++)
            b[j] = load_i(q + (j / PARTS) * s->each + j % PARTS * W);
        UNROLL for (uint32_t r = 0; r < TILE_ROWS; r++)
            UNROLL for (uint32_t j = 0; j < v * PARTS; j++)
                c[r][j] = dot(c[r][j], b[j], all_i((int32_t)w[r]));
    }
    UNROLL for (uint32_t r = 0; r < TILE_ROWS; r++)
        if (row + r < d->n)
            UNROLL for (uint32_t j = 0; j < v * PARTS; j++) {
                const cn_lanes8 *l = &lanes[2 * (j / PARTS) + s->part];
                uint32_t at = j % PARTS * W;
                float *y = out + ((j / PARTS) * (size_t)d->n + row + r) * LANES + at;
                ivec sum = c[r][j] - load_i(l->zero + at) * d->sum[s->part][row + r];
                vec before = s->part ? load(y) : all(d->bias[row + r]);
                store(y, madd(__builtin_convertvector(sum, vec), load(l->scale + at) * d->scale[s->part][row + r], before));
            }
}

INLINE void rows8(const cn_bert_dense8 *d, const uint32_t *q, const cn_lanes8 *lanes, float *out, uint32_t v) {
    uint32_t groups = (d->k + PER - 1) / PER, first = d->large / PER;
    for (uint32_t row = 0; row < d->n; row += TILE_ROWS) {
        const uint32_t *w = d->w + (size_t)(row / CN_PANEL) * CN_PANEL * groups + row % CN_PANEL;
        const side8 large = {w, q, (size_t)groups * LANES, first, 0}, rest = {w + (size_t)first * CN_PANEL, q + (size_t)first * LANES, large.each, groups - first, 1};
        tile8(d, &large, row, lanes, out, v);
        tile8(d, &rest, row, lanes, out, v);
    }
}

static void dense8(const cn_bert_dense8 *d, const uint32_t *q, const cn_lanes8 *lanes, uint32_t blocks, float *out) {
    size_t each = (size_t)((d->k + PER - 1) / PER) * LANES;
    for (uint32_t v; blocks; blocks -= v, q += v * each, lanes += 2 * v, out += v * (size_t)d->n * LANES) {
        v = blocks == 4 && TILE_BLOCKS == 3 ? 2 : blocks < TILE_BLOCKS ? blocks : TILE_BLOCKS; /* four are two and two */
        if (v == 1)
            rows8(d, q, lanes, out, 1);
#if TILE_BLOCKS == 3
        else if (v == 2)
            rows8(d, q, lanes, out, 2);
        else
            rows8(d, q, lanes, out, 3);
#endif
    }
}

const cn_bert_int8 INT8_TABLE = {INT8_NAME, PER, quantise, dense8};
