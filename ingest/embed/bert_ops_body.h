/* bert_ops_body.h -- the source of every table of bert_ops.h; OPS_NAME and OPS_TABLE are set by the file that includes it.
 *
 * Owns:    nothing.
 * Thread:  any.
 * Limits:  everything here is static: nothing built for one instruction set can be called from another. */
#include <string.h>

#include "ingest/embed/bert_ops.h"

#define LANES 16
typedef float v16 __attribute__((vector_size(64)));
typedef int32_t i16 __attribute__((vector_size(64)));
typedef float v16_loose __attribute__((vector_size(64), aligned(4), may_alias));
#define INLINE static inline __attribute__((always_inline))

INLINE v16 load(const float *p) { return *(const v16_loose *)p; }
INLINE void store(float *p, v16 v) { *(v16_loose *)p = v; }
INLINE v16 all(float f) { return (v16){f, f, f, f, f, f, f, f, f, f, f, f, f, f, f, f}; }

/* The end of a row: n < 16 values, the other lanes as `rest`. */
INLINE v16 load_part(const float *p, uint32_t n, float rest) {
    v16 v = all(rest);
    memcpy(&v, p, n * sizeof(float));
    return v;
}
INLINE void store_part(float *p, v16 v, uint32_t n) { memcpy(p, &v, n * sizeof(float)); }

INLINE v16 pick(i16 mask, v16 a, v16 b) { return (v16)((mask & (i16)a) | (~mask & (i16)b)); }
INLINE v16 larger(v16 a, v16 b) { return pick(a > b, a, b); }

/* The sum of 16 lanes: halves added to halves. */
INLINE float sum(v16 v) {
    float s[LANES];
    memcpy(s, &v, sizeof s);
    for (uint32_t n = LANES / 2; n > 0; n /= 2)
        for (uint32_t i = 0; i < n; i++)
            s[i] += s[i + n];
    return s[0];
}
INLINE float largest(v16 v) {
    float s[LANES], m;
    memcpy(s, &v, sizeof s);
    m = s[0];
    for (uint32_t i = 1; i < LANES; i++)
        m = s[i] > m ? s[i] : m;
    return m;
}

/* e^x for x <= 0: x = n ln 2 + r with |r| <= ln 2 / 2, and e^r by its Taylor series to the 7th power (error 6e-9). Under
 * -87 the smallest normal numbers take over. */
INLINE v16 exp_v(v16 x) {
    const float shift = 12582912.0f; /* 1.5 x 2^23: adding it rounds to a whole number */
    x = larger(x, all(-87.0f));
    v16 t = x * 1.44269504f + shift;
    v16 n = t - shift;
    v16 r = x - n * 0.693359375f - n * -2.12194440e-4f; /* ln 2 in two parts (Cody and Waite 1980) */
    v16 p = r * (1.0f / 5040) + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    i16 whole = (i16)t - (int32_t)0x4b400000; /* the bits of `shift` */
    return p * (v16)((whole + 127) << 23);
}

/* x/2 (1 + erf(x / sqrt 2)), as max(x, 0) - |x| erfc(|x| / sqrt 2) / 2 with the series of Abramowitz and Stegun 7.1.26
 * for erfc (error 1.5e-7). */
INLINE v16 gelu_v(v16 x) {
    v16 a = (v16)((i16)x & 0x7fffffff);
    v16 t = 1.0f / (a * (0.3275911f * 0.70710678f) + 1.0f);
    v16 p = t * 1.061405429f - 1.453152027f;
    p = p * t + 1.421413741f;
    p = p * t - 0.284496736f;
    p = p * t + 0.254829592f;
    return larger(x, all(0.0f)) - a * (p * t * exp_v(x * x * -0.5f) * 0.5f);
}

static void add_bias(float *x, const float *bias, uint32_t rows, uint32_t n) {
    for (uint32_t r = 0; r < rows; r++, x += n) {
        uint32_t i = 0;
        for (; i + LANES <= n; i += LANES)
            store(x + i, load(x + i) + load(bias + i));
        for (; i < n; i++)
            x[i] += bias[i];
    }
}

static void gelu(float *x, const float *bias, uint32_t rows, uint32_t n) {
    for (uint32_t r = 0; r < rows; r++, x += n) {
        uint32_t i = 0;
        for (; i + LANES <= n; i += LANES)
            store(x + i, gelu_v(load(x + i) + load(bias + i)));
        if (i < n)
            store_part(x + i, gelu_v(load_part(x + i, n - i, 0) + load_part(bias + i, n - i, 0)), n - i);
    }
}

/* One row: its new values before normalising, and their sum. */
INLINE float add_row(float *x, const float *y, const float *bias, uint32_t n) {
    v16 s = all(0);
    uint32_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        v16 v = load(x + i);
        if (y)
            v = v + (load(y + i) + load(bias + i));
        store(x + i, v);
        s += v;
    }
    if (i < n) {
        v16 v = load_part(x + i, n - i, 0);
        if (y)
            v = v + (load_part(y + i, n - i, 0) + load_part(bias + i, n - i, 0));
        store_part(x + i, v, n - i);
        s += v;
    }
    return sum(s);
}

INLINE float squares(const float *x, float mean, uint32_t n) {
    v16 s = all(0);
    uint32_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        v16 v = load(x + i) - mean;
        s += v * v;
    }
    if (i < n) {
        v16 v = load_part(x + i, n - i, mean) - mean;
        s += v * v;
    }
    return sum(s);
}

static void add_norm(float *x, const float *y, const float *const b[3], float eps, uint32_t rows, uint32_t n) {
    for (uint32_t r = 0; r < rows; r++, x += n, y = y ? y + n : NULL) {
        float mean = add_row(x, y, b[0], n) / (float)n;
        float scale = 1.0f / __builtin_sqrtf(squares(x, mean, n) / (float)n + eps);
        uint32_t i = 0;
        for (; i + LANES <= n; i += LANES)
            store(x + i, (load(x + i) - mean) * scale * load(b[1] + i) + load(b[2] + i));
        for (; i < n; i++)
            x[i] = (x[i] - mean) * scale * b[1][i] + b[2][i];
    }
}

static void softmax(float *x, uint32_t rows, uint32_t n, uint32_t ld) {
    for (uint32_t r = 0; r < rows; r++, x += ld) {
        uint32_t full = n / LANES * LANES, i;
        v16 m = all(-3e38f), s = all(0);
        for (i = 0; i < full; i += LANES)
            m = larger(m, load(x + i));
        if (i < n)
            m = larger(m, load_part(x + i, n - i, -3e38f));
        float most = largest(m);
        for (i = 0; i < full; i += LANES) {
            v16 e = exp_v(load(x + i) - most);
            store(x + i, e);
            s += e;
        }
        if (i < n) {
            v16 e = exp_v(load_part(x + i, n - i, most) - most), none = all(0);
            memcpy(&none, &e, (n - i) * sizeof(float)); /* the other lanes count nothing */
            store_part(x + i, none, n - i);
            s += none;
        }
        float scale = 1.0f / sum(s);
        for (i = 0; i < full; i += LANES)
            store(x + i, load(x + i) * scale);
        for (; i < n; i++)
            x[i] *= scale;
        memset(x + n, 0, (ld - n) * sizeof(float));
    }
}

static void mean(const float *x, uint32_t rows, uint32_t n, float *out) {
    memset(out, 0, n * sizeof *out);
    for (uint32_t r = 0; r < rows; r++)
        for (uint32_t i = 0; i < n; i++)
            out[i] += x[(size_t)r * n + i];
    for (uint32_t i = 0; i < n; i++)
        out[i] /= (float)rows;
}

static void normalise(float *x, uint32_t n) {
    float length = __builtin_sqrtf(squares(x, 0, n));
    for (uint32_t i = 0; length > 0 && i < n; i++)
        x[i] /= length;
}

const cn_bert_ops OPS_TABLE = {OPS_NAME, add_bias, gelu, add_norm, softmax, mean, normalise};
