#include "index/catalog/version.h"

#include "index/catalog/answers.h"
#include "index/catalog/inside.h"
#include "index/control/records.h"

typedef struct reading {
    cn_str index;
    uint64_t number;
    cn_arena *a;
    cn_version *v;
    uint32_t n;
    cn_index_info ix;
} reading;

static cn_err get(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    reading *r = ctx;
    CN_TRY(cn_index_load(c, txn, r->index, r->a, &r->ix));
    uint64_t number = r->number ? r->number : r->ix.active;
    if (number == 0)
        return cn_fail(CN_NOT_FOUND, "index \"" CN_STR_FMT "\" has no active version yet; ingest documents and activate one", CN_STR_ARG(r->index));
    return cn_version_load(c, txn, r->ix.id, number, r->a, r->v);
}

cn_err cn_version_get(cn_tenant *t, cn_str index, uint64_t number, cn_arena *a, cn_version *ret) {
    cn_version v;
    reading r = {.index = index, .number = number, .a = a, .v = &v};
    CN_TRY(cn_catalog_read(t, get, &r));
    *ret = v;
    return CN_OK;
}

static cn_err all(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    reading *r = ctx;
    CN_TRY(cn_index_load(c, txn, r->index, r->a, &r->ix));
    return cn_version_all(c, txn, r->ix.id, r->a, &r->v, &r->n);
}

cn_err cn_version_state(cn_tenant *t, cn_str index, cn_arena *a, cn_index_info *ret_ix, cn_version **ret, uint32_t *ret_n) {
    reading r = {.index = index, .a = a};
    CN_TRY(cn_catalog_read(t, all, &r));
    *ret_ix = r.ix;
    *ret = r.v;
    *ret_n = r.n;
    return CN_OK;
}

cn_err cn_version_list(cn_tenant *t, cn_str index, cn_arena *a, cn_version **ret, uint32_t *ret_n) {
    cn_index_info ix;
    return cn_version_state(t, index, a, &ix, ret, ret_n);
}

static cn_err head(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    reading *r = ctx;
    CN_TRY(cn_index_load(c, txn, r->index, r->a, &r->ix));
    CN_TRY(cn_version_head_in(c, txn, &r->ix, r->a, &r->number));
    if (!r->number)
        return cn_fail(CN_NOT_FOUND, "index \"" CN_STR_FMT "\" has no version to build on yet", CN_STR_ARG(r->index));
    return cn_version_load(c, txn, r->ix.id, r->number, r->a, r->v);
}

cn_err cn_version_head(cn_tenant *t, cn_str index, cn_arena *a, cn_version *ret) {
    cn_version v;
    reading r = {.index = index, .a = a, .v = &v};
    CN_TRY(cn_catalog_read(t, head, &r));
    *ret = v;
    return CN_OK;
}

cn_err cn_version_postings(cn_seg *s, const cn_recipe *recipe, bool (*pace)(void *ctx, uint64_t bytes), void *pace_ctx) {
    cn_analyser analyser;
    CN_TRY(cn_analyser_parse(recipe->analyser, &analyser));
    return cn_seg_build_postings(s, &analyser, pace, pace_ctx);
}

typedef struct pinning {
    reading r;
    cn_pin *ret;
} pinning;

static cn_err add_mode(void *ctx, cn_str key, cn_str value, bool *stop) {
    (void)stop;
    cn_sha256_field(ctx, key);
    cn_sha256_field(ctx, value);
    return CN_OK;
}

/* The records themselves, and the modes of all indexes rather than too few: whatever is added to one is in it. */
static cn_err digest_of(const cn_catalog *c, MDB_txn *txn, const cn_pin *x, cn_digest *ret) {
    cn_catalog_key version = cn_key2(x->ix.id, x->version.number);
    cn_space_key space = cn_space_key_of(x->ix.id, &x->version.recipe);
    cn_str index_bytes, version_bytes, space_bytes = {0};
    cn_sha256 s;
    CN_TRY(cn_db_get(txn, c->index, x->ix.name, &index_bytes));
    CN_TRY(cn_db_get(txn, c->version, cn_key2_str(&version), &version_bytes));
    cn_err e = cn_db_get(txn, c->space, (cn_str){(const char *)space.b, sizeof space.b}, &space_bytes);
    if (e != CN_OK && e != CN_NOT_FOUND)
        return e;
    cn_sha256_begin(&s);
    cn_sha256_field(&s, index_bytes);
    cn_sha256_field(&s, version_bytes);
    cn_sha256_field(&s, space_bytes);
    cn_sha256_field(&s, x->modes.host.name);
    cn_sha256_field(&s, x->modes.host.text);
    e = cn_db_each(txn, c->meta, CN_STR("mode"), add_mode, &s);
    *ret = cn_sha256_get(&s);
    cn_sha256_end(&s);
    return e;
}

static cn_err pin(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    pinning *p = ctx;
    cn_pin *x = p->ret;
    CN_TRY(cn_epoch_of(txn, c->meta, &x->epoch));
    CN_TRY(get(&p->r, c, txn));
    x->ix = p->r.ix;
    CN_TRY(cn_answers_of(&x->version, &x->ix.set));
    CN_TRY(cn_env_stamp(cn_data_host(cn_tenant_data(c->t)), &x->host));
    CN_TRY(cn_modes_load(c, txn, x->ix.id, x->ix.name, p->r.a, &x->modes));
    CN_TRY(digest_of(c, txn, x, &x->of));
    x->space = (cn_space){0};
    if (x->version.recipe.dim == 0 || x->version.counts.chunks == 0)
        return CN_OK;
    cn_err err = cn_space_read(c, txn, x->ix.id, &x->version.recipe, p->r.a, &x->space);
    return err == CN_NOT_FOUND ? cn_fail(CN_DAMAGED, "the space of version %llu's vectors is missing", (unsigned long long)x->version.number) : err;
}

cn_err cn_version_pin(cn_tenant *t, cn_str index, uint64_t number, cn_arena *a, cn_pin *ret) {
    cn_pin x;
    pinning p = {{.index = index, .number = number, .a = a, .v = &x.version}, &x};
    CN_TRY(cn_catalog_read(t, pin, &p));
    *ret = x;
    return CN_OK;
}
