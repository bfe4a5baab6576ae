#include "engine/base/spread.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>

#include "engine/base/os.h"

struct cn_shares {
    cn_spread_fn *fn;
    void *ctx;
    uint32_t rows, share;
    _Atomic uint64_t next;
};

bool cn_shares_next(cn_shares *s, uint32_t *ret_from, uint32_t *ret_to) {
    cn_give_way();
    uint64_t from = atomic_fetch_add(&s->next, s->share);
    if (from >= s->rows)
        return false;
    *ret_from = (uint32_t)from;
    *ret_to = from + s->share < s->rows ? (uint32_t)from + s->share : s->rows;
    return true;
}

void cn_shares_end(cn_shares *s) { atomic_store(&s->next, s->rows); }

static void *work(void *arg) {
    cn_shares *s = arg;
    s->fn(s->ctx, s);
    return NULL;
}

void cn_spread(unsigned threads, uint32_t rows, uint32_t share, cn_spread_fn *fn, void *ctx) {
    cn_shares s = {.fn = fn, .ctx = ctx, .rows = rows, .share = share ? share : 1};
    pthread_t ids[CN_SPREAD_MAX];
    unsigned started = 0;
    uint32_t shares = rows / s.share + (rows % s.share != 0);
    while (started + 1 < threads && started + 1 < shares && started + 1 < CN_SPREAD_MAX && pthread_create(&ids[started], NULL, work, &s) == 0)
        started++;
    work(&s);
    for (unsigned i = 0; i < started; i++)
        pthread_join(ids[i], NULL);
}

typedef struct plain {
    cn_rows_fn *fn;
    void *ctx;
} plain;

static void take_rows(void *ctx, cn_shares *s) {
    const plain *p = ctx;
    for (uint32_t from, to; cn_shares_next(s, &from, &to);)
        p->fn(p->ctx, from, to);
}

void cn_spread_rows(unsigned threads, uint32_t rows, uint32_t share, cn_rows_fn *fn, void *ctx) {
    cn_spread(threads, rows, share, take_rows, &(plain){fn, ctx});
}
