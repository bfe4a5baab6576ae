#include <immintrin.h>
#include <string.h>

#include "engine/kernels/kernels.h"

#define LANES 16

typedef struct lanes {
    __m256 lo, hi; /* lanes 0..7, 8..15 */
} lanes;

static lanes zero(void) { return (lanes){_mm256_setzero_ps(), _mm256_setzero_ps()}; }
static lanes load(const float *p) { return (lanes){_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }

static lanes load_tail(const float *p, uint32_t n) {
    float padded[LANES] = {0};
    memcpy(padded, p, n * sizeof *p);
    return load(padded);
}

static float fold(lanes v) {
    __m256 e = _mm256_add_ps(v.lo, v.hi);
    __m128 f = _mm_add_ps(_mm256_castps256_ps128(e), _mm256_extractf128_ps(e, 1));
    __m128 t = _mm_add_ps(f, _mm_movehl_ps(f, f));
    return _mm_cvtss_f32(_mm_add_ss(t, _mm_movehdup_ps(t)));
}

static lanes add_product(lanes acc, lanes a, lanes b) {
    return (lanes){_mm256_add_ps(acc.lo, _mm256_mul_ps(a.lo, b.lo)), _mm256_add_ps(acc.hi, _mm256_mul_ps(a.hi, b.hi))};
}

static lanes add_square(lanes acc, lanes a, lanes b) {
    lanes d = {_mm256_sub_ps(a.lo, b.lo), _mm256_sub_ps(a.hi, b.hi)};
    return add_product(acc, d, d);
}

/* Two rows at once hide the latency of the additions; the next two are asked for meanwhile. */
#define TWO_ROWS(name, step)                                                                              \
    static void name##_2(const float *q, const float *const *r, const float *const *next, uint32_t dim, float *ret) { \
        lanes a0 = zero(), a1 = zero();                                                                   \
        uint32_t i = 0;                                                                                   \
        for (; i + LANES <= dim; i += LANES) {                                                            \
            lanes v = load(q + i);                                                                        \
            _mm_prefetch((const char *)(next[0] + i), _MM_HINT_T0);                                       \
            _mm_prefetch((const char *)(next[1] + i), _MM_HINT_T0);                                       \
            a0 = step(a0, v, load(r[0] + i));                                                             \
            a1 = step(a1, v, load(r[1] + i));                                                             \
        }                                                                                                 \
        if (i < dim) {                                                                                    \
            lanes v = load_tail(q + i, dim - i);                                                          \
            a0 = step(a0, v, load_tail(r[0] + i, dim - i));                                               \
            a1 = step(a1, v, load_tail(r[1] + i, dim - i));                                               \
        }                                                                                                 \
        ret[0] = fold(a0), ret[1] = fold(a1);                                                             \
    }                                                                                                     \
    static void name(const float *q, const float *const *rows, uint32_t dim, uint32_t n, float *ret) {    \
        uint32_t r = 0;                                                                                   \
        for (; r + 2 <= n; r += 2)                                                                        \
            name##_2(q, rows + r, r + 4 <= n ? rows + r + 2 : rows + r, dim, ret + r);                    \
        if (r < n) {                                                                                      \
            const float *twice[2] = {rows[r], rows[r]};                                                   \
            float out[2];                                                                                 \
            name##_2(q, twice, twice, dim, out);                                                          \
            ret[r] = out[0];                                                                              \
        }                                                                                                 \
    }

TWO_ROWS(dots, add_product)
TWO_ROWS(l2s, add_square)

static void dot_norms_2(const float *q, const float *const *r, const float *const *next, uint32_t dim, float *ret_dots, float *ret_norms) {
    lanes a0 = zero(), a1 = a0, b0 = a0, b1 = a0;
    for (uint32_t i = 0; i < dim; i += LANES) {
        bool whole = dim - i >= LANES;
        lanes v = whole ? load(q + i) : load_tail(q + i, dim - i);
        lanes x0 = whole ? load(r[0] + i) : load_tail(r[0] + i, dim - i), x1 = whole ? load(r[1] + i) : load_tail(r[1] + i, dim - i);
        _mm_prefetch((const char *)(next[0] + i), _MM_HINT_T0);
        _mm_prefetch((const char *)(next[1] + i), _MM_HINT_T0);
        a0 = add_product(a0, v, x0), b0 = add_product(b0, x0, x0);
        a1 = add_product(a1, v, x1), b1 = add_product(b1, x1, x1);
    }
    ret_dots[0] = fold(a0), ret_dots[1] = fold(a1);
    ret_norms[0] = fold(b0), ret_norms[1] = fold(b1);
}

static void dot_norms(const float *q, const float *const *rows, uint32_t dim, uint32_t n, float *ret_dots, float *ret_norms) {
    uint32_t r = 0;
    for (; r + 2 <= n; r += 2)
        dot_norms_2(q, rows + r, r + 4 <= n ? rows + r + 2 : rows + r, dim, ret_dots + r, ret_norms + r);
    if (r < n) {
        const float *twice[2] = {rows[r], rows[r]};
        float dots_2[2], norms_2[2];
        dot_norms_2(q, twice, twice, dim, dots_2, norms_2);
        ret_dots[r] = dots_2[0], ret_norms[r] = norms_2[0];
    }
}

/* 16 products; both sides are widened first, because the byte multiply-add of AVX2 saturates. */
static __m256i add_16(__m256i acc, const int8_t *q, const uint8_t *r) {
    __m256i a = _mm256_cvtepi8_epi16(_mm_loadu_si128((const void *)q));
    __m256i b = _mm256_cvtepu8_epi16(_mm_loadu_si128((const void *)r));
    return _mm256_add_epi32(acc, _mm256_madd_epi16(a, b));
}

static int32_t sum_8(__m256i v) {
    __m128i a = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    a = _mm_add_epi32(a, _mm_shuffle_epi32(a, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(a, _mm_shuffle_epi32(a, 0xb1)));
}

static void u8dots(const int8_t *q, const uint8_t *const *rows, uint32_t dim, uint32_t n, int32_t *ret) {
    for (uint32_t r = 0; r < n; r++) {
        const uint8_t *row = rows[r], *next = rows[r + 4 < n ? r + 4 : r];
        __m256i a = _mm256_setzero_si256(), b = a;
        for (uint32_t i = 0; i < dim; i += 64) {
            _mm_prefetch((const char *)(next + i), _MM_HINT_T0);
            a = add_16(add_16(a, q + i, row + i), q + i + 16, row + i + 16);
            b = add_16(add_16(b, q + i + 32, row + i + 32), q + i + 48, row + i + 48);
        }
        ret[r] = sum_8(_mm256_add_epi32(a, b));
    }
}

/* Sums of one plane as 16-bit numbers: rows 0..15, 16..31. */
typedef struct sums {
    __m256i part[2];
} sums;

static __m128i fold_lanes(__m256i v) { return _mm_add_epi16(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1)); }

static __m256i load_32(const uint8_t *p) { return _mm256_loadu_si256((const void *)p); }

/* 32 dimensions are 8 groups: four registers of codes, whose table entries (at most 63) add up within a byte. */
static sums scan_plane(const uint8_t *lut, const uint8_t *codes, uint32_t dim) {
    const __m256i half = _mm256_set1_epi8(15), low = _mm256_set1_epi16(255);
    __m256i even = _mm256_setzero_si256(), odd = even, even_up = even, odd_up = even;
    for (uint32_t i = 0; i < dim; i += 32, lut += 128, codes += 128) {
        __m256i a = _mm256_setzero_si256(), b = a;
        for (uint32_t g = 0; g < 128; g += 32) {
            __m256i c = load_32(codes + g), t = load_32(lut + g);
            a = _mm256_add_epi8(a, _mm256_shuffle_epi8(t, _mm256_and_si256(c, half)));
            b = _mm256_add_epi8(b, _mm256_shuffle_epi8(t, _mm256_and_si256(_mm256_srli_epi16(c, 4), half)));
        }
        even = _mm256_add_epi16(even, _mm256_and_si256(a, low));
        odd = _mm256_add_epi16(odd, _mm256_srli_epi16(a, 8));
        even_up = _mm256_add_epi16(even_up, _mm256_and_si256(b, low));
        odd_up = _mm256_add_epi16(odd_up, _mm256_srli_epi16(b, 8));
    }
    return (sums){{_mm256_set_m128i(fold_lanes(odd), fold_lanes(even)), _mm256_set_m128i(fold_lanes(odd_up), fold_lanes(even_up))}};
}

static __m256i widen(sums s, uint32_t quarter) {
    __m256i v = s.part[quarter / 2];
    return _mm256_cvtepu16_epi32(quarter & 1 ? _mm256_extracti128_si256(v, 1) : _mm256_castsi256_si128(v));
}

static uint32_t fastscan(const uint8_t *lut, const uint8_t *block, uint32_t dim, uint32_t planes, const float scale_shift[2],
                         float bar, float ret[CN_FASTSCAN_ROWS]) {
    sums s0 = scan_plane(lut, block, dim);
    sums s1 = planes == 2 ? scan_plane(lut, block + 4 * dim, dim) : (sums){{_mm256_setzero_si256(), _mm256_setzero_si256()}};
    const uint8_t *add = block + planes * 4 * dim, *factor = add + 4 * CN_FASTSCAN_ROWS;
    const __m256 scale = _mm256_set1_ps(scale_shift[0]), shift = _mm256_set1_ps(scale_shift[1]);
    uint32_t over = 0;
    for (uint32_t h = 0; h < 4; h++) {
        __m256i sum = _mm256_add_epi32(widen(s0, h), _mm256_slli_epi32(widen(s1, h), 1));
        __m256 ip = _mm256_add_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(sum), scale), shift);
        __m256 f = _mm256_castsi256_ps(load_32(factor + 32 * h)), a = _mm256_castsi256_ps(load_32(add + 32 * h));
        __m256 v = _mm256_add_ps(a, _mm256_mul_ps(f, ip));
        _mm256_storeu_ps(ret + 8 * h, v);
        over |= (uint32_t)_mm256_movemask_ps(_mm256_cmp_ps(v, _mm256_set1_ps(bar), _CMP_GE_OQ)) << (8 * h);
    }
    return over;
}

/* One stride inside a register; the sign of the right lane of each pair is turned, so that it becomes partner minus itself. */
static __m256 pair(__m256 x, __m256 other, __m256 signs) { return _mm256_add_ps(other, _mm256_xor_ps(x, signs)); }

static __m256 fht_8(__m256 x) {
    const __m256 s1 = _mm256_setr_ps(0, -0.0f, 0, -0.0f, 0, -0.0f, 0, -0.0f);
    const __m256 s2 = _mm256_setr_ps(0, 0, -0.0f, -0.0f, 0, 0, -0.0f, -0.0f);
    const __m256 s4 = _mm256_setr_ps(0, 0, 0, 0, -0.0f, -0.0f, -0.0f, -0.0f);
    x = pair(x, _mm256_permute_ps(x, 0xb1), s1);
    x = pair(x, _mm256_permute_ps(x, 0x4e), s2);
    return pair(x, _mm256_permute2f128_ps(x, x, 1), s4);
}

static void fht(float *x, uint32_t n) {
    for (uint32_t i = 0; i < n; i += 8)
        _mm256_storeu_ps(x + i, fht_8(_mm256_loadu_ps(x + i)));
    for (uint32_t h = 8; h < n; h *= 2)
        for (uint32_t i = 0; i < n; i += 2 * h)
            for (uint32_t j = i; j < i + h; j += 8) {
                __m256 a = _mm256_loadu_ps(x + j), b = _mm256_loadu_ps(x + j + h);
                _mm256_storeu_ps(x + j, _mm256_add_ps(a, b));
                _mm256_storeu_ps(x + j + h, _mm256_sub_ps(a, b));
            }
}

const cn_kernels cn_kernels_avx2 = {"avx2", dots, l2s, dot_norms, u8dots, fastscan, fht};
