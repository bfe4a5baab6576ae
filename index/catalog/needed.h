/* needed.h -- the files that versions not dropped name, and lists in force that older versions still need.
 *
 * Owns:    the ids lie in the arena given.
 * Thread:  inside the caller's control transaction.
 * Limits:  CN_INDEXES_MAX indexes. */
#pragma once
#include <stdlib.h>

#include "index/catalog/records.h"

#define CN_INDEXES_MAX 1024

typedef struct cn_needed {
    cn_seg_id *v; /* sorted */
    uint32_t n, room;
} cn_needed;
cn_err cn_needed_make(const cn_catalog *c, MDB_txn *txn, cn_arena *a, cn_needed *ret);
bool cn_needed_has(const cn_needed *s, const cn_seg_id *id);
