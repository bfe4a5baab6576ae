/* record.c -- indexes and versions as records of control.mdb. */
#include <stdio.h>

#include "index/catalog/control.h"

#define RECORD_MAX ((size_t)64 << 20)

static void put_str(cn_buf *b, const char *key, cn_str v) {
    cn_pack_cstr(b, key);
    cn_pack_str(b, v);
}

static void put_uint(cn_buf *b, const char *key, uint64_t v) {
    cn_pack_cstr(b, key);
    cn_pack_uint(b, v);
}

static void put_int(cn_buf *b, const char *key, int64_t v) {
    cn_pack_cstr(b, key);
    cn_pack_int(b, v);
}

static void put_bin(cn_buf *b, const char *key, const void *p, size_t n) {
    cn_pack_cstr(b, key);
    cn_pack_bin(b, p, n);
}

static cn_err keep(cn_arena *a, const msgpack_object *map, const char *key, cn_str *ret) {
    cn_str s = {NULL, 0};
    CN_TRY(cn_get_str(map, key, &s));
    *ret = cn_arena_str(a, s);
    return ret->p ? CN_OK : cn_fail_memory();
}

static cn_err get_u32(const msgpack_object *map, const char *key, uint32_t *ret) {
    uint64_t v = 0;
    CN_TRY(cn_get_uint(map, key, 0, UINT32_MAX, &v));
    *ret = (uint32_t)v;
    return CN_OK;
}

/* ---------- indexes ---------- */
cn_err cn_index_write(const cn_control *c, const cn_index_info *ix) {
    const cn_index_settings *s = &ix->set;
    CN_AUTO_BUF cn_buf b;
    cn_buf_init(&b, RECORD_MAX);
    size_t at = cn_record_open(&b, CN_RECORD_FORMAT);
    cn_pack_map(&b, 18);
    put_str(&b, "embedder", s->embedder);
    put_str(&b, "precision", s->precision);
    put_str(&b, "chunker", s->chunker);
    put_str(&b, "mode", s->mode);
    put_uint(&b, "metric", s->metric);
    put_uint(&b, "keep_versions", s->keep_versions);
    put_uint(&b, "keep_days", s->keep_days);
    put_uint(&b, "activate", s->activate);
    put_bin(&b, "embedder_digest", s->embedder_digest.b, 32);
    put_uint(&b, "dim", s->dim);
    put_uint(&b, "id", ix->id);
    put_uint(&b, "active", ix->active);
    put_uint(&b, "newest", ix->newest);
    put_uint(&b, "hold", ix->hold);
    put_int(&b, "made", ix->made_us);
    put_uint(&b, "seed", ix->seed);
    put_uint(&b, "has_mean", ix->has_mean);
    put_str(&b, "name", ix->name);
    cn_record_close(&b, at);
    CN_TRY(cn_buf_check(&b));
    return cn_db_put(c->txn, c->indexes, ix->name, cn_buf_str(&b));
}

static cn_err decode_settings(const msgpack_object *m, cn_arena *a, cn_index_settings *s) {
    uint32_t metric = 0, activate = 0;
    CN_TRY(keep(a, m, "embedder", &s->embedder));
    CN_TRY(keep(a, m, "precision", &s->precision));
    CN_TRY(keep(a, m, "chunker", &s->chunker));
    CN_TRY(keep(a, m, "mode", &s->mode));
    CN_TRY(get_u32(m, "metric", &metric));
    CN_TRY(get_u32(m, "keep_versions", &s->keep_versions));
    CN_TRY(get_u32(m, "keep_days", &s->keep_days));
    CN_TRY(get_u32(m, "activate", &activate));
    CN_TRY(get_u32(m, "dim", &s->dim));
    CN_TRY(cn_get_digest32(m, "embedder_digest", s->embedder_digest.b));
    if (metric > CN_L2 || s->dim > CN_DIM_MAX)
        return cn_fail(CN_DAMAGED, "metric %u, dimension %u", metric, s->dim);
    s->metric = (cn_metric)metric;
    s->activate = activate != 0;
    return CN_OK;
}

static cn_err decode_index(const msgpack_object *m, cn_arena *a, cn_index_info *ix) {
    uint32_t hold = 0, mean = 0;
    CN_TRY(decode_settings(m, a, &ix->set));
    CN_TRY(keep(a, m, "name", &ix->name));
    CN_TRY(cn_get_uint(m, "id", 1, UINT64_MAX, &ix->id));
    CN_TRY(cn_get_uint(m, "active", 0, UINT64_MAX, &ix->active));
    CN_TRY(cn_get_uint(m, "newest", 0, UINT64_MAX, &ix->newest));
    CN_TRY(get_u32(m, "hold", &hold));
    CN_TRY(get_u32(m, "has_mean", &mean));
    CN_TRY(cn_get_int(m, "made", &ix->made_us));
    CN_TRY(cn_get_uint(m, "seed", 0, UINT64_MAX, &ix->seed));
    ix->hold = hold != 0;
    ix->has_mean = mean != 0;
    return ix->id ? CN_OK : cn_fail(CN_DAMAGED, "it has no id");
}

cn_err cn_index_decode(cn_str bytes, cn_str name, cn_arena *a, cn_index_info *ret) {
    CN_AUTO_UNPACKED cn_unpacked u = {0};
    cn_index_info ix = {0};
    char what[128];
    snprintf(what, sizeof what, "the record of index " CN_STR_FMT, CN_STR_ARG(name));
    CN_TRY(cn_record_read(&u, bytes, CN_RECORD_FORMAT, what));
    cn_err e = decode_index(&u.o, a, &ix);
    if (e != CN_OK)
        return e == CN_INVALID ? cn_wrap(CN_DAMAGED, "%s", what) : e;
    *ret = ix;
    return CN_OK;
}

cn_err cn_index_read(const cn_control *c, cn_str name, cn_arena *a, cn_index_info *ret) {
    cn_str v;
    cn_err e = name.n && name.n <= CN_NAME_MAX ? cn_db_get(c->txn, c->indexes, name, &v) : CN_NOT_FOUND;
    if (e == CN_NOT_FOUND)
        return cn_fail(CN_NOT_FOUND, "no index is called " CN_STR_FMT, CN_STR_ARG(name));
    CN_TRY(e);
    return cn_index_decode(v, name, a, ret);
}

/* ---------- versions ---------- */
#define COUNTS(X) X(read) X(added) X(unchanged) X(changed) X(relabelled) X(rejected) X(deleted) X(documents) X(chunks) X(unlabelled)

static void put_parts(cn_buf *b, const cn_version *v) {
    cn_pack_cstr(b, "parts");
    cn_pack_array(b, v->n_parts);
    for (uint32_t i = 0; i < v->n_parts; i++)
        cn_pack_bin(b, &v->parts[i], sizeof v->parts[i]);
}

cn_err cn_version_write(const cn_control *c, uint64_t index_id, const cn_version *v) {
    CN_AUTO_BUF cn_buf b;
    CN_AUTO_BUF cn_buf recipe;
    uint8_t key[CN_VERSION_KEY];
    cn_buf_init(&b, RECORD_MAX);
    cn_buf_init(&recipe, 65536);
    CN_TRY(cn_recipe_pack(&v->recipe, &recipe));
    size_t at = cn_record_open(&b, CN_RECORD_FORMAT);
    cn_pack_map(&b, 26);
    put_uint(&b, "number", v->number);
    put_bin(&b, "root", v->root.b, 32);
    put_bin(&b, "recipe", recipe.p, recipe.n);
    put_bin(&b, "answer_settings", v->answer_settings.p, v->answer_settings.n);
    put_parts(&b, v);
    put_bin(&b, "own", v->own.b, sizeof v->own.b);
    put_bin(&b, "own_digest", v->own_digest.b, 32);
    put_uint(&b, "revoked", v->revoked);
#define PUT(name) put_uint(&b, #name, v->counts.name);
    COUNTS(PUT)
#undef PUT
    put_uint(&b, "base", v->base);
    put_uint(&b, "marks", v->marks);
    put_int(&b, "made", v->made_us);
    put_int(&b, "first_active", v->first_active_us);
    put_str(&b, "by", v->made_by);
    put_str(&b, "job", v->job);
    put_uint(&b, "before_active", v->before_active);
    put_uint(&b, "index", index_id);
    cn_record_close(&b, at);
    CN_TRY(cn_buf_check(&b));
    cn_version_key(index_id, v->number, key);
    return cn_db_put(c->txn, c->versions, (cn_str){(const char *)key, sizeof key}, cn_buf_str(&b));
}

static cn_err decode_parts(const msgpack_object *m, cn_arena *a, cn_version *v) {
    const msgpack_object *o = cn_get(m, "parts");
    if (!o || o->type != MSGPACK_OBJECT_ARRAY)
        return cn_fail(CN_DAMAGED, "it has no list of segments");
    uint32_t n = o->via.array.size;
    cn_part *parts = cn_arena_zalloc(a, n ? n : 1, sizeof *parts);
    if (!parts)
        return cn_fail_memory();
    for (uint32_t i = 0; i < n; i++) {
        cn_str s = cn_obj_str(&o->via.array.ptr[i]);
        if (s.n != sizeof *parts)
            return cn_fail(CN_DAMAGED, "segment %u of its list has %zu bytes", i, s.n);
        memcpy(&parts[i], s.p, sizeof *parts);
    }
    v->parts = parts;
    v->n_parts = n;
    return CN_OK;
}

static cn_err decode_rest(const msgpack_object *m, cn_arena *a, cn_version *v) {
    cn_str recipe, own = {NULL, 0};
    uint32_t marks = 0;
    CN_TRY(keep(a, m, "recipe", &recipe));
    CN_TRY(cn_recipe_unpack(recipe, a, &v->recipe));
    CN_TRY(keep(a, m, "answer_settings", &v->answer_settings));
    CN_TRY(cn_get_str(m, "own", &own));
    if (own.n != sizeof v->own.b)
        return cn_fail(CN_DAMAGED, "the name of its own file has %zu bytes", own.n);
    memcpy(v->own.b, own.p, own.n);
    CN_TRY(cn_get_digest32(m, "own_digest", v->own_digest.b));
    CN_TRY(get_u32(m, "marks", &marks));
    v->marks = marks;
    CN_TRY(keep(a, m, "by", &v->made_by));
    return keep(a, m, "job", &v->job);
}

static cn_err decode_version(const msgpack_object *m, cn_arena *a, cn_version *v) {
    CN_TRY(cn_get_uint(m, "number", 1, UINT64_MAX, &v->number));
    CN_TRY(cn_get_digest32(m, "root", v->root.b));
    CN_TRY(decode_parts(m, a, v));
    CN_TRY(decode_rest(m, a, v));
#define GET(name) CN_TRY(cn_get_uint(m, #name, 0, UINT64_MAX, &v->counts.name));
    COUNTS(GET)
#undef GET
    CN_TRY(cn_get_uint(m, "revoked", 0, UINT64_MAX, &v->revoked));
    CN_TRY(cn_get_uint(m, "base", 0, UINT64_MAX, &v->base));
    CN_TRY(cn_get_int(m, "made", &v->made_us));
    CN_TRY(cn_get_int(m, "first_active", &v->first_active_us));
    CN_TRY(cn_get_uint(m, "before_active", 0, UINT64_MAX, &v->before_active));
    return v->number ? CN_OK : cn_fail(CN_DAMAGED, "it has no number");
}

cn_err cn_version_decode(cn_str bytes, cn_arena *a, cn_version *ret) {
    CN_AUTO_UNPACKED cn_unpacked u = {0};
    cn_version v = {.first_active_us = CN_NO_TIME};
    CN_TRY(cn_record_read(&u, bytes, CN_RECORD_FORMAT, "the record of a version"));
    cn_err e = decode_version(&u.o, a, &v);
    if (e != CN_OK)
        return e == CN_INVALID ? cn_wrap(CN_DAMAGED, "the record of a version") : e;
    *ret = v;
    return CN_OK;
}

cn_err cn_version_read(const cn_control *c, const cn_index_info *ix, uint64_t number, cn_arena *a, cn_version *ret) {
    uint8_t key[CN_VERSION_KEY];
    cn_str v;
    cn_version_key(ix->id, number, key);
    cn_err e = cn_db_get(c->txn, c->versions, (cn_str){(const char *)key, sizeof key}, &v);
    if (e == CN_NOT_FOUND)
        return cn_fail(CN_NOT_FOUND, "index " CN_STR_FMT " has no version %llu", CN_STR_ARG(ix->name), (unsigned long long)number);
    CN_TRY(e);
    return cn_version_decode(v, a, ret);
}

typedef struct gather {
    cn_arena *a;
    cn_version *v;
    uint32_t n, room;
} gather;

static cn_err gather_one(void *ctx, cn_str key, cn_str value, bool *stop) {
    (void)key, (void)stop;
    gather *g = ctx;
    if (g->n == g->room) {
        uint32_t room = g->room ? g->room * 2 : 16;
        cn_version *v = cn_arena_zalloc(g->a, room, sizeof *v);
        if (!v)
            return cn_fail_memory();
        if (g->n)
            memcpy(v, g->v, g->n * sizeof *v);
        g->v = v;
        g->room = room;
    }
    CN_TRY(cn_version_decode(value, g->a, &g->v[g->n]));
    g->n++;
    return CN_OK;
}

cn_err cn_versions_of(const cn_control *c, uint64_t index_id, cn_arena *a, cn_version **ret, uint32_t *ret_n) {
    uint8_t key[CN_VERSION_KEY];
    gather g = {.a = a};
    cn_version_key(index_id, 0, key);
    CN_TRY(cn_db_each(c->txn, c->versions, (cn_str){(const char *)key, 8}, gather_one, &g));
    *ret = g.v;
    *ret_n = g.n;
    return CN_OK;
}
