/* rotate.h -- a random rotation that costs O(D log D): four rounds of random signs, a Walsh-Hadamard transform over the
 * first or the last power of two of the components, and 45-degree Givens rotations between the halves ("FhtKac" of the
 * RaBitQ library; ENGINE.md 1.3). Orthogonal: lengths, distances and inner products are kept up to rounding.
 *
 * Owns:    cn_rotation owns its signs.
 * Thread:  read-only after cn_rotation_init().
 * Limits:  dimension 1 to CN_DIM_MAX; vectors are padded with zeros to a multiple of 64. */
#pragma once
#include "engine/flat/flat.h"

#define CN_ROTATE_ROUNDS 4
#define CN_PADDED_MAX CN_DIM_MAX

typedef struct cn_rotation {
    uint32_t padded; /* components after rotation: a multiple of 64 */
    uint32_t power;  /* the largest power of two in it */
    float *signs;    /* CN_ROTATE_ROUNDS x padded, each 1 or -1 */
} cn_rotation;

static inline uint32_t cn_padded(uint32_t dim) { return (dim + 63) & ~63u; }

cn_err cn_rotation_init(cn_rotation *r, uint32_t dim, uint64_t seed);
void cn_rotation_done(cn_rotation *r);
void cn_rotate(const cn_rotation *r, float *x); /* padded floats, in place */
