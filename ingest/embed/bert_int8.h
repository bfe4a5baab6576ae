/* bert_int8.h -- a BERT's dense layers in 8-bit integers: one table for each instruction set.
 *
 * Weights are rounded to -127..127 once, with a scale for each output (its row's largest). A token's inputs are rounded to
 * 0..255 anew at each layer, with a scale and a zero of its own between its least and its largest (Jacob et al. 2018,
 * "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference", section 2.1). A few inputs
 * of a transformer are far larger than the rest (Dettmers et al. 2022, "LLM.int8()"): those that were largest for a few
 * words are put first and have scales of their own, on both sides; that halves the error. Products are
 * exact in 32 bits, and whatever is float runs in one order with one rounding (bert_vec.h), so every table gives the same
 * bits; AVX2 widens to 16 bits, since its 8-bit products saturate. The rest of the encoder is that of bert_ops.h.
 *
 * Layouts: tokens in blocks of 16 as in bert_ops.h, with `per` inputs of a token in each 32-bit word (4, 2 or 1 of them):
 *   inputs  [blocks][k / per][16 tokens], in the order of the weights
 *   weights [panels of CN_PANEL rows][k / per][CN_PANEL], so that one word of weights meets 16 tokens
 * Owns:    nothing.
 * Thread:  any.
 * Limits:  k up to 65,535: sums stay within 31 bits. */
#pragma once
#include "ingest/embed/bert_ops.h"

#define CN_INT8_INPUTS_MAX 65535

typedef struct cn_bert_dense8 {
    uint32_t *w;       /* packed */
    uint32_t *order;   /* [k] which input stands where; the first `large` of them are a part by themselves */
    float *scale[2];   /* [n] of each part */
    int32_t *sum[2];   /* [n] of the row's weights in each part: what the inputs' zero adds is taken off by it */
    float *bias;       /* [n] */
    uint32_t n, k, large;
} cn_bert_dense8;

/* A block's 16 tokens in one part of the inputs: x = scale (q - zero). */
typedef struct cn_lanes8 {
    float scale[CN_LANES];
    int32_t zero[CN_LANES];
} cn_lanes8;

typedef struct cn_bert_int8 {
    const char *name;
    uint32_t per;
    /* x[blocks][k][16] rounded to q, cn_int8_words(ops, k) words a block, and lanes[blocks][2]. */
    void (*quantise)(const cn_bert_dense8 *d, const float *x, uint32_t blocks, uint32_t *q, cn_lanes8 *lanes);
    /* out[blocks][n][16] = w x + bias */
    void (*dense)(const cn_bert_dense8 *d, const uint32_t *q, const cn_lanes8 *lanes, uint32_t blocks, float *out);
} cn_bert_int8;

extern const cn_bert_int8 cn_bert_int8_plain;
#if defined(__x86_64__)
extern const cn_bert_int8 cn_bert_int8_avx2, cn_bert_int8_avx512;
#endif
/* The best for this processor, or for CAIRN_ISA=scalar|avx2|avx512, with the table for the rest of the encoder: all pairs
 * give the same bits. */
void cn_bert_int8_get(const cn_bert_int8 **ret, const cn_bert_ops **ret_ops);

static inline uint32_t cn_int8_groups(const cn_bert_int8 *ops, uint32_t k) { return (k + ops->per - 1) / ops->per; }
static inline size_t cn_int8_words(const cn_bert_int8 *ops, uint32_t k) { return (size_t)cn_int8_groups(ops, k) * CN_LANES; }
static inline size_t cn_int8_weight_words(const cn_bert_int8 *ops, uint32_t n, uint32_t k) { return (size_t)cn_bert_panels(n) * CN_PANEL * cn_int8_groups(ops, k); }
/* How many inputs are a part by themselves: one in 48, in whole words. */
static inline uint32_t cn_int8_large(uint32_t k) { return k < 8 ? 0 : (k / 48 + 3) / 4 * 4 + (k < 48 ? 4 : 0); }
/* Fills d->order: the d->large inputs with the largest peaks[k] first, then the others, each as they come. */
void cn_bert_int8_order(const float *peaks, cn_bert_dense8 *d);
/* Rounds w[rows][k] and its bias into rows [at, at + rows) of d, whose order is set and whose weights are zeros before. */
void cn_bert_int8_pack(const cn_bert_int8 *ops, const float *w, const float *bias, uint32_t rows, uint32_t at, cn_bert_dense8 *d);
