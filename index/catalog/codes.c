#include "index/catalog/codes.h"

#include "engine/base/os.h"
#include "index/catalog/inside.h"
#include "index/control/records.h"

typedef struct freeze {
    cn_space_key key;
    uint64_t seed;
    cn_str mean;
} freeze;

static cn_err put_space(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    freeze *z = ctx;
    cn_str key = {(const char *)z->key.b, sizeof z->key.b}, was;
    const cn_field f[] = {{"seed", CN_F_U64, &z->seed, 0}, {"mean", CN_F_BIN, &z->mean, 0}};
    cn_err err = cn_db_get(txn, c->space, key, &was);
    return err == CN_NOT_FOUND ? cn_fields_put(txn, c->space, key, f, 2) : err;
}

/* The first vectors decide the mean, in a transaction of its own: whoever comes second takes the first one's. */
static cn_err freeze_space(cn_tenant *t, const cn_index_info *ix, const cn_recipe *recipe, cn_seg *fresh, cn_arena *a) {
    cn_vecs vecs;
    CN_TRY(cn_seg_vecs(fresh, &vecs));
    float *mean = cn_arena_zalloc(a, vecs.dim, sizeof *mean);
    if (!mean)
        return cn_fail_memory();
    CN_TRY(cn_space_mean(&vecs, recipe->metric, mean));
    freeze z = {cn_space_key_of(ix->id, recipe), ix->seed, {(const char *)mean, vecs.dim * sizeof *mean}};
    return cn_catalog_write(t, put_space, &z);
}

cn_err cn_codes_make(cn_tenant *t, cn_str index, const cn_recipe *recipe, cn_seg *fresh) {
    CN_CATALOG_ARENA(a);
    cn_index_info ix;
    cn_space space;
    bool made;
    if (cn_seg_rows(fresh) == 0 || recipe->dim == 0)
        return CN_OK;
    CN_TRY(cn_index_get(t, index, &a, &ix));
    cn_err err = cn_version_space(t, ix.id, recipe, &a, &space);
    if (err == CN_NOT_FOUND) {
        CN_TRY(freeze_space(t, &ix, recipe, fresh, &a));
        err = cn_version_space(t, ix.id, recipe, &a, &space);
    }
    CN_TRY(err);
    CN_TRY(cn_seg_build_flat(fresh, &space, cn_cpus()));
    return ix.set.cells ? cn_seg_build_cells(fresh, &space, cn_cpus(), &made) : CN_OK;
}
