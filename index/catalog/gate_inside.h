/* gate_inside.h -- what gate.c and gate_set.c share.
 *
 * Owns:    nothing.
 * Thread:  inside the caller's transaction.
 * Limits:  none of its own. */
#pragma once
#include "index/catalog/gate_set.h"
#include "index/control/records.h"

bool cn_gate_is_name(cn_str s);
/* Sets of an index; with bodies decoded, or only name, digest and who made it. slots: the second half of each one's key. */
cn_err cn_gate_sets_in(const cn_catalog *c, MDB_txn *txn, uint64_t index_id, bool whole, cn_arena *a, cn_frozen_set **ret, uint64_t *slots, uint32_t *ret_n);
/* Forgets what any version of the index showed of a set. */
cn_err cn_gate_forget_set(const cn_catalog *c, MDB_txn *txn, uint64_t index_id, cn_str set);
cn_err cn_gate_check_reason(const cn_actor *who);
