/* describe.h -- the methods by which cairn speaks of itself; rows of cn_methods_query. For server/service only.
 *
 * Owns:    nothing.
 * Thread:  any.
 * Limits:  none. */
#pragma once
#include "server/service/inside.h"

#define CN_API_LEVEL 1 /* grows when a method or field is added; what an older level has never changes */
cn_method_fn cn_m_auth, cn_m_health, cn_m_describe, cn_m_stats;
