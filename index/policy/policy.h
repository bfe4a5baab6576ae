/* policy.h -- what lies over all versions: grants, denials, hiding, erasures; and revocations in force.
 *
 * The policy is loaded whole, compared with the count and digest stored beside it, and shared read-only until its epoch
 * passes; then what changed is read anew, and the whole compared again. A missing or damaged policy is an error, never an empty one. A list of revocations that cannot be read is an
 * error for the versions of its index that it counts for, and for nothing else: see reinstate.
 * Owns:    cn_policy is shared and counted.
 * Thread:  any.
 * Limits:  memory is proportional to the documents it names. */
#pragma once
#include "index/control/info.h"
#include "index/policy/labels.h"
#include "index/store/segment.h"

typedef struct cn_policy cn_policy;
cn_err cn_policy_load(cn_tenant *t, cn_policy **ret); /* the current one; cached by epoch, so a warm call is a look-up */
cn_err cn_policy_check(cn_tenant *t);                 /* reads it anew, whatever is cached */
void cn_policy_unref(cn_policy *p);
uint64_t cn_policy_epoch(const cn_policy *p);

/* What the policy says of one document in one version: the row's labels after revocations in force for that version,
 * denials and grants; dead: erased or hidden. Arrays live in the arena. segment: where the row lies. v, here and below: NULL: in no
 * version, no list counts. */
typedef struct cn_effect {
    cn_triple labels;
    bool dead, touched; /* touched: differs from the row */
} cn_effect;
cn_err cn_policy_effect(const cn_policy *p, uint64_t index_id, const cn_version *v, const cn_key *key, cn_str source, cn_str id,
                        const cn_triple *row, const cn_seg_id *segment, cn_arena *a, cn_effect *ret);
/* The same with what each part of it said, for people. Lists and patterns are borrowed from the policy. */
typedef struct cn_said_list {
    uint64_t version;   /* whose revocations these are */
    const cn_triple *gone;
} cn_said_list;
typedef struct cn_pattern { /* glob.p NULL: all of the source; source empty: any */
    cn_str source, glob;
} cn_pattern;
typedef struct cn_said {
    cn_labels granted, denied;
    bool hidden, erased, row_erased;  /* row_erased: the document was restored, but this row is one of before */
    cn_said_list *lists;
    const cn_pattern **patterns;      /* that hide it */
    uint32_t n_lists, n_patterns;
} cn_said;
cn_err cn_policy_explain(const cn_policy *p, uint64_t index_id, const cn_version *v, const cn_key *key, cn_str source, cn_str id,
                         const cn_triple *row, const cn_seg_id *segment, cn_arena *a, cn_effect *ret, cn_said *ret_said);
typedef cn_err cn_policy_key_fn(void *ctx, const cn_key *key);
/* Calls fn with each key the policy names for this version, hidden patterns aside (see cn_policy_pattern_hides). */
cn_err cn_policy_keys(const cn_policy *p, uint64_t index_id, const cn_version *v, cn_policy_key_fn *fn, void *ctx);
/* What is left of a row of this version by the lists in force over it alone; *ret_narrowed: less than the row. ret may be row. */
cn_err cn_policy_narrowed(const cn_policy *p, uint64_t index_id, const cn_version *v, const cn_key *key, const cn_triple *row, cn_arena *a, cn_triple *ret,
                          bool *ret_narrowed);
/* Calls fn with each key in the lists in force over this version, once for each list. */
cn_err cn_policy_list_keys(const cn_policy *p, uint64_t index_id, const cn_version *v, cn_policy_key_fn *fn, void *ctx);
/* Whether, for this version, all that lies between two policies is what cn_policy_changed() tells: patterns and lists are the
 * same, and every list can be read. */
bool cn_policy_follows(const cn_policy *now, const cn_policy *before, uint64_t index_id, const cn_version *v);
cn_digest cn_policy_lists(const cn_policy *p, uint64_t index_id, const cn_version *v); /* of equal ones the same lists are in force over it */
/* Calls fn with the key of each document of which one policy says another thing than the other; at a cost by what changed. */
cn_err cn_policy_changed(const cn_policy *now, const cn_policy *before, cn_policy_key_fn *fn, void *ctx);
bool cn_policy_has_patterns(const cn_policy *p);
bool cn_policy_same_patterns(const cn_policy *p, const cn_policy *q);
bool cn_policy_pattern_hides(const cn_policy *p, cn_str source, cn_str id);
/* Is it what the control database says in this transaction? */
cn_err cn_policy_current(const cn_policy *p, MDB_txn *txn, MDB_dbi policy, bool *ret);
/* Was anything ever erased, as far as its records say? Of a policy that cannot be loaded: a record that cannot be read may. */
cn_err cn_policy_may_erase(MDB_txn *txn, MDB_dbi policy, bool *ret);
/* Calls fn for each document that is erased, or was and has rows of before. */
typedef struct cn_erasure {
    cn_key key;
    cn_str source, id;
    bool now;      /* it is; else it was restored, and only its rows of before are */
    int64_t at_us; /* when it was erased; CN_NO_TIME: not known */
} cn_erasure;
typedef cn_err cn_erasure_fn(void *ctx, const cn_erasure *e);
cn_err cn_policy_erasures(const cn_policy *p, cn_erasure_fn *fn, void *ctx);
/* Calls fn for each document that was erased and restored since `before` (NULL: ever), whether a version held it or not: rows
 * that were made under `before`, and that no version names yet, may say what was erased, and `now` does not know them. */
cn_err cn_policy_restored_since(const cn_policy *now, const cn_policy *before, cn_erasure_fn *fn, void *ctx);
/* Inside the transaction that names this segment: its rows of these documents, which were erased and restored, are of before,
 * and stay erased like those that there were at the restore. The epoch is the caller's to raise. */
cn_err cn_policy_keep_erased(MDB_txn *txn, MDB_dbi policy, const cn_key *keys, uint32_t n, const cn_seg_id *segment, cn_arena *a);
cn_digest cn_policy_digest(const cn_policy *p);       /* over all that it says, lists in force aside */
bool cn_policy_erased(const cn_policy *p, const cn_key *key); /* now: such a document is not taken in */
/* The document is erased, or was, and this row is one of those that there were when it was restored: it stays erased, in
 * whatever version it lies, until the document is written anew. Whoever reuses rows (jobs, compaction) must treat such a
 * row as absent. */
bool cn_policy_row_erased(const cn_policy *p, const cn_key *key, const cn_seg_id *segment);
/* The same of a document of a segment, which also is erased when compaction has left nothing of it but a stub. */
cn_err cn_policy_doc_erased(const cn_policy *p, cn_seg *seg, uint32_t doc, bool *ret);

typedef enum cn_policy_op {
    CN_POLICY_ALLOW, CN_POLICY_DENY, CN_POLICY_CLEAR, CN_POLICY_HIDE, CN_POLICY_UNHIDE, CN_POLICY_ERASE, CN_POLICY_RESTORE,
    CN_POLICY_HIDE_GLOB, CN_POLICY_UNHIDE_GLOB, CN_POLICY_HIDE_SOURCE, CN_POLICY_UNHIDE_SOURCE
} cn_policy_op;

typedef struct cn_policy_change {
    cn_policy_op op;
    cn_str source;   /* the document's; the glob's ("" : any); the source itself */
    cn_str id;       /* document id, or glob */
    cn_labels labels; /* allow, deny, clear (clear with none: all) */
} cn_policy_change;

/* All in one transaction, audited, one epoch on; a refused call changes nothing and is audited too. CN_REFUSED: restore of
 * a document that is not erased, or without a reason. */
cn_err cn_policy_apply(cn_tenant *t, const cn_policy_change *changes, uint32_t n, const cn_actor *who, uint64_t *ret_epoch);
/* Withdraws version N's revocation list; the reason is demanded. */
cn_err cn_policy_reinstate(cn_tenant *t, cn_str index, uint64_t number, const cn_actor *who, uint64_t *ret_epoch);
/* Appends one map to out: {source, doc, granted, denied, hidden, hidden_by, erased}. */
void cn_policy_show(const cn_policy *p, cn_str source, cn_str id, cn_buf *out);
