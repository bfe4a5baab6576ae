#include "engine/base/pool.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/resource.h>

#include "engine/base/mem.h"
#include "engine/base/os.h"

typedef struct item {
    cn_job_fn *fn;
    void *arg;
    struct item *next; /* of its lane, or of the free ones */
} item;

typedef struct line {
    item *first, *last;
    atomic_uint n;     /* written under the lock */
    unsigned running;  /* jobs of it, where it matters (one_each, keep_one) */
    struct line *next; /* in the round of those with waiting jobs */
} line;

struct cn_pool {
    pthread_mutex_t lock;
    pthread_cond_t work;
    pthread_t *threads;
    cn_pool_opts o;
    unsigned n_threads, busy, share; /* busy: threads with a job, where it matters; share: the most that one lane may have waiting */
    item *items, *idle;
    unsigned idle_items;
    line lanes[CN_POOL_LANES];
    line *turn, *end;          /* the round: its next and its last */
    bool stopping;
};

static void join_round(cn_pool *p, line *l) {
    l->next = NULL;
    *(p->turn ? &p->end->next : &p->turn) = l;
    p->end = l;
}

static bool counts(const cn_pool *p) { return p->o.one_each || p->o.keep_one; }

/* The lane before the one whose turn it is (itself, where that is the first); false: none may have a thread now. */
static bool next_lane(const cn_pool *p, line **ret_before, line **ret) {
    line *before = NULL, *l = p->turn;
    for (; counts(p) && l && l->running; l = l->next)
        before = l;
    if (!l && p->o.keep_one && p->o.threads - p->busy > 1) { /* all that wait have a job running: one more, but not the last thread */
        before = NULL;
        l = p->turn;
    }
    *ret_before = before;
    *ret = l;
    return l;
}

static void leave_round(cn_pool *p, line *before, line *l) {
    *(before ? &before->next : &p->turn) = l->next;
    if (p->end == l)
        p->end = before;
}

/* The first job of the lane whose turn it is, which then queues up again behind the others. */
static bool next_job(cn_pool *p, item *ret, line **ret_line) {
    line *before, *l;
    if (!next_lane(p, &before, &l))
        return false;
    item *it = l->first;
    *ret_line = l;
    l->running += counts(p);
    p->busy += counts(p);
    *ret = *it;
    l->first = it->next;
    l->n--;
    leave_round(p, before, l);
    if (l->n)
        join_round(p, l);
    it->next = p->idle;
    p->idle = it;
    return true;
}

static bool take(cn_pool *p, item *ret, line **ret_line) {
    bool some;
    pthread_mutex_lock(&p->lock);
    while (!(some = next_job(p, ret, ret_line)) && !(p->stopping && p->idle_items == p->o.queue)) /* what is queued is done before the end */
        pthread_cond_wait(&p->work, &p->lock);
    p->idle_items += some;
    pthread_mutex_unlock(&p->lock);
    return some;
}

/* The lane's next job may run now. */
static void leave(cn_pool *p, line *l) {
    if (!counts(p))
        return;
    pthread_mutex_lock(&p->lock);
    l->running--;
    p->busy--;
    if (p->turn)
        pthread_cond_signal(&p->work);
    if (p->stopping)
        pthread_cond_broadcast(&p->work);
    pthread_mutex_unlock(&p->lock);
}

static void *serve(void *arg) {
    cn_pool *p = arg;
    item it;
    line *l;
    if (p->o.nice)
        setpriority(PRIO_PROCESS, 0, p->o.nice); /* Linux: of this thread; refused, it is only less polite */
    while (take(p, &it, &l)) {
        it.fn(it.arg);
        leave(p, l);
        cn_give_way();
    }
    return NULL;
}

static cn_err start_threads(cn_pool *p) {
    for (; p->n_threads < p->o.threads; p->n_threads++)
        if (pthread_create(&p->threads[p->n_threads], NULL, serve, p) != 0)
            return cn_fail(CN_OVERLOADED, "only %u of %u threads could be started", p->n_threads, p->o.threads);
    return CN_OK;
}

cn_err cn_pool_new(const cn_pool_opts *o, cn_pool **ret) {
    CN_ASSERT(o->threads > 0 && o->queue > 0);
    cn_pool *p = cn_calloc(1, sizeof *p);
    if (!p)
        return cn_fail_memory();
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->work, NULL);
    p->o = *o;
    p->share = (o->queue + 1) / 2;
    p->idle_items = o->queue;
    p->items = cn_calloc(o->queue, sizeof *p->items);
    p->threads = cn_calloc(o->threads, sizeof *p->threads);
    for (unsigned i = 0; p->items && i < o->queue; i++) {
        p->items[i].next = p->idle;
        p->idle = &p->items[i];
    }
    cn_err err = p->items && p->threads ? start_threads(p) : cn_fail_memory();
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
    cn_free(p->items);
    cn_free(p->threads);
    cn_free(p);
}

static bool put(cn_pool *p, line *l, cn_job_fn *fn, void *arg) {
    item *it = p->idle;
    if (!it || l->n >= p->share || p->stopping)
        return false;
    p->idle = it->next;
    p->idle_items--;
    *it = (item){fn, arg, NULL};
    *(l->n ? &l->last->next : &l->first) = it;
    l->last = it;
    if (l->n++ == 0)
        join_round(p, l);
    return true;
}

cn_err cn_pool_submit(cn_pool *p, unsigned lane, cn_job_fn *fn, void *arg) {
    pthread_mutex_lock(&p->lock);
    bool done = put(p, &p->lanes[lane % CN_POOL_LANES], fn, arg);
    if (done)
        pthread_cond_signal(&p->work);
    pthread_mutex_unlock(&p->lock);
    return done ? CN_OK : cn_fail(CN_OVERLOADED, "too many jobs wait already; no more are taken");
}

unsigned cn_pool_threads(const cn_pool *p) { return p->n_threads; }

unsigned cn_pool_waiting(cn_pool *p) {
    pthread_mutex_lock(&p->lock);
    unsigned n = p->o.queue - p->idle_items;
    pthread_mutex_unlock(&p->lock);
    return n;
}

unsigned cn_pool_lane_waiting(const cn_pool *p, unsigned lane) {
    return atomic_load_explicit(&p->lanes[lane % CN_POOL_LANES].n, memory_order_relaxed);
}
