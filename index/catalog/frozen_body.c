/* frozen_body.c -- the questions of frozen sets: in work.mdb, under their digests. */
#include "engine/base/os.h"
#include "index/catalog/gate_inside.h"
#include "index/catalog/needed.h"
#include "index/catalog/sweep.h"

#define DATABASE "frozen"

#define BODY_FIELDS 2
static void body_fields(int64_t *at, cn_str *body, cn_field f[BODY_FIELDS]) {
    const cn_field all[BODY_FIELDS] = {{"at", CN_F_I64, at, 0}, {"body", CN_F_BIN, body, 0}};
    memcpy(f, all, sizeof all);
}

static cn_str key_of(const cn_digest *d) { return (cn_str){(const char *)d->b, sizeof d->b}; }

static cn_err open_work(cn_tenant *t, bool create, cn_env **ret, MDB_dbi *ret_dbi) {
    cn_env *env;
    cn_err err = cn_tenant_work(t, &env);
    if (err != CN_OK)
        return cn_wrap(err, "the questions of frozen sets cannot be reached");
    CN_TRY(cn_env_dbi(env, DATABASE, create, ret_dbi));
    *ret = env;
    return CN_OK;
}

static cn_err finish(cn_env *env, MDB_txn *txn, cn_err err) {
    if (err == CN_OK)
        return cn_txn_commit(env, txn);
    cn_txn_abort(env, txn);
    return err;
}

/* Also where it is there: so its hour begins anew, and no sweep takes it from who is about to name it. */
cn_err cn_frozen_body_put(cn_tenant *t, const cn_digest *digest, cn_str body) {
    cn_env *env;
    MDB_dbi dbi;
    MDB_txn *txn;
    int64_t now = cn_wall_us();
    cn_field f[BODY_FIELDS];
    body_fields(&now, &body, f);
    CN_TRY(open_work(t, true, &env, &dbi));
    CN_TRY(cn_txn_write(env, &txn));
    return finish(env, txn, cn_fields_put(txn, dbi, key_of(digest), f, BODY_FIELDS));
}

cn_err cn_frozen_body_get(cn_tenant *t, const cn_digest *digest, cn_arena *a, cn_str *ret) {
    cn_env *env;
    MDB_dbi dbi;
    MDB_txn *txn;
    int64_t at;
    cn_str value, body = {NULL, 0};
    cn_field f[BODY_FIELDS];
    body_fields(&at, &body, f);
    CN_TRY(open_work(t, false, &env, &dbi));
    CN_TRY(cn_txn_read(env, &txn));
    cn_err err = cn_db_get(txn, dbi, key_of(digest), &value);
    if (err == CN_OK)
        err = cn_fields_read(value, "the questions of a frozen set", a, f, BODY_FIELDS);
    cn_txn_abort(env, txn);
    if (err == CN_OK)
        *ret = body;
    return err;
}

/* ---------- sweeping ---------- */
typedef struct sweep {
    cn_arena a;
    cn_digest *named, *gone;
    uint32_t n_named, room_named, n_gone, room_gone;
} sweep;

static cn_err note_index(sweep *s, const cn_catalog *c, MDB_txn *txn, uint64_t index_id) {
    cn_frozen_set *v;
    uint32_t n;
    CN_TRY(cn_frozen_sets_in(c, txn, index_id, &s->a, &v, NULL, NULL, &n));
    for (uint32_t i = 0; i < n; i++) {
        if (!cn_grow(s->named, s->n_named, s->room_named))
            return cn_fail_memory();
        s->named[s->n_named++] = v[i].digest;
    }
    return CN_OK;
}

static cn_err note_named(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    sweep *s = ctx;
    uint64_t *ids;
    uint32_t n;
    CN_TRY(cn_index_ids(c, txn, &s->a, &ids, &n));
    for (uint32_t i = 0; i < n; i++)
        CN_TRY(note_index(s, c, txn, ids[i]));
    return CN_OK;
}

static bool is_named(const sweep *s, cn_str key) {
    for (uint32_t i = 0; i < s->n_named; i++)
        if (cn_str_eq(key_of(&s->named[i]), key))
            return true;
    return false;
}

/* One that cannot be read is of no use, and as old as can be. */
static bool is_due(cn_str value) {
    int64_t at = 0;
    cn_str body;
    cn_field f[BODY_FIELDS];
    body_fields(&at, &body, f);
    cn_err err = cn_fields_read(value, "the questions of a frozen set", NULL, f, BODY_FIELDS);
    return (err == CN_OK || err == CN_DAMAGED) && cn_is_due(at, CN_UNNAMED_US);
}

static cn_err note_gone(void *ctx, cn_str key, cn_str value, bool *stop) {
    sweep *s = ctx;
    (void)stop;
    if (key.n != sizeof(cn_digest) || is_named(s, key) || !is_due(value))
        return CN_OK;
    if (!cn_grow(s->gone, s->n_gone, s->room_gone))
        return cn_fail_memory();
    memcpy(&s->gone[s->n_gone++], key.p, key.n);
    return CN_OK;
}

static cn_err look(cn_tenant *t, MDB_txn *txn, MDB_dbi dbi, sweep *s) {
    s->n_named = s->n_gone = 0;
    CN_TRY(cn_catalog_read(t, note_named, s));
    return cn_db_each(txn, dbi, (cn_str){"", 0}, note_gone, s);
}

/* Who freezes puts the body first, under this writer; so what is old by now, and named by none in a look at the catalog that
 * began after this transaction did, is about to be named by nobody. */
static cn_err remove_gone(cn_tenant *t, MDB_txn *txn, MDB_dbi dbi, sweep *s) {
    CN_TRY(look(t, txn, dbi, s));
    for (uint32_t i = 0; i < s->n_gone; i++)
        CN_TRY(cn_db_del(txn, dbi, key_of(&s->gone[i])));
    return CN_OK;
}

static cn_err sweep_some(cn_tenant *t, cn_env *env, MDB_dbi dbi, sweep *s) {
    MDB_txn *txn;
    CN_TRY(cn_txn_read(env, &txn));
    cn_err err = look(t, txn, dbi, s);
    cn_txn_abort(env, txn);
    if (err != CN_OK || s->n_gone == 0) /* nearly always: the writer is not taken */
        return err;
    CN_TRY(cn_txn_write(env, &txn));
    return finish(env, txn, remove_gone(t, txn, dbi, s));
}

cn_err cn_frozen_sweep(cn_tenant *t) {
    cn_env *env;
    MDB_dbi dbi;
    sweep s = {.named = NULL};
    cn_err err = open_work(t, false, &env, &dbi);
    if (err != CN_OK)
        return err == CN_NOT_FOUND ? CN_OK : err; /* nothing was ever frozen */
    cn_arena_init(&s.a, 4096, (size_t)64 << 20);
    err = sweep_some(t, env, dbi, &s);
    cn_free(s.named);
    cn_free(s.gone);
    cn_arena_done(&s.a);
    return err;
}
