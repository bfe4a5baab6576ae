/* The rotation of codes: lengths and inner products are kept, one component is spread over all, and the seed decides. */
#include <CUnit/Basic.h>
#include <math.h>
#include <string.h>

#include "engine/flat/rotate.h"
#include "engine/kernels/kernels.h"

static const uint32_t dims[] = {1, 2, 63, 64, 65, 100, 192, 320, 384, 768, 1000, 1088, 4033, 4096};
#define DIMS (sizeof dims / sizeof *dims)

static uint64_t state = 88172645463325252u;
static float uniform(void) { /* xorshift64 (Marsaglia 2003) */
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (float)(state >> 40) * 0x1p-23f - 1.0f;
}

static void fill(float *x, uint32_t dim) {
    memset(x, 0, CN_PADDED_MAX * sizeof *x);
    for (uint32_t i = 0; i < dim; i++)
        x[i] = uniform();
}

static double dot(const float *a, const float *b, uint32_t n) {
    double sum = 0;
    for (uint32_t i = 0; i < n; i++)
        sum += (double)a[i] * (double)b[i];
    return sum;
}

static void test_keeps_products(void) {
    static float x[CN_PADDED_MAX], y[CN_PADDED_MAX];
    for (size_t d = 0; d < DIMS; d++) {
        cn_rotation r;
        CU_ASSERT_EQUAL_FATAL(cn_rotation_init(&r, dims[d], 9), CN_OK);
        CU_ASSERT(r.padded % 64 == 0 && r.padded >= dims[d] && r.padded < dims[d] + 64);
        fill(x, dims[d]), fill(y, dims[d]);
        double xx = dot(x, x, dims[d]), yy = dot(y, y, dims[d]), xy = dot(x, y, dims[d]);
        cn_rotate(&r, x), cn_rotate(&r, y);
        CU_ASSERT(fabs(dot(x, x, r.padded) / xx - 1) < 1e-5);
        CU_ASSERT(fabs(dot(x, y, r.padded) - xy) < 1e-5 * sqrt(xx * yy));
        cn_rotation_done(&r);
    }
}

/* What makes the codes' errors small: no component stays much larger than its share. */
static void test_spreads(void) {
    static float x[CN_PADDED_MAX];
    for (size_t d = 0; d < DIMS; d++) {
        cn_rotation r;
        CU_ASSERT_EQUAL_FATAL(cn_rotation_init(&r, dims[d], 7), CN_OK);
        memset(x, 0, sizeof x);
        x[dims[d] / 2] = 1;
        cn_rotate(&r, x);
        float most = 0;
        for (uint32_t i = 0; i < r.padded; i++)
            most = fabsf(x[i]) > most ? fabsf(x[i]) : most;
        CU_ASSERT((double)most < 6 / sqrt(r.padded));
        cn_rotation_done(&r);
    }
}

static void rotated(uint64_t seed, float x[CN_PADDED_MAX]) {
    cn_rotation r;
    CU_ASSERT_EQUAL_FATAL(cn_rotation_init(&r, 500, seed), CN_OK);
    state = 1;
    fill(x, 500);
    cn_rotate(&r, x);
    cn_rotation_done(&r);
}

static void test_seed(void) {
    static float a[CN_PADDED_MAX], b[CN_PADDED_MAX];
    const cn_kernels *usable[CN_KERNELS_MAX];
    rotated(3, a);
    for (size_t i = 0, n = cn_kernels_usable(usable); i < n; i++) {
        CU_ASSERT_EQUAL(cn_kernels_choose(usable[i]->name), CN_OK);
        rotated(3, b);
        CU_ASSERT(memcmp(a, b, sizeof a) == 0); /* to the bit, whatever the instruction set */
    }
    rotated(4, b);
    CU_ASSERT(memcmp(a, b, sizeof a) != 0);
}

int main(void) {
    CU_initialize_registry();
    CU_pSuite s = CU_add_suite("rotate", NULL, NULL);
    CU_add_test(s, "keeps products", test_keeps_products);
    CU_add_test(s, "spreads", test_spreads);
    CU_add_test(s, "seed", test_seed);
    CU_basic_run_tests();
    unsigned failed = CU_get_number_of_failures(), ran = CU_get_number_of_tests_run();
    CU_cleanup_registry();
    return failed || !ran;
}
