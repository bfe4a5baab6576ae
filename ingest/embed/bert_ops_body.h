/* bert_ops_body.h -- the source of every table of bert_ops.h, but for its matrix products.
 *
 * The file that includes it sets OPS_NAME, OPS_TABLE, OPS_PACKED and OPS_WIDTH, the floats of a register (4, 8 or 16), adds
 * the products, and ends with OPS_DEFINE. Multiplications and additions are written so that the compiler has one way only
 * to fuse them.
 * Owns:    nothing.
 * Thread:  any.
 * Limits:  everything here is static: nothing built for one instruction set can be called from another. */
#pragma once
#include <string.h>

#include "ingest/embed/bert_ops.h"

#define W OPS_WIDTH
#define LANES CN_LANES
#define BLOCKS(n) (((n) + LANES - 1) / LANES)
#define STRIP_BLOCKS 4 /* blocks that are walked down together, so that one sum need not wait for itself */
#define STRIP (STRIP_BLOCKS * LANES / W)
typedef float vec __attribute__((vector_size(W * 4)));
typedef int32_t ivec __attribute__((vector_size(W * 4)));
typedef float loose __attribute__((vector_size(W * 4), aligned(4), may_alias));
#define INLINE static inline __attribute__((always_inline))

INLINE vec load(const float *p) { return *(const loose *)p; }
INLINE void store(float *p, vec v) { *(loose *)p = v; }
INLINE vec all(float f) { return f - (vec){0}; }
INLINE vec larger(vec a, vec b) {
    ivec mask = a > b;
    return (vec)((mask & (ivec)a) | (~mask & (ivec)b));
}

/* e^x for x <= 0: x = n ln 2 + r with |r| <= ln 2 / 2, and e^r by its Taylor series to the 7th power (error 6e-9). What is
 * under e^-80 counts as that. */
INLINE vec exp_v(vec x) {
    const float shift = 12582912.0f; /* 1.5 x 2^23: adding it rounds to a whole number */
    x = larger(x, all(-80.0f));
    vec t = x * 1.44269504f + shift;
    vec n = t - shift;
    vec r = x - n * 0.693359375f - n * -2.12194440e-4f; /* ln 2 in two parts (Cody and Waite 1980) */
    vec p = r * (1.0f / 5040) + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    ivec whole = (ivec)t - (int32_t)0x4b400000; /* the bits of `shift` */
    return p * (vec)((whole + 127) << 23);
}

/* x/2 (1 + erf(x / sqrt 2)), as max(x, 0) - |x| erfc(|x| / sqrt 2) / 2 with the series of Abramowitz and Stegun 7.1.26
 * for erfc (error 1.5e-7). */
INLINE vec gelu_v(vec x) {
    vec a = (vec)((ivec)x & 0x7fffffff);
    vec t = 1.0f / (a * (0.3275911f * 0.70710678f) + 1.0f);
    vec p = t * 1.061405429f - 1.453152027f;
    p = p * t + 1.421413741f;
    p = p * t - 0.284496736f;
    p = p * t + 0.254829592f;
    return larger(x, all(0.0f)) - a * (p * t * exp_v(x * x * -0.5f) * 0.5f);
}

static void gelu(float *x, size_t n) {
    for (size_t i = 0; i < n; i += W)
        store(x + i, gelu_v(load(x + i)));
}

/* Register j of row r, where a block has `rows` rows. */
INLINE float *place(float *x, uint32_t rows, uint32_t r, uint32_t j) {
    return x + ((size_t)(j * W / LANES) * rows + r) * LANES + j * W % LANES;
}

/* n registers' width of tokens. */
INLINE void norm_strip(float *x, float *y, const float *gamma, const float *beta, float eps, uint32_t f, uint32_t n) {
    vec mean[STRIP], scale[STRIP];
    for (uint32_t j = 0; j < n; j++)
        mean[j] = scale[j] = all(0);
    for (uint32_t r = 0; r < f; r++)
        for (uint32_t j = 0; j < n; j++) {
            vec v = load(place(x, f, r, j)) + load(place(y, f, r, j));
            store(place(x, f, r, j), v);
            mean[j] += v;
        }
    for (uint32_t j = 0; j < n; j++)
        mean[j] /= (float)f;
    for (uint32_t r = 0; r < f; r++)
        for (uint32_t j = 0; j < n; j++) {
            vec v = load(place(x, f, r, j)) - mean[j];
            scale[j] += v * v;
        }
    for (uint32_t j = 0; j < n; j++)
        for (uint32_t k = 0; k < W; k++)
            scale[j][k] = 1.0f / __builtin_sqrtf(scale[j][k] / (float)f + eps);
    for (uint32_t r = 0; r < f; r++)
        for (uint32_t j = 0; j < n; j++) {
            float *p = place(x, f, r, j);
            store(p, (load(p) - mean[j]) * scale[j] * gamma[r] + beta[r]);
        }
}

static void add_norm(float *x, const float *y, const float *gamma, const float *beta, float eps, uint32_t f, uint32_t blocks) {
    float *z = (float *)(uintptr_t)y; /* only read: place() serves both */
    size_t each = (size_t)f * LANES;
    uint32_t b = 0;
    for (; b + STRIP_BLOCKS <= blocks; b += STRIP_BLOCKS)
        norm_strip(x + b * each, z + b * each, gamma, beta, eps, f, STRIP);
    for (; b < blocks; b++)
        norm_strip(x + b * each, z + b * each, gamma, beta, eps, f, LANES / W);
}

INLINE void softmax_strip(float *x, float scale, uint32_t keys, uint32_t rows, uint32_t n) {
    vec most[STRIP], sum[STRIP];
    for (uint32_t j = 0; j < n; j++) {
        most[j] = load(place(x, rows, 0, j));
        sum[j] = all(0);
    }
    for (uint32_t r = 1; r < keys; r++)
        for (uint32_t j = 0; j < n; j++)
            most[j] = larger(most[j], load(place(x, rows, r, j)));
    for (uint32_t r = 0; r < keys; r++)
        for (uint32_t j = 0; j < n; j++) {
            float *p = place(x, rows, r, j);
            vec e = exp_v((load(p) - most[j]) * scale);
            store(p, e);
            sum[j] += e;
        }
    for (uint32_t j = 0; j < n; j++)
        sum[j] = 1.0f / sum[j];
    for (uint32_t r = 0; r < keys; r++)
        for (uint32_t j = 0; j < n; j++) {
            float *p = place(x, rows, r, j);
            store(p, load(p) * sum[j]);
        }
}

static void softmax(float *x, float scale, uint32_t n) {
    uint32_t b = 0, blocks = BLOCKS(n), rows = blocks * LANES;
    for (; b + STRIP_BLOCKS <= blocks; b += STRIP_BLOCKS)
        softmax_strip(x + (size_t)b * rows * LANES, scale, n, rows, STRIP);
    for (; b < blocks; b++)
        softmax_strip(x + (size_t)b * rows * LANES, scale, n, rows, LANES / W);
}

/* The sum of 16 lanes: halves added to halves. */
static float sum_lanes(float s[LANES]) {
    for (uint32_t n = LANES / 2; n > 0; n /= 2)
        for (uint32_t i = 0; i < n; i++)
            s[i] += s[i + n];
    return s[0];
}

static void mean(const float *x, uint32_t f, uint32_t n, float *out) {
    for (uint32_t r = 0; r < f; r++) {
        float s[LANES] = {0};
        for (uint32_t i = 0; i < n; i++)
            s[i % LANES] += x[((size_t)(i / LANES) * f + r) * LANES + i % LANES];
        out[r] = sum_lanes(s) / (float)n;
    }
}

static void normalise(float *x, uint32_t f) {
    float s[LANES] = {0};
    for (uint32_t i = 0; i < f; i++)
        s[i % LANES] += x[i] * x[i];
    float length = __builtin_sqrtf(sum_lanes(s));
    for (uint32_t i = 0; length > 0 && i < f; i++)
        x[i] /= length;
}

#define OPS_DEFINE const cn_bert_ops OPS_TABLE = {OPS_NAME, OPS_PACKED, dense, scores, context, softmax, gelu, add_norm, mean, normalise};
