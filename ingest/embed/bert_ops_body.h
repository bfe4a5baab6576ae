/* bert_ops_body.h -- the source of every table of bert_ops.h.
 *
 * The file that includes it sets OPS_NAME, OPS_TABLE and OPS_WIDTH, the floats of a register: 4, 8 or 16.
 * Owns:    nothing.
 * Thread:  any.
 * Limits:  everything here is static: nothing built for one instruction set can be called from another. */
#include <string.h>

#include "ingest/embed/bert_ops.h"

#define W OPS_WIDTH
#define LANES 16
#define STRIP (64 / W) /* columns of up to 64 tokens are walked down together */
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

static void add_bias(float *x, const float *bias, uint32_t f, uint32_t m) {
    for (uint32_t r = 0; r < f; r++, x += m)
        for (uint32_t i = 0; i < m; i += W)
            store(x + i, load(x + i) + bias[r]);
}

static void gelu(float *x, const float *bias, uint32_t f, uint32_t m) {
    for (uint32_t r = 0; r < f; r++, x += m)
        for (uint32_t i = 0; i < m; i += W)
            store(x + i, gelu_v(load(x + i) + bias[r]));
}

/* n registers' width of columns. */
INLINE void norm_strip(float *x, const float *y, const float *const b[3], float eps, uint32_t f, uint32_t m, uint32_t n) {
    vec mean[STRIP], scale[STRIP];
    for (uint32_t j = 0; j < n; j++)
        mean[j] = scale[j] = all(0);
    for (uint32_t r = 0; r < f; r++)
        for (uint32_t j = 0; j < n; j++) {
            size_t at = (size_t)r * m + j * W;
            vec v = load(x + at) + (load(y + at) + b[0][r]);
            store(x + at, v);
            mean[j] += v;
        }
    for (uint32_t j = 0; j < n; j++)
        mean[j] /= (float)f;
    for (uint32_t r = 0; r < f; r++)
        for (uint32_t j = 0; j < n; j++) {
            vec v = load(x + (size_t)r * m + j * W) - mean[j];
            scale[j] += v * v;
        }
    for (uint32_t j = 0; j < n; j++)
        for (uint32_t k = 0; k < W; k++)
            scale[j][k] = 1.0f / __builtin_sqrtf(scale[j][k] / (float)f + eps);
    for (uint32_t r = 0; r < f; r++)
        for (uint32_t j = 0; j < n; j++) {
            float *p = x + (size_t)r * m + j * W;
            store(p, (load(p) - mean[j]) * scale[j] * b[1][r] + b[2][r]);
        }
}

static void add_norm(float *x, const float *y, const float *const b[3], float eps, uint32_t f, uint32_t m) {
    uint32_t i = 0;
    for (; i + 64 <= m; i += 64)
        norm_strip(x + i, y + i, b, eps, f, m, STRIP);
    for (; i < m; i += LANES)
        norm_strip(x + i, y + i, b, eps, f, m, LANES / W);
}

INLINE void softmax_strip(float *x, uint32_t keys, uint32_t m, uint32_t n) {
    vec most[STRIP], sum[STRIP];
    for (uint32_t j = 0; j < n; j++) {
        most[j] = load(x + j * W);
        sum[j] = all(0);
    }
    for (uint32_t r = 1; r < keys; r++)
        for (uint32_t j = 0; j < n; j++)
            most[j] = larger(most[j], load(x + (size_t)r * m + j * W));
    for (uint32_t r = 0; r < keys; r++)
        for (uint32_t j = 0; j < n; j++) {
            float *p = x + (size_t)r * m + j * W;
            vec e = exp_v(load(p) - most[j]);
            store(p, e);
            sum[j] += e;
        }
    for (uint32_t j = 0; j < n; j++)
        sum[j] = 1.0f / sum[j];
    for (uint32_t r = 0; r < keys; r++)
        for (uint32_t j = 0; j < n; j++) {
            float *p = x + (size_t)r * m + j * W;
            store(p, load(p) * sum[j]);
        }
}

static void softmax(float *x, uint32_t keys, uint32_t m) {
    uint32_t i = 0;
    for (; i + 64 <= m; i += 64)
        softmax_strip(x + i, keys, m, STRIP);
    for (; i < m; i += LANES)
        softmax_strip(x + i, keys, m, LANES / W);
}

/* The sum of 16 lanes: halves added to halves. */
static float sum_lanes(float s[LANES]) {
    for (uint32_t n = LANES / 2; n > 0; n /= 2)
        for (uint32_t i = 0; i < n; i++)
            s[i] += s[i + n];
    return s[0];
}

static void mean(const float *x, uint32_t f, uint32_t m, uint32_t n, float *out) {
    for (uint32_t r = 0; r < f; r++, x += m) {
        float s[LANES] = {0};
        uint32_t i = 0;
        for (; i + LANES <= n; i += LANES)
            for (uint32_t k = 0; k < LANES; k++)
                s[k] += x[i + k];
        for (uint32_t k = 0; i + k < n; k++)
            s[k] += x[i + k];
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

const cn_bert_ops OPS_TABLE = {OPS_NAME, add_bias, gelu, add_norm, softmax, mean, normalise};
