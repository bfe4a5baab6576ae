#include "server/service/upkeep.h"

#include <pthread.h>
#include <sys/resource.h>
#include <time.h>

#include "engine/base/log.h"
#include "engine/base/mem.h"
#include "index/store/reserve.h"

#define NICE 10

struct cn_upkeep {
    cn_data *data;
    pthread_t thread;
    pthread_mutex_t lock; /* of all below */
    pthread_cond_t wake;
    cn_upkeep_opts opts;
    bool changed, stop;
};

/* ---------- the reserve ---------- */
static void keep_reserve(cn_upkeep *u, const cn_upkeep_opts *o, bool changed, bool *io_failing) {
    cn_err err = changed ? cn_reserve_set(u->data, o->reserve) : cn_reserve_make(u->data);
    if (err != CN_OK && !*io_failing)
        cn_log(CN_LOG_WARN, "reserve.missing", "%s", cn_error_detail());
    *io_failing = err != CN_OK;
}

/* ---------- the thread ---------- */
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

/* Until there is something to do; false: it is over. */
static bool wait_for(cn_upkeep *u, uint64_t ms, cn_upkeep_opts *ret, bool *ret_changed) {
    struct timespec until = after_ms(ms);
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

static void *run(void *arg) {
    cn_upkeep *u = arg;
    cn_upkeep_opts o;
    bool changed, failing = false;
    pthread_setname_np(pthread_self(), "cairn-upkeep");
    setpriority(PRIO_PROCESS, 0, NICE); /* Linux: of this thread */
    while (wait_for(u, CN_UPKEEP_MS, &o, &changed))
        keep_reserve(u, &o, changed, &failing);
    return NULL;
}

/* ---------- begin and end ---------- */
static void free_all(cn_upkeep *u) {
    pthread_cond_destroy(&u->wake);
    pthread_mutex_destroy(&u->lock);
    cn_free(u);
}

cn_err cn_upkeep_new(cn_data *d, const cn_upkeep_opts *o, cn_upkeep **ret) {
    pthread_condattr_t mono;
    cn_upkeep *u = cn_calloc(1, sizeof *u);
    if (!u)
        return cn_fail_memory();
    u->data = d;
    u->opts = *o;
    u->changed = true;
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
