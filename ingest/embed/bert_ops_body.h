/* bert_ops_body.h -- the source of every table of bert_ops.h, but for its matrix products.
 *
 * The file that includes it sets OPS_NAME, OPS_TABLE, OPS_PACKED and what bert_vec.h wants, adds the products, and ends with
 * OPS_DEFINE.
 * Owns:    nothing.
 * Thread:  any.
 * Limits:  everything here is static: nothing built for one instruction set can be called from another. */
#pragma once
#include "ingest/embed/bert_vec.h"

/* e^x for x <= 0: x = n ln 2 + r with |r| <= ln 2 / 2, and e^r by its Taylor series to the 7th power (error 6e-9). What is
 * under e^-80 counts as that. */
INLINE vec exp_v(vec x) {
    const float shift = 12582912.0f; /* 1.5 x 2^23: adding it rounds to a whole number */
    x = larger(x, all(-80.0f));
    vec t = madd(x, all(1.44269504f), all(shift));
    vec n = t - shift;
    vec r = nmadd(n, all(-2.12194440e-4f), nmadd(n, all(0.693359375f), x)); /* ln 2 in two parts (Cody and Waite 1980) */
    vec p = madd(r, all(1.0f / 5040), all(1.0f / 720));
    p = madd(p, r, all(1.0f / 120));
    p = madd(p, r, all(1.0f / 24));
    p = madd(p, r, all(1.0f / 6));
    p = madd(p, r, all(0.5f));
    p = madd(p, r, all(1.0f));
    p = madd(p, r, all(1.0f));
    ivec whole = (ivec)t - (int32_t)0x4b400000; /* the bits of `shift` */
    return p * (vec)((whole + 127) << 23);
}

/* x/2 (1 + erf(x / sqrt 2)), as max(x, 0) - |x| erfc(|x| / sqrt 2) / 2 with the series of Abramowitz and Stegun 7.1.26
 * for erfc (error 1.5e-7). */
INLINE vec gelu_v(vec x) {
    vec a = (vec)((ivec)x & 0x7fffffff);
    vec t = 1.0f / madd(a, all(0.3275911f * 0.70710678f), all(1.0f));
    vec p = madd(t, all(1.061405429f), all(-1.453152027f));
    p = madd(p, t, all(1.421413741f));
    p = madd(p, t, all(-0.284496736f));
    p = madd(p, t, all(0.254829592f));
    return nmadd(a, p * t * exp_v(x * x * -0.5f) * 0.5f, larger(x, all(0.0f)));
}

static void gelu(float *x, size_t n) {
    for (size_t i = 0; i < n; i += W)
        store(x + i, gelu_v(load(x + i)));
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
            scale[j] = madd(v, v, scale[j]);
        }
    for (uint32_t j = 0; j < n; j++)
        for (uint32_t k = 0; k < W; k++)
            scale[j][k] = 1.0f / __builtin_sqrtf(scale[j][k] / (float)f + eps);
    for (uint32_t r = 0; r < f; r++)
        for (uint32_t j = 0; j < n; j++) {
            float *p = place(x, f, r, j);
            store(p, madd((load(p) - mean[j]) * scale[j], all(gamma[r]), all(beta[r])));
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
        s[i % LANES] = madd1(x[i], x[i], s[i % LANES]);
    float length = __builtin_sqrtf(sum_lanes(s));
    for (uint32_t i = 0; length > 0 && i < f; i++)
        x[i] /= length;
}

#define OPS_DEFINE const cn_bert_ops OPS_TABLE = {OPS_NAME, OPS_PACKED, dense, scores, context, softmax, gelu, add_norm, mean, normalise};
