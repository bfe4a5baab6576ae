/* compactor.h -- the one thread of a server that takes erased documents out of its files: `compact_after` after the first
 * erasure of an index it compacts the files that hold such (index/catalog/compact.h), and removes the old ones a minute later;
 * the audit chain tells of both, by "cairnd".
 *
 * What was let go for other reasons (gc, a drop) it removes too, when its minute is over.
 *
 * It looks at all tenants whose catalog was written since, when it is told of an erasure, and every CN_COMPACTOR_LOOK_MS (or
 * compact_after, if that is less) for what other processes did. An index that is frozen waits. What fails is tried again after
 * CN_COMPACTOR_RETRY_MS, then twice that, up to an hour; an old file that someone still holds delays no compaction. Killed, or
 * told to leave, it leaves the old state or the new one, and begins anew with the next start.
 * Owns:    its thread, and the list of what is erased and still there.
 * Thread:  any may set, poke and list. The thread has a low priority, and while requests wait it waits too, before each MiB
 *          that it copies; but no longer than CN_COMPACTOR_WAIT_MS, so that an erasure gets done on a server never idle.
 * Limits:  one index at a time. */
#pragma once
#include "index/catalog/erased.h"
#include "server/service/busy.h"

#define CN_COMPACTOR_LOOK_MS 60000
#define CN_COMPACTOR_RETRY_MS 60000
#define CN_COMPACTOR_WAIT_MS 1000

typedef struct cn_erasing { /* an index with something left to do; index empty: a tenant that has none any more */
    char tenant[CN_NAME_MAX + 1], index[CN_NAME_MAX + 1];
    cn_erased is;
    int64_t due_us;         /* when it is compacted; CN_NO_TIME: not by itself, or it is done and files only wait */
    char problem[256];      /* why the last try, or looking at it, failed; empty: it did not */
    bool frozen;            /* by a mode; it waits for the end of that, and problem says so */
    /* of the thread: it tries again no earlier; to compact, and apart from that to remove what is held */
    uint64_t retry_ns, backoff_ms, held_ns, held_backoff_ms;
} cn_erasing;

typedef struct cn_compactor cn_compactor;
/* after_ms 0: it compacts nothing, and only says what there is to do. */
cn_err cn_compactor_new(cn_data *d, cn_busy *busy, uint64_t after_ms, cn_compactor **ret);
void cn_compactor_set(cn_compactor *c, uint64_t after_ms);
void cn_compactor_poke(cn_compactor *c); /* something was erased, or a mode changed; NULL is fine */
/* As of its last look; ret_looked_us: when that was, CN_NO_TIME: there was none yet. */
cn_err cn_compactor_list(cn_compactor *c, cn_arena *a, cn_erasing **ret, uint32_t *ret_n, int64_t *ret_looked_us);
void cn_compactor_leave(cn_compactor *c); /* it ends soon; NULL is fine */
void cn_compactor_free(cn_compactor *c);  /* the same, and waits for it */
