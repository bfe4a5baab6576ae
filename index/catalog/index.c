#include "index/catalog/index.h"

#include "engine/base/os.h"
#include "index/catalog/control.h"
#include "index/policy/policy.h"

#define INDEXES_MAX 1024
#define ARENA ((size_t)64 << 20)

void cn_index_settings_default(cn_index_settings *s) {
    *s = (cn_index_settings){.embedder = CN_STR("none"), .precision = CN_STR(""), .chunker = CN_STR("structure"), .metric = CN_COSINE,
                             .mode = CN_STR("dense"), .keep_versions = 5, .keep_days = 7};
}

typedef struct count {
    uint32_t n;
} count;

static cn_err count_one(void *ctx, cn_str key, cn_str value, bool *stop) {
    (void)key, (void)value, (void)stop;
    ((count *)ctx)->n++;
    return CN_OK;
}

static cn_err create_in(cn_control *c, cn_str name, const cn_index_settings *s, const cn_actor *who) {
    count all = {0};
    cn_str there;
    uint64_t id;
    cn_err e = cn_db_get(c->txn, c->indexes, name, &there);
    if (e == CN_OK)
        return cn_fail(CN_CONFLICT, "an index is called " CN_STR_FMT " already", CN_STR_ARG(name));
    if (e != CN_NOT_FOUND)
        return e;
    CN_TRY(cn_db_each(c->txn, c->indexes, (cn_str){"", 0}, count_one, &all));
    if (all.n >= INDEXES_MAX)
        return cn_fail(CN_REFUSED, "this tenant has %d indexes, which is the most; drop one", INDEXES_MAX);
    CN_TRY(cn_meta_u64(c, "next_index", &id));
    if (id == 0)
        CN_TRY(cn_policy_init(c->t, c->txn)); /* the explicit empty policy */
    cn_index_info ix = {.name = name, .set = *s, .id = id + 1, .made_us = cn_wall_us()};
    cn_random(&ix.seed, sizeof ix.seed);
    CN_TRY(cn_meta_put_u64(c, "next_index", id + 1));
    CN_TRY(cn_index_write(c, &ix));
    CN_TRY(cn_epoch_raise(c->t, c->txn, NULL));
    return cn_audit_add(c->t, c->txn, who, "index.create", name, "done", (cn_str){NULL, 0});
}

cn_err cn_index_create(cn_tenant *t, cn_str name, const cn_index_settings *s, const cn_actor *who) {
    CN_AUTO_CONTROL cn_control c;
    CN_TRY(cn_name_check(name, "index"));
    CN_TRY(cn_control_write(t, &c));
    CN_TRY(create_in(&c, name, s, who));
    return cn_control_commit(&c);
}

cn_err cn_index_get(cn_tenant *t, cn_str name, cn_arena *a, cn_index_info *ret) {
    CN_AUTO_CONTROL cn_control c;
    CN_TRY(cn_control_read(t, &c));
    return cn_index_read(&c, name, a, ret);
}

typedef struct gather {
    cn_arena *a;
    cn_index_info *v;
    uint32_t n;
} gather;

static cn_err gather_one(void *ctx, cn_str key, cn_str value, bool *stop) {
    gather *g = ctx;
    *stop = g->n + 1 == INDEXES_MAX;
    CN_TRY(cn_index_decode(value, key, g->a, &g->v[g->n]));
    g->n++;
    return CN_OK;
}

cn_err cn_index_list(cn_tenant *t, cn_arena *a, cn_index_info **ret, uint32_t *ret_n) {
    CN_AUTO_CONTROL cn_control c;
    gather g = {a, cn_arena_zalloc(a, INDEXES_MAX, sizeof(cn_index_info)), 0};
    if (!g.v)
        return cn_fail_memory();
    CN_TRY(cn_control_read(t, &c));
    CN_TRY(cn_db_each(c.txn, c.indexes, (cn_str){"", 0}, gather_one, &g));
    *ret = g.v;
    *ret_n = g.n;
    return CN_OK;
}

static cn_err only_soft(const cn_index_settings *was, const cn_index_settings *now) {
    bool hard = !cn_str_eq(was->embedder, now->embedder) || !cn_str_eq(was->precision, now->precision) || !cn_str_eq(was->chunker, now->chunker) ||
                was->metric != now->metric || was->dim != now->dim || !cn_digest_eq(&was->embedder_digest, &now->embedder_digest);
    return hard ? cn_fail(CN_INVALID, "embedder, precision, chunker, metric and dimension need a rebuild; mode, keep_versions, keep_days and activate can be set") : CN_OK;
}

cn_err cn_index_set(cn_tenant *t, cn_str name, const cn_index_settings *s, const cn_actor *who) {
    CN_AUTO_CONTROL cn_control c;
    cn_arena a __attribute__((cleanup(cn_arena_done)));
    cn_index_info ix;
    cn_arena_init(&a, 4096, ARENA);
    CN_TRY(cn_control_write(t, &c));
    CN_TRY(cn_index_read(&c, name, &a, &ix));
    CN_TRY(only_soft(&ix.set, s));
    ix.set = *s;
    CN_TRY(cn_index_write(&c, &ix));
    CN_TRY(cn_epoch_raise(t, c.txn, NULL));
    CN_TRY(cn_audit_add(t, c.txn, who, "index.set", name, "done", (cn_str){NULL, 0}));
    return cn_control_commit(&c);
}

cn_err cn_index_drop(cn_tenant *t, cn_str name, const cn_actor *who) {
    CN_AUTO_CONTROL cn_control c;
    cn_arena a __attribute__((cleanup(cn_arena_done)));
    cn_index_info ix;
    cn_version *v;
    uint32_t n;
    cn_arena_init(&a, 65536, ARENA);
    CN_TRY(cn_control_write(t, &c));
    CN_TRY(cn_index_read(&c, name, &a, &ix));
    CN_TRY(cn_versions_of(&c, ix.id, &a, &v, &n));
    for (uint32_t i = 0; i < n; i++) {
        uint8_t key[CN_VERSION_KEY];
        cn_version_key(ix.id, v[i].number, key);
        CN_TRY(cn_db_del(c.txn, c.versions, (cn_str){(const char *)key, sizeof key}));
    }
    CN_TRY(cn_db_del(c.txn, c.indexes, name));
    CN_TRY(cn_epoch_raise(t, c.txn, NULL));
    CN_TRY(cn_audit_add(t, c.txn, who, "index.drop", name, "done", (cn_str){NULL, 0}));
    return cn_control_commit(&c);
}

/* ---------- the space of codes ---------- */
cn_err cn_space_key(uint64_t index_id, const cn_recipe *r, uint8_t key[40]) {
    uint8_t what[40], place[CN_VERSION_KEY];
    memcpy(what, r->embedder_digest.b, 32);
    memcpy(what + 32, &r->dim, 4);
    uint32_t metric = r->metric;
    memcpy(what + 36, &metric, 4);
    cn_digest d = cn_sha256_of(what, sizeof what);
    cn_version_key(index_id, 0, place);
    memcpy(key, place, 8);
    memcpy(key + 8, d.b, 32);
    return CN_OK;
}

static cn_err decode_space(cn_str bytes, const cn_recipe *r, cn_arena *a, cn_space *ret) {
    CN_AUTO_UNPACKED cn_unpacked u = {0};
    uint64_t seed = 0;
    cn_str mean = {NULL, 0};
    CN_TRY(cn_record_read(&u, bytes, CN_RECORD_FORMAT, "the record of a code space"));
    CN_TRY(cn_get_uint(&u.o, "seed", 0, UINT64_MAX, &seed));
    CN_TRY(cn_get_str(&u.o, "mean", &mean));
    if (mean.n != r->dim * sizeof(float))
        return cn_fail(CN_DAMAGED, "the mean of a code space has %zu bytes", mean.n);
    float *own = cn_arena_alloc(a, mean.n);
    if (!own)
        return cn_fail_memory();
    memcpy(own, mean.p, mean.n);
    *ret = (cn_space){r->metric, r->dim, seed, own};
    return CN_OK;
}

cn_err cn_version_space(cn_tenant *t, uint64_t index_id, const cn_recipe *r, cn_arena *a, cn_space *ret) {
    CN_AUTO_CONTROL cn_control c;
    uint8_t key[40];
    cn_str v;
    CN_TRY(cn_space_key(index_id, r, key));
    CN_TRY(cn_control_read(t, &c));
    cn_err e = r->dim ? cn_db_get(c.txn, c.spaces, (cn_str){(const char *)key, sizeof key}, &v) : CN_NOT_FOUND;
    if (e == CN_NOT_FOUND)
        return cn_fail(CN_NOT_FOUND, "this index has no vectors yet");
    CN_TRY(e);
    return decode_space(v, r, a, ret);
}

cn_err cn_index_space(cn_tenant *t, cn_str name, cn_arena *a, cn_space *ret) {
    cn_index_info ix;
    cn_version v;
    CN_TRY(cn_index_get(t, name, a, &ix));
    CN_TRY(cn_version_get(t, name, 0, a, &v));
    return cn_version_space(t, ix.id, &v.recipe, a, ret);
}
