/* policy_rows.c -- where a document's rows lie at the moment of a restore: these stay erased. */
#include "index/catalog/records.h"
#include "index/policy/policy_inside.h"

typedef struct gather {
    cn_tenant *t;
    const cn_catalog *c;
    MDB_txn *txn;
    cn_arena *a;
    cn_policy_rows *rows;
} gather;

static bool open_already(const cn_policy_rows *r, const cn_seg_id *id) {
    for (uint32_t i = 0; i < r->n; i++)
        if (memcmp(cn_seg_get_id(r->segs[i]), id, sizeof *id) == 0)
            return true;
    return false;
}

static cn_err open_segment(gather *g, const cn_part *p) {
    cn_policy_rows *r = g->rows;
    if (open_already(r, &p->id))
        return CN_OK;
    if (r->n == r->room) {
        uint32_t room = r->room ? 2 * r->room : 32;
        cn_seg **more = cn_realloc(r->segs, room * sizeof *more);
        if (!more)
            return cn_fail_memory();
        r->segs = more;
        r->room = room;
    }
    CN_TRY(cn_seg_open(g->t, &p->id, &p->digest, &r->segs[r->n]));
    r->n++;
    return CN_OK;
}

static cn_err of_index(void *ctx, cn_str key, cn_str value, bool *stop) {
    (void)stop;
    gather *g = ctx;
    cn_index_info ix;
    cn_version *v;
    uint32_t n;
    CN_TRY(cn_index_read(key, value, g->a, &ix));
    CN_TRY(cn_version_all(g->c, g->txn, ix.id, g->a, &v, &n));
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t p = 0; !cn_version_dropped(&v[i]) && p < v[i].n_parts; p++)
            CN_TRY(open_segment(g, &v[i].parts[p]));
    return CN_OK;
}

cn_err cn_policy_rows_open(cn_tenant *t, const cn_catalog *c, MDB_txn *txn, cn_arena *a, cn_policy_rows *io) {
    gather g = {t, c, txn, a, io};
    return cn_db_each(txn, c->index, (cn_str){"", 0}, of_index, &g);
}

void cn_policy_rows_done(cn_policy_rows *r) {
    for (uint32_t i = 0; i < r->n; i++)
        cn_seg_close(r->segs[i]);
    cn_free(r->segs);
    *r = (cn_policy_rows){0};
}

cn_err cn_policy_rows_of(const cn_policy_rows *r, const cn_key *key, cn_arena *a, const cn_seg_id **ret, uint32_t *ret_n) {
    cn_seg_id *v = cn_arena_alloc(a, (r->n + 1u) * sizeof *v);
    uint32_t n = 0, doc;
    if (!v)
        return cn_fail_memory();
    for (uint32_t i = 0; i < r->n; i++) {
        if (cn_seg_find(r->segs[i], key, &doc))
            v[n++] = *cn_seg_get_id(r->segs[i]);
        else
            CN_TRY(cn_seg_sound(r->segs[i])); /* one cut short may have held it */
    }
    *ret = v;
    *ret_n = n;
    return CN_OK;
}
