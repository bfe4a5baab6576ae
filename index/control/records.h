/* records.h -- the records of control.mdb, for index's own files: its databases, its transactions, what stands of indexes and
 * versions.
 *
 * database   key                                  value: record (pack.h), format 1, one MessagePack map (fields in records.c)
 * meta       "epoch", "audit", "ids"              epoch.h; audit: {seq, digest} of the chain's newest; ids: last index id given
 *            "widened", "owner"                   epoch.h; of which tenant this is, store/data_inside.h
 *            "mode" index id                      catalog/mode.h
 * index      name                                 settings, pointer, hold
 * version    index id, number (u64 big-endian)    manifest, marks, counts
 * audit      seq (u64 big-endian)                 one link of the chain
 * inforce    index id, number                     inforce.h
 * gate       index id, number                     catalog/gate.h; number 0: the requirements; from 2^63 on: sets, catalog/frozen.h
 * policy     ...                                  policy/policy_inside.h
 * members    principal                            policy/member_inside.h
 * space      index id, SHA-256 of the embedder    the frozen mean of the codes
 * retired    segment id                           {at}: when its last version went, or a compaction began to write it
 * erasing    segment id                           {index, documents, record}: a file that was let go and still holds erased documents;
 *                                                 record: the audit record of the compaction that replaced it, 0: there was none
 * Owns:    nothing.
 * Thread:  any; puts inside the caller's write transaction.
 * Limits:  none of its own. */
#pragma once
#include "engine/base/mem.h"
#include "index/control/audit.h"
#include "index/control/epoch.h"
#include "index/control/info.h"
#include "index/store/fields.h"

typedef struct cn_catalog {
    cn_tenant *t;
    MDB_dbi meta, index, version, audit, inforce, space, retired, erasing, policy, gate, members;
} cn_catalog;
/* Opens what is not open yet, so outside of write transactions; once open it is a look-up. */
cn_err cn_catalog_open(cn_tenant *t, cn_catalog *ret);
/* Opens the handles, then begins a write transaction: what every change of control.mdb starts with. */
cn_err cn_catalog_begin(cn_tenant *t, cn_catalog *ret, MDB_txn **ret_txn);

typedef cn_err cn_catalog_fn(void *ctx, const cn_catalog *c, MDB_txn *txn);
/* Runs fn in a transaction that is committed when it returns CN_OK. */
cn_err cn_catalog_write(cn_tenant *t, cn_catalog_fn *fn, void *ctx);
/* The same where nobody may wait for another writer: CN_OVERLOADED at once. */
cn_err cn_catalog_write_now(cn_tenant *t, cn_catalog_fn *fn, void *ctx);
/* The same for what must not fail on a full disk (denial, the ways back, modes, audit): it may take the reserve (reserve.h),
 * and then fn runs anew. Jobs never call it. */
cn_err cn_catalog_insist(cn_tenant *t, cn_catalog_fn *fn, void *ctx);
cn_err cn_catalog_read(cn_tenant *t, cn_catalog_fn *fn, void *ctx);
/* For changes that look at much and write little: plan runs in a read transaction (and may be slow), apply in a write
 * transaction that sees the very same catalog. Whatever came between has left an audit record: then plan runs anew; where others write
 * all the time, at last inside the write transaction, or a denial of many would never have its turn. */
cn_err cn_catalog_change(cn_tenant *t, cn_catalog_fn *plan, cn_catalog_fn *apply, void *ctx);
cn_err cn_audit_seq(MDB_txn *txn, MDB_dbi meta, uint64_t *ret); /* of the newest audit record */
/* Calls fn with each record after number `seq` whose action begins with `action`. CN_OVERLOADED: there are more than `max`. */
typedef void cn_audit_since_fn(void *ctx, cn_str target, const msgpack_object *detail);
cn_err cn_audit_since(const cn_catalog *c, MDB_txn *txn, uint64_t seq, uint64_t max, const char *action, cn_audit_since_fn *fn, void *ctx);

typedef struct cn_catalog_key {
    uint8_t b[16];
} cn_catalog_key;
cn_catalog_key cn_key2(uint64_t a, uint64_t b);
static inline cn_str cn_key2_str(const cn_catalog_key *k) { return (cn_str){(const char *)k->b, sizeof k->b}; }
uint64_t cn_be64(const char *p);

cn_err cn_index_load(const cn_catalog *c, MDB_txn *txn, cn_str name, cn_arena *a, cn_index_info *ret);
cn_err cn_index_store(const cn_catalog *c, MDB_txn *txn, const cn_index_info *ix);
cn_err cn_index_read(cn_str name, cn_str value, cn_arena *a, cn_index_info *ret);
cn_err cn_version_load(const cn_catalog *c, MDB_txn *txn, uint64_t index_id, uint64_t number, cn_arena *a, cn_version *ret);
cn_err cn_version_store(const cn_catalog *c, MDB_txn *txn, uint64_t index_id, const cn_version *v);
cn_err cn_version_read(cn_str value, cn_arena *a, cn_version *ret);
/* All of an index, by number. Manifests that begin alike lie in the same memory. */
cn_err cn_version_all(const cn_catalog *c, MDB_txn *txn, uint64_t index_id, cn_arena *a, cn_version **ret, uint32_t *ret_n);
/* How many files their manifests begin with alike: what was done with one's need not be done again. a NULL: none. */
uint32_t cn_version_alike(const cn_version *a, const cn_version *b);
/* The head's number, 0 for none; reads from the newest down, so most often one record. */
cn_err cn_version_head_in(const cn_catalog *c, MDB_txn *txn, const cn_index_info *ix, cn_arena *a, uint64_t *ret);
/* The head among them: NULL when there is none. */
const cn_version *cn_version_head_of(const cn_version *v, uint32_t n);
bool cn_version_dropped(const cn_version *v);
bool cn_version_good(const cn_version *v); /* neither suspect nor quarantined nor dropped, and no trial: jobs may build on it */

#define CN_TARGET 96
cn_str cn_target(cn_str index, uint64_t number, char text[CN_TARGET]); /* "docs/3" */
/* An arena of the caller's scope, with room for catalogs. */
#define CN_CATALOG_ARENA(name) CN_CLEANUP(cn_arena_done) cn_arena name; cn_arena_init(&name, 16384, (size_t)1 << 30)

