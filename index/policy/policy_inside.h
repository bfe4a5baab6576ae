/* policy_inside.h -- the policy as stored and as loaded; for policy*.c only.
 *
 * control.mdb, database "policy":
 *   'd' key (32)            -> record {source, id, granted, denied, hidden, erased, erased_at, rows}
 *   'g' SHA-256 (source, glob) -> record {source, glob}
 *   's' source              -> record {source}
 *   '='                     -> sum.h, over all records above
 * rows: ids of segments, 16 bytes each: of a document erased and then restored; its rows in these stay erased.
 * Owns:    a cn_policy owns its arena, in which its patterns live, and shares blocks and lists, each with an arena of its own,
 *          with the policies before and after it.
 * Thread:  loaded by one, read by any.
 * Limits:  none of its own. */
#pragma once
#include "engine/base/pack.h"
#include "index/control/inforce.h"
#include "index/control/segset.h"
#include "index/policy/policy.h"

#define CN_POLICY_FORMAT 1
#define CN_POLICY_WHAT "policy"

typedef struct cn_policy_doc {
    cn_key key;
    cn_str source, id;
    cn_labels granted, denied;
    bool hidden, erased;
    int64_t erased_us;     /* when it was erased last; CN_NO_TIME: never, or by a build that did not note it */
    const cn_seg_id *rows;
    uint32_t n_rows;
} cn_policy_doc;

#define CN_POLICY_BLOCKS 256
typedef struct cn_policy_block { /* the documents whose keys begin with one byte */
    _Atomic uint32_t refs;
    cn_sum sum;            /* of their records */
    cn_arena a;
    cn_policy_doc *v;      /* by key */
    uint32_t n, room;
} cn_policy_block;

typedef struct cn_gone {
    cn_key key;
    cn_triple gone;
} cn_gone;

typedef struct cn_gone_list { /* of one version in force, by key */
    _Atomic uint32_t refs;
    uint64_t index_id, number;
    cn_part own;           /* the file that holds it */
    cn_arena a;
    cn_gone *v;
    uint32_t n, room;
    cn_str broken;         /* why it cannot be read, for people; empty: it is whole */
} cn_gone_list;

struct cn_policy {
    _Atomic uint32_t refs;
    _Atomic uint64_t epoch;   /* grows while nothing of the policy changes: keys, members and flips raise it too */
    cn_sum sum;               /* of what was loaded */
    cn_sum lists_sum;
    cn_arena a;
    cn_policy_block *blocks[CN_POLICY_BLOCKS]; /* by the first byte; NULL: no document */
    cn_pattern *patterns;
    cn_gone_list **lists;
    uint32_t n_patterns, room_patterns, n_lists, room_lists, n_broken;
    uint64_t loaded_ns;
};

cn_err cn_policy_doc_read(cn_str value, const cn_key *key, cn_arena *a, cn_policy_doc *ret);
void cn_policy_doc_pack(cn_buf *b, const cn_policy_doc *d);
bool cn_pattern_fits(const cn_pattern *x, cn_str source, cn_str id);
const cn_policy_doc *cn_policy_find(const cn_policy *p, const cn_key *key);

/* Open segments of every version not dropped, in all indexes: a restore looks there for the document's rows. */
struct cn_catalog;
cn_err cn_policy_rows_open(cn_tenant *t, const struct cn_catalog *c, MDB_txn *txn, cn_arena *a, cn_segset *io);
cn_err cn_policy_rows_of(const cn_segset *r, const cn_key *key, cn_arena *a, const cn_seg_id **ret, uint32_t *ret_n);
