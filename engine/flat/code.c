/* One row to its codes. */
#include <math.h>
#include <string.h>

#include "engine/flat/inside.h"

/* Noise of one bit is small enough from here on (ENGINE.md 0.5). */
#define ONE_BIT_FROM 300

uint32_t cn_planes_for(uint32_t dim) { return dim >= ONE_BIT_FROM ? 1 : 2; }

typedef struct fit {
    double dot, uu; /* <u, r>, <u, u> */
} fit;

/* u is 1 with r's sign, and 3 where |r| is over `cut`. */
static fit try_cut(const float *r, uint32_t n, float cut) {
    fit f = {0, 0};
    for (uint32_t i = 0; i < n; i++) {
        double u = fabsf(r[i]) > cut ? 3 : 1;
        f.dot += u * (double)fabsf(r[i]);
        f.uu += u * u;
    }
    return f;
}

static fit best_cut(const float *r, uint32_t n, float sigma, float *ret_cut) {
    static const float at[] = {0.8f, 0.9f, 1.0f, 1.1f, 1.2f};
    fit best = {0, 1};
    for (uint32_t i = 0; i < sizeof at / sizeof *at; i++) {
        fit f = try_cut(r, n, at[i] * sigma);
        if (f.dot * f.dot * best.uu > best.dot * best.dot * f.uu || i == 0) {
            best = f;
            *ret_cut = at[i] * sigma;
        }
    }
    return best;
}

static void few_bits(const float *r, uint32_t n, uint32_t planes, double rr, uint8_t *bits, cn_code *c) {
    float cut = 0;
    fit f = planes == 1 ? try_cut(r, n, INFINITY) : best_cut(r, n, (float)sqrt(rr / n), &cut);
    for (uint32_t i = 0; i < n; i++) {
        bool up = r[i] > 0, far = fabsf(r[i]) > cut;
        bits[i] = (uint8_t)(planes == 1 ? up : up ? 2 + far : !far);
    }
    double cos2 = rr > 0 ? f.dot * f.dot / (f.uu * rr) : 1;
    c->factor = f.dot > 0 ? (float)(rr / f.dot) : 0;
    c->spread = (float)sqrt(f.uu * (cos2 < 1 ? 1 - cos2 : 0) / (n - 1));
}

static void eight_bits(const float *r, uint32_t n, uint8_t *int8, cn_code *c) {
    float most = 0;
    double miss = 0, norm = 0;
    for (uint32_t i = 0; i < n; i++)
        most = cn_maxf(most, fabsf(r[i]));
    c->scale = most / 127;
    for (uint32_t i = 0; i < n; i++) {
        float v = c->scale > 0 ? nearbyintf(r[i] / c->scale) : 0;
        v = cn_minf(cn_maxf(v, -127), 127);
        int8[i] = (uint8_t)(v + 128);
        double kept = (double)c->scale * (double)v, e = (double)r[i] - kept;
        miss += e * e;
        norm += kept * kept;
    }
    c->miss = (float)sqrt(miss) * (1 + 0x1p-20f);
    c->size = ((float)sqrt(norm) + c->miss) * (1 + 0x1p-20f);
}

cn_code cn_encode(const float *r, uint32_t padded, uint32_t planes, uint8_t *bits, uint8_t *int8) {
    cn_code c = {0};
    double rr = 0;
    for (uint32_t i = 0; i < padded; i++)
        rr += (double)r[i] * (double)r[i];
    few_bits(r, padded, planes, rr, bits, &c);
    eight_bits(r, padded, int8, &c);
    return c;
}

void cn_code_put(uint8_t *block, const cn_flat_head *h, uint32_t row, const uint8_t *bits, const cn_code *c) {
    uint32_t low = row % 16, byte = low % 8 * 2 + low / 8, shift = row < 16 ? 0 : 4;
    for (uint32_t p = 0; p < h->planes; p++)
        for (uint32_t i = 0; i < h->padded; i++)
            block[(size_t)p * 4 * h->padded + i / 4 * 16 + byte] |= (uint8_t)((bits[i] >> p & 1) << (i % 4 + shift));
    float *factors = (float *)(void *)(block + (size_t)h->planes * 4 * h->padded);
    factors[row] = c->add;
    factors[CN_FASTSCAN_ROWS + row] = c->factor;
}
