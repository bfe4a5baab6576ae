/* breaker.h -- a circuit breaker: after some failures in a row nothing is tried for a while, then one probe.
 *
 * Each pause after a probe that failed is twice as long, up to CN_BREAKER_GROWTH times the first.
 * Owns:    nothing but its numbers; the clock is the caller's.
 * Thread:  any; it has a lock.
 * Limits:  none. */
#pragma once
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#define CN_BREAKER_GROWTH 8

typedef struct cn_breaker {
    pthread_mutex_t lock;
    uint32_t most, failures; /* in a row */
    uint64_t pause_ns, pause_now_ns, open_until_ns; /* open_until_ns 0: closed */
    bool probing;
} cn_breaker;

typedef enum cn_breaker_end { CN_BREAKER_WELL, CN_BREAKER_FAILED, CN_BREAKER_NOTHING } cn_breaker_end; /* NOTHING: it was given up */

void cn_breaker_init(cn_breaker *b, uint32_t failures, uint64_t pause_ns);
void cn_breaker_done(cn_breaker *b);
/* True: go on, and tell by leave what came of it. False: not now; *ret_wait_ns: when to ask again. */
bool cn_breaker_enter(cn_breaker *b, uint64_t now_ns, bool *ret_probe, uint64_t *ret_wait_ns);
void cn_breaker_leave(cn_breaker *b, uint64_t now_ns, bool probe, cn_breaker_end end);
