/* stripes.h -- who opens a file works on it alone, and keeps nobody from opening another.
 *
 * Opening walks trees and checks sums, which may take seconds. So it is done under one of a few locks, chosen by the file's
 * key: a second thread that wants the same one waits, looks into the registry again and finds it there (or, after a failure,
 * tries for itself). The registry's own lock is held only for looking and for adding. A stripe is taken before it, never after.
 * Owns:    nothing.
 * Thread:  any.
 * Limits:  two files in CN_STRIPES share a lock by chance. */
#pragma once
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/str.h"

#define CN_STRIPES 64
typedef struct cn_stripes {
    pthread_mutex_t m[CN_STRIPES];
} cn_stripes;
#define CN_STRIPES_INIT {{[0 ... CN_STRIPES - 1] = PTHREAD_MUTEX_INITIALIZER}}

static inline pthread_mutex_t *cn_stripe(cn_stripes *s, const void *key, size_t n) {
    uint32_t h = cn_hash_bytes(CN_HASH_BEGIN, (cn_str){key, n});
    return &s->m[(h ^ h >> 16) % CN_STRIPES];
}
