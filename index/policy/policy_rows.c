/* policy_rows.c -- where a document's rows lie at the moment of a restore, or were about to: these stay erased. */
#include "engine/base/mem.h"
#include "index/control/records.h"
#include "index/policy/policy_inside.h"

typedef struct gather {
    cn_tenant *t;
    const cn_catalog *c;
    MDB_txn *txn;
    cn_arena *a;
    cn_segset *rows;
} gather;

static cn_err of_index(void *ctx, cn_str key, cn_str value, bool *stop) {
    (void)stop;
    gather *g = ctx;
    cn_index_info ix;
    cn_version *v;
    const cn_version *before = NULL;
    uint32_t n;
    CN_TRY(cn_index_read(key, value, g->a, &ix));
    CN_TRY(cn_version_all(g->c, g->txn, ix.id, g->a, &v, &n));
    for (uint32_t i = 0; i < n; i++) {
        if (cn_version_dropped(&v[i]))
            continue;
        for (uint32_t p = cn_version_alike(before, &v[i]); p < v[i].n_parts; p++)
            CN_TRY(cn_segset_open(g->rows, g->t, &v[i].parts[p]));
        before = &v[i];
    }
    return CN_OK;
}

cn_err cn_policy_rows_open(cn_tenant *t, const cn_catalog *c, MDB_txn *txn, cn_arena *a, cn_segset *io) {
    gather g = {t, c, txn, a, io};
    return cn_db_each(txn, c->index, (cn_str){"", 0}, of_index, &g);
}

cn_err cn_policy_rows_of(const cn_segset *r, const cn_key *key, cn_arena *a, const cn_seg_id **ret, uint32_t *ret_n) {
    cn_seg_id *v = cn_arena_alloc(a, (r->n + 1u) * sizeof *v);
    uint32_t n = 0, doc;
    if (!v)
        return cn_fail_memory();
    for (uint32_t i = 0; i < r->n; i++) {
        if (cn_seg_find(r->v[i], key, &doc))
            v[n++] = *cn_seg_get_id(r->v[i]);
        else
            CN_TRY(cn_seg_sound(r->v[i])); /* one cut short may have held it */
    }
    *ret = v;
    *ret_n = n;
    return CN_OK;
}

#define RECORD_MAX ((size_t)4 << 20)

static cn_err add_row(cn_policy_doc *d, const cn_seg_id *segment, cn_arena *a) {
    cn_seg_id *rows = cn_arena_alloc(a, (d->n_rows + 1u) * sizeof *rows);
    if (!rows)
        return cn_fail_memory();
    if (d->n_rows)
        memcpy(rows, d->rows, d->n_rows * sizeof *rows);
    rows[d->n_rows++] = *segment;
    d->rows = rows;
    return CN_OK;
}

static cn_err keep_one(MDB_txn *txn, MDB_dbi policy, const cn_key *key, const cn_seg_id *segment, cn_arena *a, cn_sum *io) {
    CN_AUTO_BUF cn_buf b;
    char at[1 + sizeof *key] = {'d'};
    cn_str value;
    cn_policy_doc d;
    cn_buf_init(&b, RECORD_MAX);
    memcpy(at + 1, key, sizeof *key);
    CN_TRY(cn_db_get(txn, policy, (cn_str){at, sizeof at}, &value));
    CN_TRY(cn_policy_doc_read(value, key, a, &d));
    CN_TRY(add_row(&d, segment, a));
    cn_policy_doc_pack(&b, &d);
    CN_TRY(cn_buf_check(&b));
    return cn_sum_replace(txn, policy, (cn_str){at, sizeof at}, cn_buf_str(&b), io);
}

cn_err cn_policy_keep_erased(MDB_txn *txn, MDB_dbi policy, const cn_key *keys, uint32_t n, const cn_seg_id *segment, cn_arena *a) {
    cn_sum sum;
    CN_TRY(cn_sum_get(txn, policy, CN_POLICY_WHAT, &sum));
    for (uint32_t i = 0; i < n; i++)
        CN_TRY(keep_one(txn, policy, &keys[i], segment, a, &sum));
    return cn_sum_put(txn, policy, &sum);
}
