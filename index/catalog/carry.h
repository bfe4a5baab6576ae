/* carry.h -- what a version takes over from its base as it may be read, not as it was written.
 *
 * A rollback leaves a version whose revocations are in force over the base (DESIGN.md section 7). The next version is made
 * from that base and is newer than the list, so its unchanged rows would show again what was revoked. So a row that a list in
 * force narrows in the base is written anew with what is left, and with no digest of what its source said: when the source
 * says the same row again that grants it again, and until then it stays narrowed.
 * A trial takes nothing over so: what counts for its base counts for it (info.h: lists_after).
 * They go into a file of their own: the job's own rows can be taken up again by a resume, these are only true of this head.
 * Owns:    nothing.
 * Thread:  one at a time.
 * Limits:  memory for one document at a time. */
#pragma once
#include "index/catalog/live.h"
#include "index/policy/policy.h"

typedef struct cn_carry {
    cn_tenant *t;
    uint64_t index_id;
    const cn_version *head;   /* as which it is read; NULL: none, and nothing to carry */
    const cn_living *base;    /* the documents it is made from */
    const cn_policy *policy;
    cn_seg *written;          /* the job's rows, which win; NULL: none */
    const cn_seal *seal;      /* for what it removes, and the dimension */
} cn_carry;

/* *ret_w: the new file, the caller's; NULL when nothing is narrowed, and after a failure possibly one to be aborted. */
cn_err cn_carry_narrowed(const cn_carry *c, cn_segw **ret_w);
