#include "index/control/inforce.h"

#include "engine/base/arena.h"
#include "engine/base/pack.h"
#include "index/control/records.h"

#define LABELS_ARENA ((size_t)4 << 20)
_Static_assert(3 * CN_REVOKED_LABELS_MAX * sizeof(cn_str) < LABELS_ARENA, "an entry of a list fits");

#define WHAT "policy's list of revocations in force"

/* Takes a record out; CN_NOT_FOUND when it is not there. */
static cn_err take_out(MDB_txn *txn, MDB_dbi dbi, cn_str key, cn_sum *s) {
    cn_str old;
    CN_TRY(cn_db_get(txn, dbi, key, &old));
    cn_sum_remove(s, key, old);
    return cn_db_del(txn, dbi, key);
}

cn_err cn_inforce_sum_get(MDB_txn *txn, MDB_dbi inforce, cn_sum *ret) { return cn_sum_get(txn, inforce, WHAT, ret); }

cn_err cn_inforce_put(MDB_txn *txn, MDB_dbi inforce, uint64_t index_id, uint64_t number, const cn_part *own) {
    cn_part copy = *own;
    cn_catalog_key key = cn_key2(index_id, number);
    const cn_field f[] = {{"own", CN_F_FIXED, copy.id.b, CN_SEG_ID}, {"digest", CN_F_FIXED, copy.digest.b, 32}};
    cn_sum s = {0};
    cn_str value;
    CN_TRY(cn_inforce_sum_get(txn, inforce, &s));
    cn_err e = take_out(txn, inforce, cn_key2_str(&key), &s);
    if (e != CN_OK && e != CN_NOT_FOUND)
        return e;
    CN_TRY(cn_fields_put(txn, inforce, cn_key2_str(&key), f, 2));
    CN_TRY(cn_db_get(txn, inforce, cn_key2_str(&key), &value));
    cn_sum_add(&s, cn_key2_str(&key), value);
    return cn_sum_put(txn, inforce, &s);
}

cn_err cn_inforce_withdraw(cn_tenant *t, MDB_txn *txn, uint64_t index_id, uint64_t number) {
    MDB_dbi dbi;
    cn_sum s = {0};
    CN_TRY(cn_env_dbi(cn_tenant_control(t), "inforce", false, &dbi));
    CN_TRY(cn_inforce_sum_get(txn, dbi, &s));
    cn_catalog_key key = cn_key2(index_id, number);
    cn_err e = take_out(txn, dbi, cn_key2_str(&key), &s);
    if (e == CN_NOT_FOUND)
        return cn_fail(CN_NOT_FOUND, "no revocations of version %llu are in force", (unsigned long long)number);
    CN_TRY(e);
    return cn_sum_put(txn, dbi, &s);
}

/* The key of the first list of the index, if it is of a version up to `to`. */
static cn_err first_of(MDB_txn *txn, MDB_dbi dbi, uint64_t index_id, uint64_t to, cn_catalog_key *ret) {
    cn_catalog_key first = cn_key2(index_id, 0);
    MDB_cursor *cur;
    MDB_val k = {sizeof first, first.b}, v;
    CN_TRY(cn_mdb(cn_cursor_open(txn, dbi, &cur), "ending revocations"));
    int rc = cn_cursor_get(cur, &k, &v, MDB_SET_RANGE);
    bool fits = rc == 0 && k.mv_size == sizeof first && memcmp(k.mv_data, first.b, 8) == 0 && cn_be64((const char *)k.mv_data + 8) <= to;
    if (fits)
        memcpy(ret, k.mv_data, sizeof *ret);
    mdb_cursor_close(cur);
    return fits ? CN_OK : rc == 0 || rc == MDB_NOTFOUND ? CN_NOT_FOUND : cn_mdb(rc, "ending revocations");
}

cn_err cn_inforce_end(MDB_txn *txn, MDB_dbi inforce, uint64_t index_id, uint64_t to) {
    cn_sum s = {0};
    cn_catalog_key key;
    cn_err e;
    CN_TRY(cn_inforce_sum_get(txn, inforce, &s));
    while ((e = first_of(txn, inforce, index_id, to, &key)) == CN_OK)
        CN_TRY(take_out(txn, inforce, cn_key2_str(&key), &s));
    return e == CN_NOT_FOUND ? cn_sum_put(txn, inforce, &s) : e;
}

typedef struct each {
    cn_inforce_fn *fn;
    void *ctx;
    cn_sum sum;
} each;

static cn_err one(void *ctx, cn_str key, cn_str value, bool *stop) {
    (void)stop;
    each *w = ctx;
    cn_part own = {0};
    const cn_field f[] = {{"own", CN_F_FIXED, own.id.b, CN_SEG_ID}, {"digest", CN_F_FIXED, own.digest.b, 32}};
    if (cn_sum_is(key))
        return CN_OK;
    if (key.n != sizeof(cn_catalog_key))
        return cn_fail(CN_DAMAGED, "a key of the policy's revocations in force has %zu bytes", key.n);
    CN_TRY(cn_fields_read(value, "a record of the policy's revocations in force", NULL, f, 2));
    cn_sum_add(&w->sum, key, value);
    return w->fn(w->ctx, cn_be64(key.p), cn_be64(key.p + 8), &own);
}

cn_err cn_inforce_each(cn_tenant *t, MDB_txn *txn, cn_inforce_fn *fn, void *ctx) {
    MDB_dbi dbi;
    each w = {fn, ctx, {0}};
    cn_sum want = {0};
    CN_TRY(cn_env_dbi(cn_tenant_control(t), "inforce", true, &dbi));
    CN_TRY(cn_inforce_sum_get(txn, dbi, &want));
    CN_TRY(cn_db_each(txn, dbi, (cn_str){"", 0}, one, &w));
    return cn_sum_same(&want, &w.sum) ? CN_OK : cn_sum_differs(WHAT);
}

/* ---------- the list ---------- */
static cn_err damaged(void) { return cn_fail(CN_DAMAGED, "a version's list of revocations cannot be read"); }

static cn_err take_labels(const msgpack_object *o, cn_arena *a, cn_labels *ret) {
    if (o->type != MSGPACK_OBJECT_ARRAY || o->via.array.size > CN_REVOKED_LABELS_MAX)
        return damaged();
    cn_str *v = cn_arena_zalloc(a, o->via.array.size + 1u, sizeof *v);
    if (!v)
        return cn_fail_memory();
    for (uint32_t i = 0; i < o->via.array.size; i++) {
        v[i] = cn_obj_str(&o->via.array.ptr[i]);
        if (!v[i].n || (i && cn_str_cmp(v[i - 1], v[i]) >= 0))
            return damaged();
    }
    *ret = (cn_labels){v, o->via.array.size};
    return CN_OK;
}

static cn_err entry(cn_str bytes, cn_unpacked *u, cn_arena *a, cn_revoked_fn *fn, void *ctx) {
    cn_triple gone;
    cn_key key;
    CN_TRY(cn_unpack(u, bytes.p, bytes.n));
    if (u->o.type != MSGPACK_OBJECT_ARRAY || u->o.via.array.size != 4)
        return damaged();
    const msgpack_object *f = u->o.via.array.ptr;
    cn_str k = cn_obj_str(&f[0]);
    if (k.n != sizeof key)
        return damaged();
    memcpy(&key, k.p, sizeof key);
    CN_TRY(take_labels(&f[1], a, &gone.allow));
    CN_TRY(take_labels(&f[2], a, &gone.deny));
    CN_TRY(take_labels(&f[3], a, &gone.require));
    return fn(ctx, &key, &gone);
}

cn_err cn_revoked_each(cn_seg *own, cn_revoked_fn *fn, void *ctx) {
    CN_AUTO_UNPACKED cn_unpacked u = {0};
    cn_arena a __attribute__((cleanup(cn_arena_done)));
    cn_str list;
    uint32_t head[2];
    uint64_t entries;
    cn_arena_init(&a, 16384, LABELS_ARENA);
    cn_err e = cn_seg_part(own, CN_PART_REVOKED, CN_STR(""), &list);
    if (e != CN_OK)
        return e == CN_NOT_FOUND ? damaged() : e;
    if (list.n < 16)
        return damaged();
    memcpy(head, list.p, 8);
    memcpy(&entries, list.p + 8, 8);
    if (head[0] != 1)
        return damaged();
    size_t at = 16;
    for (uint64_t i = 0; i < entries; i++) {
        size_t n;
        if (cn_pack_check(list.p + at, list.n - at, &n) != CN_OK)
            return damaged();
        cn_arena_reset(&a);
        CN_TRY(entry((cn_str){list.p + at, n}, &u, &a, fn, ctx));
        at += n;
    }
    return at == list.n ? CN_OK : damaged();
}
