/* One row to its codes. */
#include <math.h>
#include <string.h>

#include "engine/flat/inside.h"

/* Noise of one bit is small enough from here on (ENGINE.md 0.5). */
#define ONE_BIT_FROM 300

uint32_t cn_planes_for(uint32_t dim) { return dim >= ONE_BIT_FROM ? 1 : 2; }

/* Sums are the kernels': the same bits on every ISA, with a relative error of less than (dim/16 + 8) 2^-24. */
#define ROUND_UP (1 + 0x1p-14f)

static float dot(const float *a, const float *b, uint32_t n) {
    float ret;
    cn_kernels_now()->dots(a, &b, n, 1, &ret);
    return ret;
}

static float distance2(const float *a, const float *b, uint32_t n) {
    float ret;
    cn_kernels_now()->l2s(a, &b, n, 1, &ret);
    return ret;
}

/* n a multiple of 16, as below */
static float longest(const float *r, uint32_t n) {
    float lane[16] = {0}, most = 0;
    for (uint32_t i = 0; i < n; i += 16)
        for (uint32_t l = 0; l < 16; l++)
            lane[l] = cn_maxf(lane[l], fabsf(r[i + l]));
    for (uint32_t l = 0; l < 16; l++)
        most = cn_maxf(most, lane[l]);
    return most;
}

typedef struct fit {
    float dot, uu; /* <u, v>, <u, u> */
} fit;

/* u is 1 with v's sign, and 3 where |v| is over `cut`. */
static fit try_cut(const float *v, uint32_t n, float cut, float *u) {
    for (uint32_t i = 0; i < n; i++)
        u[i] = copysignf(fabsf(v[i]) > cut ? 3 : 1, v[i]);
    return (fit){dot(u, v, n), dot(u, u, n)};
}

static fit best_cut(const float *v, uint32_t n, float sigma, float *u, float *ret_cut) {
    static const float at[] = {0.8f, 0.9f, 1.0f, 1.1f, 1.2f};
    fit best = {0, 1};
    for (uint32_t i = 0; i < sizeof at / sizeof *at; i++) {
        fit f = try_cut(v, n, at[i] * sigma, u);
        if (f.dot * f.dot * best.uu > best.dot * best.dot * f.uu || i == 0) {
            best = f;
            *ret_cut = at[i] * sigma;
        }
    }
    return best;
}

static void few_bits(const float *v, uint32_t n, uint32_t planes, float *u, uint8_t *bits, cn_code *c) {
    float cut = 0, vv = dot(v, v, n);
    fit f = planes == 1 ? try_cut(v, n, INFINITY, u) : best_cut(v, n, sqrtf(vv / (float)n), u, &cut);
    for (uint32_t i = 0; i < n; i++) {
        bool up = v[i] > 0, far = fabsf(v[i]) > cut;
        bits[i] = (uint8_t)(planes == 1 ? up : up ? 2 + far : !far);
    }
    float cos2 = vv > 0 ? f.dot / f.uu * f.dot / vv : 1;
    c->factor = f.dot > 0 ? vv / f.dot : 0;
    c->spread = sqrtf(f.uu * (cos2 < 1 ? 1 - cos2 : 0) / (float)(n - 1));
}

/* The nearest integer of x, |x| < 2^22, is in the low bits of x + 1.5 2^23. */
static float nearest(float x, uint8_t *ret_plus_128) {
    float at = x + 12582912.0f;
    uint32_t low;
    memcpy(&low, &at, sizeof low);
    *ret_plus_128 = (uint8_t)(low + 128);
    return at - 12582912.0f;
}

static void eight_bits(const float *v, uint32_t n, float most, float *kept, uint8_t *int8, cn_code *c) {
    float per = most > 0 ? 127 / most : 0;
    c->scale = most / 127;
    for (uint32_t i = 0; i < n; i++)
        kept[i] = c->scale * nearest(v[i] * per, &int8[i]);
    c->miss = sqrtf(distance2(v, kept, n)) * ROUND_UP;
    c->size = (sqrtf(dot(kept, kept, n)) + c->miss) * ROUND_UP;
}

/* r is scaled by a power of two first, so that the squares of short rows do not vanish. */
cn_code cn_encode(float *r, uint32_t padded, uint32_t planes, float *room, uint8_t *bits, uint8_t *int8) {
    cn_code c = {0};
    float most = longest(r, padded);
    int exponent = 0;
    if (isfinite(most) && most > 0x1p-100f)
        frexpf(most, &exponent);
    float down = ldexpf(1, -exponent), up = ldexpf(1, exponent);
    for (uint32_t i = 0; i < padded; i++)
        r[i] *= down;
    few_bits(r, padded, planes, room, bits, &c);
    if (int8)
        eight_bits(r, padded, most * down, room, int8, &c);
    c.factor *= up;
    c.scale *= up;
    c.miss *= up;
    c.size *= up;
    return c;
}

/* The low bits of four bytes, the first lowest. */
static uint8_t nibble(const uint8_t *bytes, uint32_t plane) {
    uint32_t four;
    memcpy(&four, bytes, sizeof four);
    return (uint8_t)(((four >> plane & 0x01010101u) * 0x01020408u) >> 24);
}

void cn_code_put(uint8_t *block, const cn_flat_head *h, uint32_t row, const uint8_t *bits, const cn_code *c) {
    uint32_t low = row % 16, byte = low % 8 * 2 + low / 8, shift = row < 16 ? 0 : 4;
    for (uint32_t p = 0; p < h->planes; p++)
        for (uint32_t g = 0; g < h->padded / 4; g++)
            block[((size_t)p * h->padded / 4 + g) * 16 + byte] |= (uint8_t)(nibble(bits + 4 * g, p) << shift);
    float *factors = (float *)(void *)(block + (size_t)h->planes * 4 * h->padded);
    factors[row] = c->add;
    factors[CN_FASTSCAN_ROWS + row] = c->factor;
}
