#include "index/store/scrub.h"

#include "index/store/blocks.h"
#include "index/store/dir.h"
#include "index/store/env_inside.h"

static cn_err read_blocks(cn_blocks *b, cn_scrub_pace *pace, void *ctx, bool *ret_all) {
    for (uint32_t i = 0; i < b->n; i++) {
        *ret_all = pace(ctx, b->v[i].head->bytes + CN_BLOCK_HEAD);
        if (!*ret_all)
            return CN_OK;
        CN_TRY(cn_blocks_again(b, i));
    }
    return cn_blocks_sound(b);
}

static cn_err read_all(cn_env *env, const cn_seg_id *id, const cn_digest *expect, MDB_txn *txn, cn_scrub_pace *pace, void *ctx, bool *ret_all) {
    cn_blocks b;
    MDB_dbi dbi;
    const char *path = cn_env_path(env);
    CN_TRY(cn_mdb(mdb_dbi_open(txn, NULL, 0, &dbi), "reading %s", path));
    CN_TRY(cn_blocks_load(&b, path, id, txn, dbi));
    cn_err e = !expect || cn_digest_eq(&b.digest, expect) ? CN_OK : cn_fail_file(path, " is not the file that its version names: its digest differs");
    if (e == CN_OK)
        e = read_blocks(&b, pace, ctx, ret_all);
    if (e == CN_DAMAGED)
        cn_blocks_refuse(&b);
    cn_blocks_done(&b);
    return e;
}

cn_err cn_seg_scrub(cn_tenant *t, const cn_seg_id *id, const char *kind, const cn_digest *expect, cn_scrub_pace *pace, void *ctx, bool *ret_all) {
    char path[CN_PATH_MAX];
    cn_env *env;
    MDB_txn *txn;
    *ret_all = true;
    CN_TRY(cn_seg_path(t, id, kind, path, sizeof path));
    CN_TRY(cn_env_check_file(path, true)); /* also when it is open: opening it again would not look */
    CN_TRY(cn_env_open(path, CN_ENV_SEALED, false, &env));
    cn_err e = cn_txn_read(env, &txn);
    if (e == CN_OK) {
        e = read_all(env, id, expect, txn, pace, ctx, ret_all);
        cn_txn_abort(env, txn);
    }
    cn_env_close(env);
    return e;
}
