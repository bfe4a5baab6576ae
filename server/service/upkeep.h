/* upkeep.h -- the one thread of a server that looks after its files while nobody asks: makes the reserve again (reserve.h)
 * once there is room for it.
 *
 * Owns:    its thread.
 * Thread:  any may set.
 * Limits:  it looks every CN_UPKEEP_MS. */
#pragma once
#include "server/service/service.h"

#define CN_UPKEEP_MS 5000

typedef struct cn_upkeep cn_upkeep;
cn_err cn_upkeep_new(cn_data *d, const cn_upkeep_opts *o, cn_upkeep **ret);
void cn_upkeep_set(cn_upkeep *u, const cn_upkeep_opts *o); /* from its next step on */
void cn_upkeep_leave(cn_upkeep *u); /* it ends soon; NULL is fine */
void cn_upkeep_free(cn_upkeep *u);  /* the same, and waits for it */
