/* space.c -- the space in which an index's codes lie: a seed, and a mean of its vectors.
 *
 * The record has no mean until a segment comes that is large enough for codes; then that segment's is taken, once. So a space
 * never changes under codes that were made in it, and no vector lies in control.mdb: compaction takes an erased one out of every
 * segment, and the mean of the few first rows of a young index would keep it. */
#include <math.h>

#include "index/catalog/inside.h"

cn_space_key cn_space_key_of(uint64_t index_id, const cn_recipe *r) {
    cn_space_key k;
    cn_catalog_key head = cn_key2(index_id, r->dim);
    cn_sha256 s;
    cn_sha256_begin(&s);
    cn_sha256_field(&s, r->embedder);
    cn_sha256_add(&s, r->embedder_digest.b, 32);
    cn_sha256_u64(&s, (uint64_t)r->metric);
    cn_digest d = cn_sha256_get(&s);
    cn_sha256_end(&s);
    memcpy(k.b, head.b, 16);
    memcpy(k.b + 16, d.b, 32);
    return k;
}

static cn_str key_str(const cn_space_key *k) { return (cn_str){(const char *)k->b, sizeof k->b}; }

/* ---------- reading ---------- */
static cn_err damaged(cn_err e) { return e == CN_DAMAGED ? cn_wrap(e, "restore control.mdb from a backup") : e; }

static cn_err read_record(cn_str value, uint64_t dim, cn_arena *a, uint64_t *ret_seed, const float **ret_mean) {
    cn_str mean = {0};
    uint64_t seed = 0;
    const cn_field f[] = {{"seed", CN_F_U64, &seed, 0}, {"mean", CN_F_BIN, &mean, 0}};
    CN_TRY(cn_fields_read(value, "the mean of an index's vectors", a, f, 2));
    if (mean.n && mean.n != dim * sizeof(float))
        return cn_fail(CN_DAMAGED, "the mean of an index's vectors has %zu bytes for %llu dimensions", mean.n, (unsigned long long)dim);
    *ret_seed = seed;
    *ret_mean = mean.n ? (const float *)(const void *)mean.p : NULL;
    return CN_OK;
}

cn_err cn_space_read(const cn_catalog *c, MDB_txn *txn, uint64_t index_id, const cn_recipe *r, cn_arena *a, cn_space *ret) {
    cn_space_key key = cn_space_key_of(index_id, r);
    cn_space s = {.metric = r->metric, .dim = r->dim};
    cn_str value;
    CN_TRY(cn_db_get(txn, c->space, key_str(&key), &value));
    CN_TRY(damaged(read_record(value, r->dim, a, &s.seed, &s.mean)));
    *ret = s;
    return CN_OK;
}

typedef struct space_get {
    uint64_t index_id;
    const cn_recipe *recipe;
    cn_arena *a;
    cn_space *ret;
} space_get;

static cn_err get(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    space_get *g = ctx;
    return cn_space_read(c, txn, g->index_id, g->recipe, g->a, g->ret);
}

cn_err cn_version_space(cn_tenant *t, uint64_t index_id, const cn_recipe *recipe, cn_arena *a, cn_space *ret) {
    space_get g = {index_id, recipe, a, ret};
    cn_err err = recipe->dim ? cn_catalog_read(t, get, &g) : CN_NOT_FOUND;
    return err == CN_NOT_FOUND ? cn_fail(CN_NOT_FOUND, "the index has no vectors yet") : err;
}

/* ---------- freezing ---------- */
typedef struct freeze {
    cn_space_key key;
    uint32_t dim;
    uint64_t seed;
    cn_str mean; /* empty: none yet */
} freeze;

/* Whoever comes second takes the first one's. */
static cn_err put(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    CN_CATALOG_ARENA(a);
    freeze *z = ctx;
    cn_str was;
    const cn_field f[] = {{"seed", CN_F_U64, &z->seed, 0}, {"mean", CN_F_BIN, &z->mean, 0}};
    cn_err err = cn_db_get(txn, c->space, key_str(&z->key), &was);
    uint64_t seed;
    const float *mean = NULL;
    if (err == CN_OK)
        CN_TRY(damaged(read_record(was, z->dim, &a, &seed, &mean)));
    else if (err != CN_NOT_FOUND)
        return err;
    return mean || (err == CN_OK && !z->mean.n) ? CN_OK : cn_fields_put(txn, c->space, key_str(&z->key), f, 2);
}

static cn_err take_mean(cn_seg *s, const cn_recipe *r, cn_arena *a, cn_str *ret) {
    cn_vecs vecs;
    CN_TRY(cn_seg_vecs(s, &vecs));
    float *mean = cn_arena_zalloc(a, vecs.dim, sizeof *mean);
    if (!mean)
        return cn_fail_memory();
    CN_TRY(cn_space_mean(&vecs, r->metric, mean));
    *ret = (cn_str){(const char *)mean, vecs.dim * sizeof *mean};
    return CN_OK;
}

cn_err cn_space_for(cn_tenant *t, const cn_index_info *ix, const cn_recipe *r, cn_seg *s, cn_arena *a, cn_space *ret) {
    freeze z = {.key = cn_space_key_of(ix->id, r), .dim = r->dim, .seed = ix->seed};
    bool coded = cn_seg_rows(s) >= CN_CODED_FROM;
    cn_err err = cn_version_space(t, ix->id, r, a, ret);
    if (err != CN_NOT_FOUND && (err != CN_OK || ret->mean || !coded))
        return err;
    CN_TRY(coded ? take_mean(s, r, a, &z.mean) : CN_OK);
    CN_TRY(cn_catalog_write(t, put, &z));
    return cn_version_space(t, ix->id, r, a, ret);
}

/* ---------- checking ---------- */
static cn_err check_mean(const float *mean, uint64_t dim) {
    for (uint64_t i = 0; mean && i < dim; i++)
        if (!isfinite(mean[i]))
            return cn_fail(CN_DAMAGED, "the mean of an index's vectors has a component that is no number");
    return CN_OK;
}

static cn_err check_one(void *ctx, cn_str key, cn_str value, bool *stop) {
    (void)ctx, (void)stop;
    CN_CATALOG_ARENA(a);
    const float *mean;
    uint64_t seed;
    if (key.n != sizeof(cn_space_key))
        return cn_fail(CN_DAMAGED, "the key of an index's mean has %zu bytes", key.n);
    uint64_t dim = cn_be64(key.p + 8);
    if (dim == 0 || dim > CN_DIM_MAX)
        return cn_fail(CN_DAMAGED, "the mean of an index's vectors is of %llu dimensions", (unsigned long long)dim);
    CN_TRY(read_record(value, dim, &a, &seed, &mean));
    return check_mean(mean, dim);
}

cn_err cn_spaces_check(void *ctx, const cn_catalog *c, MDB_txn *txn) { return damaged(cn_db_each(txn, c->space, (cn_str){"", 0}, check_one, ctx)); }
