#include "engine/base/hist.h"

#include <string.h>

#define VALUE_MAX ((uint64_t)1 << 40)
#define SUB_BITS 7 /* of CN_HIST_SUB */
#define BUCKETS (CN_HIST_SUB * CN_HIST_OCTAVES)

/* Octave 0 holds 0..127, a bucket a value; octave o holds 128..255 times 2^(o-1), a bucket for 2^(o-1) values. */
static uint32_t bucket_of(uint64_t v) {
    if (v < CN_HIST_SUB)
        return (uint32_t)v;
    if (v >= VALUE_MAX)
        return BUCKETS - 1;
    uint32_t shift = 63 - (uint32_t)__builtin_clzll(v) - SUB_BITS;
    return shift * CN_HIST_SUB + (uint32_t)(v >> shift);
}

/* The largest value that falls into it. */
static uint64_t top_of(uint32_t bucket) {
    if (bucket < CN_HIST_SUB)
        return bucket;
    uint32_t shift = bucket / CN_HIST_SUB - 1;
    return (((uint64_t)(bucket % CN_HIST_SUB) + CN_HIST_SUB + 1) << shift) - 1;
}

void cn_hist_reset(cn_hist *h) { memset(h, 0, sizeof *h); }

static void add_sum(cn_hist *h, uint64_t more) {
    if (__builtin_add_overflow(h->sum, more, &h->sum))
        h->sum = UINT64_MAX;
}

void cn_hist_add(cn_hist *h, uint64_t value) {
    if (value > VALUE_MAX)
        value = VALUE_MAX;
    h->bucket[bucket_of(value)]++;
    h->count++;
    add_sum(h, value);
    if (value > h->max)
        h->max = value;
}

void cn_hist_merge(cn_hist *into, const cn_hist *from) {
    for (uint32_t i = 0; i < BUCKETS; i++)
        into->bucket[i] += from->bucket[i];
    into->count += from->count;
    add_sum(into, from->sum);
    if (from->max > into->max)
        into->max = from->max;
}

/* Which value, counted from 1 in ascending order, has the share q of all at or below it. */
static uint64_t rank_of(uint64_t count, double q) {
    if (!(q > 0)) /* NaN too */
        return 1;
    if (q >= 1)
        return count;
    uint64_t rank = (uint64_t)((double)count * q);
    rank += (double)rank < (double)count * q;
    return rank < 1 ? 1 : rank > count ? count : rank;
}

uint64_t cn_hist_quantile(const cn_hist *h, double q) {
    if (h->count == 0)
        return 0;
    uint64_t rank = rank_of(h->count, q), seen = 0;
    if (rank == h->count)
        return h->max;
    for (uint32_t i = 0; i < BUCKETS; i++) {
        seen += h->bucket[i];
        if (seen >= rank)
            return top_of(i) < h->max ? top_of(i) : h->max;
    }
    return h->max;
}
