/* busy.h -- do requests wait for a thread? Asked, before each piece of its work, by what a server does for its files by itself
 * (upkeep.h, compactor.h, merger.h, shadow.h), which then waits too.
 *
 * Owns:    a lock; the function is that of whoever knows (server/net), which takes it away before it goes.
 * Thread:  any.
 * Limits:  the function returns at once. */
#pragma once
#include <pthread.h>

#include "server/service/service.h"

#define CN_GIVE_WAY_MS 20 /* between two looks, while requests wait */

typedef struct cn_busy {
    pthread_mutex_t lock;
    cn_busy_fn *fn; /* NULL: nobody ever waits */
    void *ctx;
} cn_busy;

static inline void cn_busy_set(cn_busy *b, cn_busy_fn *fn, void *ctx) {
    pthread_mutex_lock(&b->lock);
    b->fn = fn;
    b->ctx = ctx;
    pthread_mutex_unlock(&b->lock);
}

static inline bool cn_busy_now(cn_busy *b) {
    pthread_mutex_lock(&b->lock);
    bool is = b->fn && b->fn(b->ctx);
    pthread_mutex_unlock(&b->lock);
    return is;
}
