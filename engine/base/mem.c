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

bool cn_resize_array(void *array, size_t item, uint64_t n) {
    size_t bytes;
    void *p;
    if (__builtin_mul_overflow(n, item, &bytes))
        bytes = SIZE_MAX; /* refused below, like any other that is too large */
    memcpy(&p, array, sizeof p);
    p = cn_realloc(p, bytes);
    if (p)
        memcpy(array, &p, sizeof p);
    return p;
}

uint64_t cn_grow_read(const void *room, size_t room_bytes) {
    uint64_t wide = 0;
    uint32_t narrow = 0;
    memcpy(room_bytes == sizeof narrow ? (void *)&narrow : (void *)&wide, room, room_bytes);
    return room_bytes == sizeof narrow ? narrow : wide;
}

void cn_grow_write(void *room, size_t room_bytes, uint64_t value) {
    uint32_t narrow = (uint32_t)value;
    memcpy(room, room_bytes == sizeof narrow ? (const void *)&narrow : (const void *)&value, room_bytes);
}

uint64_t cn_grow_double(uint64_t room, uint64_t n, size_t room_bytes) {
    uint64_t most = room_bytes == sizeof(uint32_t) ? UINT32_MAX : UINT64_MAX;
    while (room <= n && room < most)
        room = !room ? CN_GROW_FIRST : room < most / 2 ? 2 * room : most;
    return room > n ? room : 0;
}

bool cn_grow_array(void *array, size_t item, uint64_t n, void *room, size_t room_bytes) {
    uint64_t had = cn_grow_read(room, room_bytes), now = cn_grow_double(had, n, room_bytes);
    if (n < had)
        return true;
    if (!now || !cn_resize_array(array, item, now))
        return false;
    cn_grow_write(room, room_bytes, now);
    return true;
}

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
