/* turn.h -- whose turn it is to name a version of an index: many at once, or one alone. A rebuild takes it alone for the last few
 * documents that it has to catch up with, or small writes that come all the time would always be ahead of it.
 *
 * Locks of an open file description on DATA/tenants/<tenant>/seal-<index id>.lock, so that a killed process lets them go: byte 0
 * is the gate, through which everybody passes, byte 1 is held by whoever is inside.
 * Owns:    the descriptor handed out.
 * Thread:  any, of any process.
 * Limits:  waits half a minute; then CN_OVERLOADED. */
#pragma once
#include "index/catalog/version.h"

cn_err cn_turn_take(cn_tenant *t, uint64_t index_id, bool alone, int *ret_fd);
void cn_turn_end(int fd); /* -1 is fine */
void cn_turn_forget(const cn_tenant *t, uint64_t index_id); /* of an index that is gone: whoever has a turn seals nothing any more */
