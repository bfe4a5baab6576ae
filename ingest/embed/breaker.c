#include "ingest/embed/breaker.h"

#define PROBE_WAIT_NS 100000000u /* until whoever waits for another's probe looks again */

void cn_breaker_init(cn_breaker *b, uint32_t failures, uint64_t pause_ns) {
    *b = (cn_breaker){.most = failures, .pause_ns = pause_ns, .pause_now_ns = pause_ns};
    pthread_mutex_init(&b->lock, NULL);
}

void cn_breaker_done(cn_breaker *b) { pthread_mutex_destroy(&b->lock); }

bool cn_breaker_enter(cn_breaker *b, uint64_t now_ns, bool *ret_probe, uint64_t *ret_wait_ns) {
    pthread_mutex_lock(&b->lock);
    bool open = b->open_until_ns != 0, over = now_ns >= b->open_until_ns, go = !open || (over && !b->probing);
    *ret_probe = open && go;
    *ret_wait_ns = go ? 0 : over ? PROBE_WAIT_NS : b->open_until_ns - now_ns;
    b->probing = b->probing || *ret_probe;
    pthread_mutex_unlock(&b->lock);
    return go;
}

static void failed(cn_breaker *b, uint64_t now_ns, bool probe) {
    if (b->failures < b->most)
        b->failures++;
    if (b->failures < b->most || (b->open_until_ns && !probe)) /* one that was under way when it opened opens nothing anew */
        return;
    if (probe && b->pause_now_ns < b->pause_ns * CN_BREAKER_GROWTH)
        b->pause_now_ns *= 2;
    b->open_until_ns = now_ns + b->pause_now_ns;
}

void cn_breaker_leave(cn_breaker *b, uint64_t now_ns, bool probe, cn_breaker_end end) {
    pthread_mutex_lock(&b->lock);
    if (probe)
        b->probing = false;
    if (end == CN_BREAKER_FAILED) {
        failed(b, now_ns, probe);
    } else if (end == CN_BREAKER_WELL) {
        b->failures = 0;
        b->open_until_ns = 0;
        b->pause_now_ns = b->pause_ns;
    }
    pthread_mutex_unlock(&b->lock);
}
