#include "ingest/distill/spread.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>

#define SHARE 64u /* rows at a time */

typedef struct spread {
    cn_spread_fn *fn;
    void *ctx;
    uint32_t rows;
    _Atomic uint64_t next;
} spread;

static void *work(void *arg) {
    spread *s = arg;
    for (uint64_t at; (at = atomic_fetch_add(&s->next, SHARE)) < s->rows;)
        s->fn(s->ctx, (uint32_t)at, at + SHARE < s->rows ? (uint32_t)at + SHARE : s->rows);
    return NULL;
}

void cn_spread(unsigned threads, uint32_t rows, cn_spread_fn *fn, void *ctx) {
    spread s = {.fn = fn, .ctx = ctx, .rows = rows};
    pthread_t ids[CN_SPREAD_MAX];
    unsigned started = 0;
    while (started + 1 < threads && started < CN_SPREAD_MAX && pthread_create(&ids[started], NULL, work, &s) == 0)
        started++;
    work(&s);
    for (unsigned i = 0; i < started; i++)
        pthread_join(ids[i], NULL);
}
