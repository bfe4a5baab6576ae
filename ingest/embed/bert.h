/* bert.h -- BERT's encoder, with pooling (Devlin et al. 2019; Reimers and Gurevych 2019).
 *
 * One text at a time, its tokens padded with zeros to a multiple of 16, by the arithmetic of bert_ops.h: a text's bits
 * depend on nothing but the text, the model and the table's kind.
 * Owns:    cn_bert its weights, converted, joined or packed.
 * Thread:  cn_bert any; a cn_bert_work one at a time.
 * Limits:  those of model.h. */
#pragma once
#include "ingest/embed/model.h"

typedef struct cn_bert cn_bert;
typedef struct cn_bert_work cn_bert_work;

/* weights: a safetensors file, of which ret keeps nothing. int8: the dense layers in 8-bit integers (bert_int8.h). all: look at each number too; CN_INVALID names the tensor that is
 * missing, of another shape, or holds a NaN. */
cn_err cn_bert_new(const cn_bert_config *c, cn_str weights, bool int8, bool all, cn_bert **ret);
void cn_bert_free(cn_bert *b);
/* What its vectors' bits depend on beside model and text. */
void cn_bert_text(const cn_bert *b, char text[256]);
cn_err cn_bert_work_new(const cn_bert *b, cn_bert_work **ret);
void cn_bert_work_free(cn_bert_work *w);
/* ids[n] with [CLS] and [SEP], 1 <= n <= max_tokens, each under the vocabulary's size; out[hidden]. */
void cn_bert_run(const cn_bert *b, cn_bert_work *w, const uint32_t *ids, uint32_t n, float *out);
