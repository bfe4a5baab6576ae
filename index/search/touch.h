/* touch.h -- of which documents of a segment the policy says something, and what; for index/search only.
 *
 * In blocks by document number: the views of a version, under one policy after the other, share those in which nothing changed.
 * Owns:    both are shared and counted. Labels are copies, so that no policy stays in memory for them.
 * Thread:  made by one; then read by any.
 * Limits:  memory is proportional to the documents touched. */
#pragma once
#include "index/policy/policy.h"

#define CN_TOUCH_BLOCK 1024 /* documents */

typedef struct cn_touched {
    uint32_t doc;
    cn_effect effect;
} cn_touched;

typedef struct cn_touch_block {
    _Atomic uint32_t refs;
    uint32_t n;
    cn_arena a;
    cn_touched v[];          /* by document */
} cn_touch_block;

typedef struct cn_touches {
    _Atomic uint32_t refs;
    uint32_t n;
    cn_touch_block *blocks[]; /* of the documents from i * CN_TOUCH_BLOCK on; NULL: none of them is touched */
} cn_touches;

/* What the policy says of a document; the arena is the call's. */
typedef cn_err cn_touch_fn(void *ctx, uint32_t doc, cn_arena *a, cn_effect *ret);
/* Of a segment of n_docs documents: those in `docs`, which may be in any order and more than once, as fn says; the others as
 * they are in old (NULL: none is touched). */
cn_err cn_touches_make(uint32_t n_docs, const cn_touches *old, uint32_t *docs, uint32_t n, cn_touch_fn *fn, void *ctx, cn_touches **ret);
cn_touches *cn_touches_ref(cn_touches *t);
void cn_touches_unref(cn_touches *t); /* NULL is fine */
const cn_touched *cn_touches_find(const cn_touches *t, uint32_t doc);
