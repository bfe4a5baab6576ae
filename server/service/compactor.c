#include "server/service/compactor.h"

#include <stdio.h>
#include <stdlib.h>

#include "engine/base/log.h"
#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "index/catalog/compact.h"
#include "index/catalog/mode.h"
#include "index/catalog/sweep.h"
#include "index/search/search.h"
#include "index/store/dir.h"
#include "server/service/keeper.h"

#define MS CN_KEEPER_MS
#define SECOND CN_KEEPER_S
#define HOUR_MS 3600000ull
#define PIECE ((uint64_t)1 << 20) /* copied before it looks whether requests wait */
#define LOOKS_SHARE 10            /* looking takes at most so small a part of its time */

typedef struct list {
    cn_erasing *v;
    uint32_t n, room;
} list;

typedef struct seen { /* a tenant, in the order of names */
    char name[CN_NAME_MAX + 1];
    int64_t changed_ns; /* its catalog, when it was looked into; 0: look again */
    int64_t from_us;    /* the first of its files that were let go may be unlinked; 0: there is none */
    uint64_t sweep_ns;  /* it is swept no earlier */
} seen;

typedef struct tenants {
    seen *v;
    uint32_t n, room;
} tenants;

struct cn_compactor {
    cn_data *data;
    cn_keeper k;
    /* of the thread */
    list now;                /* what it is working through */
    tenants seen;
    uint64_t look_ns, copied; /* look_ns: it looks again no earlier */
    bool changed;            /* something was done: it looks again then */
    /* under the keeper's lock */
    list shown;
    int64_t looked_us;
    uint64_t after_ms;
};

/* ---------- waiting ---------- */
static bool go_on(cn_compactor *c) { return cn_keeper_rest(&c->k, 0, true); }

static uint64_t after_ms(cn_compactor *c) {
    pthread_mutex_lock(&c->k.lock);
    uint64_t ms = c->after_ms;
    pthread_mutex_unlock(&c->k.lock);
    return ms;
}

static bool rest_a_moment(void *ctx, uint64_t until_ns) {
    cn_compactor *c = ctx;
    return cn_keeper_rest(&c->k, until_ns, true);
}

static bool pace(void *ctx, uint64_t bytes) {
    cn_compactor *c = ctx;
    c->copied += bytes;
    if (c->copied < PIECE)
        return true;
    c->copied = 0;
    return cn_keeper_give_way(&c->k, CN_COMPACTOR_WAIT_MS, rest_a_moment, c) && go_on(c) && after_ms(c) > 0;
}

/* ---------- the list ---------- */
static cn_erasing *find(const list *l, const char *tenant, cn_str index) {
    for (uint32_t i = 0; i < l->n; i++)
        if (strcmp(l->v[i].tenant, tenant) == 0 && cn_str_is(index, l->v[i].index))
            return &l->v[i];
    return NULL;
}

static cn_erasing *add(list *l, const char *tenant, cn_str index) {
    if (!cn_grow(l->v, l->n, l->room))
        return NULL;
    cn_erasing *e = &l->v[l->n++];
    *e = (cn_erasing){.is.since_us = CN_NO_TIME, .due_us = CN_NO_TIME};
    snprintf(e->tenant, sizeof e->tenant, "%s", tenant);
    snprintf(e->index, sizeof e->index, CN_STR_FMT, CN_STR_ARG(index));
    return e;
}

static void show(cn_compactor *c) {
    uint64_t after_us = after_ms(c) * 1000;
    list copy = {cn_alloc((c->now.n + 1u) * sizeof *copy.v), c->now.n, c->now.n};
    for (uint32_t i = 0; i < c->now.n; i++) {
        cn_erasing *e = &c->now.v[i];
        e->due_us = e->is.documents == 0 || after_us == 0 ? CN_NO_TIME : e->is.since_us == CN_NO_TIME ? cn_wall_us() : cn_due_us(e->is.since_us, (int64_t)after_us);
        if (copy.v)
            copy.v[i] = *e;
    }
    if (!copy.v)
        return;
    pthread_mutex_lock(&c->k.lock);
    list old = c->shown;
    c->shown = copy;
    c->looked_us = cn_wall_us();
    pthread_mutex_unlock(&c->k.lock);
    cn_free(old.v);
}

/* ---------- looking ---------- */
static void put_off(cn_erasing *e, const char *event, uint64_t *io_backoff_ms, uint64_t *ret_ns) {
    uint64_t ms = *io_backoff_ms == 0 ? CN_COMPACTOR_RETRY_MS : *io_backoff_ms * 2 > HOUR_MS ? HOUR_MS : *io_backoff_ms * 2;
    snprintf(e->problem, sizeof e->problem, "%s", cn_error_detail());
    *io_backoff_ms = ms;
    *ret_ns = cn_mono_ns() + ms * MS;
    cn_log(CN_LOG_WARN, event, "tenant=%s index=%s again_in_s=%llu %s", e->tenant, e->index, (unsigned long long)(ms / 1000), e->problem);
}

static void failed(cn_erasing *e, const char *event) { put_off(e, event, &e->backoff_ms, &e->retry_ns); }
static void held(cn_erasing *e) { put_off(e, "erase.held", &e->held_backoff_ms, &e->held_ns); }

typedef struct looking {
    cn_compactor *c;
    list made;
    tenants seen;
    bool again;   /* something of the tenant could not be looked at, or is being written */
} looking;

/* What it knew of an index stays: when to try again, and why. */
static void look_at(looking *l, cn_tenant *t, cn_str index) {
    const cn_erasing *before = find(&l->c->now, cn_tenant_name(t), index);
    cn_erased is;
    cn_err err = cn_erased_look(t, index, &is);
    l->again |= err == CN_OK && is.building; /* a kill of its job changes nothing in the catalog */
    if (err == CN_NOT_FOUND || (err == CN_OK && is.documents == 0 && is.leaving == 0))
        return;
    cn_erasing *e = add(&l->made, cn_tenant_name(t), index);
    l->again |= !e;
    if (!e)
        return;
    if (before)
        *e = *before;
    if (err == CN_OK)
        e->is = is;
    else if (cn_mono_ns() >= e->retry_ns)
        failed(e, "erase.unknown");
    l->again |= err != CN_OK;
}

/* What the dropped ones of a tenant without an index left is looked at too. */
static cn_err look_at_all(void *ctx, cn_tenant *t) {
    looking *l = ctx;
    CN_CLEANUP(cn_arena_done) cn_arena a;
    cn_index_info *ix;
    cn_pending p;
    uint32_t n;
    cn_arena_init(&a, 16384, (size_t)64 << 20);
    CN_TRY(cn_catalog_pending(t, &p));
    l->seen.v[l->seen.n - 1].from_us = p.files ? p.from_us : 0;
    CN_TRY(cn_index_list(t, &a, &ix, &n));
    for (uint32_t i = 0; i < n; i++)
        look_at(l, t, ix[i].name);
    if (n == 0)
        look_at(l, t, (cn_str){"", 0});
    return CN_OK;
}

static int by_name(const void *a, const void *b) { return strcmp(((const seen *)a)->name, ((const seen *)b)->name); }

static bool note_tenant(tenants *s, const seen *x) {
    if (!cn_grow(s->v, s->n, s->room))
        return false;
    s->v[s->n++] = *x;
    return true;
}

/* A tenant in which nothing was written since is not opened: its place among the open ones is another's. */
static bool is_same(looking *l, seen *now) {
    const seen *before = l->c->seen.n ? bsearch(now, l->c->seen.v, l->c->seen.n, sizeof *now, by_name) : NULL;
    if (before)
        now->sweep_ns = before->sweep_ns;
    if (!before || now->changed_ns == 0 || before->changed_ns != now->changed_ns)
        return false;
    now->from_us = before->from_us;
    for (uint32_t i = 0; i < l->c->now.n; i++) {
        const cn_erasing *e = &l->c->now.v[i];
        if (strcmp(e->tenant, now->name) != 0)
            continue;
        cn_erasing *copy = add(&l->made, e->tenant, cn_str_of(e->index));
        if (!copy)
            return false;
        *copy = *e;
    }
    return true;
}

static cn_err look_at_tenant(void *ctx, cn_str name, int64_t made_us) {
    looking *l = ctx;
    seen now = {.changed_ns = cn_keeper_changed_ns(l->c->data, name)};
    (void)made_us;
    snprintf(now.name, sizeof now.name, CN_STR_FMT, CN_STR_ARG(name));
    bool same = is_same(l, &now);
    if (!go_on(l->c) || !note_tenant(&l->seen, &now) || same)
        return CN_OK;
    l->again = false;
    cn_err err = cn_keeper_visit(l->c->data, name, look_at_all, l);
    if (err != CN_OK || l->again)
        l->seen.v[l->seen.n - 1].changed_ns = 0;
    if (err != CN_OK)
        cn_log(CN_LOG_WARN, "erase.unknown", "tenant=" CN_STR_FMT " %s", CN_STR_ARG(name), cn_error_detail());
    return CN_OK;
}

static void look(cn_compactor *c) {
    looking l = {.c = c};
    c->changed = false;
    uint64_t began = cn_mono_ns();
    cn_keeper_was_told(&c->k);
    cn_err err = cn_tenant_list(c->data, look_at_tenant, &l);
    if (err != CN_OK)
        cn_log(CN_LOG_WARN, "erase.unknown", "the tenants cannot be listed; what is known of erased documents stays as it was: %s", cn_error_detail());
    if (err == CN_OK && go_on(c)) {
        list was = c->now;
        tenants were = c->seen;
        c->now = l.made;
        c->seen = l.seen;
        l = (looking){.made = was, .seen = were};
        show(c);
    }
    cn_free(l.made.v);
    cn_free(l.seen.v);
    uint64_t took = cn_mono_ns() - began;
    c->look_ns = cn_mono_ns() + (took * LOOKS_SHARE > SECOND ? took * LOOKS_SHARE : SECOND);
}

/* ---------- working ---------- */
static const char reason[] = "the bytes of erased documents (compact_after)";
static const cn_actor self = {{"cairnd", 6}, {"server", 6}, {reason, sizeof reason - 1}};

static cn_err compact(cn_compactor *c, cn_tenant *t, cn_erasing *e) {
    cn_compact_result r;
    const cn_compact_opts o = {.erased = true, .pace = pace, .pace_ctx = c};
    c->copied = 0;
    cn_log(CN_LOG_INFO, "erase.begun", "tenant=%s index=%s documents=%llu", e->tenant, e->index, (unsigned long long)e->is.documents);
    CN_TRY(cn_version_compact(t, cn_str_of(e->index), &o, &self, &r));
    cn_views_flush(t); /* what this process keeps open of the old files for questions to come */
    cn_log(CN_LOG_INFO, "erase.compacted", "tenant=%s index=%s documents=%llu files=%u versions=%u", e->tenant, e->index, (unsigned long long)r.erased, r.rewritten, r.versions);
    return CN_OK;
}

static cn_err sweep(cn_tenant *t, cn_erasing *e) {
    cn_gc_result gone = {0};
    CN_TRY(cn_catalog_sweep(t, &self, &gone));
    cn_log(CN_LOG_INFO, "erase.gone", "tenant=%s index=%s files=%u", e->tenant, e->index, gone.files);
    return cn_erased_look(t, cn_str_of(e->index), &e->is);
}

static bool leaves(const cn_erasing *e) { return e->is.leaving && cn_is_due(e->is.gone_us - CN_GRACE_US, CN_GRACE_US); }
static bool is_due(const cn_erasing *e) { return e->is.documents && e->due_us != CN_NO_TIME && cn_wall_us() >= e->due_us; }
static bool may_compact(const cn_erasing *e) { return is_due(e) && cn_mono_ns() >= e->retry_ns; }
static bool may_sweep(const cn_erasing *e) { return leaves(e) && cn_mono_ns() >= e->held_ns; }

static bool over(cn_compactor *c) { return !go_on(c) || after_ms(c) == 0; }

/* Someone holds a file, or it is one that a kill left unnamed. */
static cn_err sweep_all(cn_tenant *t, cn_erasing *e) {
    CN_TRY(sweep(t, e));
    if (!leaves(e))
        return CN_OK;
    return cn_fail(CN_UNAVAILABLE, "%u files that were replaced are still held by someone, or were left by a kill and wait for an hour", e->is.leaving);
}

/* Compacts first, and each by its own times: what is erased now does not wait for old files that somebody holds. */
static void step(cn_compactor *c, cn_tenant *t, cn_erasing *e) {
    bool sweeps = may_sweep(e), compacts = may_compact(e);
    cn_err err = compacts ? compact(c, t, e) : CN_OK;
    c->changed |= compacts && err == CN_OK;
    if (compacts && err == CN_OK)
        e->backoff_ms = e->retry_ns = 0;
    else if (err != CN_OK && !over(c) && err != CN_NOT_FOUND)
        failed(e, "erase.failed");
    if (!sweeps || over(c))
        return;
    if (sweep_all(t, e) != CN_OK) {
        held(e);
        return;
    }
    e->held_backoff_ms = e->held_ns = 0;
    c->changed = true;
}

static void work_on(cn_compactor *c, cn_erasing *e) {
    cn_tenant *t;
    if (!may_sweep(e) && !may_compact(e))
        return;
    cn_err err = cn_tenant_open(c->data, cn_str_of(e->tenant), &t);
    if (err == CN_OK) {
        err = cn_modes_let_write(t, cn_str_of(e->index)); /* a freeze is no failure, and no refused attempt in the chain */
        e->frozen = err == CN_REFUSED;
        if (err == CN_OK)
            step(c, t, e);
        cn_tenant_unref(t);
    }
    if (e->frozen) {
        snprintf(e->problem, sizeof e->problem, "%s", cn_error_detail());
    } else if (err == CN_OK && cn_mono_ns() >= e->retry_ns && cn_mono_ns() >= e->held_ns) {
        e->problem[0] = 0;
    } else if (err != CN_OK && !over(c) && err != CN_NOT_FOUND) {
        failed(e, "erase.failed");
        e->held_ns = e->retry_ns;
    }
}

/* ---------- what was let go, erased or not ---------- */
static cn_err sweep_open(void *ctx, cn_tenant *t) {
    cn_gc_result gone = {0};
    (void)ctx;
    if (cn_modes_let_write(t, (cn_str){"", 0}) != CN_OK)
        return CN_OK;
    CN_TRY(cn_catalog_sweep(t, &self, &gone));
    cn_log(CN_LOG_INFO, "sweep.gone", "tenant=%s files=%u", cn_tenant_name(t), gone.files);
    return CN_OK;
}

/* What it finds held, or a tenant frozen, it finds again some time later. */
static void sweep_tenant(cn_compactor *c, seen *x) {
    if (x->from_us == 0 || cn_wall_us() < x->from_us || cn_mono_ns() < x->sweep_ns || over(c))
        return;
    if (cn_keeper_visit(c->data, cn_str_of(x->name), sweep_open, NULL) != CN_OK)
        cn_log(CN_LOG_WARN, "sweep.failed", "tenant=%s %s", x->name, cn_error_detail());
    x->sweep_ns = cn_mono_ns() + CN_COMPACTOR_RETRY_MS * MS;
    c->changed = true;
}

/* That time by this thread's clock; a second from now, where it has passed; and no earlier than it may try again. */
static uint64_t when(int64_t wall_us, uint64_t no_earlier_ns) {
    int64_t wall = cn_wall_us();
    uint64_t then = cn_mono_ns() + (wall_us > wall ? (uint64_t)(wall_us - wall) * 1000 : SECOND);
    return then < no_earlier_ns ? no_earlier_ns : then;
}

/* When there is something to do next. */
static uint64_t next(cn_compactor *c) {
    uint64_t after = after_ms(c), now = cn_mono_ns();
    uint64_t at = c->changed ? c->look_ns : now + (after && after < CN_COMPACTOR_LOOK_MS ? after : CN_COMPACTOR_LOOK_MS) * MS;
    for (uint32_t i = 0; i < c->now.n; i++) {
        const cn_erasing *e = &c->now.v[i];
        if (e->frozen)
            continue;
        uint64_t gone = e->is.leaving ? when(e->is.gone_us, e->held_ns) : UINT64_MAX;
        uint64_t due = e->is.documents && e->due_us != CN_NO_TIME ? when(e->due_us, e->retry_ns) : UINT64_MAX;
        at = gone < at ? gone : at;
        at = due < at ? due : at;
    }
    for (uint32_t i = 0; after && i < c->seen.n; i++) {
        uint64_t due = c->seen.v[i].from_us ? when(c->seen.v[i].from_us, c->seen.v[i].sweep_ns) : UINT64_MAX;
        at = due < at ? due : at;
    }
    return at;
}

static void *run(void *arg) {
    cn_compactor *c = arg;
    do {
        look(c);
        for (uint32_t i = 0; i < c->now.n && go_on(c); i++)
            work_on(c, &c->now.v[i]);
        for (uint32_t i = 0; i < c->seen.n && go_on(c); i++)
            sweep_tenant(c, &c->seen.v[i]);
        show(c);
    } while (cn_keeper_rest(&c->k, c->look_ns, true) && cn_keeper_rest(&c->k, next(c), false)); /* not at once again, whoever pokes */
    return NULL;
}

/* ---------- begin and end ---------- */
static void free_all(cn_compactor *c) {
    cn_keeper_done(&c->k);
    cn_free(c->now.v);
    cn_free(c->seen.v);
    cn_free(c->shown.v);
    cn_free(c);
}

cn_err cn_compactor_new(cn_data *d, cn_busy *busy, uint64_t after, cn_compactor **ret) {
    cn_compactor *c = cn_calloc(1, sizeof *c);
    if (!c)
        return cn_fail_memory();
    c->data = d;
    c->after_ms = after;
    c->looked_us = CN_NO_TIME;
    cn_keeper_init(&c->k, busy);
    cn_err err = cn_keeper_start(&c->k, "cairn-compact", "to compact what was erased", run, c);
    if (err != CN_OK) {
        free_all(c);
        return err;
    }
    *ret = c;
    return CN_OK;
}

void cn_compactor_set(cn_compactor *c, uint64_t after) {
    pthread_mutex_lock(&c->k.lock);
    c->after_ms = after;
    pthread_mutex_unlock(&c->k.lock);
    cn_keeper_tell(&c->k);
}

void cn_compactor_poke(cn_compactor *c) {
    if (c)
        cn_keeper_tell(&c->k);
}

void cn_compactor_leave(cn_compactor *c) {
    if (c)
        cn_keeper_leave(&c->k);
}

cn_err cn_compactor_list(cn_compactor *c, cn_arena *a, cn_erasing **ret, uint32_t *ret_n, int64_t *ret_looked_us) {
    pthread_mutex_lock(&c->k.lock);
    uint32_t n = c->shown.n;
    cn_erasing *v = cn_arena_alloc(a, (n + 1u) * sizeof *v);
    if (v && n)
        memcpy(v, c->shown.v, n * sizeof *v);
    int64_t looked = c->looked_us;
    pthread_mutex_unlock(&c->k.lock);
    if (!v)
        return cn_fail_memory();
    *ret = v;
    *ret_n = n;
    *ret_looked_us = looked;
    return CN_OK;
}

void cn_compactor_free(cn_compactor *c) {
    if (!c)
        return;
    cn_keeper_end(&c->k);
    free_all(c);
}
