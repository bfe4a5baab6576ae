/* gate.h -- what methods show of an index's gate (index/catalog/gate.h). For server/service only.
 *
 * Owns:    nothing.
 * Thread:  one at a time, with the call.
 * Limits:  none of its own. */
#pragma once
#include "index/catalog/gate.h"
#include "server/service/inside.h"

/* Pairs: version, gate, unmet, results. */
#define CN_GATE_VERSION_PAIRS 4u
void cn_gate_out_version(cn_buf *out, uint64_t number, const cn_gate *g, const cn_gate_results *r);
cn_method_fn cn_m_gate_freeze, cn_m_gate_unfreeze, cn_m_gate_sets, cn_m_gate_run; /* gate_frozen.c, gate_run.c */
/* What gate.run stores, by whoever may activate; it outlives the call that asked for it, and ends as a call with this end
 * (cn_mono_ns(); 0: none) whose client is gone once `halt` says so. */
cn_err cn_gate_measure(cn_service *s, cn_str tenant, cn_str index, uint64_t version, uint64_t until_ns, const atomic_bool *halt, const cn_actor *who);
/* "none": nothing is required; "met" or "unmet" by the version's results. */
cn_err cn_gate_word(cn_tenant *t, cn_str index, uint64_t version, const cn_gate *g, const char **ret);
