#include "server/service/keeper.h"

#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>

#include "engine/base/os.h"
#include "index/store/dir.h"

#define NICE 10

void cn_keeper_init(cn_keeper *k, cn_busy *busy) {
    pthread_condattr_t mono;
    *k = (cn_keeper){.busy = busy};
    pthread_mutex_init(&k->lock, NULL);
    pthread_condattr_init(&mono);
    pthread_condattr_setclock(&mono, CLOCK_MONOTONIC);
    pthread_cond_init(&k->wake, &mono);
    pthread_condattr_destroy(&mono);
}

void cn_keeper_done(cn_keeper *k) {
    pthread_cond_destroy(&k->wake);
    pthread_mutex_destroy(&k->lock);
}

static void *begin(void *arg) {
    cn_keeper *k = arg;
    pthread_setname_np(pthread_self(), k->name);
    setpriority(PRIO_PROCESS, 0, NICE); /* Linux: of this thread and those that it starts */
    return k->run(k->arg);
}

cn_err cn_keeper_start(cn_keeper *k, const char *name, const char *what, void *(*run)(void *arg), void *arg) {
    k->name = name;
    k->run = run;
    k->arg = arg;
    return pthread_create(&k->thread, NULL, begin, k) == 0 ? CN_OK : cn_fail(CN_OVERLOADED, "a thread %s could not be started", what);
}

static void tell(cn_keeper *k, bool stop) {
    pthread_mutex_lock(&k->lock);
    k->told = true;
    k->stop |= stop;
    pthread_cond_signal(&k->wake);
    pthread_mutex_unlock(&k->lock);
}

void cn_keeper_tell(cn_keeper *k) { tell(k, false); }
void cn_keeper_leave(cn_keeper *k) { tell(k, true); }

void cn_keeper_end(cn_keeper *k) {
    cn_keeper_leave(k);
    pthread_join(k->thread, NULL);
}

/* ---------- the thread ---------- */
bool cn_keeper_rest(cn_keeper *k, uint64_t until_ns, bool deaf) {
    struct timespec until = {.tv_sec = (time_t)(until_ns / CN_KEEPER_S), .tv_nsec = (long)(until_ns % CN_KEEPER_S)};
    pthread_mutex_lock(&k->lock);
    while (!k->stop && (deaf || !k->told) && pthread_cond_timedwait(&k->wake, &k->lock, &until) == 0)
        ;
    bool go_on = !k->stop;
    pthread_mutex_unlock(&k->lock);
    return go_on;
}

bool cn_keeper_was_told(cn_keeper *k) {
    pthread_mutex_lock(&k->lock);
    bool was = k->told;
    k->told = false;
    pthread_mutex_unlock(&k->lock);
    return was;
}

bool cn_keeper_give_way(cn_keeper *k, uint64_t most_ms, bool (*rest)(void *ctx, uint64_t until_ns), void *ctx) {
    uint64_t end = cn_mono_ns() + most_ms * CN_KEEPER_MS;
    while (cn_mono_ns() < end && cn_busy_now(k->busy))
        if (!rest(ctx, cn_mono_ns() + CN_GIVE_WAY_MS * CN_KEEPER_MS))
            return false;
    return true;
}

int64_t cn_keeper_changed_ns(const cn_data *d, cn_str tenant) {
    char path[CN_PATH_MAX];
    struct stat st;
    if (cn_path(path, sizeof path, "%s/tenants/" CN_STR_FMT "/control.mdb", cn_data_dir(d), CN_STR_ARG(tenant)) != CN_OK || stat(path, &st) != 0)
        return 0;
    int64_t ns = (int64_t)st.st_mtim.tv_sec * (int64_t)CN_KEEPER_S + st.st_mtim.tv_nsec;
    return cn_wall_us() * 1000 - ns > (int64_t)CN_KEEPER_S ? ns : 0;
}

cn_err cn_keeper_visit(cn_data *d, cn_str name, cn_err (*fn)(void *ctx, cn_tenant *t), void *ctx) {
    cn_tenant *t;
    cn_err err = cn_tenant_open(d, name, &t);
    if (err == CN_OK) {
        err = fn(ctx, t);
        cn_tenant_unref(t);
    }
    return err == CN_NOT_FOUND ? CN_OK : err;
}
