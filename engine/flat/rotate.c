#include "engine/flat/rotate.h"

#include "engine/base/mem.h"
#include "engine/kernels/kernels.h"

/* SplitMix64 (Steele, Lea, Flood 2014): one seed to many bits. */
static uint64_t next_bits(uint64_t *state) {
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static uint32_t power_in(uint32_t n) {
    uint32_t p = 64;
    while (2 * p <= n)
        p *= 2;
    return p;
}

cn_err cn_rotation_init(cn_rotation *r, uint32_t dim, uint64_t seed) {
    uint32_t padded = cn_padded(dim), n = CN_ROTATE_ROUNDS * padded;
    float *signs = cn_alloc(n * sizeof *signs);
    if (!signs)
        return cn_fail_memory();
    for (uint32_t i = 0; i < n; i += 64) {
        uint64_t bits = next_bits(&seed);
        for (uint32_t j = 0; j < 64; j++)
            signs[i + j] = bits >> j & 1 ? 1.0f : -1.0f;
    }
    *r = (cn_rotation){padded, power_in(padded), signs};
    return CN_OK;
}

void cn_rotation_done(cn_rotation *r) {
    cn_free(r->signs);
    r->signs = NULL;
}

/* 1/sqrt(n) of a power of two, without a square root: exact for even powers, correctly rounded for odd ones. */
static float root_of(uint32_t n) {
    float s = 1;
    for (; n >= 4; n /= 4)
        s *= 0.5f;
    return n == 2 ? s * 0.70710678f : s;
}

static void halves(float *x, uint32_t half, float scale) {
    for (uint32_t i = 0; i < half; i++) {
        float a = x[i], b = x[i + half];
        x[i] = (a + b) * scale;
        x[i + half] = (a - b) * scale;
    }
}

void cn_rotate(const cn_rotation *r, float *x) {
    const cn_kernels *k = cn_kernels_now();
    float scale = root_of(r->power);
    for (uint32_t round = 0; round < CN_ROTATE_ROUNDS; round++) {
        const float *signs = r->signs + round * r->padded;
        float *part = round & 1 ? x + r->padded - r->power : x;
        for (uint32_t i = 0; i < r->padded; i++)
            x[i] *= signs[i];
        k->fht(part, r->power);
        for (uint32_t i = 0; i < r->power; i++)
            part[i] *= scale;
        if (r->power < r->padded)
            halves(x, r->padded / 2, 0.70710678f);
    }
}
