/* gc.c -- which versions are let go, and the files nobody names. */
#include <stdlib.h>
#include <sys/stat.h>

#include "engine/base/os.h"
#include "index/catalog/inside.h"
#include "index/catalog/needed.h"

#define MINUTE_US ((int64_t)60 * 1000000)
#define DAY_US (24 * 60 * MINUTE_US)
#define SWEEP_MAX 64                /* files, or records, in one transaction */
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
    cn_index_info ix;
    cn_retire retire;         /* one batch */
    cn_gc_result batch, got;
    uint32_t removed;         /* files of one batch */
    bool more;
} gc;

/* ---------- which versions go ---------- */

typedef struct rule {
    const cn_index_info *ix;
    const cn_version *all;
    uint32_t n;
    uint64_t head, back, kept_from; /* back: where a rollback would go now; kept_from: the first of the N good ones before the active */
    int64_t young;
} rule;

static rule rule_of(const cn_index_info *ix, const cn_version *v, uint32_t n) {
    const cn_version *head = cn_version_head_of(v, n);
    rule r = {ix, v, n, head ? head->number : 0, ix->active ? v[ix->active - 1].before_active : 0, ix->active,
              cn_wall_us() - (int64_t)ix->set.keep_days * DAY_US};
    while (r.back && !cn_version_good(&v[r.back - 1]))
        r.back = v[r.back - 1].before_active;
    for (uint32_t kept = 0; kept < ix->set.keep_versions && r.kept_from > 1; kept += cn_version_good(&v[r.kept_from - 1]))
        r.kept_from--;
    return r;
}

static bool may_go(const rule *r, const cn_version *v) {
    bool good = cn_version_good(v);
    if (v->marks & (CN_MARK_DROPPED | CN_MARK_PINNED) || v->number == r->ix->active || v->number == r->head || v->number == r->back)
        return false;
    if (v->made_us >= r->young || v->first_active_us >= r->young)
        return false;
    if (v->number > r->ix->active)
        return !good && !r->ix->hold;
    return !(r->ix->hold && (v->marks & CN_MARK_SUSPECT)) && (!good || v->number < r->kept_from);
}

/* At most CN_RETIRE_MAX at once; a dry run counts all. */
static cn_err plan(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    gc *g = ctx;
    cn_version *v;
    cn_modes modes;
    uint32_t n, out = 0;
    CN_TRY(cn_index_load(c, txn, g->index, g->a, &g->ix));
    if (!g->dry) {
        CN_TRY(cn_modes_load(c, txn, g->ix.id, g->a, &modes));
        CN_TRY(cn_modes_may_write(&modes));
    }
    CN_TRY(cn_version_all(c, txn, g->ix.id, g->a, &v, &n));
    if (g->ix.active > n)
        return cn_fail(CN_DAMAGED, "the active version %llu of an index has no record", (unsigned long long)g->ix.active);
    rule r = rule_of(&g->ix, v, n);
    cn_version *gone = cn_arena_zalloc(g->a, CN_RETIRE_MAX, sizeof *gone);
    if (!gone)
        return cn_fail_memory();
    g->batch = (cn_gc_result){0};
    for (uint32_t i = 0; i < n; i++) {
        if (!may_go(&r, &v[i]) || (!g->dry && out == CN_RETIRE_MAX))
            continue;
        g->batch.versions++;
        g->batch.documents += v[i].counts.documents;
        if (out < CN_RETIRE_MAX)
            gone[out++] = v[i];
    }
    return cn_retire_plan(c, txn, g->a, g->ix.id, gone, out, &g->retire);
}

static cn_err audited(gc *g, MDB_txn *txn) {
    CN_AUTO_BUF cn_buf b;
    cn_buf_init(&b, 16384);
    cn_pack_map(&b, 3);
    cn_pack_cstr(&b, "versions");
    cn_pack_array(&b, g->retire.n_gone);
    for (uint32_t i = 0; i < g->retire.n_gone; i++)
        cn_pack_uint(&b, g->retire.gone[i].number);
    cn_pack_cstr(&b, "documents"), cn_pack_uint(&b, g->batch.documents);
    cn_pack_cstr(&b, "files"), cn_pack_uint(&b, g->retire.files.n);
    CN_TRY(cn_buf_check(&b));
    return cn_audit_add(g->t, txn, g->who, "version.gc", g->index, "done", cn_buf_str(&b));
}

static cn_err drop_old(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    gc *g = ctx;
    if (g->retire.n_gone == 0)
        return CN_OK;
    CN_TRY(cn_retire_apply(c, txn, &g->retire));
    CN_TRY(audited(g, txn));
    return cn_epoch_raise(g->t, txn, NULL);
}

/* What the files of a plan take. */
static void add_sizes(gc *g) {
    const char *const kinds[] = {NULL, CN_FLAT_KIND};
    char path[4096];
    struct stat st;
    for (uint32_t i = 0; i < g->retire.files.n; i++)
        for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
            if (cn_seg_path(g->t, &g->retire.files.v[i], kinds[k], path, sizeof path) == CN_OK && stat(path, &st) == 0) {
                g->got.files++;
                g->got.bytes += (uint64_t)st.st_size;
            }
}

/* ---------- files that no version names ---------- */

static bool young_file(const gc *g, const cn_seg_id *id) {
    char path[4096];
    struct stat st;
    if (cn_seg_path(g->t, id, NULL, path, sizeof path) != CN_OK || stat(path, &st) != 0)
        return false;
    return cn_wall_us() - (int64_t)st.st_mtime * 1000000 < UNNAMED_US;
}

/* Anything doubtful is kept. */
static bool needed(gc *g, const cn_seg_id *id) {
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

static bool keep(void *ctx, const cn_seg_id *id) {
    gc *g = ctx;
    bool kept = needed(g, id);
    if (!kept && g->removed == SWEEP_MAX)
        return g->more = true;
    g->removed += !kept;
    return kept;
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

static cn_err plan_sweep(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    gc *g = ctx;
    return cn_needed_make(c, txn, g->a, &g->needed);
}

static cn_err forget_retired(gc *g, const cn_catalog *c, MDB_txn *txn) {
    MDB_stat st;
    CN_TRY(cn_mdb(mdb_stat(txn, c->retired, &st), "counting retired files"));
    cn_needed keep_for_now = g->needed;
    g->needed = (cn_needed){cn_arena_zalloc(g->a, st.ms_entries + 1, sizeof(cn_seg_id)), 0, 0};
    if (!g->needed.v)
        return cn_fail_memory();
    CN_TRY(cn_db_each(txn, c->retired, (cn_str){0}, forget_one, g));
    for (uint32_t i = 0; i < g->needed.n; i++)
        CN_TRY(cn_db_del(txn, c->retired, (cn_str){(const char *)g->needed.v[i].b, CN_SEG_ID}));
    g->needed = keep_for_now;
    return CN_OK;
}

/* Records of versions whose index was dropped. */
static cn_err forget_orphans(gc *g, const cn_catalog *c, MDB_txn *txn, bool *ret_any) {
    MDB_cursor *cur;
    uint64_t *ids;
    uint32_t n, gone = 0;
    CN_TRY(cn_index_ids(c, txn, g->a, &ids, &n));
    CN_TRY(cn_mdb(mdb_cursor_open(txn, c->version, &cur), "sweeping records"));
    MDB_val k, v;
    int rc = mdb_cursor_get(cur, &k, &v, MDB_FIRST);
    while (rc == 0 && gone < SWEEP_MAX) {
        uint64_t id = k.mv_size == sizeof(cn_catalog_key) ? cn_be64(k.mv_data) : 0;
        cn_catalog_key next = cn_key2(id + 1, 0);
        if (id == 0 || bsearch(&id, ids, n, sizeof id, cn_by_u64)) {
            k = (MDB_val){sizeof next, next.b};
            rc = id == 0 ? MDB_NOTFOUND : mdb_cursor_get(cur, &k, &v, MDB_SET_RANGE);
            continue;
        }
        rc = mdb_cursor_del(cur, 0);
        gone++;
        rc = rc ? rc : mdb_cursor_get(cur, &k, &v, MDB_FIRST);
    }
    mdb_cursor_close(cur);
    g->more |= gone == SWEEP_MAX;
    *ret_any |= gone > 0;
    return rc == 0 || rc == MDB_NOTFOUND ? CN_OK : cn_mdb(rc, "sweeping records");
}

/* Files retired over a minute ago, and what dead jobs and dropped indexes left; then the records of retired files that are gone. */
static cn_err sweep(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    gc *g = ctx;
    uint32_t files = 0;
    uint64_t bytes = 0;
    g->c = c;
    g->txn = txn;
    g->more = false;
    g->removed = 0;
    CN_TRY(cn_seg_sweep(g->t, keep, g, &files, &bytes));
    g->got.files += files;
    g->got.bytes += bytes;
    CN_TRY(g->err);
    CN_TRY(forget_retired(g, c, txn));
    bool any = files > 0; /* files that someone holds are left for another time */
    CN_TRY(forget_orphans(g, c, txn, &any));
    g->more &= any;
    return CN_OK;
}

static cn_err drop_all(gc *g) {
    do {
        CN_TRY(cn_catalog_change(g->t, plan, drop_old, g));
        g->got.versions += g->batch.versions;
        g->got.documents += g->batch.documents;
        cn_arena_reset(g->a);
    } while (g->batch.versions == CN_RETIRE_MAX);
    return CN_OK;
}

cn_err cn_version_gc(cn_tenant *t, cn_str index, bool dry, const cn_actor *who, cn_gc_result *ret) {
    CN_CATALOG_ARENA(a);
    gc g = {.t = t, .index = index, .who = who, .dry = dry, .a = &a};
    if (dry) {
        CN_TRY(cn_catalog_read(t, plan, &g));
        g.got = g.batch;
        add_sizes(&g);
    } else {
        CN_TRY(cn_refused(t, drop_all(&g), who, "version.gc", index));
        do {
            cn_arena_reset(&a);
            CN_TRY(cn_catalog_change(t, plan_sweep, sweep, &g));
        } while (g.more);
    }
    *ret = g.got;
    return CN_OK;
}
