#include "server/service/merger.h"

#include <stdio.h>

#include "engine/base/log.h"
#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "index/catalog/compact.h"
#include "index/catalog/mode.h"
#include "server/service/keeper.h"

#define MS CN_KEEPER_MS
#define PIECE ((uint64_t)1 << 20) /* copied before it looks whether requests wait */
#define ARENA ((size_t)64 << 20)
#define LEAST_MS 20 /* of rest for its rate: what is less it owes */
#define MOST_MS 200

typedef struct known {
    char tenant[CN_NAME_MAX + 1], index[CN_NAME_MAX + 1];
    bool told;
    uint64_t not_before_ns, backoff_ms;
    uint32_t settled; /* files that its head named when it was done with the last time */
} known;

struct cn_merger {
    cn_data *data;
    cn_keeper k;
    /* of the thread */
    int64_t looked_ns; /* when the last look began, by the wall's clock */
    uint64_t look_ns, copied, free_ns; /* free_ns: by its rate it copies on no earlier */
    /* under the keeper's lock */
    known *v;
    uint32_t n, room;
    uint64_t rate;
};

static bool rest(void *ctx, uint64_t until_ns) { return cn_keeper_rest(&((cn_merger *)ctx)->k, until_ns, true); }

static uint64_t rate(cn_merger *m) {
    pthread_mutex_lock(&m->k.lock);
    uint64_t r = m->rate;
    pthread_mutex_unlock(&m->k.lock);
    return r;
}

/* ---------- what there is to look at ---------- */
static known *find(cn_merger *m, cn_str tenant, cn_str index) {
    for (uint32_t i = 0; i < m->n; i++)
        if (cn_str_is(tenant, m->v[i].tenant) && cn_str_is(index, m->v[i].index))
            return &m->v[i];
    return NULL;
}

/* Without memory the next look finds it. */
static known *find_or_add(cn_merger *m, cn_str tenant, cn_str index) {
    known *x = find(m, tenant, index);
    if (x || !cn_grow(m->v, m->n, m->room))
        return x;
    x = &m->v[m->n++];
    *x = (known){.told = false};
    snprintf(x->tenant, sizeof x->tenant, CN_STR_FMT, CN_STR_ARG(tenant));
    snprintf(x->index, sizeof x->index, CN_STR_FMT, CN_STR_ARG(index));
    return x;
}

static bool note(cn_merger *m, cn_str tenant, cn_str index) {
    pthread_mutex_lock(&m->k.lock);
    known *x = find_or_add(m, tenant, index);
    if (x)
        x->told = true;
    bool wanted = x && m->rate > 0;
    pthread_mutex_unlock(&m->k.lock);
    return wanted;
}

void cn_merger_tell(cn_merger *m, cn_str tenant, cn_str index) {
    if (m && note(m, tenant, index))
        cn_keeper_tell(&m->k);
}

static cn_err note_indexes(void *ctx, cn_tenant *t) {
    CN_CLEANUP(cn_arena_done) cn_arena a;
    cn_index_info *ix;
    uint32_t n;
    cn_arena_init(&a, 16384, ARENA);
    CN_TRY(cn_index_list(t, &a, &ix, &n));
    for (uint32_t i = 0; i < n; i++)
        (void)note(ctx, cn_str_of(cn_tenant_name(t)), ix[i].name);
    return CN_OK;
}

/* A tenant in which nothing was written since the last look is not opened: its place among the open ones is another's. */
static cn_err note_tenant(void *ctx, cn_str name, int64_t made_us) {
    cn_merger *m = ctx;
    int64_t changed_ns = cn_keeper_changed_ns(m->data, name);
    (void)made_us;
    if (changed_ns != 0 && changed_ns < m->looked_ns)
        return CN_OK;
    if (rest(m, 0) && cn_keeper_visit(m->data, name, note_indexes, m) != CN_OK)
        cn_log(CN_LOG_WARN, "merge.unknown", "tenant=" CN_STR_FMT " %s", CN_STR_ARG(name), cn_error_detail());
    return CN_OK;
}

static void look(cn_merger *m) {
    int64_t now_ns = cn_wall_us() * 1000;
    if (cn_tenant_list(m->data, note_tenant, m) != CN_OK)
        cn_log(CN_LOG_WARN, "merge.unknown", "the tenants cannot be listed: %s", cn_error_detail());
    m->looked_ns = now_ns;
    m->look_ns = cn_mono_ns() + CN_MERGER_LOOK_MS * MS;
}

/* ---------- working ---------- */
static const char reason[] = "small files (merge_rate)";
static const cn_actor self = {{"cairnd", 6}, {"server", 6}, {reason, sizeof reason - 1}};

/* No longer than MOST_MS at once, for whoever waits for it is looked for in between: what it owes then it owes on. */
static bool keep_rate(cn_merger *m, uint64_t bytes, uint64_t r) {
    uint64_t now = cn_mono_ns(), most = now + MOST_MS * MS;
    m->free_ns = (m->free_ns > now ? m->free_ns : now) + (uint64_t)((double)bytes / (double)r * 1e9);
    return m->free_ns < now + LEAST_MS * MS || rest(m, m->free_ns < most ? m->free_ns : most);
}

static bool pace(void *ctx, uint64_t bytes) {
    cn_merger *m = ctx;
    uint64_t r = rate(m);
    if (r == 0 || !rest(m, 0) || !keep_rate(m, bytes, r))
        return false;
    m->copied += bytes;
    if (m->copied < PIECE)
        return true;
    m->copied = 0;
    return cn_keeper_give_way(&m->k, CN_MERGER_WAIT_MS, rest, m);
}

static cn_err files_of_head(cn_tenant *t, cn_str index, uint32_t *ret) {
    CN_CLEANUP(cn_arena_done) cn_arena a;
    cn_version head;
    cn_arena_init(&a, 16384, ARENA);
    cn_err err = cn_version_head(t, index, &a, &head);
    *ret = err == CN_OK ? head.n_parts : 0;
    return err == CN_NOT_FOUND ? CN_OK : err;
}

static cn_err merge(cn_merger *m, cn_tenant *t, known *x) {
    const cn_compact_opts o = {.tiers = true, .pace = pace, .pace_ctx = m};
    cn_str index = cn_str_of(x->index);
    cn_compact_result r;
    uint32_t files;
    CN_TRY(files_of_head(t, index, &files));
    x->settled = files < x->settled ? files : x->settled;
    if (files < x->settled + CN_COMPACT_TIER)
        return CN_OK;
    CN_TRY(cn_modes_let_write(t, index)); /* a freeze is no failure */
    CN_TRY(cn_version_compact(t, index, &o, &self, &r));
    if (r.made)
        cn_log(CN_LOG_INFO, "merge.done", "tenant=%s index=%s files_before=%u files_after=%u versions=%u", x->tenant, x->index, r.segments_before, r.segments_after, r.versions);
    return files_of_head(t, index, &x->settled);
}

static void failed(known *x, cn_err err) {
    bool waits = err == CN_REFUSED || err == CN_CONFLICT; /* for the end of a freeze, or of another compaction */
    uint64_t ms = waits || x->backoff_ms == 0 ? CN_MERGER_RETRY_MS : x->backoff_ms * 2 > CN_MERGER_LOOK_MS ? CN_MERGER_LOOK_MS : x->backoff_ms * 2;
    x->told = true;
    x->backoff_ms = ms;
    x->not_before_ns = cn_mono_ns() + ms * MS;
    cn_log(waits ? CN_LOG_DEBUG : CN_LOG_WARN, "merge.failed", "tenant=%s index=%s again_in_s=%llu %s", x->tenant, x->index, (unsigned long long)(ms / 1000), cn_error_detail());
}

/* Then it rests as long as it has worked. */
static bool work_on(cn_merger *m, known *x) {
    uint64_t began = cn_mono_ns();
    cn_tenant *t;
    if (!cn_keeper_give_way(&m->k, CN_MERGER_WAIT_MS, rest, m))
        return false;
    cn_err err = cn_tenant_open(m->data, cn_str_of(x->tenant), &t);
    if (err == CN_OK) {
        err = merge(m, t, x);
        cn_tenant_unref(t);
    }
    if (!rest(m, 0))
        return false;
    if (err != CN_OK && err != CN_NOT_FOUND && rate(m) > 0)
        failed(x, err);
    else
        x->backoff_ms = 0;
    uint64_t now = cn_mono_ns();
    return rest(m, now + (now - began));
}

/* The next that there is something to do of; false: none. ret_ns: when there may be. */
static bool take(cn_merger *m, known *ret, uint64_t *ret_ns) {
    uint64_t now = cn_mono_ns();
    bool any = false;
    *ret_ns = m->look_ns;
    pthread_mutex_lock(&m->k.lock);
    for (uint32_t i = 0; m->rate > 0 && i < m->n && !any; i++) {
        known *x = &m->v[i];
        any = x->told && x->not_before_ns <= now;
        if (x->told && !any && x->not_before_ns < *ret_ns)
            *ret_ns = x->not_before_ns;
        if (any) {
            x->told = false;
            *ret = *x;
        }
    }
    pthread_mutex_unlock(&m->k.lock);
    return any;
}

/* It may have been told of meanwhile. */
static void put_back(cn_merger *m, const known *x) {
    pthread_mutex_lock(&m->k.lock);
    known *is = find(m, cn_str_of(x->tenant), cn_str_of(x->index));
    if (is) {
        is->told |= x->told;
        is->not_before_ns = x->not_before_ns;
        is->backoff_ms = x->backoff_ms;
        is->settled = x->settled;
    }
    pthread_mutex_unlock(&m->k.lock);
}

static void *run(void *arg) {
    cn_merger *m = arg;
    uint64_t until_ns;
    known x;
    do {
        bool go_on = true;
        cn_keeper_was_told(&m->k);
        if (cn_mono_ns() >= m->look_ns && rate(m) > 0)
            look(m);
        while (go_on && take(m, &x, &until_ns)) {
            go_on = work_on(m, &x);
            put_back(m, &x);
        }
    } while (cn_keeper_rest(&m->k, rate(m) > 0 ? until_ns : UINT64_MAX, false));
    return NULL;
}

/* ---------- begin and end ---------- */
static void free_all(cn_merger *m) {
    cn_keeper_done(&m->k);
    cn_free(m->v);
    cn_free(m);
}

cn_err cn_merger_new(cn_data *d, cn_busy *busy, uint64_t rate, cn_merger **ret) {
    cn_merger *m = cn_calloc(1, sizeof *m);
    if (!m)
        return cn_fail_memory();
    m->data = d;
    m->rate = rate;
    cn_keeper_init(&m->k, busy);
    cn_err err = cn_keeper_start(&m->k, "cairn-merge", "to merge small files", run, m);
    if (err != CN_OK) {
        free_all(m);
        return err;
    }
    *ret = m;
    return CN_OK;
}

void cn_merger_set(cn_merger *m, uint64_t rate) {
    pthread_mutex_lock(&m->k.lock);
    m->rate = rate;
    pthread_mutex_unlock(&m->k.lock);
    cn_keeper_tell(&m->k);
}

void cn_merger_leave(cn_merger *m) {
    if (m)
        cn_keeper_leave(&m->k);
}

void cn_merger_free(cn_merger *m) {
    if (!m)
        return;
    cn_keeper_end(&m->k);
    free_all(m);
}
