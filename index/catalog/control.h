/* control.h -- the named databases of control.mdb and their keys; for index/catalog only.
 *
 *   meta       "epoch" u64; "next_index" u64; "audit" u64 records, 32 digest of the last (integers little-endian)
 *   indexes    name -> record: the index (record.c)
 *   versions   index id, number (u64 big-endian each) -> record: the version
 *   spaces     index id (u64 big-endian), SHA-256 of embedder digest, dimension, metric -> record {seed, mean}
 *   inforce    see inforce.h
 *   audit      number (u64 big-endian) -> record
 *   retired    id of a segment file (16) -> wall time in microseconds, i64 little-endian
 * Owns:    a cn_control's transaction, ended by cn_control_end().
 * Thread:  one at a time.
 * Limits:  write transactions last at most 10 ms: whatever is heavy is done before. */
#pragma once
#include "engine/base/pack.h"
#include "index/catalog/version.h"

#define CN_RECORD_FORMAT 1

typedef struct cn_control {
    cn_tenant *t;
    MDB_txn *txn;
    MDB_dbi meta, indexes, versions, spaces, inforce, audit, retired;
} cn_control;

cn_err cn_control_read(cn_tenant *t, cn_control *ret);
cn_err cn_control_write(cn_tenant *t, cn_control *ret);
cn_err cn_control_commit(cn_control *c);
void cn_control_end(cn_control *c); /* aborts what is open; safe after commit */
#define CN_AUTO_CONTROL __attribute__((cleanup(cn_control_end)))

cn_err cn_control_handles(cn_tenant *t, cn_control *ret); /* the handles alone, for a transaction that the caller brought */
cn_err cn_meta_u64(const cn_control *c, const char *key, uint64_t *ret); /* 0 when absent */
cn_err cn_meta_put_u64(const cn_control *c, const char *key, uint64_t v);

#define CN_VERSION_KEY 16
void cn_version_key(uint64_t index_id, uint64_t number, uint8_t key[CN_VERSION_KEY]);

/* Records. What is read points into the arena. */
cn_err cn_index_read(const cn_control *c, cn_str name, cn_arena *a, cn_index_info *ret);  /* CN_NOT_FOUND with a text */
cn_err cn_index_write(const cn_control *c, const cn_index_info *ix);
cn_err cn_index_decode(cn_str bytes, cn_str name, cn_arena *a, cn_index_info *ret);
cn_err cn_version_read(const cn_control *c, const cn_index_info *ix, uint64_t number, cn_arena *a, cn_version *ret);
cn_err cn_version_write(const cn_control *c, uint64_t index_id, const cn_version *v);
cn_err cn_version_decode(cn_str bytes, cn_arena *a, cn_version *ret);
cn_err cn_versions_of(const cn_control *c, uint64_t index_id, cn_arena *a, cn_version **ret, uint32_t *ret_n); /* by number */

cn_err cn_space_key(uint64_t index_id, const cn_recipe *r, uint8_t key[40]); /* of "spaces" */
/* Records a refusal whose text is the current error, and leaves that text as it was. */
void cn_refusal(cn_tenant *t, const cn_actor *who, const char *action, cn_str index, uint64_t number);
cn_str cn_target(char text[128], cn_str index, uint64_t number); /* "docs/3"; number 0: "docs" */
