#include "server/service/shadow.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/log.h"
#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "index/catalog/gate.h"
#include "server/service/inside.h"
#include "server/service/keeper.h"
#include "server/service/shadow_inside.h"

#define OF_TENANT (CN_SHADOW_QUEUE / 4)

typedef struct item {
    cn_again *again;
    cn_tenant *t;
    uint64_t at_ns;
} item;

struct cn_shadow {
    cn_service *s;
    cn_keeper k;
    atomic_uint sample, cpu;      /* of 1000 questions; percent of a processor */
    atomic_uint_fast64_t drawn;   /* state of the draw */
    atomic_ullong searched, dropped, failed;
    atomic_uint raised;           /* watches with more effort; 0: no question needs to look for its own */
    /* of the thread */
    cn_searcher *searcher;
    cn_hit *hits;
    uint64_t next_ns, write_ns;   /* no earlier */
    bool told_failure;            /* of writing, until one succeeds */
    /* under the keeper's lock; watches come and go by the thread alone */
    item queue[CN_SHADOW_QUEUE];
    uint32_t first, n;
    cn_watch *watch[CN_SHADOW_WATCHED];
    uint32_t n_watch;
};

static void lock(cn_shadow *h) { pthread_mutex_lock(&h->k.lock); }
static void unlock(cn_shadow *h) { pthread_mutex_unlock(&h->k.lock); }

/* ---------- from questions ---------- */
/* splitmix64 of a counter that began anywhere. */
bool cn_shadow_draws(cn_shadow *h) {
    unsigned sample = h ? atomic_load_explicit(&h->sample, memory_order_relaxed) : 0;
    if (!sample)
        return false;
    uint64_t x = atomic_fetch_add_explicit(&h->drawn, 0x9e3779b97f4a7c15u, memory_order_relaxed);
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return (x ^ x >> 31) % 1000 < sample;
}

static void item_done(item *i) {
    cn_again_free(i->again);
    cn_tenant_unref(i->t);
}

static bool has_room(const cn_shadow *h, const cn_tenant *t) {
    uint32_t own = 0;
    for (uint32_t i = 0; i < h->n; i++)
        own += h->queue[(h->first + i) % CN_SHADOW_QUEUE].t == t;
    return h->n < CN_SHADOW_QUEUE && own < OF_TENANT && !h->k.stop;
}

static cn_watch *find(const cn_shadow *h, const cn_tenant *t, uint64_t index_id, uint64_t version) {
    for (uint32_t i = 0; i < h->n_watch; i++)
        if (cn_watch_is(h->watch[i], t, index_id, version))
            return h->watch[i];
    return NULL;
}

static cn_watch *watch_of(const cn_shadow *h, const cn_tenant *t, const cn_again *a) {
    return find(h, t, cn_view_index(cn_again_view(a))->id, cn_view_version(cn_again_view(a))->number);
}

/* Under the lock. */
static void note_dropped(cn_shadow *h, const item *i) {
    cn_watch *w = watch_of(h, i->t, i->again);
    atomic_fetch_add(&h->dropped, 1);
    if (w) {
        w->counts.dropped++;
        w->changed = true;
    }
}

void cn_shadow_push(cn_shadow *h, cn_tenant *t, cn_again *a) {
    item i = {a, cn_tenant_ref(t), cn_mono_ns()};
    lock(h);
    bool takes = has_room(h, t), first = takes && h->n == 0;
    if (takes)
        h->queue[(h->first + h->n++) % CN_SHADOW_QUEUE] = i;
    else
        note_dropped(h, &i);
    unlock(h);
    if (!takes)
        item_done(&i);
    if (first)
        cn_keeper_tell(&h->k);
}

double cn_shadow_aim(cn_shadow *h, const cn_tenant *t, uint64_t index_id, uint64_t version, double asked) {
    if (!h || !atomic_load_explicit(&h->raised, memory_order_relaxed))
        return asked;
    uint32_t aim = cn_recall_aim(asked);
    lock(h);
    cn_watch *w = find(h, t, index_id, version);
    uint32_t to = w ? w->effort.aim[aim] : aim;
    unlock(h);
    return to > aim ? cn_recall_aims[to] : asked;
}

/* ---------- what it tells ---------- */
cn_shadow_counts cn_shadow_count(cn_shadow *h) {
    return h ? (cn_shadow_counts){h->searched, h->dropped, h->failed, h->raised} : (cn_shadow_counts){0};
}

uint32_t cn_shadow_pending(cn_shadow *h, const cn_tenant *t, uint64_t index_id, cn_recall_hour *v, uint32_t most) {
    uint32_t n = 0;
    if (!h)
        return 0;
    lock(h);
    for (uint32_t i = 0; i < h->n_watch && n < most; i++) {
        const cn_watch *w = h->watch[i];
        if (cn_watch_is(w, t, index_id, w->version) && (w->changed || cn_watch_raised(w)))
            v[n++] = (cn_recall_hour){w->version, cn_wall_us() / CN_RECALL_HOUR_US * CN_RECALL_HOUR_US, w->counts, w->effort};
    }
    unlock(h);
    return n;
}

/* ---------- writing ---------- */
/* What is added meanwhile stays for the next time; so does all where it could not be written. */
static cn_err write_one(cn_shadow *h, cn_tenant *t, cn_watch *w) {
    lock(h);
    cn_recall_counts counts = w->counts;
    cn_recall_effort effort = w->effort;
    w->counts = (cn_recall_counts){.dropped = 0};
    w->changed = false;
    unlock(h);
    cn_err err = cn_recall_add(t, w->index_id, w->version, &counts, &effort);
    if (err != CN_OK) {
        lock(h);
        cn_recall_join(&w->counts, &counts);
        w->changed = true;
        unlock(h);
    }
    return err;
}

typedef struct writing {
    cn_shadow *h;
    cn_watch *w;
    bool there; /* the tenant is, and no later one of its name */
} writing;

static cn_err write_in(void *ctx, cn_tenant *t) {
    writing *x = ctx;
    x->there = cn_watch_is(x->w, t, x->w->index_id, x->w->version);
    return x->there ? write_one(x->h, t, x->w) : CN_OK;
}

/* Of a tenant that was dropped nothing is kept. */
static void leave_unwritten(cn_shadow *h, cn_watch *w) {
    lock(h);
    w->counts = (cn_recall_counts){.dropped = 0};
    w->changed = false;
    unlock(h);
}

static cn_err write_where_it_is(cn_shadow *h, cn_watch *w) {
    writing x = {h, w, false};
    cn_err err = cn_keeper_visit(h->s->data, cn_str_of(w->tenant), write_in, &x);
    if (err == CN_OK && !x.there)
        leave_unwritten(h, w);
    return err;
}

static bool is_changed(cn_shadow *h, const cn_watch *w) {
    lock(h);
    bool is = w->changed;
    unlock(h);
    return is;
}

static void write_all(cn_shadow *h) {
    cn_err err = CN_OK;
    for (uint32_t i = 0; i < h->n_watch; i++)
        if (is_changed(h, h->watch[i])) {
            cn_err one = write_where_it_is(h, h->watch[i]);
            err = one != CN_OK ? one : err;
        }
    if (err != CN_OK && !h->told_failure)
        cn_log(CN_LOG_WARN, "recall.unwritten", "what was measured of recall stays in memory until it can be written: %s", cn_error_detail());
    h->told_failure = err != CN_OK;
    h->write_ns = cn_mono_ns() + CN_SHADOW_WRITE_MS * CN_KEEPER_MS;
}

/* ---------- watches ---------- */
static cn_err take_effort(void *ctx, const cn_recall_hour *hour) {
    cn_watch *w = ctx;
    w->effort = hour->effort;
    return CN_OK;
}

static void count_raised(cn_shadow *h) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < h->n_watch; i++)
        n += cn_watch_raised(h->watch[i]);
    h->raised = n;
}

/* The one used longest ago whose counts are written makes room. */
static bool make_room(cn_shadow *h) {
    uint32_t at = CN_SHADOW_WATCHED;
    if (h->n_watch < CN_SHADOW_WATCHED)
        return true;
    write_all(h);
    for (uint32_t i = 0; i < h->n_watch; i++)
        if (!is_changed(h, h->watch[i]) && (at == CN_SHADOW_WATCHED || h->watch[i]->used_ns < h->watch[at]->used_ns))
            at = i;
    if (at == CN_SHADOW_WATCHED)
        return false;
    lock(h);
    cn_free(h->watch[at]);
    h->watch[at] = h->watch[--h->n_watch];
    count_raised(h);
    unlock(h);
    return true;
}

/* With the effort it had when it was last written. NULL: there is no room, or no memory. */
static cn_watch *watch_anew(cn_shadow *h, const item *i) {
    const cn_view *v = cn_again_view(i->again);
    cn_watch *w = make_room(h) ? cn_calloc(1, sizeof *w) : NULL;
    if (!w)
        return NULL;
    snprintf(w->tenant, sizeof w->tenant, "%s", cn_tenant_name(i->t));
    snprintf(w->index, sizeof w->index, CN_STR_FMT, CN_STR_ARG(cn_view_index(v)->name));
    memcpy(w->uid, cn_tenant_uid(i->t), sizeof w->uid);
    w->index_id = cn_view_index(v)->id;
    w->version = cn_view_version(v)->number;
    w->effort = cn_recall_usual();
    if (cn_recall_each(i->t, w->index_id, w->version, take_effort, w) != CN_OK)
        w->effort = cn_recall_usual();
    lock(h);
    h->watch[h->n_watch++] = w;
    count_raised(h);
    unlock(h);
    return w;
}

/* ---------- one question ---------- */
static void tell_steered(const cn_watch *w, const cn_steered *s) {
    bool raised = s->did == CN_STEER_RAISED;
    cn_log(raised ? CN_LOG_WARN : CN_LOG_INFO, raised ? "recall.raised" : "recall.recovered",
           "tenant=%s index=%s version=%llu asked=%g aims_at=%g recall=%.4f low=%.4f high=%.4f questions=%llu", w->tenant, w->index, (unsigned long long)w->version,
           cn_recall_aims[s->aim], cn_recall_aims[s->to], s->is.mean, s->is.low, s->is.high, (unsigned long long)s->questions);
}

/* So that it can be barred by its gate. */
static void tell_gate(const item *i, const cn_watch *w, const cn_steered *s) {
    const cn_actor who = {CN_STR("cairnd"), CN_STR("server"), CN_STR("measured while it served")};
    if (cn_gate_live(i->t, cn_str_of(w->index), w->version, s->aim, s->as_asked, &who) != CN_OK)
        cn_log(CN_LOG_WARN, "recall.gate", "tenant=%s index=%s version=%llu its gate does not know: %s", w->tenant, w->index, (unsigned long long)w->version, cn_error_detail());
}

static void count_in(cn_shadow *h, const item *i, const cn_again_told *told) {
    const cn_again *a = i->again;
    cn_watch *w = watch_of(h, i->t, a);
    if (!w && !(w = watch_anew(h, i))) {
        atomic_fetch_add(&h->dropped, 1);
        return;
    }
    lock(h);
    cn_steered s = cn_watch_add(w, cn_again_plan(a), cn_again_selects(a), cn_again_aim(a), told);
    w->used_ns = cn_mono_ns();
    if (s.did)
        count_raised(h);
    unlock(h);
    atomic_fetch_add(&h->searched, 1);
    if (s.did) {
        tell_steered(w, &s);
        tell_gate(i, w, &s);
    }
}

static void look_at(cn_shadow *h, const item *i) {
    cn_again_told told;
    cn_error_forget_file();
    cn_err err = cn_again_look(i->again, h->searcher, h->hits, &told);
    if (err == CN_DAMAGED)
        cn_tell_damage(h->s, cn_str_of(cn_tenant_name(i->t)), cn_view_index(cn_again_view(i->again))->name);
    if (err != CN_OK)
        atomic_fetch_add(&h->failed, 1);
    else if (told.wanted)
        count_in(h, i, &told);
}

/* ---------- the thread ---------- */
static bool take(cn_shadow *h, item *ret) {
    bool has = false;
    lock(h);
    while (h->n && !has) {
        *ret = h->queue[h->first];
        h->first = (h->first + 1) % CN_SHADOW_QUEUE;
        h->n--;
        has = cn_mono_ns() - ret->at_ns < CN_SHADOW_WAIT_MS * CN_KEEPER_MS;
        if (!has) {
            note_dropped(h, ret);
            unlock(h);
            item_done(ret); /* may close files */
            lock(h);
        }
    }
    unlock(h);
    return has;
}

static bool rest_a_moment(void *ctx, uint64_t until_ns) {
    cn_shadow *h = ctx;
    return cn_keeper_rest(&h->k, until_ns, true);
}

/* Its processor time is its share of what goes by until the next one. */
static bool do_one(cn_shadow *h) {
    item i;
    if (!take(h, &i))
        return false;
    uint64_t before = cn_thread_cpu_ns();
    if (cn_keeper_give_way(&h->k, CN_SHADOW_WAIT_MS, rest_a_moment, h))
        look_at(h, &i);
    item_done(&i);
    uint64_t spent = cn_thread_cpu_ns() - before;
    h->next_ns = cn_mono_ns() + spent * 100 / h->cpu - spent;
    return true;
}

static void *run(void *arg) {
    cn_shadow *h = arg;
    bool more = false;
    h->write_ns = cn_mono_ns() + CN_SHADOW_WRITE_MS * CN_KEEPER_MS;
    while (cn_keeper_rest(&h->k, more ? h->next_ns : h->write_ns, more)) {
        cn_keeper_was_told(&h->k);
        more = do_one(h);
        if (cn_mono_ns() >= h->write_ns)
            write_all(h);
    }
    write_all(h);
    return NULL;
}

/* ---------- begin and end ---------- */
void cn_shadow_set(cn_shadow *h, const cn_upkeep_opts *o) {
    h->sample = o->recall_sample;
    h->cpu = o->recall_cpu ? o->recall_cpu : 1;
}

static void free_all(cn_shadow *h) {
    for (; h->n; h->n--, h->first = (h->first + 1) % CN_SHADOW_QUEUE)
        item_done(&h->queue[h->first]);
    for (uint32_t i = 0; i < h->n_watch; i++)
        cn_free(h->watch[i]);
    cn_searcher_free(h->searcher);
    cn_free(h->hits);
    cn_keeper_done(&h->k);
    cn_free(h);
}

cn_err cn_shadow_new(cn_service *s, const cn_upkeep_opts *o, cn_shadow **ret) {
    cn_shadow *h = cn_calloc(1, sizeof *h);
    uint64_t seed;
    if (!h)
        return cn_fail_memory();
    h->s = s;
    cn_random(&seed, sizeof seed);
    h->drawn = seed;
    cn_shadow_set(h, o);
    cn_keeper_init(&h->k, &s->busy);
    h->hits = cn_alloc(CN_K_MAX * sizeof *h->hits);
    cn_err err = h->hits ? cn_searcher_new(&h->searcher) : cn_fail_memory();
    if (err == CN_OK)
        err = cn_keeper_start(&h->k, "cairn-recall", "to measure recall", run, h);
    if (err != CN_OK) {
        free_all(h);
        return err;
    }
    *ret = h;
    return CN_OK;
}

void cn_shadow_leave(cn_shadow *h) {
    if (h)
        cn_keeper_leave(&h->k);
}

void cn_shadow_free(cn_shadow *h) {
    if (!h)
        return;
    cn_keeper_end(&h->k);
    free_all(h);
}
