#include "engine/base/mem.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static _Atomic uint64_t asked;
static _Atomic uint64_t fail_at;

static int must_fail(size_t n) {
    uint64_t nth = atomic_fetch_add_explicit(&asked, 1, memory_order_relaxed) + 1;
    uint64_t at = atomic_load_explicit(&fail_at, memory_order_relaxed);
    return n > CN_ALLOC_MAX || (at && nth == at);
}

static _Thread_local size_t refused;

size_t cn_alloc_refused(void) {
    size_t n = refused;
    refused = 0;
    return n;
}

static void *given(void *p, size_t n) {
    refused = p ? 0 : n;
    return p;
}

void *cn_alloc(size_t n) { return given(must_fail(n) ? NULL : malloc(n ? n : 1), n); }

void *cn_calloc(size_t count, size_t size) {
    size_t n;
    if (__builtin_mul_overflow(count, size, &n))
        return NULL;
    return given(must_fail(n) ? NULL : calloc(1, n ? n : 1), n);
}

void *cn_realloc(void *p, size_t n) { return given(must_fail(n) ? NULL : realloc(p, n ? n : 1), n); }

void *cn_alloc_aligned(size_t align, size_t n) {
    void *p = NULL;
    bool got = !must_fail(n) && posix_memalign(&p, align, n ? n : 1) == 0;
    return given(got ? p : NULL, n);
}

char *cn_strdup_n(const char *p, size_t n) {
    char *s = n < CN_ALLOC_MAX ? cn_alloc(n + 1) : NULL;
    if (!s)
        return NULL;
    if (n)
        memcpy(s, p, n);
    s[n] = 0;
    return s;
}

void cn_free(void *p) { free(p); }

uint64_t cn_alloc_count(void) { return atomic_load_explicit(&asked, memory_order_relaxed); }

void cn_alloc_fail_at(uint64_t nth) {
    atomic_store(&fail_at, nth ? atomic_load(&asked) + nth : 0);
}
