/* returned.h -- documents that were erased and restored while rows of theirs lay in a file that no version named yet: those rows
 * are of before, and a restore, which looks into files of versions, did not see them.
 *
 * Owns:    a list of keys, from find to done; all zero is an empty one.
 * Thread:  one at a time.
 * Limits:  none of its own. */
#pragma once
#include "index/control/records.h"
#include "index/policy/policy.h"

typedef struct cn_returned {
    cn_key *v;
    uint32_t n, room;
} cn_returned;
/* Those of the segment that were restored since `before` (NULL: ever); what the list held is forgotten. */
cn_err cn_returned_find(const cn_policy *now, const cn_policy *before, cn_seg *seg, cn_returned *io);
cn_err cn_returned_none(const cn_returned *r); /* CN_CONFLICT, with its text, unless it is empty */
/* Inside the transaction that names the segment, where the policy is the one that was looked at: the rows stay erased. */
cn_err cn_returned_keep_erased(cn_tenant *t, const cn_catalog *c, MDB_txn *txn, const cn_returned *r, const cn_seg_id *segment);
void cn_returned_done(cn_returned *r);
