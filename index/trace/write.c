/* write.c -- records put, and the oldest taken away. */
#include <stdatomic.h>

#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "index/trace/inside.h"

#define PRUNE_MAX 10000 /* records a transaction takes away, so that it stays short */
#define PAGE ((uint64_t)4096)
#define ID_RANDOM 10    /* bytes of an id behind its time */

static void be64(uint8_t *p, uint64_t v) {
    for (int i = 0; i < 8; i++)
        p[i] = (uint8_t)(v >> (56 - 8 * i));
}

static void be32(uint8_t *p, uint32_t v) {
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> (24 - 8 * i));
}

void cn_trace_id_make(cn_trace_id *ret) {
    static _Thread_local uint8_t pool[ID_RANDOM * 32]; /* of random bytes many are got at a time */
    static _Thread_local size_t left;
    if (left == 0)
        cn_random(pool, left = sizeof pool);
    left -= ID_RANDOM;
    be64(ret->b, (uint64_t)cn_wall_us() / 1000 << 16);
    memcpy(ret->b + CN_TRACE_ID - ID_RANDOM, pool + left, ID_RANDOM);
}

cn_trace_bytes cn_trace_request_key(const cn_trace_key *k) {
    cn_trace_bytes r;
    be64(r.b, (uint64_t)k->at_us);
    be32(r.b + 8, k->number);
    memcpy(r.b + 12, k->id.b, CN_TRACE_ID);
    return r;
}

cn_trace_bytes cn_trace_id_key(const cn_trace_key *k) {
    cn_trace_bytes r;
    memcpy(r.b, k->id.b, CN_TRACE_ID);
    be64(r.b + CN_TRACE_ID, (uint64_t)k->at_us);
    be32(r.b + CN_TRACE_ID + 8, k->number);
    return r;
}

cn_err cn_trace_request_key_read(cn_str bytes, cn_trace_key *ret) {
    uint64_t at = 0;
    cn_trace_key k = {0};
    const uint8_t *p = (const uint8_t *)bytes.p;
    if (bytes.n != CN_TRACE_KEY_BYTES)
        return cn_fail(CN_DAMAGED, "the key of a request record has %zu bytes", bytes.n);
    for (int i = 0; i < 8; i++)
        at = at << 8 | p[i];
    for (int i = 8; i < 12; i++)
        k.number = k.number << 8 | p[i];
    k.at_us = (int64_t)at;
    memcpy(k.id.b, p + 12, CN_TRACE_ID);
    *ret = k;
    return CN_OK;
}

void cn_trace_key_text(const cn_trace_key *k, char text[CN_TRACE_KEY_TEXT]) {
    cn_trace_bytes b = cn_trace_request_key(k);
    cn_hex(b.b, sizeof b.b, text);
}

cn_err cn_trace_key_parse(cn_str text, cn_trace_key *ret) {
    cn_trace_bytes b;
    if (cn_unhex(text, b.b, sizeof b.b) != 0)
        return cn_fail(CN_INVALID, "field \"after\" must be the `next` of the page before");
    return cn_trace_request_key_read(CN_TRACE_REQUEST_KEY(&b), ret);
}

bool cn_trace_is_gap(const cn_trace_key *k) {
    static const cn_trace_id none;
    return memcmp(&k->id, &none, sizeof none) == 0;
}

void cn_trace_gap_pack(cn_buf *out, const char *why, uint64_t records) {
    cn_pack_map(out, 2);
    cn_pack_cstr(out, "gap"), cn_pack_cstr(out, why);
    cn_pack_cstr(out, "records"), cn_pack_uint(out, records);
}

/* What a record takes in the file, about: one that does not fit into half a page has pages of its own. */
static uint64_t cost_of(size_t value) {
    uint64_t keys = 2 * (CN_TRACE_KEY_BYTES + 16);
    return keys + (value <= PAGE / 2 - 64 ? value : (value + 16 + PAGE - 1) / PAGE * PAGE);
}

/* ---------- away with the oldest ---------- */
static cn_err drop(const cn_trace_store *s, MDB_txn *txn, MDB_cursor *c, const MDB_val *k, size_t value, cn_trace_state *st) {
    cn_trace_key key;
    CN_TRY(cn_trace_request_key_read((cn_str){k->mv_data, k->mv_size}, &key));
    cn_trace_bytes id = cn_trace_id_key(&key);
    CN_TRY(cn_mdb(mdb_cursor_del(c, 0), "taking away a request record"));
    CN_TRY(cn_db_del(txn, s->ids, CN_TRACE_REQUEST_KEY(&id)));
    st->bytes -= cost_of(value) < st->bytes ? cost_of(value) : st->bytes;
    st->records -= st->records > 0;
    st->from_us = key.at_us;
    return CN_OK;
}

static bool over(const cn_trace_state *st, const cn_trace_limits *lim, int64_t at_us, int64_t now_us) {
    return st->bytes > lim->bytes || (now_us > at_us && (uint64_t)(now_us - at_us) > lim->keep_us);
}

static cn_err drop_oldest(const cn_trace_store *s, MDB_txn *txn, MDB_cursor *c, const cn_trace_limits *lim, cn_trace_state *st, bool *ret_more) {
    int64_t now = cn_wall_us();
    MDB_val k, v;
    cn_trace_key key;
    int rc = cn_cursor_get(c, &k, &v, MDB_FIRST);
    for (uint32_t n = 0; rc == 0; n++) {
        CN_TRY(cn_trace_request_key_read((cn_str){k.mv_data, k.mv_size}, &key));
        *ret_more = over(st, lim, key.at_us, now);
        if (!*ret_more || n == PRUNE_MAX)
            return CN_OK;
        CN_TRY(drop(s, txn, c, &k, v.mv_size, st));
        rc = cn_cursor_get(c, &k, &v, MDB_FIRST);
    }
    *ret_more = false;
    st->bytes = rc == MDB_NOTFOUND ? 0 : st->bytes; /* the sum is near enough, and none is none */
    return rc == MDB_NOTFOUND ? CN_OK : cn_mdb(rc, "reading the oldest request record");
}

static cn_err prune(const cn_trace_store *s, MDB_txn *txn, const cn_trace_limits *lim, cn_trace_state *st, bool *ret_more) {
    MDB_cursor *c;
    CN_TRY(cn_mdb(cn_cursor_open(txn, s->requests, &c), "reading the request records"));
    cn_err e = drop_oldest(s, txn, c, lim, st, ret_more);
    mdb_cursor_close(c);
    return e;
}

/* ---------- putting ---------- */
static _Atomic uint32_t numbers; /* two records of one moment and one trace still have two keys */

static cn_err put_one(const cn_trace_store *s, MDB_txn *txn, const cn_trace_entry *e, cn_trace_state *st) {
    cn_buf *room = s->room;
    cn_trace_key key = {e->at_us, atomic_fetch_add(&numbers, 1), e->id};
    cn_trace_bytes k = cn_trace_request_key(&key), id = cn_trace_id_key(&key);
    cn_buf_reset(room);
    size_t at = cn_record_open(room, CN_TRACE_FORMAT);
    cn_buf_add(room, e->map.p, e->map.n);
    cn_record_close(room, at);
    CN_TRY(cn_buf_check(room));
    CN_TRY(cn_db_put(txn, s->requests, CN_TRACE_REQUEST_KEY(&k), cn_buf_str(room)));
    if (!cn_trace_is_gap(&key))
        CN_TRY(cn_db_put(txn, s->ids, CN_TRACE_REQUEST_KEY(&id), CN_STR("")));
    st->records++;
    st->bytes += cost_of(room->n);
    return CN_OK;
}

/* Never over half of the map, so that there is always room for a transaction's copies. */
static cn_err within_map(const cn_trace_store *s, MDB_txn *txn, cn_trace_limits *io) {
    (void)s;
    MDB_envinfo info;
    CN_TRY(cn_mdb(mdb_env_info(mdb_txn_env(txn), &info), "the size of trace.mdb"));
    uint64_t half = info.me_mapsize / 2;
    io->bytes = io->bytes < half ? io->bytes : half;
    return CN_OK;
}

static cn_err put_all(const cn_trace_store *s, MDB_txn *txn, const cn_trace_entry *v, uint32_t n, const cn_trace_limits *limits, bool *ret_more) {
    cn_trace_state st;
    CN_TRY(cn_trace_state_get(s, txn, &st));
    if (limits)
        st.limits = *limits;
    cn_trace_limits lim = st.limits;
    CN_TRY(within_map(s, txn, &lim));
    for (uint32_t i = 0; i < n && lim.bytes; i++) {
        CN_TRY(put_one(s, txn, &v[i], &st));
        cn_give_way_at(i);
    }
    CN_TRY(prune(s, txn, &lim, &st, ret_more));
    return cn_trace_state_put(s, txn, &st);
}

static cn_err write_in(cn_tenant *t, bool create, const cn_trace_entry *v, uint32_t n, const cn_trace_limits *limits, bool *ret_more) {
    CN_AUTO_TRACE cn_trace_store s = {0};
    MDB_txn *txn;
    CN_TRY(cn_trace_open(t, create, &s));
    CN_TRY(cn_txn_write(s.env, &txn));
    cn_err e = put_all(&s, txn, v, n, limits, ret_more);
    if (e == CN_OK)
        e = cn_txn_commit(s.env, txn);
    else
        cn_txn_abort(s.env, txn);
    if (e == CN_DAMAGED)
        cn_trace_broken(t, &s);
    else if (e == CN_OK)
        cn_trace_grown(t);
    return e;
}

cn_err cn_trace_put(cn_tenant *t, const cn_trace_entry *v, uint32_t n, const cn_trace_limits *limits) {
    bool more;
    cn_err e = write_in(t, true, v, n, limits, &more);
    return e == CN_DAMAGED ? write_in(t, true, v, n, limits, &more) : e; /* the damaged one is aside now */
}

cn_err cn_trace_prune(cn_tenant *t, const cn_trace_limits *limits, bool *ret_more) {
    bool more = false;
    cn_err e = write_in(t, false, NULL, 0, limits, &more);
    if (e != CN_NOT_FOUND)
        CN_TRY(e);
    *ret_more = e == CN_OK && more;
    return CN_OK;
}
