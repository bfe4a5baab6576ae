#include "server/service/runner.h"

#include <pthread.h>

#include "engine/base/mem.h"

typedef struct slot {
    cn_runner *owner;
    cn_runner_job job;
    pthread_t thread;
    bool used, over; /* over: it ended, and waits to be joined */
} slot;

struct cn_runner {
    pthread_mutex_t lock;
    atomic_bool leaving;
    slot slots[CN_RUNNER_MAX];
};

cn_err cn_runner_new(cn_runner **ret) {
    cn_runner *r = cn_calloc(1, sizeof *r);
    if (!r)
        return cn_fail_memory();
    pthread_mutex_init(&r->lock, NULL);
    *ret = r;
    return CN_OK;
}

static void *serve(void *arg) {
    slot *s = arg;
    s->job.run(s->job.arg);
    pthread_mutex_lock(&s->owner->lock);
    s->over = true;
    pthread_mutex_unlock(&s->owner->lock);
    return NULL;
}

static slot *free_slot(cn_runner *r) {
    for (int i = 0; i < CN_RUNNER_MAX; i++) {
        slot *s = &r->slots[i];
        if (s->used && s->over) {
            pthread_join(s->thread, NULL);
            s->used = false;
        }
        if (!s->used)
            return s;
    }
    return NULL;
}

cn_err cn_runner_start(cn_runner *r, cn_runner_job job) {
    pthread_mutex_lock(&r->lock);
    slot *s = atomic_load(&r->leaving) ? NULL : free_slot(r);
    bool started = false;
    if (s) {
        *s = (slot){.owner = r, .job = job};
        started = pthread_create(&s->thread, NULL, serve, s) == 0;
        s->used = started;
    }
    pthread_mutex_unlock(&r->lock);
    return started ? CN_OK : cn_fail(CN_OVERLOADED, "%d jobs are running already, or the server is stopping; wait for one to end", CN_RUNNER_MAX);
}

const atomic_bool *cn_runner_leaving(const cn_runner *r) { return &r->leaving; }

void cn_runner_leave(cn_runner *r) {
    pthread_mutex_lock(&r->lock); /* whoever starts one now sees it */
    atomic_store(&r->leaving, true);
    pthread_mutex_unlock(&r->lock);
}

void cn_runner_free(cn_runner *r) {
    if (!r)
        return;
    cn_runner_leave(r);
    for (int i = 0; i < CN_RUNNER_MAX; i++)
        if (r->slots[i].used)
            pthread_join(r->slots[i].thread, NULL);
    pthread_mutex_destroy(&r->lock);
    cn_free(r);
}
