/* bert_ops.h -- the arithmetic of a BERT layer: one table for each instruction set.
 *
 * Tokens stand in blocks of 16, each block a matrix with a feature in each row: x[blocks][features][16]. So a token is a
 * lane whose numbers never meet another's, and nothing depends on how many others there are. AVX2 with FMA and AVX-512 are
 * built from one source: each number of a product is one chain of fused multiply-adds in the order of the inputs, sums run in
 * one fixed order, and there is no call of libm, so that both give the same bits. Their weights are packed once, when a
 * model is opened; OpenBLAS packs them at each call, a fifth of its time at 128 tokens. Elsewhere, and as the reference
 * with CAIRN_ISA=scalar, the products are OpenBLAS's.
 * Owns:    nothing.
 * Thread:  any.
 * Limits:  none. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/error.h"

#define CN_LANES 16      /* tokens of a block */
#define CN_PANEL 8       /* rows of packed weights that stand together */
#define CN_PANEL_DEPTH 96 /* inputs of a panel: what 48 tokens have of them fits the first-level cache */

/* out[n] = w x[k] + bias */
typedef struct cn_bert_dense {
    const float *w;    /* [n][k], or packed */
    const float *bias; /* [n] */
    uint32_t n, k;
} cn_bert_dense;

typedef struct cn_bert_ops {
    const char *name;
    bool packed; /* dense() wants its weights from cn_bert_pack() */
    /* x[blocks][k][16], out[blocks][n][16] */
    void (*dense)(const cn_bert_dense *d, const float *x, uint32_t blocks, float *out);
    /* One head of n tokens in b = ceil(n / 16) blocks. Query, key and value are rows of one matrix, `stride` floats from a
     * block to the next. scores[b][16 b keys][16 queries] = key . query; the keys from n on are whatever the padding gives. */
    void (*scores)(const float *query, const float *key, size_t stride, uint32_t d, uint32_t n, float *scores);
    /* out[b][d][16], out_stride apart: the values of n keys, weighed. */
    void (*context)(const float *value, size_t stride, const float *scores, uint32_t d, uint32_t n, float *out, size_t out_stride);
    /* scores to the softmax over the first n keys of scale times them. */
    void (*softmax)(float *scores, float scale, uint32_t n);
    /* x = gelu(x), by the error function (Hendrycks and Gimpel 2016); n is a multiple of 16. */
    void (*gelu)(float *x, size_t n);
    /* x[blocks][f][16] = layer_norm(x + y) over the features, times gamma[f] plus beta[f] (Ba et al. 2016). */
    void (*add_norm)(float *x, const float *y, const float *gamma, const float *beta, float eps, uint32_t f, uint32_t blocks);
    /* out[f] = mean of the first n tokens of x[..][f][16]. */
    void (*mean)(const float *x, uint32_t f, uint32_t n, float *out);
    /* x[f] to length 1; a vector of length 0 stays. */
    void (*normalise)(float *x, uint32_t f);
} cn_bert_ops;

extern const cn_bert_ops cn_bert_ops_base;  /* OpenBLAS's products */
extern const cn_bert_ops cn_bert_ops_plain; /* the bits of AVX2 and AVX-512 on any processor, slowly */
#if defined(__x86_64__)
extern const cn_bert_ops cn_bert_ops_avx2, cn_bert_ops_avx512;
#endif
/* The best table for this processor; CAIRN_ISA=scalar|avx2|avx512 chooses a lesser one. CN_UNAVAILABLE when that needs
 * OpenBLAS and it is not there. */
cn_err cn_bert_ops_get(const cn_bert_ops **ret);
/* What a vector's bits depend on beside the model: the same text for tables that give the same bits. Valid after
 * cn_bert_ops_get(). */
void cn_bert_ops_text(const cn_bert_ops *ops, char text[256]);

static inline uint32_t cn_bert_panels(uint32_t n) { return (n + CN_PANEL - 1) / CN_PANEL; }
/* Puts w[rows][k] in the place of rows [at, at + rows) of packed weights of n rows; out: cn_bert_panels(n) * CN_PANEL * k
 * floats, zeros before the first call. */
void cn_bert_pack(const float *w, uint32_t rows, uint32_t k, uint32_t at, uint32_t n, float *out);
