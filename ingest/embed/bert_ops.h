/* bert_ops.h -- what a BERT layer does beside its matrix products: one table for each instruction set.
 *
 * A matrix holds a feature in each row and a token in each column: x[features][m], m a multiple of 16. So a token is a lane
 * whose numbers never meet another's, there are no ends of rows, and OpenBLAS is at its best (10% faster at 128 tokens and
 * 40% at 16 than with a token in each row). The same source is built for each instruction set; sums run in one fixed order,
 * there is no call of libm and no fused multiply-add, so that all tables give the same bits.
 * Owns:    nothing.
 * Thread:  any.
 * Limits:  none. */
#pragma once
#include <stdint.h>

typedef struct cn_bert_ops {
    const char *name;
    /* x[f][m] += bias[f] */
    void (*add_bias)(float *x, const float *bias, uint32_t f, uint32_t m);
    /* x[f][m] = gelu(x + bias[f]), by the error function (Hendrycks and Gimpel 2016). */
    void (*gelu)(float *x, const float *bias, uint32_t f, uint32_t m);
    /* x[f][m] = layer_norm(x + y + bias[f]) over the features, times gamma[f] plus beta[f] (Ba et al. 2016). */
    void (*add_norm)(float *x, const float *y, const float *const bias_gamma_beta[3], float eps, uint32_t f, uint32_t m);
    /* x[keys][m]: each column to its softmax. */
    void (*softmax)(float *x, uint32_t keys, uint32_t m);
    /* out[f] = mean of the first n columns of x[f][m]. */
    void (*mean)(const float *x, uint32_t f, uint32_t m, uint32_t n, float *out);
    /* x[f] to length 1; a vector of length 0 stays. */
    void (*normalise)(float *x, uint32_t f);
} cn_bert_ops;

extern const cn_bert_ops cn_bert_ops_base;
#if defined(__x86_64__)
extern const cn_bert_ops cn_bert_ops_avx2, cn_bert_ops_avx512;
#endif
/* The best table for this processor; CAIRN_ISA=scalar|avx2|avx512 chooses a lesser one. */
const cn_bert_ops *cn_bert_ops_get(void);
