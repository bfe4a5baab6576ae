/* gate.h -- what methods show of an index's gate (index/catalog/gate.h). For server/service only.
 *
 * Owns:    nothing.
 * Thread:  one at a time, with the call.
 * Limits:  none of its own. */
#pragma once
#include "index/catalog/gate.h"
#include "server/service/args.h"

/* "none": nothing is required; "met" or "unmet" by the version's results. */
cn_err cn_gate_word(cn_call *c, cn_tenant *t, cn_str index, uint64_t version, const cn_gate *g, const char **ret);
