/* describe.h -- the methods by which cairn speaks of itself; rows of cn_methods_query. For server/service only.
 *
 * Owns:    nothing.
 * Thread:  any.
 * Limits:  none. */
#pragma once
#include "server/service/inside.h"

#define CN_API_LEVEL 1 /* grows when a method or field is added; what an older level has never changes */
/* A pair: what was erased and still lies in files, as far as the caller reaches; of one tenant, or (empty) of the host. Who may
 * know is the caller's business: administrators. */
cn_err cn_out_erasures(cn_service *s, cn_call *c, cn_str tenant, cn_buf *out);
/* damage.c. A pair: the damaged files that are known, as far as the caller reaches; likewise. health: status, and these. */
cn_err cn_out_damaged(cn_service *s, cn_call *c, cn_str tenant, cn_buf *out);
cn_err cn_out_health(cn_service *s, cn_call *c, cn_buf *out);
cn_method_fn cn_m_auth, cn_m_health, cn_m_describe, cn_m_stats;
