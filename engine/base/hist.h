/* hist.h -- log-linear histogram of durations or sizes (128 sub-buckets an octave, relative error under 1%).
 *
 * Owns:    nothing; the struct is plain memory.
 * Thread:  one writer each; merge to read many.
 * Limits:  values up to 2^40; larger ones count as 2^40. The sum stops at 2^64 - 1. */
#pragma once
#include <stdint.h>

#define CN_HIST_SUB 128
#define CN_HIST_OCTAVES 34
typedef struct cn_hist {
    uint64_t count, sum, max;
    uint64_t bucket[CN_HIST_SUB * CN_HIST_OCTAVES];
} cn_hist;

void cn_hist_reset(cn_hist *h);
void cn_hist_add(cn_hist *h, uint64_t value);
void cn_hist_merge(cn_hist *into, const cn_hist *from);
/* The least value that a share q (0..1) of all does not pass, at most 1/128 too high, never over max; 0 when empty. */
uint64_t cn_hist_quantile(const cn_hist *h, double q);
