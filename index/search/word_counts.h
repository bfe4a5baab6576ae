/* word_counts.h -- what lexical search has counted in a permitted set, so that a word asked again is not counted again.
 *
 * Owns:    its slots.
 * Thread:  any.
 * Limits:  CN_WORD_COUNTS words; a word pushes out another of its slot. */
#pragma once
#include <pthread.h>

#include "index/text/analyser.h"

#define CN_WORD_COUNTS 512

typedef struct cn_word_counts cn_word_counts;
cn_err cn_word_counts_new(cn_word_counts **ret);
void cn_word_counts_free(cn_word_counts *c); /* NULL is fine */
bool cn_word_counts_get(cn_word_counts *c, cn_str term, uint64_t *ret);
void cn_word_counts_put(cn_word_counts *c, cn_str term, uint64_t n);
