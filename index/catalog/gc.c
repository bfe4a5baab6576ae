/* gc.c -- which versions are let go. */

#include "engine/base/os.h"
#include "index/catalog/inside.h"
#include "index/catalog/needed.h"
#include "index/catalog/sweep.h"

#define DAY_US ((int64_t)86400 * 1000000)

typedef struct gc {
    cn_tenant *t;
    cn_str index;
    const cn_actor *who;
    bool dry;
    cn_arena *a;
    cn_index_info ix;
    cn_retire retire;         /* one batch */
    cn_gc_result batch, got;
} gc;

/* ---------- which versions go ---------- */

typedef struct rule {
    const cn_index_info *ix;
    const cn_version *all;
    uint32_t n;
    uint64_t head, back, kept_from; /* back: where a rollback would go now; kept_from: the first of the N good ones before the active */
    int64_t young, day;       /* made later: within the days kept; within one */
} rule;

static rule rule_of(const cn_index_info *ix, const cn_version *v, uint32_t n) {
    const cn_version *head = cn_version_head_of(v, n);
    rule r = {ix, v, n, head ? head->number : 0, ix->active ? v[ix->active - 1].before_active : 0, ix->active,
              cn_wall_us() - (int64_t)ix->set.keep_days * DAY_US, cn_wall_us() - DAY_US};
    while (r.back && !cn_version_good(&v[r.back - 1]))
        r.back = v[r.back - 1].before_active;
    for (uint32_t kept = 0; kept < ix->set.keep_versions && r.kept_from > 1; kept += cn_version_good(&v[r.kept_from - 1]))
        r.kept_from--;
    return r;
}

/* What a trial is compared with when it catches up. */
static bool has_trial(const rule *r, uint64_t number) {
    for (uint32_t i = 0; i < r->n; i++)
        if ((r->all[i].marks & (CN_MARK_TRIAL | CN_MARK_DROPPED)) == CN_MARK_TRIAL && r->all[i].base == number)
            return true;
    return false;
}

/* Of the rebuild that runs and goes on from it, or up to date and looked at by a person. */
static bool is_waited_for(const rule *r, const cn_version *v) {
    return (v->marks & CN_MARK_TRIAL) && (v->base == r->head || v->made_us >= r->day);
}

static bool may_go(const rule *r, const cn_version *v) {
    bool good = cn_version_good(v);
    if (v->marks & (CN_MARK_DROPPED | CN_MARK_PINNED) || v->number == r->ix->active || v->number == r->head || v->number == r->back ||
        has_trial(r, v->number) || is_waited_for(r, v))
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
        CN_TRY(cn_modes_load(c, txn, g->ix.id, g->index, g->a, &modes));
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
    for (uint32_t i = 0; i < g->retire.files.n; i++)
        g->got.files += cn_seg_files(g->t, &g->retire.files.v[i], &g->got.bytes);
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
        CN_TRY(cn_catalog_sweep(t, who, &g.got));
    }
    *ret = g.got;
    return CN_OK;
}
