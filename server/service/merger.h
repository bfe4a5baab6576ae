/* merger.h -- the one thread of a server that keeps the files of an index few: it compacts them by tiers (index/catalog/compact.h), so
 * that thousands of small ingests and puts stay a few dozen files. No answer and no root changes by it; the audit chain tells
 * of each time (`version.compact`, by "cairnd").
 *
 * It looks at an index when a version of it was sealed here, and at all of them at the start and every CN_MERGER_LOOK_MS for what
 * other processes sealed; it works when the head names CN_COMPACT_TIER files more than after the last time. An index that
 * is frozen, and whatever fails, is tried again CN_MERGER_RETRY_MS later, or twice that, up to CN_MERGER_LOOK_MS. Another compaction stops it, and it begins anew after.
 * Owns:    its thread, and what it knows of each index.
 * Thread:  any may set and tell. The thread has a low priority and rests as long as it has worked, so that it takes half a
 *          processor at most; while requests wait it waits too, before each MiB that it copies, but no longer than CN_MERGER_WAIT_MS.
 * Limits:  one index at a time; `rate` bytes a second are copied at most. */
#pragma once
#include "index/store/data.h"
#include "server/service/busy.h"

#define CN_MERGER_LOOK_MS 600000
#define CN_MERGER_RETRY_MS 60000
#define CN_MERGER_WAIT_MS 1000

typedef struct cn_merger cn_merger;
cn_err cn_merger_new(cn_data *d, cn_busy *busy, uint64_t rate, cn_merger **ret); /* rate 0: it merges nothing */
void cn_merger_set(cn_merger *m, uint64_t rate);
void cn_merger_tell(cn_merger *m, cn_str tenant, cn_str index); /* a version was sealed; NULL is fine */
void cn_merger_leave(cn_merger *m);                             /* it ends soon; NULL is fine */
void cn_merger_free(cn_merger *m);                              /* the same, and waits for it */
