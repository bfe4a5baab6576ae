#include "server/service/upkeep.h"

#include <stdatomic.h>
#include <stdio.h>

#include "engine/base/log.h"
#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "index/catalog/scrub.h"
#include "index/control/refusals.h"
#include "index/store/reserve.h"
#include "ingest/embed/embed.h"
#include "server/service/keeper.h"

#define MS CN_KEEPER_MS
#define SECOND CN_KEEPER_S
#define FIRST_AFTER (60 * SECOND) /* a server that starts has other things to do */
#define LIST_BYTES ((size_t)1 << 20)
#define MODELS "models/"

typedef struct found {
    cn_damaged is;
    uint64_t round; /* in which it was found, or met, last */
    bool tried, saved; /* to write it to the list on disk; it is there */
} found;

struct cn_upkeep {
    cn_data *data;
    cn_keeper k;
    /* of the thread */
    uint64_t reserve_due_ns, began_ns;
    int64_t began_us;
    bool reserve_failing, saving_failed;
    double owed_s;               /* how far reading is ahead of its rate */
    uint64_t owed_at_ns;
    bool stopped, failed;        /* the round was told to end; it could not read something */
    const char *tenant;
    _Atomic uint32_t n_found;    /* entries of `found` */
    /* under the keeper's lock */
    cn_upkeep_opts opts;
    cn_upkeep_state state;       /* without the list */
    found found[CN_DAMAGED_MAX];
    uint64_t round;
    bool changed;                /* the settings were */
};

/* ---------- what was found ---------- */
static found *find(cn_upkeep *u, const cn_damaged *x) {
    for (uint32_t i = 0; i < u->n_found; i++)
        if (cn_damaged_same(&u->found[i].is, x))
            return &u->found[i];
    return NULL;
}

/* Under the lock. True: it was not known. */
static bool note(cn_upkeep *u, const cn_damaged *x, bool saved) {
    found *f = find(u, x);
    bool fresh = !f && u->n_found < CN_DAMAGED_MAX;
    if (fresh) {
        f = &u->found[u->n_found];
        *f = (found){.is = *x, .tried = saved, .saved = saved};
        atomic_fetch_add(&u->n_found, 1);
    }
    if (f && x->version && x->version != f->is.version) {
        memcpy(f->is.index, x->index, sizeof f->is.index);
        f->is.version = x->version;
        f->tried = saved;
    }
    if (f)
        f->round = u->round;
    return fresh;
}

static bool note_locked(cn_upkeep *u, const cn_damaged *x, bool saved) {
    pthread_mutex_lock(&u->k.lock);
    bool fresh = note(u, x, saved);
    pthread_mutex_unlock(&u->k.lock);
    return fresh;
}

void cn_upkeep_met(cn_upkeep *u, const cn_damaged *x) {
    if (!note_locked(u, x, false))
        return;
    cn_log(CN_LOG_ERROR, "damage.met", "tenant=%s index=%s file=%s %s", x->tenant, x->index, x->file, cn_error_detail());
    cn_keeper_tell(&u->k);
}

/* ---------- the list on disk ---------- */
static bool take_unsaved(cn_upkeep *u, cn_damaged *ret) {
    bool any = false;
    pthread_mutex_lock(&u->k.lock);
    for (uint32_t i = 0; i < u->n_found && !any; i++)
        if (!u->found[i].tried) {
            *ret = u->found[i].is;
            any = u->found[i].tried = true;
        }
    pthread_mutex_unlock(&u->k.lock);
    return any;
}

static void note_saved(cn_upkeep *u, const cn_damaged *x) {
    pthread_mutex_lock(&u->k.lock);
    found *f = find(u, x);
    if (f)
        f->saved = true;
    pthread_mutex_unlock(&u->k.lock);
}

/* On a full disk, or with a damaged cairn.mdb, it is in memory and in the log. */
static void save(cn_upkeep *u) {
    cn_damaged x;
    while (take_unsaved(u, &x)) {
        bool bad = cn_damaged_put(u->data, &x) != CN_OK;
        if (!bad)
            note_saved(u, &x);
        else if (!u->saving_failed)
            cn_log(CN_LOG_WARN, "damage.unsaved", "that %s of tenant %s is damaged is known until this server ends: %s", x.file, x.tenant, cn_error_detail());
        u->saving_failed = bad;
    }
}

typedef struct stored {
    cn_arena a;
    cn_damaged *v;
    uint32_t n;
} stored;

static bool stored_open(cn_upkeep *u, stored *s) {
    cn_arena_init(&s->a, 16384, LIST_BYTES);
    if (cn_damaged_list(u->data, &s->a, &s->v, &s->n) == CN_OK)
        return true;
    cn_log(CN_LOG_WARN, "damage.unsaved", "the list of damaged files: %s", cn_error_detail());
    cn_arena_done(&s->a);
    return false;
}

static void take_over(cn_upkeep *u) {
    stored s;
    if (!stored_open(u, &s))
        return;
    for (uint32_t i = 0; i < s.n; i++)
        note_locked(u, &s.v[i], true);
    cn_arena_done(&s.a);
}

/* Of what another program noted since the round began it says nothing. */
static void drop_mended(cn_upkeep *u) {
    stored s;
    if (!stored_open(u, &s))
        return;
    for (uint32_t i = 0; i < s.n; i++) {
        pthread_mutex_lock(&u->k.lock);
        bool is_found = find(u, &s.v[i]) != NULL;
        pthread_mutex_unlock(&u->k.lock);
        if (!is_found && s.v[i].at_us < u->began_us)
            cn_damaged_drop(u->data, &s.v[i]);
    }
    cn_arena_done(&s.a);
}

static bool is_stored(const stored *s, const cn_damaged *x) {
    for (uint32_t i = 0; i < s->n; i++)
        if (cn_damaged_same(&s->v[i], x))
            return true;
    return false;
}

/* What `cairn scrub` found well meanwhile, and took from the list. */
static void forget_mended(cn_upkeep *u) {
    uint32_t kept = 0;
    stored s;
    if (!cn_upkeep_found_damage(u) || !stored_open(u, &s))
        return;
    pthread_mutex_lock(&u->k.lock);
    for (uint32_t i = 0; i < u->n_found; i++)
        if (!u->found[i].saved || is_stored(&s, &u->found[i].is))
            u->found[kept++] = u->found[i];
    u->n_found = kept;
    pthread_mutex_unlock(&u->k.lock);
    cn_arena_done(&s.a);
}

/* After a whole round: what it did not find again is mended, or of no version. */
static void end_round(cn_upkeep *u) {
    uint32_t kept = 0;
    pthread_mutex_lock(&u->k.lock);
    for (uint32_t i = 0; i < u->n_found; i++)
        if (u->found[i].round == u->round)
            u->found[kept++] = u->found[i];
    u->n_found = kept;
    u->state.rounds++;
    u->state.round_us = cn_wall_us();
    pthread_mutex_unlock(&u->k.lock);
    save(u);
    drop_mended(u);
}

/* ---------- waiting ---------- */
static void keep_reserve(cn_upkeep *u, const cn_upkeep_opts *o, bool changed) {
    cn_err err = changed ? cn_reserve_set(u->data, o->reserve) : cn_reserve_make(u->data);
    if (err != CN_OK && !u->reserve_failing)
        cn_log(CN_LOG_WARN, "reserve.missing", "%s", cn_error_detail());
    u->reserve_failing = err != CN_OK;
    u->reserve_due_ns = cn_mono_ns() + CN_UPKEEP_MS * MS;
}

/* The settings as of now; true: they are others than at the last call. */
static bool take_settings(cn_upkeep *u, cn_upkeep_opts *ret) {
    pthread_mutex_lock(&u->k.lock);
    bool changed = u->changed;
    u->changed = false;
    *ret = u->opts;
    pthread_mutex_unlock(&u->k.lock);
    return changed;
}

/* Until that time, or until settings change, with an eye on the reserve and on what requests met; false: it is over. */
static bool rest(cn_upkeep *u, uint64_t until_ns, cn_upkeep_opts *ret) {
    bool changed = false;
    do {
        uint64_t next = until_ns < u->reserve_due_ns ? until_ns : u->reserve_due_ns;
        if (!cn_keeper_rest(&u->k, next, false))
            return false;
        if (cn_keeper_was_told(&u->k))
            save(u);
        changed = take_settings(u, ret);
        if (changed || cn_mono_ns() >= u->reserve_due_ns) {
            keep_reserve(u, ret, changed);
            forget_mended(u);
            cn_refusals_settle(u->data);
        }
    } while (!changed && cn_mono_ns() < until_ns);
    return true;
}

/* While requests wait. */
static bool rest_a_moment(void *ctx, uint64_t until_ns) {
    cn_upkeep *u = ctx;
    cn_upkeep_opts o;
    bool go_on = rest(u, until_ns, &o);
    pthread_mutex_lock(&u->k.lock);
    u->state.waited_ms += CN_GIVE_WAY_MS;
    pthread_mutex_unlock(&u->k.lock);
    return go_on;
}

/* ---------- a round ---------- */
static void tell(cn_upkeep *u, cn_damaged *x, bool active, const char *what_to_do) {
    char text[CN_ERROR_TEXT];
    snprintf(text, sizeof text, "%s", cn_error_detail());
    x->at_us = cn_wall_us();
    note_locked(u, x, false);
    cn_log(CN_LOG_ERROR, "scrub.damaged", "tenant=%s index=%s version=%llu active=%s file=%s %s; %s", x->tenant, x->index, (unsigned long long)x->version, active ? "yes" : "no",
           x->file, text, what_to_do);
}

static void tell_file(cn_upkeep *u, const cn_scrub_file *f, const char *kind) {
    char id[2 * CN_SEG_ID + 1];
    cn_damaged x = {.version = f->version};
    cn_hex(f->part.id.b, CN_SEG_ID, id);
    snprintf(x.tenant, sizeof x.tenant, "%s", u->tenant);
    snprintf(x.index, sizeof x.index, CN_STR_FMT, CN_STR_ARG(f->index));
    snprintf(x.file, sizeof x.file, "%s%s%s.mdb", id, kind ? "." : "", kind ? kind : "");
    tell(u, &x, f->active,
         kind ? "remove it and start the server anew: it is made again from the rows"
              : "go back to a version without it (`cairn rollback`), or bring the file back from a backup and start the server anew");
}

static bool is_model(const cn_damaged *x) { return strncmp(x->file, MODELS, strlen(MODELS)) == 0; }

/* What is no file of a version: a tenant's catalog and jobs, the host's list, a model. */
static void tell_other(cn_upkeep *u, cn_str tenant) {
    cn_damaged x = cn_damaged_of(u->data, tenant, (cn_str){NULL, 0});
    tell(u, &x, true, is_model(&x) ? "remove it (`cairn model remove`) and add it again (`cairn model add`)" : "bring it back from a backup and start the server anew");
}

/* A block is read when what was read before is paid for in time. */
static bool pace(void *ctx, uint64_t n) {
    cn_upkeep *u = ctx;
    cn_upkeep_opts o = {0};
    for (;;) {
        if (!rest(u, 0, &o) || o.scrub_rate == 0)
            return false;
        uint64_t now = cn_mono_ns();
        u->owed_s -= (double)(now - u->owed_at_ns) / (double)SECOND;
        u->owed_s = u->owed_s > 0 ? u->owed_s : 0;
        u->owed_at_ns = now;
        if (u->owed_s == 0)
            break;
        if (!rest(u, now + (uint64_t)(u->owed_s * (double)SECOND) + 1, &o))
            return false;
    }
    bool go_on = cn_keeper_give_way(&u->k, CN_UPKEEP_WAIT_MS, rest_a_moment, u);
    pthread_mutex_lock(&u->k.lock);
    uint64_t rate = u->opts.scrub_rate;
    go_on = go_on && rate > 0;
    u->state.bytes += go_on ? n : 0;
    pthread_mutex_unlock(&u->k.lock);
    u->owed_at_ns = cn_mono_ns();
    u->owed_s = go_on ? (double)n / (double)rate : 0;
    return go_on;
}

/* The files of a tenant that is dropped meanwhile go, and are no damage. */
static bool is_current(cn_upkeep *u, const cn_tenant *t) {
    char text[CN_ERROR_TEXT];
    cn_tenant *now = NULL;
    snprintf(text, sizeof text, "%s", cn_error_detail());
    bool is = cn_tenant_open(u->data, cn_str_of(u->tenant), &now) == CN_OK && now == t;
    cn_tenant_unref(now);
    cn_fail(CN_DAMAGED, "%s", text);
    return is;
}

static void read_file(cn_upkeep *u, cn_tenant *t, const cn_scrub_file *f) {
    bool all;
    const char *kind;
    cn_err err = cn_scrub_one(t, f, pace, u, &all, &kind);
    if (err == CN_DAMAGED) {
        if (is_current(u, t))
            tell_file(u, f, kind);
        return;
    }
    u->stopped |= err == CN_OK && !all;
    u->failed |= err != CN_OK;
    if (err != CN_OK)
        cn_log(CN_LOG_WARN, "scrub.failed", "tenant=%s %s", u->tenant, cn_error_detail());
}

static cn_err read_files(cn_upkeep *u, cn_tenant *t) {
    CN_CLEANUP(cn_arena_done) cn_arena a;
    cn_scrub_file *v;
    uint32_t n;
    cn_arena_init(&a, 65536, (size_t)1 << 30);
    CN_TRY(cn_scrub_list(t, &a, &v, &n));
    for (uint32_t i = 0; i < n && !u->stopped; i++)
        read_file(u, t, &v[i]);
    return CN_OK;
}

static cn_err read_open(void *ctx, cn_tenant *t) {
    cn_upkeep *u = ctx;
    u->tenant = cn_tenant_name(t);
    cn_err err = cn_scrub_catalog(t);
    if (err == CN_DAMAGED && is_current(u, t))
        tell_other(u, cn_str_of(u->tenant));
    else if (err != CN_DAMAGED)
        CN_TRY(err);
    cn_error_forget_file();
    return read_files(u, t);
}

static cn_err read_tenant(void *ctx, cn_str name, int64_t made_us) {
    cn_upkeep *u = ctx;
    (void)made_us;
    if (u->stopped)
        return CN_OK;
    cn_error_forget_file();
    cn_err err = cn_keeper_visit(u->data, name, read_open, u);
    if (err == CN_DAMAGED) {
        tell_other(u, name);
    } else if (err != CN_OK) {
        u->failed = true;
        cn_log(CN_LOG_WARN, "scrub.failed", "tenant=" CN_STR_FMT " %s", CN_STR_ARG(name), cn_error_detail());
    }
    return CN_OK;
}

/* A model is read whole when it is opened, and not again: only one of which a request told is. */
static void read_models(cn_upkeep *u) {
    found v[CN_DAMAGED_MAX];
    pthread_mutex_lock(&u->k.lock);
    uint32_t n = u->n_found;
    memcpy(v, u->found, n * sizeof *v);
    pthread_mutex_unlock(&u->k.lock);
    for (uint32_t i = 0; i < n; i++)
        if (is_model(&v[i].is) && cn_model_verify(cn_data_dir(u->data), cn_str_of(v[i].is.file + strlen(MODELS))) == CN_DAMAGED)
            tell_other(u, (cn_str){NULL, 0});
}

static void read_round(cn_upkeep *u) {
    u->began_ns = cn_mono_ns();
    u->began_us = cn_wall_us();
    pthread_mutex_lock(&u->k.lock);
    u->round++;
    pthread_mutex_unlock(&u->k.lock);
    u->stopped = u->failed = false;
    cn_error_forget_file();
    cn_err err = cn_tenant_list(u->data, read_tenant, u);
    if (err == CN_DAMAGED)
        tell_other(u, (cn_str){NULL, 0});
    if (!u->stopped)
        read_models(u);
    save(u);
    if (err == CN_OK && !u->stopped && !u->failed)
        end_round(u);
}

/* ---------- the thread ---------- */
static uint64_t next_round(const cn_upkeep *u, const cn_upkeep_opts *o) {
    uint64_t every = o->scrub_every_ms * MS;
    if (u->round)
        return u->began_ns + every;
    return u->began_ns + (every < FIRST_AFTER ? every : FIRST_AFTER);
}

static void *run(void *arg) {
    cn_upkeep *u = arg;
    cn_upkeep_opts o;
    u->began_ns = u->owed_at_ns = cn_mono_ns();
    if (cn_tenants_tidy(u->data) != CN_OK) /* the next drop, or start, tries again */
        cn_log(CN_LOG_WARN, "tenant.leftovers", "%s", cn_error_detail());
    while (rest(u, 0, &o)) {
        uint64_t due = o.scrub_rate ? next_round(u, &o) : UINT64_MAX;
        if (cn_mono_ns() >= due)
            read_round(u);
        else if (!rest(u, due, &o))
            break;
    }
    return NULL;
}

/* ---------- begin and end ---------- */
cn_err cn_upkeep_new(cn_data *d, cn_busy *busy, const cn_upkeep_opts *o, cn_upkeep **ret) {
    cn_upkeep *u = cn_calloc(1, sizeof *u);
    if (!u)
        return cn_fail_memory();
    u->data = d;
    u->opts = *o;
    u->changed = true;
    u->state.round_us = CN_NO_TIME;
    cn_keeper_init(&u->k, busy);
    take_over(u);
    cn_err err = cn_keeper_start(&u->k, "cairn-upkeep", "to look after files", run, u);
    if (err != CN_OK) {
        cn_keeper_done(&u->k);
        cn_free(u);
        return err;
    }
    *ret = u;
    return CN_OK;
}

void cn_upkeep_set(cn_upkeep *u, const cn_upkeep_opts *o) {
    pthread_mutex_lock(&u->k.lock);
    u->opts = *o;
    u->changed = true;
    pthread_mutex_unlock(&u->k.lock);
    cn_keeper_tell(&u->k);
}

void cn_upkeep_look(cn_upkeep *u, cn_upkeep_state *ret) {
    if (!u) {
        *ret = (cn_upkeep_state){.round_us = CN_NO_TIME};
        return;
    }
    pthread_mutex_lock(&u->k.lock);
    *ret = u->state;
    ret->n_damaged = u->n_found;
    for (uint32_t i = 0; i < u->n_found; i++)
        ret->damaged[i] = u->found[i].is;
    pthread_mutex_unlock(&u->k.lock);
}

bool cn_upkeep_found_damage(cn_upkeep *u) { return u && atomic_load(&u->n_found) > 0; }

void cn_upkeep_leave(cn_upkeep *u) {
    if (u)
        cn_keeper_leave(&u->k);
}

void cn_upkeep_free(cn_upkeep *u) {
    if (!u)
        return;
    cn_keeper_end(&u->k);
    cn_keeper_done(&u->k);
    cn_free(u);
}
