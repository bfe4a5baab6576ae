/* segset.h -- open segments, each once: those of all versions that an index keeps, say.
 *
 * Owns:    a reference to each, until cn_segset_done().
 * Thread:  one at a time.
 * Limits:  2^31 segments. */
#pragma once
#include "engine/base/table.h"
#include "index/store/root.h"

typedef struct cn_segset { /* {0}: empty */
    cn_seg **v;
    uint32_t n, room;
    cn_table table;
} cn_segset;
/* Opens the segment when it is not among them. */
cn_err cn_segset_open(cn_segset *s, cn_tenant *t, const cn_part *part);
/* Its place in v; UINT32_MAX: it is not among them. */
uint32_t cn_segset_find(const cn_segset *s, const cn_seg_id *id);
void cn_segset_done(cn_segset *s);
