/* audit.h -- the tenant's chain of records: each holds the digest of the one before, so that none can be changed or
 * removed without being seen. Refused attempts are recorded too.
 *
 * record = MessagePack map {seq, at, who, via, action, target, reason, outcome, detail, prev}
 * Owns:    a cn_audit_batch owns its records, until cn_audit_batch_done().
 * Thread:  inside the caller's control write transaction.
 * Limits:  CN_REASON_MAX bytes of reason, 64 KiB of detail. */
#pragma once
#include "engine/base/pack.h"
#include "index/store/data.h"

/* action: "version.activate"; target: "docs" or "docs/3"; outcome: "done" or "refused: ..."; detail: one MessagePack map or empty. */
cn_err cn_audit_add(cn_tenant *t, MDB_txn *txn, const cn_actor *who, const char *action, cn_str target, const char *outcome, cn_str detail);
/* Many at once: made after the chain's end as `txn` sees it, and put, all together, in a transaction that sees the same end. A
 * batch of zeros is an empty one; begin may be called again. */
typedef struct cn_audit_head {
    uint64_t seq;
    cn_digest digest; /* of the newest record; zero before the first */
} cn_audit_head;
typedef struct cn_audit_batch {
    cn_audit_head from, to;
    cn_buf records;   /* one after the other */
    size_t *ends;
    uint32_t n, room;
} cn_audit_batch;
cn_err cn_audit_batch_begin(cn_audit_batch *b, MDB_txn *txn, MDB_dbi meta);
cn_err cn_audit_batch_add(cn_audit_batch *b, const cn_actor *who, const char *action, cn_str target, const char *outcome, cn_str detail);
cn_err cn_audit_batch_put(const cn_audit_batch *b, MDB_txn *txn, MDB_dbi meta, MDB_dbi audit);
void cn_audit_batch_done(cn_audit_batch *b);
/* One in a transaction of its own: for attempts refused before they had one. Of a caller over a
 * connection only so often (refusals.h), and never at the cost of the reserve. action: kept, so a constant. */
cn_err cn_audit_refused(cn_tenant *t, const cn_actor *who, const char *action, cn_str target, const char *why);
/* One in a transaction of its own too: of what was done elsewhere than in control.mdb. outcome: "done". */
cn_err cn_audit_done(cn_tenant *t, const cn_actor *who, const char *action, cn_str target, cn_str detail);
/* Records a refused attempt (CN_CONFLICT, CN_REFUSED, CN_NOT_FOUND, CN_INVALID) and returns err with its text. */
cn_err cn_refused(cn_tenant *t, cn_err err, const cn_actor *who, const char *action, cn_str target);
/* A look that changes nothing but is recorded: in a transaction of its own, before it is answered. outcome: "asked". */
cn_err cn_audit_asked(cn_tenant *t, const cn_actor *who, const char *action, cn_str target, cn_str detail);
/* Records from newest to oldest below `before` (0: from the end), at most n, each appended to `out` as one map of an array.
 * seen (NULL: all) is asked for each whose action is on one index, with that index's name; others are then left out. */
cn_err cn_audit_list(cn_tenant *t, uint64_t before, uint32_t n, bool (*seen)(void *ctx, cn_str index), void *ctx, cn_buf *out);
/* The newest record's number and digest: what a log keeps as an anchor outside of the chain. 0 before the first. */
cn_err cn_audit_newest(cn_tenant *t, cn_audit_head *ret);
/* Walks the whole chain. CN_DAMAGED naming the first record that does not fit. */
cn_err cn_audit_verify(cn_tenant *t, uint64_t *ret_records, cn_digest *ret_head);
