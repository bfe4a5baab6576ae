/* counts.h -- what lexical search has counted in a permitted set, so that a word asked again is not counted again.
 *
 * Owns:    its slots.
 * Thread:  any.
 * Limits:  CN_COUNTS words; a word pushes out another of its slot. */
#pragma once
#include <pthread.h>

#include "index/text/analyser.h"

#define CN_COUNTS 512

typedef struct cn_counts cn_counts;
cn_err cn_counts_new(cn_counts **ret);
void cn_counts_free(cn_counts *c); /* NULL is fine */
bool cn_counts_get(cn_counts *c, cn_str term, uint64_t *ret);
void cn_counts_put(cn_counts *c, cn_str term, uint64_t n);
