/* recorder.h -- the one thread that writes request records to each tenant's trace.mdb, and the bounded queue before it.
 *
 * A record is copied into a buffer that is there already; the thread takes the whole buffer, in exchange for an empty one,
 * some milliseconds after the first record came, and writes it in batches. A full queue, or a store that does not take a
 * record, drops it: that is counted, and noted in the store as a gap once it takes records again. Nobody waits. A recorder with
 * limits has a mark (index/trace/run.h), which stays where the process ends without having written all.
 * Owns:    two buffers of CN_RECORDER_BYTES, its thread, and a reference to the tenant of each record queued.
 * Thread:  any may push.
 * Limits:  CN_RECORDER_BYTES of records queued, of one tenant never more than is left for the others. */
#pragma once
#include "index/trace/trace.h"
#include "server/service/service.h"

#define CN_RECORDER_BYTES ((size_t)8 << 20)

typedef struct cn_recorder cn_recorder;
/* limits NULL: those that each store has noted, and only what is put is looked at. Else stores are also looked through now
 * and then, so that what is too old goes though no question comes. */
cn_err cn_recorder_new(cn_service *s, const cn_trace_limits *limits, cn_recorder **ret);
void cn_recorder_free(cn_recorder *r); /* writes what is queued; NULL is fine */
void cn_recorder_limit(cn_recorder *r, const cn_trace_limits *limits);
bool cn_recorder_is_on(const cn_recorder *r); /* NULL: no */
void cn_recorder_push(cn_recorder *r, cn_tenant *t, const cn_trace_entry *e); /* never fails, never waits; the map is copied */
void cn_recorder_lose(cn_recorder *r, cn_tenant *t); /* a record that could not be made: as one dropped */
/* Waits, for at most two seconds, until all that was pushed before has been written. False: of this tenant (NULL: of any) some
 * is not, and no gap says so yet. */
bool cn_recorder_flush(cn_recorder *r, const cn_tenant *t);
void cn_recorder_leave(cn_recorder *r); /* the process is about to end at once: flushes, and ends the mark; NULL is fine */
typedef struct cn_recorder_counts {
    uint64_t written, dropped;
} cn_recorder_counts;
cn_recorder_counts cn_recorder_count(const cn_recorder *r);
