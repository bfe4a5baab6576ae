#include "index/catalog/recall.h"

#include "engine/base/os.h"
#include "index/control/records.h"

#define DATABASE "recall"
#define WHAT "a record of recall"
#define PACKED_MAX ((size_t)1 << 16)
#define BUCKET 7 /* numbers of one */

const char *const cn_recall_plans[CN_RECALL_PLANS] = {"scan", "cells", "abandoned", "faiss"};
const char *const cn_selectivities[CN_SELECTIVITIES] = {"all", ">=10%", ">=1%", "less"};
const double cn_recall_aims[CN_AIMS] = {.9, .95, .98, .99, .999, 1};

uint32_t cn_recall_aim(double recall) {
    uint32_t i = 0;
    while (i < CN_AIMS - 1 && recall > cn_recall_aims[i])
        i++;
    return i;
}

cn_recall_effort cn_recall_usual(void) {
    cn_recall_effort e;
    for (uint8_t i = 0; i < CN_AIMS; i++)
        e.aim[i] = i;
    return e;
}

/* ---------- buckets ---------- */
#define BUCKETS (CN_RECALL_PLANS * CN_SELECTIVITIES * CN_AIMS)
static cn_tally *bucket(cn_recall_counts *c, uint32_t i) { return &c->v[i / CN_AIMS / CN_SELECTIVITIES][i / CN_AIMS % CN_SELECTIVITIES][i % CN_AIMS]; }

cn_tally cn_recall_total(const cn_recall_counts *c) {
    cn_recall_counts all = *c;
    cn_tally t = {0};
    for (uint32_t i = 0; i < BUCKETS; i++)
        cn_tally_join(&t, bucket(&all, i));
    return t;
}

void cn_recall_join(cn_recall_counts *io, const cn_recall_counts *more) {
    cn_recall_counts x = *more;
    for (uint32_t i = 0; i < BUCKETS; i++)
        cn_tally_join(bucket(io, i), bucket(&x, i));
    io->dropped += more->dropped;
}

/* ---------- records ---------- */
typedef struct hour_key {
    char b[24];
} hour_key;

static hour_key key_of(uint64_t index_id, uint64_t version, uint64_t hour) {
    cn_catalog_key first = cn_key2(index_id, version), last = cn_key2(hour, 0);
    hour_key k;
    memcpy(k.b, first.b, 16);
    memcpy(k.b + 16, last.b, 8);
    return k;
}

static cn_str key_str(const hour_key *k) { return (cn_str){k->b, sizeof k->b}; }

#define FIELDS 3
static void fields_of(cn_str *packed, uint64_t *dropped, cn_recall_effort *effort, cn_field f[FIELDS]) {
    const cn_field all[FIELDS] = {{"counts", CN_F_BIN, packed, 0}, {"dropped", CN_F_U64, dropped, 0}, {"effort", CN_F_FIXED, effort, sizeof *effort}};
    memcpy(f, all, sizeof all);
}

static void pack_counts(cn_recall_counts *c, cn_buf *b) {
    uint32_t n = 0;
    size_t at = cn_pack_array_open(b);
    for (uint32_t i = 0; i < BUCKETS; i++) {
        const cn_tally *t = bucket(c, i);
        if (!t->n)
            continue;
        n++;
        cn_pack_array(b, BUCKET);
        cn_pack_uint(b, i / CN_AIMS / CN_SELECTIVITIES), cn_pack_uint(b, i / CN_AIMS % CN_SELECTIVITIES), cn_pack_uint(b, i % CN_AIMS);
        cn_pack_uint(b, t->n), cn_pack_uint(b, t->bits), cn_pack_f64(b, t->sum), cn_pack_f64(b, t->squares);
    }
    cn_pack_array_close(b, at, n);
}

static bool is_below(const msgpack_object *o, uint64_t end) { return o->type == MSGPACK_OBJECT_POSITIVE_INTEGER && o->via.u64 < end; }

static bool read_bucket(const msgpack_object *o, cn_recall_counts *c) {
    const msgpack_object *v = o->via.array.ptr;
    if (o->type != MSGPACK_OBJECT_ARRAY || o->via.array.size != BUCKET || !is_below(&v[0], CN_RECALL_PLANS) || !is_below(&v[1], CN_SELECTIVITIES) || !is_below(&v[2], CN_AIMS))
        return false;
    if (!is_below(&v[3], UINT64_MAX) || !is_below(&v[4], UINT64_MAX) || v[5].type != MSGPACK_OBJECT_FLOAT64 || v[6].type != MSGPACK_OBJECT_FLOAT64)
        return false;
    cn_tally *t = &c->v[v[0].via.u64][v[1].via.u64][v[2].via.u64];
    *t = (cn_tally){v[3].via.u64, v[4].via.u64, v[5].via.f64, v[6].via.f64};
    return cn_tally_is_sound(t);
}

static cn_err damaged(void) { return cn_fail(CN_DAMAGED, WHAT " cannot be read; restore work.mdb from a backup"); }

static cn_err read_record(cn_str value, cn_recall_counts *ret, cn_recall_effort *ret_effort) {
    CN_AUTO_UNPACKED cn_unpacked u = {0};
    cn_recall_counts c = {.dropped = 0};
    cn_recall_effort effort;
    cn_str packed;
    cn_field f[FIELDS];
    fields_of(&packed, &c.dropped, &effort, f);
    CN_TRY(cn_fields_read(value, WHAT, NULL, f, FIELDS));
    bool right = cn_unpack(&u, packed.p, packed.n) == CN_OK && u.o.type == MSGPACK_OBJECT_ARRAY && u.o.via.array.size <= BUCKETS;
    for (uint32_t i = 0; right && i < u.o.via.array.size; i++)
        right = read_bucket(&u.o.via.array.ptr[i], &c);
    for (uint32_t i = 0; right && i < CN_AIMS; i++)
        right = effort.aim[i] >= i && effort.aim[i] < CN_AIMS;
    if (!right)
        return damaged();
    *ret = c;
    *ret_effort = effort;
    return CN_OK;
}

/* ---------- adding ---------- */
typedef struct old {
    uint64_t before;
    hour_key *v;
    uint32_t n, room;
} old;

static cn_err note_old(void *ctx, cn_str key, cn_str value, bool *stop) {
    old *o = ctx;
    (void)value, (void)stop;
    if (key.n == sizeof(hour_key) && cn_be64(key.p + 16) >= o->before)
        return CN_OK;
    if (!cn_grow(o->v, o->n, o->room))
        return cn_fail_memory();
    memset(&o->v[o->n], 0, sizeof *o->v);
    memcpy(o->v[o->n++].b, key.p, key.n < sizeof(hour_key) ? key.n : sizeof(hour_key));
    return CN_OK;
}

/* Once an hour: of all indexes, so that those go too of what is no more. */
static cn_err forget_old(MDB_txn *txn, MDB_dbi dbi, uint64_t hour) {
    old o = {.before = hour > CN_RECALL_HOURS ? hour - CN_RECALL_HOURS : 0};
    cn_err err = cn_db_each(txn, dbi, (cn_str){"", 0}, note_old, &o);
    for (uint32_t i = 0; err == CN_OK && i < o.n; i++)
        err = cn_db_del(txn, dbi, key_str(&o.v[i]));
    cn_free(o.v);
    return err;
}

/* One that cannot be read is of no use, and begins anew. */
static cn_err add(MDB_txn *txn, MDB_dbi dbi, const hour_key *key, const cn_recall_counts *more, cn_recall_effort effort) {
    CN_AUTO_BUF cn_buf b = {0};
    cn_recall_counts c = {.dropped = 0};
    cn_recall_effort before;
    cn_str value, packed;
    cn_field f[FIELDS];
    cn_err err = cn_db_get(txn, dbi, key_str(key), &value);
    if (err == CN_NOT_FOUND)
        CN_TRY(forget_old(txn, dbi, cn_be64(key->b + 16)));
    else
        CN_TRY(err);
    if (err == CN_OK && read_record(value, &c, &before) != CN_OK)
        c = (cn_recall_counts){.dropped = 0};
    cn_recall_join(&c, more);
    cn_buf_init(&b, PACKED_MAX);
    pack_counts(&c, &b);
    CN_TRY(cn_buf_check(&b));
    packed = cn_buf_str(&b);
    fields_of(&packed, &c.dropped, &effort, f);
    return cn_fields_put_of(txn, dbi, key_str(key), f, FIELDS);
}

static cn_err open_work(cn_tenant *t, bool create, cn_env **ret, MDB_dbi *ret_dbi) {
    cn_env *env;
    cn_err err = cn_tenant_work(t, &env);
    if (err != CN_OK)
        return cn_wrap(err, "records of recall cannot be reached");
    CN_TRY(cn_env_dbi(env, DATABASE, create, ret_dbi));
    *ret = env;
    return CN_OK;
}

cn_err cn_recall_add(cn_tenant *t, uint64_t index_id, uint64_t version, const cn_recall_counts *more, const cn_recall_effort *effort) {
    cn_env *env;
    MDB_dbi dbi;
    MDB_txn *txn;
    hour_key key = key_of(index_id, version, (uint64_t)(cn_wall_us() / CN_RECALL_HOUR_US));
    CN_TRY(open_work(t, true, &env, &dbi));
    CN_TRY(cn_txn_write(env, &txn));
    cn_err err = add(txn, dbi, &key, more, *effort);
    if (err == CN_OK)
        return cn_txn_commit(env, txn);
    cn_txn_abort(env, txn);
    return err;
}

/* ---------- reading ---------- */
typedef struct reading {
    cn_recall_fn *fn;
    void *ctx;
} reading;

static cn_err read_hour(void *ctx, cn_str key, cn_str value, bool *stop) {
    const reading *r = ctx;
    cn_recall_hour h;
    (void)stop;
    if (key.n != sizeof(hour_key) || cn_be64(key.p + 16) > (uint64_t)(INT64_MAX / CN_RECALL_HOUR_US))
        return damaged();
    h.version = cn_be64(key.p + 8);
    h.at_us = (int64_t)cn_be64(key.p + 16) * CN_RECALL_HOUR_US;
    CN_TRY(read_record(value, &h.counts, &h.effort));
    return r->fn(r->ctx, &h);
}

cn_err cn_recall_each(cn_tenant *t, uint64_t index_id, uint64_t version, cn_recall_fn *fn, void *ctx) {
    cn_env *env;
    MDB_dbi dbi;
    MDB_txn *txn;
    reading r = {fn, ctx};
    hour_key key = key_of(index_id, version, 0);
    cn_err err = open_work(t, false, &env, &dbi);
    if (err != CN_OK)
        return err == CN_NOT_FOUND ? CN_OK : err; /* nothing was ever measured */
    CN_TRY(cn_txn_read(env, &txn));
    err = cn_db_each(txn, dbi, (cn_str){key.b, version ? 16 : 8}, read_hour, &r);
    cn_txn_abort(env, txn);
    return err;
}
