/* retire.c -- which files the versions left still need, and letting go of the others. */
#include "engine/base/os.h"
#include "index/catalog/needed.h"
#include "index/catalog/sweep.h"
#include "index/control/inforce.h"

typedef struct walk {
    cn_needed *set;
    cn_arena *a;
    cn_retire *go; /* versions taken for dropped; NULL: none */
} walk;

static cn_err add(cn_needed *s, cn_arena *a, const cn_seg_id *id) {
    if (!cn_arena_grow(a, s->v, s->n, s->room))
        return cn_fail_memory();
    s->v[s->n++] = *id;
    return CN_OK;
}

static bool goes(const cn_retire *go, uint64_t index_id, const cn_version *v) {
    for (uint32_t i = 0; go && go->index_id == index_id && i < go->n_gone; i++)
        if (go->gone[i].number == v->number)
            return true;
    return cn_version_dropped(v);
}

/* A list in force is kept while any version is that it counts for. */
static cn_err add_inforce(cn_catalog const *c, MDB_txn *txn, const cn_version *v, uint64_t index_id, uint64_t to, walk *w) {
    cn_catalog_key key = cn_key2(index_id, v->number);
    cn_str value;
    cn_err err = v->number > to ? cn_db_get(txn, c->inforce, cn_key2_str(&key), &value) : CN_NOT_FOUND;
    if (err == CN_NOT_FOUND)
        return CN_OK;
    CN_TRY(err);
    return add(w->set, w->a, &v->own);
}

/* Up to which version nobody left is concerned by a list. */
static uint64_t lists_to(const walk *w, uint64_t index_id, const cn_version *v, uint32_t n) {
    uint64_t to = UINT64_MAX;
    for (uint32_t i = 0; i < n; i++)
        if (v[i].lists_after < to && !goes(w->go, index_id, &v[i]))
            to = v[i].lists_after;
    return to;
}

static cn_err add_index(const cn_catalog *c, MDB_txn *txn, uint64_t index_id, walk *w) {
    cn_version *v;
    uint32_t n;
    CN_TRY(cn_version_all(c, txn, index_id, w->a, &v, &n));
    const uint64_t to = lists_to(w, index_id, v, n);
    if (w->go && w->go->index_id == index_id)
        w->go->lists_to = to;
    const cn_version *before = NULL; /* the last that stays */
    for (uint32_t i = 0; i < n; i++) {
        if (goes(w->go, index_id, &v[i])) {
            CN_TRY(add_inforce(c, txn, &v[i], index_id, to, w));
            continue;
        }
        CN_TRY(add(w->set, w->a, &v[i].own));
        for (uint32_t p = cn_version_alike(before, &v[i]); p < v[i].n_parts; p++)
            CN_TRY(add(w->set, w->a, &v[i].parts[p].id));
        before = &v[i];
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

int cn_by_u64(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

cn_err cn_index_ids(const cn_catalog *c, MDB_txn *txn, cn_arena *a, uint64_t **ret, uint32_t *ret_n) {
    ids all = {a, cn_arena_alloc(a, CN_INDEXES_MAX * sizeof(uint64_t)), 0};
    if (!all.v)
        return cn_fail_memory();
    CN_TRY(cn_db_each(txn, c->index, (cn_str){0}, take_id, &all));
    if (all.n > 1)
        qsort(all.v, all.n, sizeof *all.v, cn_by_u64);
    *ret = all.v;
    *ret_n = all.n;
    return CN_OK;
}

static cn_err needed(const cn_catalog *c, MDB_txn *txn, cn_arena *a, cn_retire *go, cn_needed *ret) {
    cn_needed set = {0};
    walk w = {&set, a, go};
    uint64_t *id;
    uint32_t n;
    CN_TRY(cn_index_ids(c, txn, a, &id, &n));
    for (uint32_t i = 0; i < n; i++)
        CN_TRY(add_index(c, txn, id[i], &w));
    if (set.n > 1)
        qsort(set.v, set.n, sizeof *set.v, by_id);
    *ret = set;
    return CN_OK;
}

cn_err cn_needed_make(const cn_catalog *c, MDB_txn *txn, cn_arena *a, cn_needed *ret) { return needed(c, txn, a, NULL, ret); }

bool cn_needed_has(const cn_needed *s, const cn_seg_id *id) { return s->n && bsearch(id, s->v, s->n, sizeof *s->v, by_id); }

/* ---------- letting go ---------- */
static cn_err file_goes(const cn_needed *kept, cn_arena *a, const cn_seg_id *id, cn_needed *files) {
    for (uint32_t i = 0; i < files->n; i++)
        if (by_id(&files->v[i], id) == 0)
            return CN_OK;
    return cn_needed_has(kept, id) ? CN_OK : add(files, a, id);
}

cn_err cn_retire_plan(const cn_catalog *c, MDB_txn *txn, cn_arena *a, uint64_t index_id, const cn_version *gone, uint32_t n, cn_retire *ret) {
    CN_ASSERT(n <= CN_RETIRE_MAX);
    cn_retire r = {.index_id = index_id, .n_gone = n, .gone = cn_arena_zalloc(a, n + 1u, sizeof *r.gone)};
    cn_needed kept;
    if (!r.gone)
        return cn_fail_memory();
    for (uint32_t i = 0; i < n; i++)
        r.gone[i] = gone[i];
    CN_TRY(needed(c, txn, a, &r, &kept));
    for (uint32_t i = 0; i < n; i++) {
        CN_TRY(file_goes(&kept, a, &gone[i].own, &r.files));
        for (uint32_t p = 0; p < gone[i].n_parts; p++)
            CN_TRY(file_goes(&kept, a, &gone[i].parts[p].id, &r.files));
    }
    *ret = r;
    return CN_OK;
}

cn_err cn_retire_files(const cn_catalog *c, MDB_txn *txn, const cn_seg_id *v, uint32_t n) {
    int64_t at = cn_wall_us();
    const cn_field f[] = {{"at", CN_F_I64, &at, 0}};
    for (uint32_t i = 0; i < n; i++)
        CN_TRY(cn_fields_put(txn, c->retired, (cn_str){(const char *)v[i].b, CN_SEG_ID}, f, 1));
    return CN_OK;
}

cn_err cn_retire_now(const cn_catalog *c, MDB_txn *txn, const cn_seg_id *id) {
    cn_str was, key = {(const char *)id->b, CN_SEG_ID};
    int64_t at = cn_wall_us() - CN_GRACE_US;
    const cn_field f[] = {{"at", CN_F_I64, &at, 0}};
    cn_err err = cn_db_get(txn, c->retired, key, &was);
    return err == CN_NOT_FOUND ? cn_fields_put(txn, c->retired, key, f, 1) : err;
}

cn_err cn_retire_apply(const cn_catalog *c, MDB_txn *txn, const cn_retire *r) {
    for (uint32_t i = 0; i < r->n_gone; i++) {
        cn_version v = r->gone[i];
        v.marks |= CN_MARK_DROPPED;
        v.n_parts = 0; /* its manifest says nothing any more, and records of dropped versions stay */
        CN_TRY(cn_version_store(c, txn, r->index_id, &v));
        CN_TRY(cn_gate_forget(c, txn, r->index_id, v.number));
    }
    CN_TRY(cn_retire_files(c, txn, r->files.v, r->files.n));
    return cn_inforce_end(txn, c->inforce, r->index_id, r->lists_to); /* a list whose file is let go would make the policy unreadable */
}
