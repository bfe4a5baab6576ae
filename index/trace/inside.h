/* inside.h -- what the files of index/trace share: the open store, its keys, its state. For index/trace only.
 *
 * Owns:    a cn_trace_store owns a reference to the environment, until cn_trace_done().
 * Thread:  one at a time.
 * Limits:  none of its own. */
#pragma once
#include "index/trace/trace.h"

#define CN_TRACE_FORMAT 1
#define CN_TRACE_KEY_BYTES 28
#define CN_TRACE_REQUEST_KEY(k) ((cn_str){(const char *)(k)->b, CN_TRACE_KEY_BYTES})

typedef struct cn_trace_bytes {
    uint8_t b[CN_TRACE_KEY_BYTES];
} cn_trace_bytes;
cn_trace_bytes cn_trace_request_key(const cn_trace_key *k);
cn_trace_bytes cn_trace_id_key(const cn_trace_key *k);
cn_err cn_trace_request_key_read(cn_str bytes, cn_trace_key *ret);

typedef struct cn_trace_store {
    cn_env *env;
    MDB_dbi requests, ids, state;
    cn_buf *room; /* the tenant's, for whoever has a write transaction open: writing takes nothing from the heap */
} cn_trace_store;
/* The file as it is now: one that was cut short, removed or replaced meanwhile is opened anew; one that is damaged is set
 * aside first. create false: CN_NOT_FOUND where there is none. */
cn_err cn_trace_open(cn_tenant *t, bool create, cn_trace_store *ret);
void cn_trace_done(cn_trace_store *s);
#define CN_AUTO_TRACE __attribute__((cleanup(cn_trace_done)))
void cn_trace_grown(cn_tenant *t); /* after a commit: the file is larger, perhaps, and from now on less is a loss */
/* LMDB itself found the open file damaged: sets it aside, so that the next call begins a new one. */
void cn_trace_broken(cn_tenant *t, cn_trace_store *s);

cn_err cn_trace_state_get(const cn_trace_store *s, MDB_txn *txn, cn_trace_state *ret);
cn_err cn_trace_state_put(const cn_trace_store *s, MDB_txn *txn, const cn_trace_state *st);
