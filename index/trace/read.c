/* read.c -- records found again: by trace id, or since a time. */
#include <string.h>

#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "index/trace/inside.h"

#define LOOK_EVERY 1024 /* records between two looks at the clock */

/* CN_OK also for a record that fails its checksum: it is told of, and the others are still read. */
static cn_err tell(cn_unpacked *u, cn_str value, const cn_trace_key *key, cn_trace_fn *fn, void *ctx, bool *stop) {
    cn_err e = cn_record_read(u, value, CN_TRACE_FORMAT, "a request record");
    if (e != CN_OK && e != CN_DAMAGED)
        return e;
    return fn(ctx, key, e == CN_OK ? &u->o : NULL, stop);
}

/* ---------- by trace id ---------- */
typedef struct by_id {
    const cn_trace_store *s;
    MDB_txn *txn;
    cn_unpacked *u;
    cn_trace_fn *fn;
    void *ctx;
} by_id;

static cn_err one_id(void *ctx, cn_str key, cn_str value, bool *stop) {
    (void)value;
    by_id *b = ctx;
    cn_trace_bytes at;
    cn_trace_key k;
    cn_str record;
    if (key.n != CN_TRACE_KEY_BYTES)
        return cn_fail(CN_DAMAGED, "the key of a request record has %zu bytes", key.n);
    memcpy(at.b, key.p + CN_TRACE_ID, 12);
    memcpy(at.b + 12, key.p, CN_TRACE_ID);
    CN_TRY(cn_trace_request_key_read(CN_TRACE_REQUEST_KEY(&at), &k));
    cn_err e = cn_db_get(b->txn, b->s->requests, CN_TRACE_REQUEST_KEY(&at), &record);
    if (e == CN_NOT_FOUND)
        return cn_fail(CN_DAMAGED, "a request record that is named by its trace id is missing");
    CN_TRY(e);
    return tell(b->u, record, &k, b->fn, b->ctx, stop);
}

cn_err cn_trace_get(cn_tenant *t, const cn_trace_id *id, cn_trace_fn *fn, void *ctx) {
    CN_AUTO_TRACE cn_trace_store s = {0};
    CN_AUTO_UNPACKED cn_unpacked u = {0};
    MDB_txn *txn;
    cn_err e = cn_trace_open(t, false, &s);
    if (e == CN_NOT_FOUND)
        return CN_OK;
    CN_TRY(e);
    CN_TRY(cn_txn_read(s.env, &txn));
    by_id b = {&s, txn, &u, fn, ctx};
    e = cn_db_each(txn, s.ids, (cn_str){(const char *)id->b, CN_TRACE_ID}, one_id, &b);
    cn_txn_abort(s.env, txn);
    return e;
}

/* ---------- since a time ---------- */
/* A damaged record may have held it, before its bytes changed. */
static bool may_hold(cn_str record, cn_str word) {
    return !word.n || memmem(record.p, record.n, word.p, word.n) || !cn_record_holds(record);
}

static cn_err each(MDB_cursor *c, cn_trace_scan *io, cn_trace_fn *fn, void *ctx) {
    CN_AUTO_UNPACKED cn_unpacked u = {0};
    cn_trace_bytes from = cn_trace_request_key(io->after ? io->after : &(cn_trace_key){.at_us = io->from_us < 0 ? 0 : io->from_us});
    MDB_val k = {sizeof from.b, from.b}, v;
    int rc = cn_cursor_get(c, &k, &v, MDB_SET_RANGE);
    if (rc == 0 && io->after && k.mv_size == sizeof from.b && memcmp(k.mv_data, from.b, sizeof from.b) == 0)
        rc = cn_cursor_get(c, &k, &v, MDB_NEXT);
    for (uint32_t n = 1; rc == 0; n++, rc = cn_cursor_get(c, &k, &v, MDB_NEXT)) {
        bool stop = false;
        if (n % LOOK_EVERY == 0 && io->deadline_ns && cn_mono_ns() > io->deadline_ns) {
            io->more = true;
            return CN_OK;
        }
        cn_trace_key key;
        CN_TRY(cn_trace_request_key_read((cn_str){k.mv_data, k.mv_size}, &key));
        cn_str value = {v.mv_data, v.mv_size};
        if (cn_trace_is_gap(&key) || may_hold(value, io->word))
            CN_TRY(tell(&u, value, &key, fn, ctx, &stop));
        if (stop) {
            io->more = true;
            return CN_OK;
        }
        io->last = key;
    }
    return rc == MDB_NOTFOUND ? CN_OK : cn_mdb(rc, "reading the request records");
}

cn_err cn_trace_each(cn_tenant *t, cn_trace_scan *io, cn_trace_fn *fn, void *ctx) {
    CN_AUTO_TRACE cn_trace_store s = {0};
    MDB_txn *txn;
    io->more = false;
    io->last = io->after ? *io->after : (cn_trace_key){.at_us = io->from_us};
    cn_err e = cn_trace_open(t, false, &s);
    if (e == CN_NOT_FOUND)
        return CN_OK;
    CN_TRY(e);
    CN_TRY(cn_txn_read(s.env, &txn));
    CN_CLEANUP(cn_cursor_close) MDB_cursor *c = NULL;
    e = cn_mdb(cn_cursor_open(txn, s.requests, &c), "reading the request records");
    if (e == CN_OK)
        e = each(c, io, fn, ctx);
    if (c)
        mdb_cursor_close(c);
    c = NULL;
    cn_txn_abort(s.env, txn);
    return e;
}
