/* needed.h -- the files that versions not dropped name, the lists in force that older versions still need, and letting go of
 * the rest.
 *
 * Owns:    everything lies in the arena given.
 * Thread:  plans inside a read transaction, applied inside the write transaction of cn_catalog_change().
 * Limits:  CN_INDEXES_MAX indexes; CN_RETIRE_MAX versions at once, so that the write transaction stays short. */
#pragma once
#include <stdlib.h>

#include "index/catalog/inside.h"

#define CN_INDEXES_MAX 1024
#define CN_RETIRE_MAX 128

typedef struct cn_needed {
    cn_seg_id *v; /* sorted */
    uint32_t n, room;
} cn_needed;
cn_err cn_needed_make(const cn_catalog *c, MDB_txn *txn, cn_arena *a, cn_needed *ret);
/* Ids of the indexes there are, in order. */
cn_err cn_index_ids(const cn_catalog *c, MDB_txn *txn, cn_arena *a, uint64_t **ret, uint32_t *ret_n);
int cn_by_u64(const void *a, const void *b);
bool cn_needed_has(const cn_needed *s, const cn_seg_id *id);

/* Versions of one index that go, the files that then no version needs, and the lists then in force for nobody. */
typedef struct cn_retire {
    uint64_t index_id, lists_to;  /* lists of versions up to this one concern no version left */
    cn_version *gone;
    uint32_t n_gone;
    cn_needed files;
} cn_retire;
cn_err cn_retire_plan(const cn_catalog *c, MDB_txn *txn, cn_arena *a, uint64_t index_id, const cn_version *gone, uint32_t n, cn_retire *ret);
/* Puts files into `retired`: from now on they wait for the sweep. */
cn_err cn_retire_files(const cn_catalog *c, MDB_txn *txn, const cn_seg_id *v, uint32_t n);
/* One that was never a version's: nobody reads it, so it waits for nobody. What is retired already waits for its minute. */
cn_err cn_retire_now(const cn_catalog *c, MDB_txn *txn, const cn_seg_id *id);
/* Marks the versions dropped, puts the files into `retired`, ends the lists. Audit record and epoch are the caller's. */
cn_err cn_retire_apply(const cn_catalog *c, MDB_txn *txn, const cn_retire *r);
