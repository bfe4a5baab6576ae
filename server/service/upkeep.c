#include "server/service/upkeep.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/resource.h>
#include <time.h>

#include "engine/base/log.h"
#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "index/catalog/scrub.h"
#include "index/store/reserve.h"

#define NICE 10
#define MS 1000000ull
#define SECOND 1000000000ull
#define FIRST_AFTER (60 * SECOND) /* a server that starts has other things to do */

struct cn_upkeep {
    cn_data *data;
    cn_busy *busy;
    pthread_t thread;
    /* of the thread */
    uint64_t reserve_due_ns, began_ns;
    bool reserve_failing;
    double owed_s;               /* how far reading is ahead of its rate */
    uint64_t owed_at_ns, round;
    bool stopped, failed;        /* the round was told to end; it could not read something */
    const char *tenant;
    _Atomic uint32_t found;      /* entries of state.damaged */
    pthread_mutex_t lock;        /* of all below */
    pthread_cond_t wake;
    cn_upkeep_opts opts;
    cn_upkeep_state state;
    bool changed, stop;
};

/* ---------- waiting ---------- */
static struct timespec time_at(uint64_t ns) { return (struct timespec){.tv_sec = (time_t)(ns / SECOND), .tv_nsec = (long)(ns % SECOND)}; }

/* ret_changed: the settings were, since the last call. */
static bool wait_until(cn_upkeep *u, uint64_t ns, cn_upkeep_opts *ret, bool *ret_changed) {
    struct timespec until = time_at(ns);
    pthread_mutex_lock(&u->lock);
    while (!u->stop && !u->changed && pthread_cond_timedwait(&u->wake, &u->lock, &until) == 0)
        ;
    bool go_on = !u->stop;
    *ret = u->opts;
    *ret_changed = u->changed;
    u->changed = false;
    pthread_mutex_unlock(&u->lock);
    return go_on;
}

static void keep_reserve(cn_upkeep *u, const cn_upkeep_opts *o, bool changed) {
    cn_err err = changed ? cn_reserve_set(u->data, o->reserve) : cn_reserve_make(u->data);
    if (err != CN_OK && !u->reserve_failing)
        cn_log(CN_LOG_WARN, "reserve.missing", "%s", cn_error_detail());
    u->reserve_failing = err != CN_OK;
    u->reserve_due_ns = cn_mono_ns() + CN_UPKEEP_MS * MS;
}

/* Until that time, or until settings change, with an eye on the reserve; false: it is over. */
static bool rest(cn_upkeep *u, uint64_t until_ns, cn_upkeep_opts *ret) {
    bool changed = false;
    do {
        uint64_t next = until_ns < u->reserve_due_ns ? until_ns : u->reserve_due_ns;
        if (!wait_until(u, next, ret, &changed))
            return false;
        if (changed || cn_mono_ns() >= u->reserve_due_ns)
            keep_reserve(u, ret, changed);
    } while (!changed && cn_mono_ns() < until_ns);
    return true;
}

/* ---------- what was found ---------- */
static cn_damaged *find(cn_upkeep *u, const char *tenant, const char *file) {
    for (uint32_t i = 0; i < u->state.n_damaged; i++)
        if (strcmp(u->state.damaged[i].tenant, tenant) == 0 && strcmp(u->state.damaged[i].file, file) == 0)
            return &u->state.damaged[i];
    return NULL;
}

static void note(cn_upkeep *u, const cn_scrub_file *f, const char *file) {
    pthread_mutex_lock(&u->lock);
    cn_damaged *d = find(u, u->tenant, file);
    if (!d && u->state.n_damaged < CN_DAMAGED_MAX) {
        d = &u->state.damaged[u->state.n_damaged++];
        *d = (cn_damaged){.at_us = cn_wall_us()};
        snprintf(d->tenant, sizeof d->tenant, "%s", u->tenant);
        snprintf(d->file, sizeof d->file, "%s", file);
    }
    if (d) {
        snprintf(d->index, sizeof d->index, CN_STR_FMT, CN_STR_ARG(f->index));
        d->version = f->version;
        d->round = u->round;
    }
    atomic_store(&u->found, u->state.n_damaged);
    pthread_mutex_unlock(&u->lock);
}

/* After a whole round: what it did not find again is mended, or of no version. */
static void end_round(cn_upkeep *u) {
    uint32_t kept = 0;
    pthread_mutex_lock(&u->lock);
    for (uint32_t i = 0; i < u->state.n_damaged; i++)
        if (u->state.damaged[i].round == u->round)
            u->state.damaged[kept++] = u->state.damaged[i];
    u->state.n_damaged = kept;
    u->state.rounds++;
    u->state.round_us = cn_wall_us();
    atomic_store(&u->found, kept);
    pthread_mutex_unlock(&u->lock);
}

static void tell(cn_upkeep *u, const cn_scrub_file *f, const char *kind) {
    char id[2 * CN_SEG_ID + 1], file[64];
    cn_hex(f->part.id.b, CN_SEG_ID, id);
    snprintf(file, sizeof file, "%s%s%s.mdb", id, kind ? "." : "", kind ? kind : "");
    note(u, f, file);
    cn_log(CN_LOG_ERROR, "scrub.damaged", "tenant=%s index=" CN_STR_FMT " version=%llu active=%s file=%s %s; %s", u->tenant, CN_STR_ARG(f->index),
           (unsigned long long)f->version, f->active ? "yes" : "no", file, cn_error_detail(),
           kind ? "remove it and start the server anew: it is made again from the rows"
                   : "go back to a version without it (`cairn rollback`), or bring the file back from a backup and start the server anew");
}

/* ---------- a round ---------- */
/* Requests go first, for a while. */
static bool give_way(cn_upkeep *u, cn_upkeep_opts *o) {
    uint64_t end = cn_mono_ns() + CN_UPKEEP_WAIT_MS * MS;
    while (cn_mono_ns() < end && cn_busy_now(u->busy)) {
        if (!rest(u, cn_mono_ns() + CN_GIVE_WAY_MS * MS, o))
            return false;
        pthread_mutex_lock(&u->lock);
        u->state.waited_ms += CN_GIVE_WAY_MS;
        pthread_mutex_unlock(&u->lock);
    }
    return true;
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
    if (!give_way(u, &o) || o.scrub_rate == 0)
        return false;
    u->owed_at_ns = cn_mono_ns();
    u->owed_s = (double)n / (double)o.scrub_rate;
    pthread_mutex_lock(&u->lock);
    u->state.bytes += n;
    pthread_mutex_unlock(&u->lock);
    return true;
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
            tell(u, f, kind);
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

static cn_err read_tenant(void *ctx, cn_str name, int64_t made_us) {
    cn_upkeep *u = ctx;
    cn_tenant *t;
    (void)made_us;
    if (u->stopped)
        return CN_OK;
    cn_err err = cn_tenant_open(u->data, name, &t);
    if (err == CN_OK) {
        u->tenant = cn_tenant_name(t);
        err = read_files(u, t);
        cn_tenant_unref(t);
    }
    if (err != CN_OK && err != CN_NOT_FOUND) { /* dropped meanwhile */
        u->failed = true;
        cn_log(CN_LOG_WARN, "scrub.failed", "tenant=" CN_STR_FMT " %s", CN_STR_ARG(name), cn_error_detail());
    }
    return CN_OK;
}

static void read_round(cn_upkeep *u) {
    u->began_ns = cn_mono_ns();
    u->round++;
    u->stopped = u->failed = false;
    if (cn_tenant_list(u->data, read_tenant, u) == CN_OK && !u->stopped && !u->failed)
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
    pthread_setname_np(pthread_self(), "cairn-upkeep");
    setpriority(PRIO_PROCESS, 0, NICE); /* Linux: of this thread */
    u->began_ns = u->owed_at_ns = cn_mono_ns();
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
static void free_all(cn_upkeep *u) {
    pthread_cond_destroy(&u->wake);
    pthread_mutex_destroy(&u->lock);
    cn_free(u);
}

cn_err cn_upkeep_new(cn_data *d, cn_busy *busy, const cn_upkeep_opts *o, cn_upkeep **ret) {
    pthread_condattr_t mono;
    cn_upkeep *u = cn_calloc(1, sizeof *u);
    if (!u)
        return cn_fail_memory();
    u->data = d;
    u->busy = busy;
    u->opts = *o;
    u->changed = true;
    u->state.round_us = CN_NO_TIME;
    pthread_mutex_init(&u->lock, NULL);
    pthread_condattr_init(&mono);
    pthread_condattr_setclock(&mono, CLOCK_MONOTONIC);
    pthread_cond_init(&u->wake, &mono);
    pthread_condattr_destroy(&mono);
    if (pthread_create(&u->thread, NULL, run, u) != 0) {
        free_all(u);
        return cn_fail(CN_OVERLOADED, "a thread to look after files could not be started");
    }
    *ret = u;
    return CN_OK;
}

void cn_upkeep_set(cn_upkeep *u, const cn_upkeep_opts *o) {
    pthread_mutex_lock(&u->lock);
    u->opts = *o;
    u->changed = true;
    pthread_cond_signal(&u->wake);
    pthread_mutex_unlock(&u->lock);
}

void cn_upkeep_look(cn_upkeep *u, cn_upkeep_state *ret) {
    if (!u) {
        *ret = (cn_upkeep_state){.round_us = CN_NO_TIME};
        return;
    }
    pthread_mutex_lock(&u->lock);
    *ret = u->state;
    pthread_mutex_unlock(&u->lock);
}

bool cn_upkeep_found_damage(cn_upkeep *u) { return u && atomic_load(&u->found) > 0; }

void cn_upkeep_leave(cn_upkeep *u) {
    if (!u)
        return;
    pthread_mutex_lock(&u->lock);
    u->stop = true;
    pthread_cond_signal(&u->wake);
    pthread_mutex_unlock(&u->lock);
}

void cn_upkeep_free(cn_upkeep *u) {
    if (!u)
        return;
    cn_upkeep_leave(u);
    pthread_join(u->thread, NULL);
    free_all(u);
}
