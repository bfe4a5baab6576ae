#include "index/catalog/leftover.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine/base/os.h"
#include "index/catalog/needed.h"
#include "index/catalog/sweep.h"
#include "index/control/audit.h"

#define AT_ONCE 64 /* files let go in one transaction */
#define LOOK_NS 100000000ull

typedef struct gone {
    cn_key key;
    bool now;      /* else it was restored, and only rows begun before its erasure are erased */
    int64_t at_us;
} gone;

typedef struct finding {
    cn_tenant *t;
    cn_arena *a;
    gone *gone;             /* what was erased, by key */
    uint32_t n_gone, room_gone;
    int64_t last_us;        /* the latest erasure */
    cn_needed named;        /* files of versions, in an arena of their own */
    cn_arena *names;
    uint64_t seq;           /* the audit record up to which they are: whoever names a file leaves one */
    const cn_catalog *c;
    MDB_txn *txn;
    cn_err err;
    cn_seg_id *id;          /* files that no version names, nor are known to go with what was erased */
    uint32_t n, room;
    /* of the file being looked at: */
    uint64_t erased, restored;
    int64_t first_us;       /* the first erasure of what it holds */
    int64_t restored_us;    /* the last one of what was restored since */
} finding;

/* ---------- what was erased ---------- */
static cn_err add(void *ctx, const cn_erasure *e) {
    finding *f = ctx;
    if (!cn_arena_grow(f->a, f->gone, f->n_gone, f->room_gone))
        return cn_fail_memory();
    f->gone[f->n_gone++] = (gone){e->key, e->now, e->at_us};
    f->last_us = e->at_us > f->last_us ? e->at_us : f->last_us;
    return CN_OK;
}

static cn_err add_now(void *ctx, const cn_erasure *e) { return e->now ? add(ctx, e) : CN_OK; }

static int by_key(const void *a, const void *b) { return memcmp(&((const gone *)a)->key, &((const gone *)b)->key, sizeof(cn_key)); }

static cn_err read_gone(finding *f, const cn_policy *p) {
    CN_TRY(cn_policy_erasures(p, add_now, f));
    CN_TRY(cn_policy_restored_since(p, NULL, add, f));
    if (f->n_gone)
        qsort(f->gone, f->n_gone, sizeof *f->gone, by_key);
    return CN_OK;
}

/* ---------- which files ---------- */
static bool has_file(const finding *f, const cn_seg_id *id) {
    for (uint32_t i = 0; i < f->n; i++)
        if (memcmp(&f->id[i], id, sizeof *id) == 0)
            return true;
    return false;
}

static cn_err read_named(finding *f, const cn_catalog *c, MDB_txn *txn) {
    cn_arena_reset(f->names);
    CN_TRY(cn_needed_make(c, txn, f->names, &f->named));
    return cn_audit_seq(txn, c->meta, &f->seq);
}

static bool note_file(void *ctx, const cn_seg_id *id) {
    finding *f = ctx;
    cn_str value;
    if (f->err != CN_OK || cn_needed_has(&f->named, id) || has_file(f, id))
        return true;
    cn_err err = cn_db_get(f->txn, f->c->erasing, (cn_str){(const char *)id->b, CN_SEG_ID}, &value);
    if (err == CN_NOT_FOUND && cn_arena_grow(f->a, f->id, f->n, f->room)) {
        f->id[f->n++] = *id;
        err = CN_OK;
    }
    f->err = err == CN_NOT_FOUND ? cn_fail_memory() : err;
    return true;
}

static cn_err find_files(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    finding *f = ctx;
    cn_stray none[1];
    uint32_t n;
    f->c = c;
    f->txn = txn;
    CN_TRY(read_named(f, c, txn));
    CN_TRY(cn_seg_strays(f->t, note_file, f, none, 0, &n));
    return f->err;
}

/* ---------- what they hold ---------- */
typedef struct going {
    cn_tenant *t;
    cn_str index;
    const cn_actor *who;
    const cn_leftover *v[AT_ONCE], *now[AT_ONCE]; /* now: those that no version names */
    uint32_t n, n_now;
} going;

/* Who took one up meanwhile may have come to its end. */
static cn_err look_whether(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    CN_CATALOG_ARENA(a);
    going *g = ctx;
    cn_needed named;
    CN_TRY(cn_needed_make(c, txn, &a, &named));
    g->n_now = 0;
    for (uint32_t i = 0; i < g->n; i++)
        if (!cn_needed_has(&named, &g->v[i]->id))
            g->now[g->n_now++] = g->v[i];
    return CN_OK;
}

static cn_err name_again(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    finding *f = ctx;
    uint64_t seq;
    CN_TRY(cn_audit_seq(txn, c->meta, &seq));
    return seq == f->seq && f->named.v ? CN_OK : read_named(f, c, txn);
}

/* Whoever names a file holds it until then: held here, and still not named, it is nobody's. CN_NOT_FOUND: it is somebody's now. */
static cn_err hold(finding *f, const cn_seg_id *id, int *ret_fd) {
    int fd;
    CN_TRY(cn_seg_try_hold(f->t, id, &fd));
    cn_err err = cn_catalog_read(f->t, name_again, f);
    if (err == CN_OK && !cn_needed_has(&f->named, id)) {
        *ret_fd = fd;
        return CN_OK;
    }
    close(fd);
    return err == CN_OK ? CN_NOT_FOUND : err;
}

typedef struct whole { /* a sealed file, which a reader of before may still open: it is read as readers do */
    cn_seg *seg;
    cn_segw_key_fn *fn;
    void *ctx;
} whole;

static cn_err look_at_whole(void *ctx, const cn_key *key, const cn_digest *leaf, uint32_t doc) {
    whole *w = ctx;
    cn_stub stub;
    bool is;
    (void)leaf;
    CN_TRY(cn_seg_stub(w->seg, doc, &is, &stub));
    return is ? CN_OK : w->fn(w->ctx, key);
}

static cn_err look_into(cn_tenant *t, const cn_seg_id *id, int held, cn_segw_key_fn *fn, void *ctx, cn_segw_left *ret) {
    whole w = {.fn = fn, .ctx = ctx};
    if (cn_seg_open(t, id, NULL, &w.seg) != CN_OK)
        return cn_segw_look(t, id, held, fn, ctx, ret);
    *ret = (cn_segw_left){.since_us = cn_seg_made_us(w.seg)};
    cn_err err = cn_seg_bucket(w.seg, 0, 0, look_at_whole, &w);
    cn_seg_close(w.seg);
    return err;
}

static cn_err clean(finding *f, const cn_seg_id *id) {
    int fd;
    CN_TRY(hold(f, id, &fd));
    cn_err err = cn_segw_clean(f->t, id, fd);
    close(fd);
    return err;
}

static cn_err look_for(void *ctx, const cn_key *key) {
    finding *f = ctx;
    gone want = {.key = *key}, *g = bsearch(&want, f->gone, f->n_gone, sizeof *f->gone, by_key);
    if (!g)
        return CN_OK;
    f->erased += g->now;
    f->restored += !g->now;
    f->first_us = g->at_us < f->first_us ? g->at_us : f->first_us;
    f->restored_us = !g->now && g->at_us > f->restored_us ? g->at_us : f->restored_us;
    return CN_OK;
}

static cn_err note_leftover(finding *f, const cn_leftover *x, int64_t since_us, cn_leftovers *io) {
    if (!cn_arena_grow(f->a, io->v, io->n, io->room))
        return cn_fail_memory();
    io->v[io->n++] = *x;
    io->documents += x->documents ? x->documents : 1;
    io->since_us = io->n == 1 || since_us < io->since_us ? since_us : io->since_us;
    return CN_OK;
}

/* What it holds; a document that was restored counts where the file was begun before. */
static cn_err count(finding *f, const cn_seg_id *id, int held, cn_segw_left *ret, uint64_t *ret_documents) {
    f->erased = f->restored = 0;
    f->first_us = INT64_MAX;
    f->restored_us = CN_NO_TIME;
    cn_err err = look_into(f->t, id, held, look_for, f, ret);
    *ret_documents = f->erased + (ret->since_us < f->restored_us ? f->restored : 0);
    return err;
}

static cn_err look_at(finding *f, const cn_seg_id *id, cn_leftovers *io) {
    cn_segw_left is = {0};
    uint64_t documents = 0;
    int fd;
    cn_err err = hold(f, id, &fd);
    if (err == CN_OK) {
        err = count(f, id, fd, &is, &documents);
        close(fd);
    }
    io->building += err == CN_CONFLICT;
    if (err == CN_CONFLICT || err == CN_NOT_FOUND)
        return CN_OK;
    cn_leftover x = {.id = *id, .documents = documents, .unread = err != CN_OK, .stays = err != CN_OK && err != CN_DAMAGED};
    bool before = is.since_us < f->last_us;
    x.unfinished = !x.unread && is.unfinished && before;
    return x.documents || x.unread || x.unfinished ? note_leftover(f, &x, x.documents ? f->first_us : f->last_us, io) : CN_OK;
}

static cn_err find_all(finding *f, const cn_policy *p, cn_leftovers *ret) {
    cn_leftovers r = {.since_us = CN_NO_TIME};
    CN_TRY(read_gone(f, p));
    CN_TRY(f->n_gone ? cn_catalog_read(f->t, find_files, f) : CN_OK);
    for (uint32_t i = 0; i < f->n; i++)
        CN_TRY(look_at(f, &f->id[i], &r));
    *ret = r;
    return CN_OK;
}

cn_err cn_leftovers_find(cn_tenant *t, const cn_policy *p, cn_arena *a, cn_leftovers *ret) {
    CN_CATALOG_ARENA(names);
    finding f = {.t = t, .a = a, .names = &names, .last_us = CN_NO_TIME};
    return find_all(&f, p, ret);
}

static cn_err may_erase(void *ctx, const cn_catalog *c, MDB_txn *txn) { return cn_policy_may_erase(txn, c->policy, ctx); }

cn_err cn_leftovers_policy(cn_tenant *t, cn_policy **ret) {
    char why[CN_ERROR_TEXT];
    bool any = true;
    cn_err err = cn_policy_load(t, ret);
    if (err == CN_OK)
        return CN_OK;
    snprintf(why, sizeof why, "%s", cn_error_detail());
    if (cn_catalog_read(t, may_erase, &any) != CN_OK || any)
        return cn_fail(err, "%s", why);
    *ret = NULL;
    return CN_OK;
}

cn_err cn_leftovers_in(cn_tenant *t, const cn_policy *p, cn_arena *a, const cn_seg_id *v, uint32_t n, uint64_t *ret, uint32_t *ret_n) {
    finding f = {.t = t, .a = a, .last_us = CN_NO_TIME};
    uint64_t from = cn_mono_ns();
    uint32_t i;
    CN_TRY(p ? read_gone(&f, p) : CN_OK);
    for (i = 0; i < n && (i == 0 || cn_mono_ns() - from < LOOK_NS); i++) {
        cn_segw_left is = {0};
        int fd;
        ret[i] = 0;
        if (f.n_gone == 0 || cn_seg_try_hold(t, &v[i], &fd) != CN_OK)
            continue;
        if (count(&f, &v[i], fd, &is, &ret[i]) != CN_OK)
            ret[i] = 0;
        close(fd);
    }
    *ret_n = i;
    return CN_OK;
}

/* ---------- letting go ---------- */
static cn_err audited(const going *g, MDB_txn *txn) {
    CN_AUTO_BUF cn_buf b;
    cn_buf_init(&b, 16384);
    cn_pack_map(&b, 1);
    cn_pack_cstr(&b, "files"), cn_pack_array(&b, g->n_now);
    for (uint32_t i = 0; i < g->n_now; i++) {
        char hex[2 * CN_SEG_ID + 1];
        cn_hex(g->now[i]->id.b, CN_SEG_ID, hex);
        cn_pack_cstr(&b, hex);
    }
    CN_TRY(cn_buf_check(&b));
    return cn_audit_add(g->t, txn, g->who, "version.leftover", g->index, "done", cn_buf_str(&b));
}

static cn_err let_go(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    going *g = ctx;
    uint64_t seq;
    if (g->n_now == 0)
        return CN_OK;
    CN_TRY(audited(g, txn));
    CN_TRY(cn_audit_seq(txn, c->meta, &seq));
    for (uint32_t i = 0; i < g->n_now; i++) {
        const cn_leftover *x = g->now[i];
        CN_TRY(cn_retire_now(c, txn, &x->id));
        CN_TRY(cn_erasing_put(txn, c->erasing, &x->id, g->index, x->documents, seq));
    }
    return CN_OK;
}

static cn_err flush(going *g) {
    cn_err err = g->n ? cn_catalog_change(g->t, look_whether, let_go, g) : CN_OK;
    g->n = 0;
    return err;
}

/* One that cannot be cleaned goes too; one that somebody has taken up is his. */
static cn_err clean_or_not(finding *f, const cn_leftover *x, bool *ret_goes) {
    bool goes = !x->stays && (x->documents || x->unread);
    cn_err err = goes || x->stays ? CN_OK : clean(f, &x->id);
    *ret_goes = goes || err == CN_DAMAGED;
    return err == CN_DAMAGED || err == CN_CONFLICT || err == CN_NOT_FOUND ? CN_OK : err;
}

cn_err cn_leftovers_let_go(cn_tenant *t, cn_str index, const cn_policy *p, const cn_actor *who) {
    CN_CATALOG_ARENA(a);
    CN_CATALOG_ARENA(names);
    finding f = {.t = t, .a = &a, .names = &names, .last_us = CN_NO_TIME};
    cn_leftovers l;
    going g = {.t = t, .index = index, .who = who};
    CN_TRY(find_all(&f, p, &l));
    for (uint32_t i = 0; i < l.n; i++) {
        bool goes;
        CN_TRY(clean_or_not(&f, &l.v[i], &goes));
        if (goes)
            g.v[g.n++] = &l.v[i];
        if (g.n == AT_ONCE)
            CN_TRY(flush(&g));
    }
    return flush(&g);
}
