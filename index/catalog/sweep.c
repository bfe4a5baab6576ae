/* sweep.c -- files that no version names, and the records of what is gone. */
#include "index/catalog/sweep.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "index/catalog/gate_inside.h"
#include "index/catalog/leftover.h"
#include "index/catalog/needed.h"
#include "index/control/audit.h"
#include "index/store/dir.h"
#include "index/store/segment.h"

#define SWEEP_MAX 64                       /* files, or records, in one transaction */
#define POLICIES 32                        /* times that the policy may change under what was looked at */

typedef struct looked { /* what a file that no version names holds of erased documents */
    cn_seg_id id;
    uint64_t holds;
} looked;

typedef struct erased { /* files that held erased documents, and are gone */
    cn_seg_id id[SWEEP_MAX];
    cn_str index[SWEEP_MAX];
    uint64_t documents[SWEEP_MAX], record[SWEEP_MAX];
    uint32_t n;
} erased;

typedef struct sweep { /* of one batch */
    cn_tenant *t;
    const cn_actor *who;
    cn_arena *a;
    cn_needed needed;
    const cn_catalog *c;
    MDB_txn *txn;
    cn_err err;
    cn_gc_result *got;
    cn_stray stray[SWEEP_MAX];
    uint32_t n_strays;
    looked looked[SWEEP_MAX];  /* those strays that hold rows, of which nobody told that they hold erased documents */
    cn_seg_id unlooked[SWEEP_MAX];
    uint32_t n_looked, n_unlooked;
    cn_digest by;              /* the policy by which they were looked at; zero: one that erases nothing */
    uint32_t policies;         /* how many of them there have been */
    erased gone;
    cn_needed forgotten; /* held erased documents, are named no more, and a kill came before they were let go */
    bool full, more;
} sweep;

static bool written_since(const sweep *g, const cn_seg_id *id, int64_t us) {
    char path[4096];
    struct stat st;
    if (cn_seg_path(g->t, id, NULL, path, sizeof path) != CN_OK || stat(path, &st) != 0)
        return false;
    return !cn_is_due((int64_t)st.st_mtime * 1000000, us);
}

/* By a compaction that lives, which has its lock; what is derived from it is not locked. */
static bool being_made(const sweep *g, const cn_seg_id *id) {
    int fd;
    cn_err err = cn_seg_try_hold(g->t, id, &fd);
    if (err == CN_OK)
        close(fd);
    return err != CN_OK && err != CN_NOT_FOUND; /* NOT_FOUND: only what is derived is left */
}

/* Anything doubtful is kept. What a compaction makes is among the retired until it is named; what held an erased document, and
 * was let go, waits for its minute alone. */
static bool needed(sweep *g, const cn_seg_id *id) {
    int64_t at = 0;
    cn_str value, erasing, key = {(const char *)id->b, CN_SEG_ID};
    const cn_field f[] = {{"at", CN_F_I64, &at, 0}};
    if (cn_needed_has(&g->needed, id))
        return true;
    cn_err err = cn_db_get(g->txn, g->c->retired, key, &value);
    if (err == CN_NOT_FOUND)
        return written_since(g, id, CN_UNNAMED_US);
    if (err == CN_OK)
        err = cn_fields_read(value, "the record of a retired file", NULL, f, 1);
    bool let_go = false;
    if (err == CN_OK) {
        err = cn_db_get(g->txn, g->c->erasing, key, &erasing);
        let_go = err == CN_OK;
        err = err == CN_NOT_FOUND ? CN_OK : err;
    }
    if (err != CN_OK)
        g->err = err;
    return err != CN_OK || !cn_is_due(at, CN_GRACE_US) || (!let_go && written_since(g, id, CN_GRACE_US)) || being_made(g, id);
}

static bool keep(void *ctx, const cn_seg_id *id) { return needed(ctx, id); }

static cn_err forget_one(void *ctx, cn_str key, cn_str value, bool *stop) {
    (void)value;
    sweep *g = ctx;
    cn_seg_id id;
    char path[4096];
    if (key.n != CN_SEG_ID)
        return cn_fail(CN_DAMAGED, "the record of a retired file has a key of %zu bytes", key.n);
    memcpy(id.b, key.p, CN_SEG_ID);
    CN_TRY(cn_seg_path(g->t, &id, NULL, path, sizeof path));
    struct stat st;
    if (stat(path, &st) != 0 && errno == ENOENT)
        g->needed.v[g->needed.n++] = id; /* has room: see forget_retired() */
    *stop = g->needed.n == SWEEP_MAX;
    return CN_OK;
}

static cn_err find_forgotten(void *ctx, cn_str key, cn_str value, bool *stop) {
    sweep *g = ctx;
    cn_seg_id id;
    cn_err err = cn_db_get(g->txn, g->c->retired, key, &value);
    if (err != CN_NOT_FOUND || key.n != CN_SEG_ID)
        return err == CN_NOT_FOUND ? CN_OK : err;
    memcpy(id.b, key.p, CN_SEG_ID);
    if (cn_needed_has(&g->needed, &id) || cn_seg_is_gone(g->t, &id))
        return CN_OK;
    if (!cn_arena_grow(g->a, g->forgotten.v, g->forgotten.n, g->forgotten.room))
        return cn_fail_memory();
    g->forgotten.v[g->forgotten.n++] = id;
    *stop = g->forgotten.n == SWEEP_MAX;
    return CN_OK;
}

/* ---------- what they hold ---------- */
static bool front_of(const cn_stray *x, cn_seg_id *ret) { return cn_unhex((cn_str){x->name, 2 * CN_SEG_ID}, ret->b, CN_SEG_ID) == 0; }

static cn_err note_rows(sweep *g, const looked *known, uint32_t n_known, const cn_stray *x) {
    cn_seg_id id;
    cn_str value;
    if (strcmp(x->name + 2 * CN_SEG_ID, ".mdb") != 0 || !front_of(x, &id))
        return CN_OK;
    cn_err err = cn_db_get(g->txn, g->c->erasing, (cn_str){(const char *)id.b, CN_SEG_ID}, &value);
    if (err != CN_NOT_FOUND)
        return err;
    for (uint32_t i = 0; i < n_known; i++)
        if (memcmp(&known[i].id, &id, sizeof id) == 0) {
            g->looked[g->n_looked++] = known[i];
            return CN_OK;
        }
    g->unlooked[g->n_unlooked++] = id;
    return CN_OK;
}

static cn_digest digest_of(const cn_policy *p) { return p ? cn_policy_digest(p) : (cn_digest){{0}}; }

/* What was seen of a file holds as long as the policy is the same: it is sealed, or nobody's. */
static cn_err forget_by_policy(sweep *g) {
    cn_policy *p;
    CN_TRY(cn_leftovers_policy(g->t, &p));
    cn_digest now = digest_of(p);
    cn_policy_unref(p);
    if (cn_digest_eq(&now, &g->by))
        return CN_OK;
    g->by = now;
    g->n_looked = 0;
    return ++g->policies <= POLICIES ? CN_OK : cn_fail(CN_OVERLOADED, "the policy of this tenant was changed each time that files were about to be removed; try again");
}

static bool is_unlooked(const sweep *g, const cn_stray *x) {
    cn_seg_id id;
    bool is = false;
    for (uint32_t i = 0; i < g->n_unlooked && front_of(x, &id); i++)
        is |= memcmp(&g->unlooked[i], &id, sizeof id) == 0;
    return is;
}

/* Files that hold rows, and what is derived from them, stay until somebody has looked at them. */
static cn_err keep_unlooked(sweep *g) {
    looked known[SWEEP_MAX];
    uint32_t n = 0;
    CN_TRY(forget_by_policy(g));
    uint32_t n_known = g->n_looked;
    memcpy(known, g->looked, n_known * sizeof *known);
    g->n_looked = g->n_unlooked = 0;
    for (uint32_t i = 0; i < g->n_strays; i++)
        CN_TRY(note_rows(g, known, n_known, &g->stray[i]));
    for (uint32_t i = 0; i < g->n_strays; i++)
        if (!is_unlooked(g, &g->stray[i]))
            g->stray[n++] = g->stray[i];
    g->n_strays = n;
    return CN_OK;
}

/* What of them was erased before or after their last version went: the chain tells of it whichever way they go. In no
 * transaction, since it takes long; what it finds of another policy than the last plan's, the next plan forgets. */
static cn_err look(sweep *g) {
    uint64_t holds[SWEEP_MAX];
    uint32_t n = 0;
    cn_policy *p;
    CN_TRY(cn_leftovers_policy(g->t, &p));
    cn_digest now = digest_of(p);
    cn_err err = cn_digest_eq(&now, &g->by) ? cn_leftovers_in(g->t, p, g->a, g->unlooked, g->n_unlooked, holds, &n) : CN_OK;
    cn_policy_unref(p);
    for (uint32_t i = 0; i < n; i++)
        g->looked[g->n_looked++] = (looked){g->unlooked[i], holds[i]};
    return err;
}

/* Reading the folder takes long, and is done before the writer is taken (where others write all the time, in the end with it): whoever
 * names a file changes the catalog. */
static cn_err plan_sweep(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    sweep *g = ctx;
    g->c = c;
    g->txn = txn;
    g->forgotten = (cn_needed){0};
    CN_TRY(cn_needed_make(c, txn, g->a, &g->needed));
    CN_TRY(cn_db_each(txn, c->erasing, (cn_str){0}, find_forgotten, g));
    CN_TRY(cn_seg_strays(g->t, keep, g, g->stray, SWEEP_MAX, &g->n_strays));
    CN_TRY(g->err);
    g->full = g->n_strays == SWEEP_MAX;
    return keep_unlooked(g);
}

static cn_err forget_retired(sweep *g, const cn_catalog *c, MDB_txn *txn, bool *ret_any) {
    cn_needed keep_for_now = g->needed;
    g->needed = (cn_needed){cn_arena_zalloc(g->a, SWEEP_MAX, sizeof(cn_seg_id)), 0, 0};
    if (!g->needed.v)
        return cn_fail_memory();
    CN_TRY(cn_db_each(txn, c->retired, (cn_str){0}, forget_one, g));
    for (uint32_t i = 0; i < g->needed.n; i++)
        CN_TRY(cn_db_del(txn, c->retired, (cn_str){(const char *)g->needed.v[i].b, CN_SEG_ID}));
    g->more |= g->needed.n == SWEEP_MAX;
    *ret_any |= g->needed.n > 0;
    g->needed = keep_for_now;
    return CN_OK;
}

/* Of a version whose index was dropped: from now on its files wait for their minute, as those of a version that was dropped.
 * A record that cannot be read is no reason to keep it: its files are never named again, and go after an hour. */
static cn_err retire_of(sweep *g, const cn_catalog *c, MDB_txn *txn, cn_str value) {
    cn_version v;
    cn_needed files = {0};
    if (cn_version_read(value, g->a, &v) != CN_OK)
        return CN_OK;
    for (uint32_t i = 0; i <= v.n_parts; i++) {
        const cn_seg_id *id = i < v.n_parts ? &v.parts[i].id : &v.own;
        cn_str was;
        if (cn_needed_has(&g->needed, id) || cn_db_get(txn, c->retired, (cn_str){(const char *)id->b, CN_SEG_ID}, &was) == CN_OK)
            continue;
        if (!cn_arena_grow(g->a, files.v, files.n, files.room))
            return cn_fail_memory();
        files.v[files.n++] = *id;
    }
    return cn_retire_files(c, txn, files.v, files.n);
}

/* Records of versions whose index was dropped, and their results. */
static cn_err forget_in(sweep *g, const cn_catalog *c, MDB_txn *txn, MDB_dbi dbi, bool *ret_any) {
    CN_CLEANUP(cn_cursor_close) MDB_cursor *cur = NULL;
    uint64_t *ids;
    uint32_t n, gone = 0;
    CN_TRY(cn_index_ids(c, txn, g->a, &ids, &n));
    CN_TRY(cn_mdb(cn_cursor_open(txn, dbi, &cur), "sweeping records"));
    MDB_val k, v;
    int rc = cn_cursor_get(cur, &k, &v, MDB_FIRST);
    while (rc == 0 && gone < SWEEP_MAX) {
        uint64_t id = k.mv_size == sizeof(cn_catalog_key) ? cn_be64(k.mv_data) : 0;
        cn_catalog_key next = cn_key2(id + 1, 0);
        if (id == 0 || bsearch(&id, ids, n, sizeof id, cn_by_u64)) {
            k = (MDB_val){sizeof next, next.b};
            rc = id == 0 ? MDB_NOTFOUND : cn_cursor_get(cur, &k, &v, MDB_SET_RANGE);
            continue;
        }
        CN_TRY(dbi == c->version ? retire_of(g, c, txn, (cn_str){v.mv_data, v.mv_size}) : CN_OK);
        rc = mdb_cursor_del(cur, 0);
        gone++;
        rc = rc ? rc : cn_cursor_get(cur, &k, &v, MDB_FIRST);
    }
    g->more |= gone == SWEEP_MAX;
    *ret_any |= gone > 0;
    return rc == 0 || rc == MDB_NOTFOUND ? CN_OK : cn_mdb(rc, "sweeping records");
}

static cn_err forget_orphans(sweep *g, const cn_catalog *c, MDB_txn *txn, bool *ret_any) {
    CN_TRY(forget_in(g, c, txn, c->gate, ret_any));
    return forget_in(g, c, txn, c->version, ret_any);
}

/* ---------- files that held erased documents ---------- */
#define ERASING_FIELDS(index, documents, record) {{"index", CN_F_STR, index, 0}, {"documents", CN_F_U64, documents, 0}, {"record", CN_F_U64, record, 0}}

cn_err cn_erasing_put(MDB_txn *txn, MDB_dbi dbi, const cn_seg_id *id, cn_str index, uint64_t documents, uint64_t record) {
    const cn_field f[] = ERASING_FIELDS(&index, &documents, &record);
    return cn_fields_put(txn, dbi, (cn_str){(const char *)id->b, CN_SEG_ID}, f, 3);
}

static cn_err find_gone(void *ctx, cn_str key, cn_str value, bool *stop) {
    sweep *s = ctx;
    erased *e = &s->gone;
    uint32_t n = e->n;
    const cn_field f[] = ERASING_FIELDS(&e->index[n], &e->documents[n], &e->record[n]);
    if (key.n != CN_SEG_ID)
        return cn_fail(CN_DAMAGED, "the record of a file with erased documents has a key of %zu bytes", key.n);
    memcpy(e->id[n].b, key.p, CN_SEG_ID);
    if (!cn_seg_is_gone(s->t, &e->id[n]))
        return CN_OK;
    CN_TRY(cn_fields_read(value, "the record of a file with erased documents", s->a, f, 3));
    *stop = ++e->n == SWEEP_MAX;
    return CN_OK;
}

static cn_err find_erased(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    sweep *s = ctx;
    s->gone.n = 0;
    return cn_db_each(txn, c->erasing, (cn_str){0}, find_gone, s);
}

/* The audit chain's word that the bytes are gone: which compaction told of them (none, where the file went with its last version),
 * and how many documents the file held. */
static cn_err tell_erased(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    sweep *s = ctx;
    erased *e = &s->gone;
    for (uint32_t i = 0; i < e->n; i++) {
        char hex[2 * CN_SEG_ID + 1];
        CN_AUTO_BUF cn_buf b;
        cn_buf_init(&b, 4096);
        cn_hex(e->id[i].b, CN_SEG_ID, hex);
        cn_pack_map(&b, 2u + (e->record[i] != 0));
        cn_pack_cstr(&b, "file"), cn_pack_cstr(&b, hex);
        cn_pack_cstr(&b, "documents"), cn_pack_uint(&b, e->documents[i]);
        if (e->record[i])
            cn_pack_cstr(&b, "compacted"), cn_pack_uint(&b, e->record[i]);
        CN_TRY(cn_buf_check(&b));
        CN_TRY(cn_db_del(txn, c->erasing, (cn_str){(const char *)e->id[i].b, CN_SEG_ID}));
        CN_TRY(cn_audit_add(s->t, txn, s->who, "version.erased", e->index[i], "done", cn_buf_str(&b)));
    }
    return CN_OK;
}

/* In a transaction before the one that unlinks them: then a kill leaves a note of it. */
static cn_err note_erasing(const sweep *g, const cn_catalog *c, MDB_txn *txn, bool *ret_any) {
    *ret_any = false;
    for (uint32_t i = 0; i < g->n_looked; i++) {
        const looked *x = &g->looked[i];
        if (x->holds == 0)
            continue;
        CN_TRY(cn_retire_now(c, txn, &x->id));
        CN_TRY(cn_erasing_put(txn, c->erasing, &x->id, (cn_str){"", 0}, x->holds, 0));
        *ret_any = true;
    }
    return CN_OK;
}

/* Files retired over a minute ago, and what dead jobs and dropped indexes left; then the records of retired files that are gone. */
static cn_err sweep_in(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    sweep *g = ctx;
    uint32_t before = g->got->files;
    bool orphans = false;
    CN_TRY(note_erasing(g, c, txn, &g->more));
    CN_TRY(g->more ? CN_OK : forget_orphans(g, c, txn, &orphans));
    g->more |= orphans; /* files of a dropped index are planned anew, since their minute begins now */
    if (g->more)
        return CN_OK;
    CN_TRY(cn_seg_strays_remove(g->t, g->stray, g->n_strays, &g->got->files, &g->got->bytes));
    bool any = g->got->files > before || g->forgotten.n; /* files that someone holds are left for another time */
    g->more = g->full || g->forgotten.n == SWEEP_MAX;
    CN_TRY(forget_retired(g, c, txn, &any));
    CN_TRY(cn_retire_files(c, txn, g->forgotten.v, g->forgotten.n));
    g->more &= any;
    return CN_OK;
}

static cn_err plan_dropped(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    sweep *g = ctx;
    return cn_needed_make(c, txn, g->a, &g->needed);
}

static cn_err let_go_dropped(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    sweep *g = ctx;
    bool any = false;
    g->more = false;
    return forget_orphans(g, c, txn, &any);
}

static cn_err sync_folder(const cn_tenant *t) {
    char dir[CN_PATH_MAX];
    CN_TRY(cn_path(dir, sizeof dir, "%s/segments", cn_tenant_dir(t)));
    return cn_dir_sync(dir);
}

static cn_err sweep_all(sweep *s) {
    do {
        cn_arena_reset(s->a);
        CN_TRY(cn_catalog_change(s->t, plan_sweep, sweep_in, s));
        CN_TRY(s->n_unlooked ? look(s) : CN_OK);
    } while (s->more || s->n_unlooked);
    return sync_folder(s->t);
}

/* Only what is gone from the disk is told of. */
static cn_err tell_all(sweep *s) {
    CN_TRY(cn_catalog_read(s->t, find_erased, s));
    while (s->gone.n) {
        cn_arena_reset(s->a);
        CN_TRY(cn_catalog_change(s->t, find_erased, tell_erased, s));
        if (s->gone.n < SWEEP_MAX)
            break;
    }
    return CN_OK;
}

cn_err cn_catalog_sweep(cn_tenant *t, const cn_actor *who, cn_gc_result *io) {
    CN_CATALOG_ARENA(a);
    CN_AUTO_FREE sweep *s = cn_calloc(1, sizeof *s);
    if (!s)
        return cn_fail_memory();
    *s = (sweep){.t = t, .who = who, .a = &a, .got = io};
    CN_TRY(sweep_all(s));
    CN_TRY(tell_all(s));
    return cn_frozen_sweep(t);
}

cn_err cn_catalog_let_go_dropped(cn_tenant *t) {
    CN_CATALOG_ARENA(a);
    CN_AUTO_FREE sweep *s = cn_calloc(1, sizeof *s);
    if (!s)
        return cn_fail_memory();
    *s = (sweep){.t = t, .a = &a};
    do {
        cn_arena_reset(&a);
        CN_TRY(cn_catalog_change(t, plan_dropped, let_go_dropped, s));
    } while (s->more);
    return CN_OK;
}

/* ---------- what waits ---------- */
static cn_err count_pending(void *ctx, cn_str key, cn_str value, bool *stop) {
    cn_pending *p = ctx;
    int64_t at = 0;
    const cn_field f[] = {{"at", CN_F_I64, &at, 0}};
    (void)key, (void)stop;
    CN_TRY(cn_fields_read(value, "the record of a retired file", NULL, f, 1));
    at = cn_due_us(at, CN_GRACE_US);
    p->from_us = p->files == 0 || at < p->from_us ? at : p->from_us;
    p->due_us = at > p->due_us ? at : p->due_us;
    p->files++;
    return CN_OK;
}

static cn_err pending_in(void *ctx, const cn_catalog *c, MDB_txn *txn) { return cn_db_each(txn, c->retired, (cn_str){0}, count_pending, ctx); }

cn_err cn_catalog_pending(cn_tenant *t, cn_pending *ret) {
    cn_pending p = {0};
    CN_TRY(cn_catalog_read(t, pending_in, &p));
    *ret = p;
    return CN_OK;
}

typedef struct leaving {
    const cn_catalog *c;
    MDB_txn *txn;
    cn_arena *a;
    cn_str index;
    uint32_t files;
    int64_t due_us;
} leaving;

/* Not among the retired: a kill came between, and the next sweep puts it there. */
static cn_err count_leaving(void *ctx, cn_str key, cn_str value, bool *stop) {
    leaving *l = ctx;
    cn_str index = {NULL, 0}, retired;
    uint64_t documents = 0, record = 0;
    int64_t at = 0;
    const cn_field f[] = ERASING_FIELDS(&index, &documents, &record), when[] = {{"at", CN_F_I64, &at, 0}};
    (void)stop;
    CN_TRY(cn_fields_read(value, "the record of a file with erased documents", l->a, f, 3));
    if (l->index.n && !cn_str_eq(index, l->index))
        return CN_OK;
    cn_err err = cn_db_get(l->txn, l->c->retired, key, &retired);
    if (err != CN_NOT_FOUND)
        CN_TRY(err);
    if (err == CN_OK)
        CN_TRY(cn_fields_read(retired, "the record of a retired file", NULL, when, 1));
    l->files++;
    int64_t due = cn_due_us(at, CN_GRACE_US);
    l->due_us = due > l->due_us ? due : l->due_us;
    return CN_OK;
}

static cn_err leaving_in(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    leaving *l = ctx;
    l->c = c;
    l->txn = txn;
    return cn_db_each(txn, c->erasing, (cn_str){0}, count_leaving, l);
}

cn_err cn_erasing_look(cn_tenant *t, cn_str index, uint32_t *ret_files, int64_t *ret_due_us) {
    CN_CATALOG_ARENA(a);
    leaving l = {.a = &a, .index = index};
    CN_TRY(cn_catalog_read(t, leaving_in, &l));
    *ret_files = l.files;
    *ret_due_us = l.due_us;
    return CN_OK;
}
