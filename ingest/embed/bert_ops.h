/* bert_ops.h -- what a BERT layer does beside its matrix products: one table for each instruction set.
 *
 * The same source is built for each set. Every reduction runs in 16 fixed lanes that are added in a fixed order, there is
 * no call of libm and no fused multiply-add, so that all tables give the same bits.
 * Matrices are row-major; `ld` is the distance of two rows in floats.
 * Owns:    nothing.
 * Thread:  any.
 * Limits:  none. */
#pragma once
#include <stdint.h>

typedef struct cn_bert_ops {
    const char *name;
    /* x[rows][n] += bias[n] */
    void (*add_bias)(float *x, const float *bias, uint32_t rows, uint32_t n);
    /* x[rows][n] = gelu(x + bias), by the error function (Hendrycks and Gimpel 2016). */
    void (*gelu)(float *x, const float *bias, uint32_t rows, uint32_t n);
    /* x[rows][n] = layer_norm(x + y + bias) * gamma + beta; y and bias may be NULL. */
    void (*add_norm)(float *x, const float *y, const float *const bias_gamma_beta[3], float eps, uint32_t rows, uint32_t n);
    /* Each row's first n values to its softmax; the values up to ld become 0. */
    void (*softmax)(float *x, uint32_t rows, uint32_t n, uint32_t ld);
    /* out[n] = mean of the rows of x[rows][n]. */
    void (*mean)(const float *x, uint32_t rows, uint32_t n, float *out);
    /* x[n] to length 1; a vector of length 0 stays. */
    void (*normalise)(float *x, uint32_t n);
} cn_bert_ops;

extern const cn_bert_ops cn_bert_ops_base;
#if defined(__x86_64__)
extern const cn_bert_ops cn_bert_ops_avx2, cn_bert_ops_avx512;
#endif
/* The best table for this processor; CAIRN_ISA=scalar|avx2|avx512 chooses a lesser one. */
const cn_bert_ops *cn_bert_ops_get(void);
