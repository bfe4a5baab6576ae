/* Every table of kernels this processor can run against the scalar one, bit for bit, and the scalar one against plain
 * double-precision sums; odd lengths, unaligned pointers, the limits of the integers; the choice by name and by CAIRN_ISA. */
#include <CUnit/Basic.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/kernels/kernels.h"

#define DIM_MAX 4096
#define ROWS 13 /* all remainders of the tables' steps of 2 and 4 occur on the way down from here */

static const uint32_t dims[] = {1, 2, 3, 7, 8, 15, 16, 17, 31, 33, 63, 64, 65, 100, 127, 384, 768, 1000, 1023, 4095, 4096};
#define DIMS (sizeof dims / sizeof *dims)

static const cn_kernels *usable[CN_KERNELS_MAX];
static size_t n_usable;
static const cn_kernels *const scalar = &cn_kernels_scalar;

static uint64_t state = 88172645463325252u;
static uint64_t next(void) { /* xorshift64 (Marsaglia 2003) */
    state ^= state << 13;
    state ^= state >> 7;
    return state ^= state << 17;
}
static float uniform(void) { return (float)(next() >> 40) * 0x1p-23f - 1.0f; }

/* --- floats --- */
/* One float further than asked, so that every pointer can lie off 64-byte bounds. */
static float query[DIM_MAX + 1], table[ROWS][DIM_MAX + 1];

static void fill_floats(float size) {
    for (uint32_t i = 0; i < DIM_MAX + 1; i++)
        query[i] = uniform() * size;
    for (uint32_t r = 0; r < ROWS; r++)
        for (uint32_t i = 0; i < DIM_MAX + 1; i++)
            table[r][i] = uniform() * size;
}

static void point_at(const float *rows[ROWS], uint32_t off) {
    for (uint32_t r = 0; r < ROWS; r++)
        rows[r] = table[r] + (off + r) % 2;
}

static void same_floats(const float *a, const float *b, uint32_t n) { CU_ASSERT(memcmp(a, b, n * sizeof *a) == 0); }

static void compare_floats(const cn_kernels *k, uint32_t dim, uint32_t n, uint32_t off) {
    const float *rows[ROWS];
    float want[ROWS], got[ROWS], want_norms[ROWS], got_norms[ROWS];
    point_at(rows, off);
    scalar->dots(query + off, rows, dim, n, want);
    k->dots(query + off, rows, dim, n, got);
    same_floats(want, got, n);
    scalar->l2s(query + off, rows, dim, n, want);
    k->l2s(query + off, rows, dim, n, got);
    same_floats(want, got, n);
    scalar->dot_norms(query + off, rows, dim, n, want, want_norms);
    k->dot_norms(query + off, rows, dim, n, got, got_norms);
    same_floats(want, got, n);
    same_floats(want_norms, got_norms, n);
}

static void test_floats_equal(void) {
    static const float sizes[] = {1, 1e-30f, 1e18f, 1e20f}; /* products that vanish, and sums that overflow, do so alike */
    for (uint32_t s = 0; s < 4; s++) {
        fill_floats(sizes[s]);
        for (size_t u = 0; u < n_usable; u++)
            for (size_t d = 0; d < DIMS; d++)
                for (uint32_t n = 0; n <= ROWS; n++)
                    compare_floats(usable[u], dims[d], n, n % 2);
    }
}

/* The documented order costs at most dim/16 + 6 roundings of 2^-24 on any term. */
static void check_near(float got, double want, double magnitude, uint32_t dim) {
    CU_ASSERT(fabs((double)got - want) <= magnitude * (dim / 16 + 6) * 0x1p-24);
}

static void test_floats_right(void) {
    const float *rows[ROWS];
    float dots[ROWS], l2s[ROWS], both[ROWS], norms[ROWS];
    fill_floats(1);
    point_at(rows, 0);
    for (size_t d = 0; d < DIMS; d++) {
        scalar->dots(query, rows, dims[d], ROWS, dots);
        scalar->l2s(query, rows, dims[d], ROWS, l2s);
        scalar->dot_norms(query, rows, dims[d], ROWS, both, norms);
        for (uint32_t r = 0; r < ROWS; r++) {
            double dot = 0, size = 0, l2 = 0, norm = 0;
            for (uint32_t i = 0; i < dims[d]; i++) {
                double a = (double)query[i], b = (double)rows[r][i];
                dot += a * b, size += fabs(a * b), l2 += (a - b) * (a - b), norm += b * b;
            }
            check_near(dots[r], dot, size, dims[d]);
            check_near(l2s[r], l2, 4 * l2, dims[d]); /* the difference is rounded, too, and then squared */
            check_near(norms[r], norm, norm, dims[d]);
            CU_ASSERT_EQUAL(both[r], dots[r]);
        }
    }
}

/* A row is scored the same whatever stands beside it. */
static void test_row_alone(void) {
    const float *rows[ROWS];
    float all[ROWS], one;
    fill_floats(1);
    point_at(rows, 0);
    for (size_t u = 0; u < n_usable; u++) {
        usable[u]->dots(query, rows, 100, ROWS, all);
        for (uint32_t r = 0; r < ROWS; r++) {
            usable[u]->dots(query, rows + r, 100, 1, &one);
            CU_ASSERT_EQUAL(one, all[r]);
        }
    }
}

static void test_nothing_beyond_the_row(void) {
    for (size_t u = 0; u < n_usable; u++)
        for (uint32_t dim = 1; dim <= 70; dim++) { /* exactly as long as said: a sanitizer sees any byte more */
            float *q = malloc(dim * sizeof *q), *x = malloc(dim * sizeof *x), ret[1], norm[1];
            CU_ASSERT_FATAL(q && x);
            for (uint32_t i = 0; i < dim; i++)
                q[i] = 1, x[i] = 2;
            const float *row = x;
            usable[u]->dots(q, &row, dim, 1, ret);
            CU_ASSERT_EQUAL(ret[0], 2.0f * (float)dim);
            usable[u]->l2s(q, &row, dim, 1, ret);
            CU_ASSERT_EQUAL(ret[0], (float)dim);
            usable[u]->dot_norms(q, &row, dim, 1, ret, norm);
            CU_ASSERT_EQUAL(norm[0], 4.0f * (float)dim);
            free(q);
            free(x);
        }
}

/* --- integers --- */
static int8_t q8[DIM_MAX + 1];
static uint8_t x8[ROWS][DIM_MAX + 1];

static void compare_u8dots(uint32_t dim, uint32_t n, uint32_t off) {
    const uint8_t *rows[ROWS];
    for (uint32_t r = 0; r < ROWS; r++)
        rows[r] = x8[r] + (off + r) % 2;
    for (size_t u = 0; u < n_usable; u++) {
        int32_t got[ROWS] = {0};
        usable[u]->u8dots(q8 + off, rows, dim, n, got);
        for (uint32_t r = 0; r < n; r++) {
            int64_t want = 0;
            for (uint32_t i = 0; i < dim; i++)
                want += (int64_t)q8[off + i] * rows[r][i];
            CU_ASSERT_EQUAL(got[r], want);
        }
    }
}

static void test_u8dots(void) {
    for (uint32_t i = 0; i < DIM_MAX + 1; i++)
        q8[i] = (int8_t)(next() >> 56);
    for (uint32_t r = 0; r < ROWS; r++)
        for (uint32_t i = 0; i < DIM_MAX + 1; i++)
            x8[r][i] = (uint8_t)(next() >> 56);
    for (uint32_t dim = 64; dim <= DIM_MAX; dim = dim < 512 ? dim + 64 : dim * 2)
        for (uint32_t n = 0; n <= ROWS; n++)
            compare_u8dots(dim, n, n % 2);
}

/* Pairs of products that an instruction with saturation would cut, and the largest sums. */
static void test_u8dots_extremes(void) {
    static const int8_t most[] = {127, -128};
    for (uint32_t i = 0; i < 2; i++) {
        memset(q8, most[i], sizeof q8);
        memset(x8, 255, sizeof x8);
        compare_u8dots(DIM_MAX, ROWS, 0);
    }
}

/* --- FastScan --- */
static uint8_t lut[4 * DIM_MAX + 1];
static uint8_t block[2 * 4 * DIM_MAX + 8 * CN_FASTSCAN_ROWS + 1];

/* The code of a row's group, found by the layout as it is drawn: perm = 0,8,1,9,...,7,15. */
static uint32_t code_of(const uint8_t *codes, uint32_t group, uint32_t row) {
    uint32_t low = row % 16, byte = low < 8 ? 2 * low : 2 * (low - 8) + 1;
    return row < 16 ? codes[16 * group + byte] & 15 : codes[16 * group + byte] >> 4;
}

static float value_of(const uint8_t *l, const uint8_t *b, uint32_t dim, uint32_t planes, const float scale_shift[2], uint32_t row) {
    uint32_t sum = 0;
    float add, factor;
    for (uint32_t p = 0; p < planes; p++)
        for (uint32_t g = 0; g < dim / 4; g++)
            sum += (p + 1) * l[16 * g + code_of(b + p * 4 * dim, g, row)];
    memcpy(&add, b + planes * 4 * dim + 4 * row, sizeof add);
    memcpy(&factor, b + planes * 4 * dim + 4 * (CN_FASTSCAN_ROWS + row), sizeof factor);
    return add + factor * ((float)sum * scale_shift[0] + scale_shift[1]);
}

static void compare_fastscan(uint32_t dim, uint32_t planes, uint32_t off) {
    const float scale_shift[2] = {0.013f, -1.7f};
    const uint8_t *l = lut + off, *b = block + off;
    float want[CN_FASTSCAN_ROWS], got[CN_FASTSCAN_ROWS];
    uint32_t over = 0;
    for (uint32_t r = 0; r < CN_FASTSCAN_ROWS; r++)
        want[r] = value_of(l, b, dim, planes, scale_shift, r);
    float bar = want[7]; /* equal counts as over */
    for (uint32_t r = 0; r < CN_FASTSCAN_ROWS; r++)
        over |= (uint32_t)(want[r] >= bar) << r;
    for (size_t u = 0; u < n_usable; u++) {
        CU_ASSERT_EQUAL(usable[u]->fastscan(l, b, dim, planes, scale_shift, bar, got), over);
        same_floats(want, got, CN_FASTSCAN_ROWS);
        CU_ASSERT_EQUAL(usable[u]->fastscan(l, b, dim, planes, scale_shift, INFINITY, got), 0);
        CU_ASSERT_EQUAL(usable[u]->fastscan(l, b, dim, planes, scale_shift, -INFINITY, got), UINT32_MAX);
    }
}

static void put_factors(uint32_t dim, uint32_t planes, uint32_t off) {
    for (uint32_t i = 0; i < 2 * CN_FASTSCAN_ROWS; i++) {
        float f = uniform();
        memcpy(block + off + planes * 4 * dim + 4 * i, &f, sizeof f);
    }
}

static void test_fastscan(void) {
    for (uint32_t i = 0; i < sizeof lut; i++)
        lut[i] = (uint8_t)(next() % (CN_LUT_MAX + 1));
    for (uint32_t dim = 64; dim <= DIM_MAX; dim = dim < 512 ? dim + 64 : dim * 2)
        for (uint32_t planes = 1; planes <= 2; planes++)
            for (uint32_t off = 0; off < 2; off++) {
                for (uint32_t i = 0; i < sizeof block; i++)
                    block[i] = (uint8_t)(next() >> 56);
                put_factors(dim, planes, off);
                compare_fastscan(dim, planes, off);
            }
}

/* Every table entry at its limit in the largest dimension: no byte and no 16-bit sum overflows. */
static void test_fastscan_extremes(void) {
    memset(lut, CN_LUT_MAX, sizeof lut);
    memset(block, 0xff, sizeof block);
    for (uint32_t planes = 1; planes <= 2; planes++) {
        put_factors(DIM_MAX, planes, 0);
        compare_fastscan(DIM_MAX, planes, 0);
    }
}

/* --- the transform --- */
static void compare_fht(uint32_t n) {
    static float want[DIM_MAX], got[DIM_MAX + 1];
    for (uint32_t i = 0; i < n; i++)
        want[i] = uniform();
    double energy = 0, after = 0, sum = 0;
    for (uint32_t i = 0; i < n; i++)
        energy += (double)want[i] * (double)want[i], sum += (double)want[i];
    for (size_t u = 0; u < n_usable; u++) {
        float in[DIM_MAX], *out = got + u % 2;
        memcpy(in, want, sizeof in);
        memcpy(out, want, n * sizeof *out);
        scalar->fht(in, n);
        usable[u]->fht(out, n);
        same_floats(in, out, n);
    }
    scalar->fht(want, n);
    for (uint32_t i = 0; i < n; i++)
        after += (double)want[i] * (double)want[i];
    CU_ASSERT(fabs(after / (energy * n) - 1) < 1e-5);            /* orthogonal up to its scale */
    CU_ASSERT(fabs((double)want[0] - sum) < 1e-4 * sqrt(n));     /* the first output is the sum of all */
}

static void test_fht(void) {
    for (uint32_t n = 32; n <= DIM_MAX; n *= 2)
        compare_fht(n);
    float unit[64] = {0}; /* a unit vector gives its row of the Hadamard matrix: the parity of i & j */
    unit[37] = 1;
    scalar->fht(unit, 64);
    for (uint32_t i = 0; i < 64; i++)
        CU_ASSERT_EQUAL(unit[i], __builtin_parity(i & 37) ? -1.0f : 1.0f);
}

/* --- choosing --- */
static void test_choose(void) {
    for (size_t u = 0; u < n_usable; u++) {
        CU_ASSERT_EQUAL(cn_kernels_choose(usable[u]->name), CN_OK);
        CU_ASSERT_PTR_EQUAL(cn_kernels_now(), usable[u]);
        setenv("CAIRN_ISA", usable[u]->name, 1);
        CU_ASSERT_EQUAL(cn_kernels_init(), CN_OK);
        CU_ASSERT_PTR_EQUAL(cn_kernels_now(), usable[u]);
    }
    CU_ASSERT_PTR_EQUAL(usable[n_usable - 1], scalar);
    setenv("CAIRN_ISA", "sse9", 1);
    CU_ASSERT_EQUAL(cn_kernels_init(), CN_INVALID);
    CU_ASSERT_PTR_NOT_NULL(strstr(cn_error_detail(), "CAIRN_ISA"));
    CU_ASSERT_PTR_EQUAL(cn_kernels_now(), scalar); /* a wrong name changes nothing */
    CU_ASSERT_EQUAL(cn_kernels_choose("AVX2"), CN_INVALID);
    setenv("CAIRN_ISA", "", 1);
    CU_ASSERT_EQUAL(cn_kernels_init(), CN_OK);
    CU_ASSERT_PTR_EQUAL(cn_kernels_now(), usable[0]);
    unsetenv("CAIRN_ISA");
    CU_ASSERT_EQUAL(cn_kernels_choose(NULL), CN_OK);
    CU_ASSERT_PTR_EQUAL(cn_kernels_now(), usable[0]);
}

/* A name that cairn knows and this processor cannot run is refused, never run. */
static void test_refuse(void) {
    static const char *const names[] = {"scalar", "avx2", "avx512"};
    for (size_t i = 0; i < 3; i++) {
        bool can = false;
        for (size_t u = 0; u < n_usable; u++)
            can |= strcmp(usable[u]->name, names[i]) == 0;
        CU_ASSERT_EQUAL(cn_kernels_choose(names[i]), can ? CN_OK : CN_REFUSED);
    }
    CU_ASSERT_EQUAL(cn_kernels_choose(NULL), CN_OK);
}

int main(void) {
    n_usable = cn_kernels_usable(usable);
    for (size_t i = 0; i < n_usable; i++)
        printf("%s ", usable[i]->name);
    CU_initialize_registry();
    CU_pSuite s = CU_add_suite("kernels", NULL, NULL);
    CU_add_test(s, "floats equal on every table", test_floats_equal);
    CU_add_test(s, "floats right", test_floats_right);
    CU_add_test(s, "a row alone", test_row_alone);
    CU_add_test(s, "nothing beyond the row", test_nothing_beyond_the_row);
    CU_add_test(s, "u8dots", test_u8dots);
    CU_add_test(s, "u8dots extremes", test_u8dots_extremes);
    CU_add_test(s, "fastscan", test_fastscan);
    CU_add_test(s, "fastscan extremes", test_fastscan_extremes);
    CU_add_test(s, "fht", test_fht);
    CU_add_test(s, "choose", test_choose);
    CU_add_test(s, "refuse", test_refuse);
    CU_basic_run_tests();
    unsigned failed = CU_get_number_of_failures(), ran = CU_get_number_of_tests_run();
    CU_cleanup_registry();
    return failed || !ran;
}
