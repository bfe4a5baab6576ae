#include "engine/base/pool.h"

#include <pthread.h>
#include <stdatomic.h>

#include "engine/base/mem.h"

typedef struct item {
    cn_job_fn *fn;
    void *arg;
} item;

struct cn_pool {
    pthread_mutex_t lock;
    pthread_cond_t work;
    pthread_t *threads;
    unsigned n_threads;
    item *queue; /* a ring of `room` */
    unsigned room, first, n;
    bool stopping;
};

static bool take(cn_pool *p, item *ret) {
    pthread_mutex_lock(&p->lock);
    while (p->n == 0 && !p->stopping)
        pthread_cond_wait(&p->work, &p->lock);
    bool some = p->n > 0; /* what is queued is done before the end */
    if (some) {
        *ret = p->queue[p->first];
        p->first = (p->first + 1) % p->room;
        p->n--;
    }
    pthread_mutex_unlock(&p->lock);
    return some;
}

static void *serve(void *arg) {
    item it;
    while (take(arg, &it))
        it.fn(it.arg);
    return NULL;
}

static cn_err start_threads(cn_pool *p, unsigned threads) {
    for (; p->n_threads < threads; p->n_threads++)
        if (pthread_create(&p->threads[p->n_threads], NULL, serve, p) != 0)
            return cn_fail(CN_OVERLOADED, "only %u of %u threads could be started", p->n_threads, threads);
    return CN_OK;
}

cn_err cn_pool_new(unsigned threads, unsigned queue, cn_pool **ret) {
    CN_ASSERT(threads > 0 && queue > 0);
    cn_pool *p = cn_calloc(1, sizeof *p);
    if (!p)
        return cn_fail_memory();
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->work, NULL);
    p->room = queue;
    p->queue = cn_calloc(queue, sizeof *p->queue);
    p->threads = cn_calloc(threads, sizeof *p->threads);
    cn_err err = p->queue && p->threads ? start_threads(p, threads) : cn_fail_memory();
    if (err != CN_OK) {
        cn_pool_free(p);
        return err;
    }
    *ret = p;
    return CN_OK;
}

void cn_pool_free(cn_pool *p) {
    if (!p)
        return;
    pthread_mutex_lock(&p->lock);
    p->stopping = true;
    pthread_cond_broadcast(&p->work);
    pthread_mutex_unlock(&p->lock);
    for (unsigned i = 0; i < p->n_threads; i++)
        pthread_join(p->threads[i], NULL);
    pthread_cond_destroy(&p->work);
    pthread_mutex_destroy(&p->lock);
    cn_free(p->queue);
    cn_free(p->threads);
    cn_free(p);
}

cn_err cn_pool_submit(cn_pool *p, cn_job_fn *fn, void *arg) {
    cn_err err = CN_OK;
    pthread_mutex_lock(&p->lock);
    if (p->n == p->room || p->stopping) {
        err = CN_OVERLOADED;
    } else {
        p->queue[(p->first + p->n) % p->room] = (item){fn, arg};
        p->n++;
        pthread_cond_signal(&p->work);
    }
    pthread_mutex_unlock(&p->lock);
    return err == CN_OK ? CN_OK : cn_fail(err, "%u jobs wait already; no more are taken", p->room);
}

unsigned cn_pool_threads(const cn_pool *p) { return p->n_threads; }

/* --- one task in n parts --- */
typedef struct parts {
    void (*fn)(void *arg, unsigned i);
    void *arg;
    unsigned n;
    atomic_uint next;
    pthread_mutex_t lock;
    pthread_cond_t over;
    unsigned helpers; /* still to end, under the lock */
} parts;

static void run_parts(parts *t) {
    for (unsigned i; (i = atomic_fetch_add(&t->next, 1)) < t->n;)
        t->fn(t->arg, i);
}

static void help(void *arg) {
    parts *t = arg;
    run_parts(t);
    pthread_mutex_lock(&t->lock);
    if (--t->helpers == 0)
        pthread_cond_signal(&t->over);
    pthread_mutex_unlock(&t->lock);
}

/* The caller works too, so a full queue or busy threads only make it slower. A helper that is queued behind long jobs is
 * waited for, though it will find nothing left to do: so jobs of the same pool must not wait for each other this way. */
void cn_pool_each(cn_pool *p, unsigned n, void (*fn)(void *arg, unsigned i), void *arg) {
    parts t = {.fn = fn, .arg = arg, .n = n};
    unsigned wanted = p && n > 1 ? (n - 1 < p->n_threads ? n - 1 : p->n_threads) : 0;
    pthread_mutex_init(&t.lock, NULL);
    pthread_cond_init(&t.over, NULL);
    for (unsigned i = 0; i < wanted; i++) {
        pthread_mutex_lock(&t.lock);
        t.helpers++;
        pthread_mutex_unlock(&t.lock);
        if (cn_pool_submit(p, help, &t) != CN_OK) {
            pthread_mutex_lock(&t.lock);
            t.helpers--;
            pthread_mutex_unlock(&t.lock);
            break;
        }
    }
    run_parts(&t);
    pthread_mutex_lock(&t.lock);
    while (t.helpers)
        pthread_cond_wait(&t.over, &t.lock);
    pthread_mutex_unlock(&t.lock);
    pthread_cond_destroy(&t.over);
    pthread_mutex_destroy(&t.lock);
}
