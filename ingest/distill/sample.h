/* sample.h -- at most N of the texts given, whatever their order: those whose digests are the smallest.
 *
 * So the same texts give the same sample in the same order, each text is as likely as another, and none is there twice.
 * Owns:    copies of the texts it holds.
 * Thread:  one at a time.
 * Limits:  twice N texts at a time. */
#pragma once
#include "engine/base/digest.h"

typedef struct cn_sampled {
    cn_digest digest;
    cn_str text;
} cn_sampled;
typedef struct cn_sample {
    cn_sampled *v;
    uint32_t n, most, room;
    cn_digest bar;      /* from which on none is wanted any more, once `full` */
    bool full;
    uint64_t offered;
} cn_sample;

cn_err cn_sample_init(cn_sample *s, uint32_t most);
void cn_sample_done(cn_sample *s);
cn_err cn_sample_add(cn_sample *s, cn_str text);
/* Puts v[n] in order. */
void cn_sample_close(cn_sample *s);
/* Of all texts in it. */
cn_digest cn_sample_digest(const cn_sample *s);
