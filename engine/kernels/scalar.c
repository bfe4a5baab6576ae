/* The reference: every other table must give these bits. */
#include <string.h>

#include "engine/kernels/kernels.h"

#define LANES 16

static float fold(float lane[LANES]) {
    for (uint32_t half = LANES / 2; half; half /= 2)
        for (uint32_t i = 0; i < half; i++)
            lane[i] += lane[i + half];
    return lane[0];
}

static float dot(const float *a, const float *b, uint32_t dim) {
    float lane[LANES] = {0};
    uint32_t i = 0;
    for (; i + LANES <= dim; i += LANES)
        for (uint32_t j = 0; j < LANES; j++)
            lane[j] += a[i + j] * b[i + j];
    for (uint32_t j = 0; i + j < dim; j++)
        lane[j] += a[i + j] * b[i + j];
    return fold(lane);
}

static float l2(const float *a, const float *b, uint32_t dim) {
    float lane[LANES] = {0};
    uint32_t i = 0;
    for (; i + LANES <= dim; i += LANES)
        for (uint32_t j = 0; j < LANES; j++) {
            float d = a[i + j] - b[i + j];
            lane[j] += d * d;
        }
    for (uint32_t j = 0; i + j < dim; j++) {
        float d = a[i + j] - b[i + j];
        lane[j] += d * d;
    }
    return fold(lane);
}

static void dots(const float *q, const float *const *rows, uint32_t dim, uint32_t n, float *ret) {
    for (uint32_t r = 0; r < n; r++)
        ret[r] = dot(q, rows[r], dim);
}

static void l2s(const float *q, const float *const *rows, uint32_t dim, uint32_t n, float *ret) {
    for (uint32_t r = 0; r < n; r++)
        ret[r] = l2(q, rows[r], dim);
}

static void dot_norms(const float *q, const float *const *rows, uint32_t dim, uint32_t n, float *ret_dots, float *ret_norms) {
    for (uint32_t r = 0; r < n; r++) {
        ret_dots[r] = dot(q, rows[r], dim);
        ret_norms[r] = dot(rows[r], rows[r], dim);
    }
}

static void u8dots(const int8_t *q, const uint8_t *const *rows, uint32_t dim, uint32_t n, int32_t *ret) {
    for (uint32_t r = 0; r < n; r++) {
        int32_t sum = 0;
        for (uint32_t i = 0; i < dim; i++)
            sum += q[i] * rows[r][i];
        ret[r] = sum;
    }
}

/* Byte j of a group holds rows row_of(j) (low half) and row_of(j) + 16: even bytes 0..7, odd bytes 8..15. */
static uint32_t row_of(uint32_t j) { return j / 2 + (j & 1) * 8; }

static void add_plane(const uint8_t *lut, const uint8_t *codes, uint32_t groups, uint32_t weight, uint32_t sum[]) {
    for (uint32_t g = 0; g < groups; g++, lut += 16, codes += 16)
        for (uint32_t j = 0; j < 16; j++) {
            sum[row_of(j)] += weight * lut[codes[j] & 15];
            sum[row_of(j) + 16] += weight * lut[codes[j] >> 4];
        }
}

static uint32_t fastscan(const uint8_t *lut, const uint8_t *block, uint32_t dim, uint32_t planes, const float scale_shift[2],
                         float bar, float ret[CN_FASTSCAN_ROWS]) {
    uint32_t sum[CN_FASTSCAN_ROWS] = {0}, over = 0;
    for (uint32_t p = 0; p < planes; p++)
        add_plane(lut, block + p * 4 * dim, dim / 4, 1u << p, sum);
    float add[CN_FASTSCAN_ROWS], factor[CN_FASTSCAN_ROWS];
    memcpy(add, block + planes * 4 * dim, sizeof add);
    memcpy(factor, block + planes * 4 * dim + sizeof add, sizeof factor);
    for (uint32_t i = 0; i < CN_FASTSCAN_ROWS; i++) {
        ret[i] = add[i] + factor[i] * ((float)sum[i] * scale_shift[0] + scale_shift[1]);
        over |= (uint32_t)(ret[i] >= bar) << i;
    }
    return over;
}

static void fht(float *x, uint32_t n) {
    for (uint32_t h = 1; h < n; h *= 2)
        for (uint32_t i = 0; i < n; i += 2 * h)
            for (uint32_t j = i; j < i + h; j++) {
                float a = x[j], b = x[j + h];
                x[j] = a + b;
                x[j + h] = a - b;
            }
}

const cn_kernels cn_kernels_scalar = {"scalar", dots, l2s, dot_norms, u8dots, fastscan, fht};
