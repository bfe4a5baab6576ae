#include <immintrin.h>

#include "engine/kernels/kernels.h"

#define LANES 16

static float fold(__m512 v) {
    __m256 e = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    __m128 f = _mm_add_ps(_mm256_castps256_ps128(e), _mm256_extractf128_ps(e, 1));
    __m128 t = _mm_add_ps(f, _mm_movehl_ps(f, f));
    return _mm_cvtss_f32(_mm_add_ss(t, _mm_movehdup_ps(t)));
}

static __mmask16 first(uint32_t n) { return (__mmask16)((1u << n) - 1); }

static __m512 add_product(__m512 acc, __m512 a, __m512 b) { return _mm512_add_ps(acc, _mm512_mul_ps(a, b)); }

static __m512 add_square(__m512 acc, __m512 a, __m512 b) {
    __m512 d = _mm512_sub_ps(a, b);
    return _mm512_add_ps(acc, _mm512_mul_ps(d, d));
}

/* Four rows at once hide the latency of the additions; each row's next four are asked for meanwhile. */
#define FOUR_ROWS(name, step)                                                                             \
    static void name##_4(const float *q, const float *const *r, const float *const *next, uint32_t dim, float *ret) { \
        __m512 a0 = _mm512_setzero_ps(), a1 = a0, a2 = a0, a3 = a0;                                       \
        uint32_t i = 0;                                                                                   \
        for (; i + LANES <= dim; i += LANES) {                                                            \
            __m512 v = _mm512_loadu_ps(q + i);                                                            \
            for (uint32_t p = 0; p < 4; p++)                                                              \
                _mm_prefetch((const char *)(next[p] + i), _MM_HINT_T0);                                   \
            a0 = step(a0, v, _mm512_loadu_ps(r[0] + i));                                                  \
            a1 = step(a1, v, _mm512_loadu_ps(r[1] + i));                                                  \
            a2 = step(a2, v, _mm512_loadu_ps(r[2] + i));                                                  \
            a3 = step(a3, v, _mm512_loadu_ps(r[3] + i));                                                  \
        }                                                                                                 \
        if (i < dim) {                                                                                    \
            __mmask16 m = first(dim - i);                                                                 \
            __m512 v = _mm512_maskz_loadu_ps(m, q + i);                                                   \
            a0 = step(a0, v, _mm512_maskz_loadu_ps(m, r[0] + i));                                         \
            a1 = step(a1, v, _mm512_maskz_loadu_ps(m, r[1] + i));                                         \
            a2 = step(a2, v, _mm512_maskz_loadu_ps(m, r[2] + i));                                         \
            a3 = step(a3, v, _mm512_maskz_loadu_ps(m, r[3] + i));                                         \
        }                                                                                                 \
        ret[0] = fold(a0), ret[1] = fold(a1), ret[2] = fold(a2), ret[3] = fold(a3);                       \
    }                                                                                                     \
    static float name##_1(const float *q, const float *r, uint32_t dim) {                                 \
        __m512 a = _mm512_setzero_ps();                                                                   \
        uint32_t i = 0;                                                                                   \
        for (; i + LANES <= dim; i += LANES)                                                              \
            a = step(a, _mm512_loadu_ps(q + i), _mm512_loadu_ps(r + i));                                  \
        __mmask16 m = first(dim - i);                                                                     \
        return fold(i < dim ? step(a, _mm512_maskz_loadu_ps(m, q + i), _mm512_maskz_loadu_ps(m, r + i)) : a); \
    }                                                                                                     \
    static void name(const float *q, const float *const *rows, uint32_t dim, uint32_t n, float *ret) {    \
        uint32_t r = 0;                                                                                   \
        for (; r + 4 <= n; r += 4)                                                                        \
            name##_4(q, rows + r, r + 8 <= n ? rows + r + 4 : rows + r, dim, ret + r);                    \
        for (; r < n; r++)                                                                                \
            ret[r] = name##_1(q, rows[r], dim);                                                           \
    }

FOUR_ROWS(dots, add_product)
FOUR_ROWS(l2s, add_square)

static void dot_norm(const float *q, const float *r, uint32_t dim, float *ret_dot, float *ret_norm) {
    __m512 a = _mm512_setzero_ps(), b = a;
    uint32_t i = 0;
    for (; i < dim; i += LANES) {
        __mmask16 m = dim - i < LANES ? first(dim - i) : (__mmask16)0xffff;
        __m512 x = _mm512_maskz_loadu_ps(m, r + i);
        a = add_product(a, _mm512_maskz_loadu_ps(m, q + i), x);
        b = add_product(b, x, x);
    }
    *ret_dot = fold(a);
    *ret_norm = fold(b);
}

static void dot_norms_4(const float *q, const float *const *r, const float *const *next, uint32_t dim, float *ret_dots, float *ret_norms) {
    __m512 a[4], b[4];
    for (uint32_t p = 0; p < 4; p++)
        a[p] = b[p] = _mm512_setzero_ps();
    for (uint32_t i = 0; i < dim; i += LANES) {
        __mmask16 m = dim - i < LANES ? first(dim - i) : (__mmask16)0xffff;
        __m512 v = _mm512_maskz_loadu_ps(m, q + i);
        for (uint32_t p = 0; p < 4; p++) {
            _mm_prefetch((const char *)(next[p] + i), _MM_HINT_T0);
            __m512 x = _mm512_maskz_loadu_ps(m, r[p] + i);
            a[p] = add_product(a[p], v, x);
            b[p] = add_product(b[p], x, x);
        }
    }
    for (uint32_t p = 0; p < 4; p++) {
        ret_dots[p] = fold(a[p]);
        ret_norms[p] = fold(b[p]);
    }
}

static void dot_norms(const float *q, const float *const *rows, uint32_t dim, uint32_t n, float *ret_dots, float *ret_norms) {
    uint32_t r = 0;
    for (; r + 4 <= n; r += 4)
        dot_norms_4(q, rows + r, r + 8 <= n ? rows + r + 4 : rows + r, dim, ret_dots + r, ret_norms + r);
    for (; r < n; r++)
        dot_norm(q, rows[r], dim, ret_dots + r, ret_norms + r);
}

/* The sums of four vectors of 16 integers, one in each lane. */
static __m128i sum_4(__m512i a, __m512i b, __m512i c, __m512i d) {
    __m512i ab = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    __m512i cd = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
    __m512i s = _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
    __m256i t = _mm256_add_epi32(_mm512_castsi512_si256(s), _mm512_extracti64x4_epi64(s, 1));
    return _mm_add_epi32(_mm256_castsi256_si128(t), _mm256_extracti128_si256(t, 1));
}

static void u8dots_4(const int8_t *q, const uint8_t *const *r, const uint8_t *const *next, uint32_t dim, int32_t *ret) {
    __m512i a = _mm512_setzero_si512(), b = a, c = a, d = a;
    for (uint32_t i = 0; i < dim; i += 64) {
        __m512i v = _mm512_loadu_si512(q + i);
        for (uint32_t p = 0; p < 4; p++)
            _mm_prefetch((const char *)(next[p] + i), _MM_HINT_T0);
        a = _mm512_dpbusd_epi32(a, _mm512_loadu_si512(r[0] + i), v);
        b = _mm512_dpbusd_epi32(b, _mm512_loadu_si512(r[1] + i), v);
        c = _mm512_dpbusd_epi32(c, _mm512_loadu_si512(r[2] + i), v);
        d = _mm512_dpbusd_epi32(d, _mm512_loadu_si512(r[3] + i), v);
    }
    _mm_storeu_si128((void *)ret, sum_4(a, b, c, d));
}

static void u8dots(const int8_t *q, const uint8_t *const *rows, uint32_t dim, uint32_t n, int32_t *ret) {
    uint32_t r = 0;
    for (; r + 4 <= n; r += 4)
        u8dots_4(q, rows + r, r + 12 <= n ? rows + r + 8 : rows + r, dim, ret + r);
    if (r == n)
        return;
    const uint8_t *last[4];
    int32_t out[4];
    for (uint32_t i = 0; i < 4; i++)
        last[i] = rows[r + i < n ? r + i : r];
    u8dots_4(q, last, last, dim, out);
    for (uint32_t i = 0; r + i < n; i++)
        ret[r + i] = out[i];
}

/* Sums of one plane: rows 0..7, 8..15, 16..23, 24..31, as 16-bit numbers. */
typedef struct sums {
    __m128i part[4];
} sums;

static __m128i fold_lanes(__m512i v) {
    __m256i t = _mm256_add_epi16(_mm512_castsi512_si256(v), _mm512_extracti64x4_epi64(v, 1));
    return _mm_add_epi16(_mm256_castsi256_si128(t), _mm256_extracti128_si256(t, 1));
}

static __m512i look_up(const uint8_t *lut, __m512i index) { return _mm512_shuffle_epi8(_mm512_loadu_si512(lut), index); }

/* 64 dimensions are 16 groups: four registers of codes, whose table entries (at most 63) add up within a byte. */
static sums scan_plane(const uint8_t *lut, const uint8_t *codes, uint32_t dim) {
    const __m512i half = _mm512_set1_epi8(15), low = _mm512_set1_epi16(255);
    __m512i even = _mm512_setzero_si512(), odd = even, even_up = even, odd_up = even;
    for (uint32_t i = 0; i < dim; i += 64, lut += 256, codes += 256) {
        __m512i a = _mm512_setzero_si512(), b = a;
        for (uint32_t g = 0; g < 256; g += 64) {
            __m512i c = _mm512_loadu_si512(codes + g);
            a = _mm512_add_epi8(a, look_up(lut + g, _mm512_and_si512(c, half)));
            b = _mm512_add_epi8(b, look_up(lut + g, _mm512_and_si512(_mm512_srli_epi16(c, 4), half)));
        }
        even = _mm512_add_epi16(even, _mm512_and_si512(a, low));
        odd = _mm512_add_epi16(odd, _mm512_srli_epi16(a, 8));
        even_up = _mm512_add_epi16(even_up, _mm512_and_si512(b, low));
        odd_up = _mm512_add_epi16(odd_up, _mm512_srli_epi16(b, 8));
    }
    return (sums){{fold_lanes(even), fold_lanes(odd), fold_lanes(even_up), fold_lanes(odd_up)}};
}

static __m512i widen(__m128i lo, __m128i hi) { return _mm512_cvtepu16_epi32(_mm256_set_m128i(hi, lo)); }

static uint32_t fastscan(const uint8_t *lut, const uint8_t *block, uint32_t dim, uint32_t planes, const float scale_shift[2],
                         float bar, float ret[CN_FASTSCAN_ROWS]) {
    sums s = scan_plane(lut, block, dim);
    __m512i sum[2] = {widen(s.part[0], s.part[1]), widen(s.part[2], s.part[3])};
    if (planes == 2) {
        s = scan_plane(lut, block + 4 * dim, dim);
        sum[0] = _mm512_add_epi32(sum[0], _mm512_slli_epi32(widen(s.part[0], s.part[1]), 1));
        sum[1] = _mm512_add_epi32(sum[1], _mm512_slli_epi32(widen(s.part[2], s.part[3]), 1));
    }
    const uint8_t *add = block + planes * 4 * dim, *factor = add + 4 * CN_FASTSCAN_ROWS;
    const __m512 scale = _mm512_set1_ps(scale_shift[0]), shift = _mm512_set1_ps(scale_shift[1]);
    uint32_t over = 0;
    for (uint32_t h = 0; h < 2; h++) {
        __m512 ip = _mm512_add_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(sum[h]), scale), shift);
        __m512 v = _mm512_add_ps(_mm512_loadu_ps(add + 64 * h), _mm512_mul_ps(_mm512_loadu_ps(factor + 64 * h), ip));
        _mm512_storeu_ps(ret + 16 * h, v);
        over |= (uint32_t)_mm512_cmp_ps_mask(v, _mm512_set1_ps(bar), _CMP_GE_OQ) << (16 * h);
    }
    return over;
}

/* One stride inside a register: `other` holds each lane's partner; where the mask is set the lane is the right one of
 * its pair and becomes partner minus itself. */
static __m512 pair(__m512 x, __m512 other, __mmask16 right) {
    return _mm512_mask_sub_ps(_mm512_add_ps(x, other), right, other, x);
}

static __m512 fht_16(__m512 x) {
    x = pair(x, _mm512_permute_ps(x, 0xb1), 0xaaaa);
    x = pair(x, _mm512_permute_ps(x, 0x4e), 0xcccc);
    x = pair(x, _mm512_shuffle_f32x4(x, x, 0xb1), 0xf0f0);
    return pair(x, _mm512_shuffle_f32x4(x, x, 0x4e), 0xff00);
}

static void fht(float *x, uint32_t n) {
    for (uint32_t i = 0; i < n; i += LANES)
        _mm512_storeu_ps(x + i, fht_16(_mm512_loadu_ps(x + i)));
    for (uint32_t h = LANES; h < n; h *= 2)
        for (uint32_t i = 0; i < n; i += 2 * h)
            for (uint32_t j = i; j < i + h; j += LANES) {
                __m512 a = _mm512_loadu_ps(x + j), b = _mm512_loadu_ps(x + j + h);
                _mm512_storeu_ps(x + j, _mm512_add_ps(a, b));
                _mm512_storeu_ps(x + j + h, _mm512_sub_ps(a, b));
            }
}

const cn_kernels cn_kernels_avx512 = {"avx512", dots, l2s, dot_norms, u8dots, fastscan, fht};
