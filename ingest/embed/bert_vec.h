/* bert_vec.h -- registers of floats for the arithmetic of bert_ops.h and bert_int8.h.
 *
 * The file that includes it sets OPS_WIDTH, the floats of a register (4, 8 or 16), and OPS_FMA: 1 where it is built with
 * fused multiply-adds and may fuse, 2 where they are to be had by fma() (one rounding too, but slow), 0 for two roundings.
 * With 1 and 2 the same source gives the same bits, since nothing but madd() and nmadd() fuses.
 * Owns:    nothing.
 * Thread:  any.
 * Limits:  everything here is static: nothing built for one instruction set can be called from another. */
#pragma once
#include <string.h>

#include "ingest/embed/bert_ops.h"

#define W OPS_WIDTH
#define LANES CN_LANES
#define BLOCKS(n) (((n) + LANES - 1) / LANES)
#define STRIP_BLOCKS 4 /* blocks that are walked down together, so that one sum need not wait for itself */
#define STRIP (STRIP_BLOCKS * LANES / W)
#define PARTS (LANES / W) /* registers of a block */
#define UNROLL _Pragma("GCC unroll 16")
typedef float vec __attribute__((vector_size(W * 4)));
typedef int32_t ivec __attribute__((vector_size(W * 4)));
typedef float loose __attribute__((vector_size(W * 4), aligned(4), may_alias));
typedef int32_t iloose __attribute__((vector_size(W * 4), aligned(4), may_alias));
#define INLINE static inline __attribute__((always_inline))

INLINE vec load(const float *p) { return *(const loose *)p; }
INLINE void store(float *p, vec v) { *(loose *)p = v; }
INLINE vec all(float f) { return f - (vec){0}; }
INLINE vec larger(vec a, vec b) {
    ivec mask = a > b;
    return (vec)((mask & (ivec)a) | (~mask & (ivec)b));
}

/* a b + c with one rounding (OPS_FMA), or with two. */
INLINE float madd1(float a, float b, float c) {
#if OPS_FMA == 2
    return __builtin_fmaf(a, b, c);
#else
    return a * b + c;
#endif
}
INLINE vec madd(vec a, vec b, vec c) {
#if OPS_FMA == 2
    vec r = {0};
    for (uint32_t i = 0; i < W; i++)
        r[i] = __builtin_fmaf(a[i], b[i], c[i]);
    return r;
#else
    return a * b + c;
#endif
}
INLINE vec nmadd(vec a, vec b, vec c) { return madd(-a, b, c); } /* c - a b */

/* Register j of row r, where a block has `rows` rows. */
INLINE float *place(float *x, uint32_t rows, uint32_t r, uint32_t j) {
    return x + ((size_t)(j * W / LANES) * rows + r) * LANES + j * W % LANES;
}
