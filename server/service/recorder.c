#include "server/service/recorder.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>

#include "engine/base/log.h"
#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "index/store/dir.h"
#include "index/trace/run.h"
#include "server/service/inside.h"

#define BATCH 1024                   /* records a transaction */
#define GATHER_MS 250                /* few commits: another process can check the file between them */
#define FLUSH_MS 2000
#define LOST_MAX 64                  /* tenants whose gaps are remembered at a time; of more, all tenants have one */
#define WAKE_BYTES (CN_RECORDER_BYTES / 4) /* so many are written at once */
#define SHARES 1024                  /* places for how much of the buffer is whose */
#define FIRST_LOOK_MS 60000          /* through the stores, for what is too old */
#define LOOK_EVERY_MS 3600000
#define GAP_MAX 256
#define SAY_EVERY_NS 60000000000ull
#define NICE 10                      /* questions go before it */

typedef struct item { /* before each map in a buffer; both are multiples of 8 bytes */
    cn_tenant *t;               /* referenced */
    int64_t at_us;
    cn_trace_id id;
    uint64_t bytes;
} item;

typedef struct lost {
    cn_tenant *t;               /* referenced */
    uint64_t records;
} lost;

struct cn_recorder {
    cn_service *s;
    pthread_t thread;
    pthread_mutex_t lock;       /* of all down to `stop` */
    pthread_cond_t wake, done;
    char *fill;
    size_t n;
    uint64_t pushed, taken, finished; /* records: given or lost (again, where that could not be noted), taken by the thread, and dealt with */
    lost lost[LOST_MAX];
    uint32_t n_lost;
    bool lost_more;             /* of tenants that are not in that list */
    bool noting;                /* the thread has taken that list, and not dealt with all of it */
    uint32_t share[SHARES];     /* bytes in `fill`, by tenant's hash */
    bool urgent;
    _Atomic bool stop;
    char *drain;                /* of the thread */
    size_t n_drain;
    cn_trace_entry batch[BATCH];
    bool failing;
    uint64_t said_ns;           /* when that was last logged */
    bool as_noted;
    cn_trace_run *mark;         /* NULL: as_noted, or it could not be made */
    _Atomic uint64_t max_bytes, keep_us, written, dropped;
};

static size_t padded(size_t n) { return (n + 7) & ~(size_t)7; }

static struct timespec after_ms(uint64_t ms) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_sec += (time_t)(ms / 1000);
    t.tv_nsec += (long)(ms % 1000) * 1000000;
    if (t.tv_nsec >= 1000000000) {
        t.tv_sec++;
        t.tv_nsec -= 1000000000;
    }
    return t;
}

/* ---------- giving ---------- */
bool cn_recorder_is_on(const cn_recorder *r) { return r && (r->as_noted || atomic_load_explicit(&r->max_bytes, memory_order_relaxed)); }

/* Under the lock. Takes over the reference; false: it is the caller's still. */
static bool note_lost(cn_recorder *r, cn_tenant *t, uint64_t records) {
    for (uint32_t i = 0; i < r->n_lost; i++)
        if (r->lost[i].t == t) {
            r->lost[i].records += records;
            return false;
        }
    if (r->n_lost == LOST_MAX) {
        r->lost_more = true;
        return false;
    }
    r->lost[r->n_lost++] = (lost){t, records};
    return true;
}

static void drop(cn_recorder *r, cn_tenant *t, uint64_t records) {
    atomic_fetch_add(&r->dropped, records);
    cn_count_dropped(r->s, cn_str_of(cn_tenant_name(t)), records);
}

/* To be noted in the store as a gap; counted: once, not when the gap could not be noted either. */
static void lose(cn_recorder *r, cn_tenant *t, uint64_t records, bool counted) {
    cn_tenant *mine = cn_tenant_ref(t);
    pthread_mutex_lock(&r->lock);
    bool kept = note_lost(r, mine, records);
    r->pushed++;
    pthread_mutex_unlock(&r->lock);
    if (counted)
        drop(r, t, records);
    if (!kept)
        cn_tenant_unref(mine);
}

void cn_recorder_lose(cn_recorder *r, cn_tenant *t) { lose(r, t, 1, true); }

static uint32_t *share_of(cn_recorder *r, const cn_tenant *t) {
    uint64_t at = (uint64_t)(uintptr_t)t;
    return &r->share[cn_hash_bytes(CN_HASH_BEGIN, (cn_str){(const char *)&at, sizeof at}) % SHARES];
}

/* Nobody has more than is left for the others: one tenant that floods fills half, two a third each. */
void cn_recorder_push(cn_recorder *r, cn_tenant *t, const cn_trace_entry *e) {
    item it = {cn_tenant_ref(t), e->at_us, e->id, e->map.n};
    size_t need = sizeof it + padded(e->map.n);
    pthread_mutex_lock(&r->lock);
    uint32_t *share = share_of(r, t);
    bool fits = *share + need <= CN_RECORDER_BYTES - r->n;
    if (fits) {
        memcpy(r->fill + r->n, &it, sizeof it);
        memcpy(r->fill + r->n + sizeof it, e->map.p, e->map.n);
        if (r->n == 0 || r->n + need > WAKE_BYTES)
            pthread_cond_signal(&r->wake);
        r->n += need;
        *share += (uint32_t)need;
        r->pushed++;
    }
    pthread_mutex_unlock(&r->lock);
    if (fits)
        return;
    cn_recorder_lose(r, t);
    cn_tenant_unref(it.t);
}

/* Under the lock: of this tenant (NULL: of any) a loss is not in the store yet. */
static bool owes(const cn_recorder *r, const cn_tenant *t) {
    bool owed = r->lost_more || r->noting;
    for (uint32_t i = 0; i < r->n_lost && !owed; i++)
        owed = !t || r->lost[i].t == t;
    return owed;
}

bool cn_recorder_flush(cn_recorder *r, const cn_tenant *t) {
    struct timespec until = after_ms(FLUSH_MS);
    if (!r)
        return true;
    pthread_mutex_lock(&r->lock);
    uint64_t all = r->pushed;
    r->urgent = true;
    pthread_cond_signal(&r->wake);
    while ((r->finished < all || r->noting) && pthread_cond_timedwait(&r->done, &r->lock, &until) == 0)
        ;
    bool whole = r->finished >= all && !owes(r, t);
    pthread_mutex_unlock(&r->lock);
    return whole;
}

void cn_recorder_leave(cn_recorder *r) {
    bool whole = cn_recorder_flush(r, NULL);
    if (!r)
        return;
    cn_trace_run_end(r->mark, whole);
    r->mark = NULL;
}

cn_recorder_counts cn_recorder_count(const cn_recorder *r) {
    return r ? (cn_recorder_counts){atomic_load(&r->written), atomic_load(&r->dropped)} : (cn_recorder_counts){0};
}

void cn_recorder_limit(cn_recorder *r, const cn_trace_limits *limits) {
    atomic_store(&r->max_bytes, limits->bytes < CN_TRACE_BYTES_MAX ? limits->bytes : CN_TRACE_BYTES_MAX);
    atomic_store(&r->keep_us, limits->keep_us);
}

/* ---------- the thread ---------- */
/* CN_NOT_FOUND: the tenant was dropped since. One of the same name, made after it, gets nothing of it. */
static cn_err check_current(cn_recorder *r, const cn_tenant *t) {
    cn_tenant *now;
    CN_TRY(cn_tenant_open(r->s->data, cn_str_of(cn_tenant_name(t)), &now));
    cn_tenant_unref(now);
    return now == t ? CN_OK : CN_NOT_FOUND;
}

static void say(cn_recorder *r, const cn_tenant *t) {
    uint64_t now = cn_mono_ns();
    if (r->said_ns && now - r->said_ns < SAY_EVERY_NS)
        return;
    r->said_ns = now;
    cn_log(CN_LOG_ERROR, "trace.failed", "tenant=%s request records are lost until this is mended: %s", cn_tenant_name(t), cn_error_detail());
}

/* gap: it is none of the records themselves that is put, but that so many are missing; 0: records. */
static void put(cn_recorder *r, cn_tenant *t, uint32_t n, uint64_t gap) {
    cn_trace_limits lim = {atomic_load(&r->max_bytes), atomic_load(&r->keep_us)};
    bool leaving = atomic_load(&r->stop) && r->failing; /* a store that nobody may write to now must not keep the process from ending */
    cn_err err = check_current(r, t);
    if (err == CN_NOT_FOUND)
        return;
    if (!leaving && err == CN_OK && cn_trace_put(t, r->batch, n, r->as_noted ? NULL : &lim) == CN_OK) {
        r->failing = false;
        atomic_fetch_add(&r->written, gap ? 0 : n);
        return;
    }
    if (!leaving)
        say(r, t);
    r->failing = true;
    lose(r, t, gap ? gap : n, gap == 0);
}

static item item_at(const cn_recorder *r, size_t at) {
    item it;
    memcpy(&it, r->drain + at, sizeof it);
    return it;
}

/* All records of one tenant that are still there, in batches; each gives its reference back. */
static void write_tenant(cn_recorder *r, size_t at, cn_tenant *t) {
    static cn_tenant *const none;
    cn_tenant *keep = cn_tenant_ref(t);
    uint32_t n = 0;
    while (at < r->n_drain) {
        item it = item_at(r, at);
        if (it.t == t) {
            r->batch[n++] = (cn_trace_entry){it.at_us, it.id, {r->drain + at + sizeof it, it.bytes}};
            memcpy(r->drain + at + offsetof(item, t), &none, sizeof none);
            cn_tenant_unref(t);
        }
        at += sizeof it + padded(it.bytes);
        if (n && (n == BATCH || at >= r->n_drain)) {
            put(r, keep, n, 0);
            n = 0;
        }
    }
    cn_tenant_unref(keep);
}

/* told: how many, as far as it is known. */
static void put_gap(cn_recorder *r, cn_tenant *t, uint64_t told) {
    char room[GAP_MAX];
    cn_buf b = {.p = room, .room = sizeof room, .cap = sizeof room};
    cn_trace_gap_pack(&b, "dropped", told);
    r->batch[0] = (cn_trace_entry){.at_us = cn_wall_us(), .map = cn_buf_str(&b)};
    put(r, t, 1, told ? told : 1);
}

static void write_gaps(cn_recorder *r, lost *v, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        put_gap(r, v[i].t, v[i].records);
        cn_tenant_unref(v[i].t);
    }
}

static void write_all(cn_recorder *r) {
    for (size_t at = 0; at < r->n_drain;) {
        item it = item_at(r, at);
        if (it.t)
            write_tenant(r, at, it.t);
        at += sizeof it + padded(it.bytes);
    }
}

/* CN_NOT_FOUND: it has no store, or was dropped. */
static cn_err open_with_store(const cn_recorder *r, cn_str name, cn_tenant **ret) {
    char path[CN_PATH_MAX];
    struct stat st;
    CN_TRY(cn_path(path, sizeof path, "%s/tenants/" CN_STR_FMT "/trace.mdb", cn_data_dir(r->s->data), CN_STR_ARG(name)));
    if (stat(path, &st) != 0)
        return errno == ENOENT ? CN_NOT_FOUND : cn_fail_errno(errno, "%s", path);
    return cn_tenant_open(r->s->data, name, ret);
}

static cn_err look_at_tenant(void *ctx, cn_str name, int64_t made_us) {
    (void)made_us;
    cn_recorder *r = ctx;
    cn_trace_limits lim = {atomic_load(&r->max_bytes), atomic_load(&r->keep_us)};
    cn_tenant *t;
    bool more = true;
    if (open_with_store(r, name, &t) != CN_OK)
        return CN_OK;
    while (more && cn_trace_prune(t, &lim, &more) == CN_OK)
        ;
    cn_tenant_unref(t);
    return CN_OK;
}

static void lose_more(cn_recorder *r) {
    pthread_mutex_lock(&r->lock);
    r->lost_more = true;
    r->pushed++;
    pthread_mutex_unlock(&r->lock);
}

static cn_err gap_in_tenant(void *ctx, cn_str name, int64_t made_us) {
    (void)made_us;
    cn_tenant *t;
    cn_err err = open_with_store(ctx, name, &t);
    if (err == CN_OK) {
        put_gap(ctx, t, 0);
        cn_tenant_unref(t);
    } else if (err != CN_NOT_FOUND) {
        lose_more(ctx);
    }
    return CN_OK;
}

/* It is not known whose: a store that is not there yet begins after them. */
static void write_gap_everywhere(cn_recorder *r) {
    if (cn_tenant_list(r->s->data, gap_in_tenant, r) != CN_OK)
        lose_more(r);
}

static bool has_work(const cn_recorder *r) { return r->n || r->urgent || r->stop; }

/* Takes the buffer in exchange for the empty one; false: nothing is to come any more. */
static bool take(cn_recorder *r, uint64_t look_ms, lost lost_now[LOST_MAX], uint32_t *ret_lost, bool *ret_lost_more) {
    pthread_mutex_lock(&r->lock);
    struct timespec look = after_ms(look_ms), gather;
    while (!has_work(r) && pthread_cond_timedwait(&r->wake, &r->lock, &look) == 0)
        ;
    gather = after_ms(GATHER_MS);
    while (r->n && !r->urgent && !r->stop && r->n < WAKE_BYTES && pthread_cond_timedwait(&r->wake, &r->lock, &gather) == 0)
        ;
    char *full = r->fill;
    r->fill = r->drain;
    r->drain = full;
    r->n_drain = r->n;
    r->n = 0;
    r->urgent = false;
    r->taken = r->pushed;
    *ret_lost = r->n_lost;
    memcpy(lost_now, r->lost, r->n_lost * sizeof *lost_now);
    *ret_lost_more = r->lost_more;
    r->noting = r->n_lost || r->lost_more;
    r->n_lost = 0;
    r->lost_more = false;
    memset(r->share, 0, sizeof r->share);
    bool more = !r->stop || r->n_drain;
    pthread_mutex_unlock(&r->lock);
    return more;
}

static void *run(void *arg) {
    cn_recorder *r = arg;
    lost lost_now[LOST_MAX];
    uint32_t n_lost;
    bool lost_more;
    uint64_t look_at = cn_mono_ns() + FIRST_LOOK_MS * 1000000ull;
    pthread_setname_np(pthread_self(), "cairn-records");
    setpriority(PRIO_PROCESS, 0, NICE); /* Linux: of this thread */
    for (;;) {
        uint64_t now = cn_mono_ns();
        bool more = take(r, look_at > now ? (look_at - now) / 1000000 + 1 : 0, lost_now, &n_lost, &lost_more);
        write_all(r);
        write_gaps(r, lost_now, n_lost);
        if (lost_more)
            write_gap_everywhere(r);
        pthread_mutex_lock(&r->lock);
        r->finished = r->taken;
        r->noting = false;
        pthread_cond_broadcast(&r->done);
        pthread_mutex_unlock(&r->lock);
        if (!more)
            return NULL;
        if (cn_mono_ns() < look_at)
            continue;
        look_at = cn_mono_ns() + LOOK_EVERY_MS * 1000000ull;
        if (!r->as_noted)
            cn_tenant_list(r->s->data, look_at_tenant, r);
    }
}

/* ---------- begin and end ---------- */
static void free_all(cn_recorder *r) {
    cn_free(r->fill);
    cn_free(r->drain);
    pthread_cond_destroy(&r->wake);
    pthread_cond_destroy(&r->done);
    pthread_mutex_destroy(&r->lock);
    cn_free(r);
}

cn_err cn_recorder_new(cn_service *s, const cn_trace_limits *limits, cn_recorder **ret) {
    pthread_condattr_t mono;
    cn_recorder *r = cn_calloc(1, sizeof *r);
    if (!r)
        return cn_fail_memory();
    r->s = s;
    r->as_noted = limits == NULL;
    if (limits)
        cn_recorder_limit(r, limits);
    pthread_mutex_init(&r->lock, NULL);
    pthread_condattr_init(&mono);
    pthread_condattr_setclock(&mono, CLOCK_MONOTONIC);
    pthread_cond_init(&r->wake, &mono);
    pthread_cond_init(&r->done, &mono);
    pthread_condattr_destroy(&mono);
    r->fill = cn_alloc(CN_RECORDER_BYTES);
    r->drain = cn_alloc(CN_RECORDER_BYTES);
    cn_err e = r->fill && r->drain ? CN_OK : cn_fail_memory();
    if (e == CN_OK && pthread_create(&r->thread, NULL, run, r) != 0)
        e = cn_fail(CN_OVERLOADED, "a thread for request records could not be started");
    if (e != CN_OK) {
        free_all(r);
        return e;
    }
    if (limits && cn_trace_run_begin(s->data, &r->mark) != CN_OK)
        cn_log(CN_LOG_WARN, "trace.unmarked", "should this server be killed, trace.exposed will not say that records may be missing: %s", cn_error_detail());
    *ret = r;
    return CN_OK;
}

void cn_recorder_free(cn_recorder *r) {
    if (!r)
        return;
    pthread_mutex_lock(&r->lock);
    r->stop = true;
    pthread_cond_signal(&r->wake);
    pthread_mutex_unlock(&r->lock);
    pthread_join(r->thread, NULL);
    cn_trace_run_end(r->mark, !owes(r, NULL));
    for (uint32_t i = 0; i < r->n_lost; i++) /* of the last pass */
        cn_tenant_unref(r->lost[i].t);
    free_all(r);
}
