/* retire.c -- which files the versions left still need. */
#include "engine/base/os.h"
#include "index/catalog/needed.h"

typedef struct walk {
    cn_needed *set;
    cn_arena *a;
} walk;

static cn_err add(cn_needed *s, cn_arena *a, const cn_seg_id *id) {
    if (s->n == s->room) {
        uint32_t room = s->room ? 2 * s->room : 64;
        cn_seg_id *v = cn_arena_alloc(a, room * sizeof *v);
        if (!v)
            return cn_fail_memory();
        if (s->n)
            memcpy(v, s->v, s->n * sizeof *v);
        s->v = v;
        s->room = room;
    }
    s->v[s->n++] = *id;
    return CN_OK;
}

/* A list in force counts for older versions: it is kept while any of them is. */
static cn_err add_inforce(cn_catalog const *c, MDB_txn *txn, const cn_version *v, uint64_t index_id, bool older, walk *w) {
    cn_catalog_key key = cn_key2(index_id, v->number);
    cn_str value;
    cn_err err = older ? cn_db_get(txn, c->inforce, cn_key2_str(&key), &value) : CN_NOT_FOUND;
    if (err == CN_NOT_FOUND)
        return CN_OK;
    CN_TRY(err);
    return add(w->set, w->a, &v->own);
}

static cn_err add_index(const cn_catalog *c, MDB_txn *txn, uint64_t index_id, walk *w) {
    cn_version *v;
    uint32_t n;
    bool older = false;
    CN_TRY(cn_version_all(c, txn, index_id, w->a, &v, &n));
    for (uint32_t i = 0; i < n; i++) {
        if (cn_version_dropped(&v[i])) {
            CN_TRY(add_inforce(c, txn, &v[i], index_id, older, w));
            continue;
        }
        older = true;
        CN_TRY(add(w->set, w->a, &v[i].own));
        for (uint32_t p = 0; p < v[i].n_parts; p++)
            CN_TRY(add(w->set, w->a, &v[i].parts[p].id));
    }
    return CN_OK;
}

typedef struct ids {
    cn_arena *a;
    uint64_t *v;
    uint32_t n;
} ids;

static cn_err take_id(void *ctx, cn_str key, cn_str value, bool *stop) {
    ids *all = ctx;
    cn_index_info ix;
    CN_TRY(cn_index_read(key, value, all->a, &ix));
    all->v[all->n++] = ix.id;
    *stop = all->n == CN_INDEXES_MAX;
    return CN_OK;
}

static int by_id(const void *a, const void *b) { return memcmp(a, b, sizeof(cn_seg_id)); }

cn_err cn_needed_make(const cn_catalog *c, MDB_txn *txn, cn_arena *a, cn_needed *ret) {
    cn_needed set = {0};
    walk w = {&set, a};
    ids all = {a, cn_arena_alloc(a, CN_INDEXES_MAX * sizeof(uint64_t)), 0};
    if (!all.v)
        return cn_fail_memory();
    CN_TRY(cn_db_each(txn, c->index, (cn_str){0}, take_id, &all));
    for (uint32_t i = 0; i < all.n; i++)
        CN_TRY(add_index(c, txn, all.v[i], &w));
    if (set.n > 1)
        qsort(set.v, set.n, sizeof *set.v, by_id);
    *ret = set;
    return CN_OK;
}

bool cn_needed_has(const cn_needed *s, const cn_seg_id *id) { return s->n && bsearch(id, s->v, s->n, sizeof *s->v, by_id); }

static cn_err retire_one(const cn_catalog *c, MDB_txn *txn, const cn_needed *needed, const cn_seg_id *id) {
    if (cn_needed_has(needed, id))
        return CN_OK;
    int64_t at = cn_wall_us();
    const cn_field f[] = {{"at", CN_F_I64, &at, 0}};
    return cn_fields_put(txn, c->retired, (cn_str){(const char *)id->b, CN_SEG_ID}, f, 1);
}

cn_err cn_retire(const cn_catalog *c, MDB_txn *txn, const cn_version *dropped, uint32_t n) {
    CN_CATALOG_ARENA(a);
    cn_needed needed;
    CN_TRY(cn_needed_make(c, txn, &a, &needed));
    for (uint32_t i = 0; i < n; i++) {
        CN_TRY(retire_one(c, txn, &needed, &dropped[i].own));
        for (uint32_t p = 0; p < dropped[i].n_parts; p++)
            CN_TRY(retire_one(c, txn, &needed, &dropped[i].parts[p].id));
    }
    return CN_OK;
}
