/* inside.h -- what the catalog's own files share: an index's whole state, the key of its code space, its modes and its gate.
 *
 * Owns:    nothing.
 * Thread:  one at a time.
 * Limits:  none of its own. */
#pragma once
#include "index/catalog/version.h"
#include "index/control/records.h"

/* An index's record after a change of its settings, with what the audit chain says of it. */
cn_err cn_index_put(cn_tenant *t, const cn_catalog *c, MDB_txn *txn, const cn_index_info *ix, const cn_actor *who);

/* An index and all its versions as of one moment. */
cn_err cn_version_state(cn_tenant *t, cn_str index, cn_arena *a, cn_index_info *ret_ix, cn_version **ret, uint32_t *ret_n);

typedef struct cn_space_key {
    uint8_t b[48]; /* index id, dim, digest of embedder and metric */
} cn_space_key;
cn_space_key cn_space_key_of(uint64_t index_id, const cn_recipe *r);
cn_err cn_space_read(const cn_catalog *c, MDB_txn *txn, uint64_t index_id, const cn_recipe *r, cn_arena *a, cn_space *ret);
/* The space for codes of this segment, before they are made: one that has no mean yet takes the segment's, if it is to be coded. */
cn_err cn_space_for(cn_tenant *t, const cn_index_info *ix, const cn_recipe *r, cn_seg *s, cn_arena *a, cn_space *ret);
cn_err cn_spaces_check(void *ctx, const cn_catalog *c, MDB_txn *txn); /* each record there is */

cn_err cn_modes_load(const cn_catalog *c, MDB_txn *txn, uint64_t index_id, cn_str index, cn_arena *a, cn_modes *ret); /* id 0: of the tenant and the host */
cn_err cn_mode_forget(const cn_catalog *c, MDB_txn *txn, uint64_t index_id);
cn_err cn_gate_forget(const cn_catalog *c, MDB_txn *txn, uint64_t index_id, uint64_t version); /* version 0: the requirements */
/* Adds to ret, for people, what of the index's gate the version's results do not meet; *ret_n: how many; *ret_by: bits of cn_gate_by. */
cn_err cn_gate_unmet(const cn_catalog *c, MDB_txn *txn, uint64_t index_id, uint64_t version, uint64_t active, cn_arena *a, cn_buf *ret, uint32_t *ret_n, unsigned *ret_by);
