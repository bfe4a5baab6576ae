/* gate_inside.h -- what gate*.c and frozen*.c share.
 *
 * Owns:    nothing.
 * Thread:  inside the caller's transaction, but for bodies: those begin their own, in work.mdb.
 * Limits:  none of its own. */
#pragma once
#include "index/catalog/frozen.h"
#include "index/catalog/recall.h"
#include "index/control/records.h"

#define CN_FROZEN_PLACES ((uint64_t)1 << 63) /* from here on the second half of a key is a place of a set; versions are below it */

/* gate.c */
bool cn_gate_is_name(cn_str s);
cn_err cn_gate_bad_name(cn_str name);
#define CN_GATE_LIVE "recall_live@"
void cn_gate_live_name(uint32_t aim, char text[CN_GATE_NAME + 1]);
bool cn_gate_is_live(cn_str name); /* recall_live, of whatever aim */
cn_err cn_gate_check_reason(const cn_actor *who);
cn_err cn_gate_damaged(const char *what);
/* An array of at most `most` values, decoded in place. */
cn_err cn_gate_open_list(cn_unpacked *u, cn_str packed, uint32_t most, const char *what);
/* gate_results.c. active: 0 where none is. */
cn_err cn_gate_results_load(const cn_catalog *c, MDB_txn *txn, uint64_t index_id, uint64_t version, uint64_t active, cn_arena *a, cn_gate_results *ret);
cn_gate_by cn_gate_measured_by(const cn_frozen_set *sets, uint32_t n, cn_str name); /* sets: those of the index */
/* Forgets what any version of the index showed of a set. */
cn_err cn_gate_forget_frozen(const cn_catalog *c, MDB_txn *txn, uint64_t index_id, cn_str set);

/* frozen.c: sets of an index without their questions; places: the second half of each one's key. `old`, of each: it has the form
 * of a build before the first release. Both may be NULL. */
cn_err cn_frozen_sets_in(const cn_catalog *c, MDB_txn *txn, uint64_t index_id, cn_arena *a, cn_frozen_set **ret, uint64_t *places, bool *old, uint32_t *ret_n);
/* frozen_body.c: a body under its digest, durable once this returns; one again, as it was put; and away with those that no set
 * of the tenant names and that were put over an hour ago. */
cn_err cn_frozen_body_put(cn_tenant *t, const cn_digest *digest, cn_str body);
cn_err cn_frozen_body_get(cn_tenant *t, const cn_digest *digest, cn_arena *a, cn_str *ret); /* CN_NOT_FOUND */
cn_err cn_frozen_sweep(cn_tenant *t);
