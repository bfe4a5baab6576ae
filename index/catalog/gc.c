/* gc.c -- which versions are let go, and the files nobody names. */
#include <stdlib.h>
#include <sys/stat.h>

#include "engine/base/os.h"
#include "index/catalog/inside.h"
#include "index/catalog/needed.h"

#define MINUTE_US ((int64_t)60 * 1000000)
#define DAY_US (24 * 60 * MINUTE_US)
#define UNNAMED_US (60 * MINUTE_US) /* a file sealed but not yet named by its version is left alone for so long */

typedef struct gc {
    cn_tenant *t;
    cn_str index;
    const cn_actor *who;
    bool dry;
    cn_arena *a;
    cn_needed needed;
    const cn_catalog *c;
    MDB_txn *txn;
    cn_err err;
    cn_gc_result got;
} gc;

/* How many good versions stand between this one and the active one. */
static uint32_t behind(const cn_version *v, uint64_t active, uint64_t number) {
    uint32_t n = 0;
    for (uint64_t i = number + 1; i < active; i++)
        n += cn_version_good(&v[i - 1]);
    return n;
}

/* The version that a rollback would go to now. */
static uint64_t way_back(const cn_version *v, uint64_t active) {
    uint64_t at = active ? v[active - 1].before_active : 0;
    while (at && !cn_version_good(&v[at - 1]))
        at = v[at - 1].before_active;
    return at;
}

static bool may_go(const cn_index_info *ix, const cn_version *all, uint32_t n, const cn_version *v) {
    const cn_version *head = cn_version_head_of(all, n);
    int64_t young = cn_wall_us() - (int64_t)ix->set.keep_days * DAY_US;
    if (v->marks & (CN_MARK_DROPPED | CN_MARK_PINNED) || v->number == ix->active || v == head || v->number == way_back(all, ix->active))
        return false;
    if (v->made_us >= young || v->first_active_us >= young)
        return false;
    bool good = cn_version_good(v);
    if (v->number > ix->active)
        return !good && !ix->hold;
    return !(ix->hold && (v->marks & CN_MARK_SUSPECT)) && (!good || behind(all, ix->active, v->number) >= ix->set.keep_versions);
}

static cn_err drop_old(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    gc *g = ctx;
    cn_index_info ix;
    cn_version *v;
    uint32_t n, gone = 0;
    CN_TRY(cn_index_load(c, txn, g->index, g->a, &ix));
    CN_TRY(cn_version_all(c, txn, ix.id, g->a, &v, &n));
    cn_version *out = cn_arena_zalloc(g->a, n + 1u, sizeof *out);
    if (!out)
        return cn_fail_memory();
    for (uint32_t i = 0; i < n; i++)
        if (may_go(&ix, v, n, &v[i]))
            out[gone++] = v[i];
    g->got.versions = gone;
    if (g->dry || gone == 0)
        return CN_OK;
    for (uint32_t i = 0; i < gone; i++) {
        out[i].marks |= CN_MARK_DROPPED;
        CN_TRY(cn_version_store(c, txn, ix.id, &out[i]));
    }
    CN_TRY(cn_retire(c, txn, out, gone));
    CN_TRY(cn_audit_add(g->t, txn, g->who, "version.gc", g->index, "done", (cn_str){0}));
    return cn_epoch_raise(g->t, txn, NULL);
}

static bool young_file(const gc *g, const cn_seg_id *id) {
    char path[4096];
    struct stat st;
    if (cn_seg_path(g->t, id, NULL, path, sizeof path) != CN_OK || stat(path, &st) != 0)
        return false;
    return cn_wall_us() - (int64_t)st.st_mtime * 1000000 < UNNAMED_US;
}

/* Anything doubtful is kept. */
static bool keep(void *ctx, const cn_seg_id *id) {
    gc *g = ctx;
    int64_t at = 0;
    cn_str value;
    const cn_field f[] = {{"at", CN_F_I64, &at, 0}};
    if (cn_needed_has(&g->needed, id))
        return true;
    cn_err err = cn_db_get(g->txn, g->c->retired, (cn_str){(const char *)id->b, CN_SEG_ID}, &value);
    if (err == CN_NOT_FOUND)
        return young_file(g, id);
    if (err == CN_OK)
        err = cn_fields_read(value, "the record of a retired file", NULL, f, 1);
    if (err == CN_OK && cn_wall_us() - at >= MINUTE_US)
        return false;
    if (err != CN_OK)
        g->err = err;
    return true;
}

static cn_err forget_one(void *ctx, cn_str key, cn_str value, bool *stop) {
    (void)value, (void)stop;
    gc *g = ctx;
    cn_seg_id id;
    char path[4096];
    if (key.n != CN_SEG_ID)
        return cn_fail(CN_DAMAGED, "the record of a retired file has a key of %zu bytes", key.n);
    memcpy(id.b, key.p, CN_SEG_ID);
    CN_TRY(cn_seg_path(g->t, &id, NULL, path, sizeof path));
    struct stat st;
    cn_seg_id *gone = stat(path, &st) == 0 ? NULL : cn_arena_alloc(g->a, sizeof id);
    if (gone) {
        *gone = id;
        g->needed.v[g->needed.n++] = id; /* has room: see sweep() */
    }
    return CN_OK;
}

/* Files retired over a minute ago, and what dead jobs left; then the records of retired files that are gone. */
static cn_err sweep(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    gc *g = ctx;
    MDB_stat st;
    g->c = c;
    g->txn = txn;
    CN_TRY(cn_needed_make(c, txn, g->a, &g->needed));
    CN_TRY(cn_seg_sweep(g->t, keep, g, &g->got.files, &g->got.bytes));
    CN_TRY(g->err);
    CN_TRY(cn_mdb(mdb_stat(txn, c->retired, &st), "counting retired files"));
    g->needed = (cn_needed){cn_arena_zalloc(g->a, st.ms_entries + 1, sizeof(cn_seg_id)), 0, 0};
    if (!g->needed.v)
        return cn_fail_memory();
    CN_TRY(cn_db_each(txn, c->retired, (cn_str){0}, forget_one, g));
    for (uint32_t i = 0; i < g->needed.n; i++)
        CN_TRY(cn_db_del(txn, c->retired, (cn_str){(const char *)g->needed.v[i].b, CN_SEG_ID}));
    return CN_OK;
}

cn_err cn_version_gc(cn_tenant *t, cn_str index, bool dry, const cn_actor *who, cn_gc_result *ret) {
    CN_CATALOG_ARENA(a);
    gc g = {.t = t, .index = index, .who = who, .dry = dry, .a = &a};
    CN_TRY(dry ? cn_catalog_read(t, drop_old, &g) : cn_catalog_write(t, drop_old, &g));
    if (!dry)
        CN_TRY(cn_catalog_write(t, sweep, &g));
    *ret = g.got;
    return CN_OK;
}
