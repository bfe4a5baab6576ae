/* kernels.h -- the inner loops of search: one table of functions for each instruction set, one chosen for the process.
 *
 * Every table gives the same bits. Floats are summed in 16 lanes (component i goes to lane i mod 16), each product rounded
 * before it is added (no fused multiply-add), and the lanes are folded 16 to 8 to 4 to 2 to 1, lane i with lane i + half.
 * Owns:    nothing; the tables are constants.
 * Thread:  any.
 * Limits:  dimensions up to 4096, so that no integer sum overflows. */
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "engine/base/error.h"

#define CN_FASTSCAN_ROWS 32
#define CN_LUT_MAX 63 /* four entries fit a byte, and 1024 groups of 4 dimensions fit 16 bits */

typedef struct cn_kernels {
    const char *name;
    /* rows: n pointers to dim floats; no alignment asked. */
    void (*dots)(const float *q, const float *const *rows, uint32_t dim, uint32_t n, float *ret);
    void (*l2s)(const float *q, const float *const *rows, uint32_t dim, uint32_t n, float *ret); /* squared distances */
    void (*dot_norms)(const float *q, const float *const *rows, uint32_t dim, uint32_t n, float *ret_dots, float *ret_norms);
    /* int8 times unsigned byte; dim a multiple of 64. */
    void (*u8dots)(const int8_t *q, const uint8_t *const *rows, uint32_t dim, uint32_t n, int32_t *ret);
    /* One block of 32 rows (engine/flat/inside.h): ret[row] = add[row] + factor[row] * (sum * scale + shift), where sum adds up the
     * row's table entries, those of plane 1 twice. lut: dim/4 groups of 16 bytes, each at most CN_LUT_MAX. dim a multiple
     * of 64. Returns the rows with ret >= bar, a bit each. */
    uint32_t (*fastscan)(const uint8_t *lut, const uint8_t *block, uint32_t dim, uint32_t planes, const float scale_shift[2],
                         float bar, float ret[CN_FASTSCAN_ROWS]);
    /* Walsh-Hadamard transform in place, not scaled, strides 1, 2, 4, ...; n a power of two, at least 32. */
    void (*fht)(float *x, uint32_t n);
} cn_kernels;

extern const cn_kernels cn_kernels_scalar;
#if defined(__x86_64__)
extern const cn_kernels cn_kernels_avx2;
extern const cn_kernels cn_kernels_avx512; /* F, BW, DQ, VL, VNNI */
#endif

/* The tables that this processor can run, best first; returns how many, at most CN_KERNELS_MAX. */
#define CN_KERNELS_MAX 3
size_t cn_kernels_usable(const cn_kernels *ret[CN_KERNELS_MAX]);
/* Makes `isa` ("scalar", "avx2", "avx512") the process's table; NULL or "": the best one. Before threads start.
 * CN_INVALID for an unknown name, CN_REFUSED for one that this processor cannot run. */
cn_err cn_kernels_choose(const char *isa);
/* The same with the environment's CAIRN_ISA: for a program's start. */
cn_err cn_kernels_init(void);
/* The chosen table; CAIRN_ISA's, or the best one, when nobody has chosen yet. */
const cn_kernels *cn_kernels_now(void);
