/* bert.h -- BERT's encoder in single precision on OpenBLAS, with pooling (Devlin et al. 2019; Reimers and Gurevych 2019).
 *
 * One text at a time: each matrix product runs over all its tokens, padded with rows of zeros to a multiple of 16, and
 * OpenBLAS at one thread, because the bytes that OpenBLAS gives depend on a product's shape and on the row's place in it.
 * Owns:    cn_bert what it had to convert or join; the rest of the weights is read where it is mapped.
 * Thread:  cn_bert any; a cn_bert_work one at a time.
 * Limits:  those of model.h. */
#pragma once
#include "ingest/embed/model.h"

typedef struct cn_bert cn_bert;
typedef struct cn_bert_work cn_bert_work;

/* weights: a safetensors file, which must outlive ret. all: look at each number too; CN_INVALID names the tensor that is
 * missing, of another shape, or holds a NaN. */
cn_err cn_bert_new(const cn_bert_config *c, cn_str weights, bool all, cn_bert **ret);
void cn_bert_free(cn_bert *b);
cn_err cn_bert_work_new(const cn_bert *b, cn_bert_work **ret);
void cn_bert_work_free(cn_bert_work *w);
/* ids[n] with [CLS] and [SEP], 1 <= n <= max_tokens, each under the vocabulary's size; out[hidden]. */
void cn_bert_run(const cn_bert *b, cn_bert_work *w, const uint32_t *ids, uint32_t n, float *out);
