#include "engine/base/arena.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/mem.h"

struct cn_arena_block {
    cn_arena_block *next;
    size_t size, used;
    _Alignas(16) unsigned char bytes[];
};

void cn_arena_init(cn_arena *a, size_t block, size_t cap) { *a = (cn_arena){.block = block, .cap = cap}; }

static void free_from(cn_arena_block *b) {
    while (b) {
        cn_arena_block *next = b->next;
        cn_free(b);
        b = next;
    }
}

void cn_arena_reset(cn_arena *a) {
    if (!a->first)
        return;
    free_from(a->first->next);
    a->first->next = NULL;
    a->first->used = 0;
    a->now = a->first;
    a->used = sizeof *a->first + a->first->size;
}

void cn_arena_done(cn_arena *a) {
    free_from(a->first);
    *a = (cn_arena){.block = a->block, .cap = a->cap};
}

static cn_arena_block *grow(cn_arena *a, size_t n) {
    size_t size = n > a->block ? n : a->block;
    size_t whole = sizeof(cn_arena_block) + size;
    if (a->used > a->cap || whole > a->cap - a->used)
        return NULL;
    cn_arena_block *b = cn_alloc(whole);
    if (!b)
        return NULL;
    *b = (cn_arena_block){.size = size};
    if (a->now)
        a->now->next = b;
    else
        a->first = b;
    a->now = b;
    a->used += whole;
    return b;
}

void *cn_arena_alloc(cn_arena *a, size_t n) {
    if (n > SIZE_MAX - 64)
        return NULL;
    n = (n + 15) & ~(size_t)15;
    cn_arena_block *b = a->now;
    if (!b || b->size - b->used < n)
        b = grow(a, n);
    if (!b)
        return NULL;
    void *p = b->bytes + b->used;
    b->used += n;
    return p;
}

void *cn_arena_zalloc(cn_arena *a, size_t count, size_t size) {
    size_t n;
    if (__builtin_mul_overflow(count, size, &n))
        return NULL;
    void *p = cn_arena_alloc(a, n);
    return p ? memset(p, 0, n) : NULL;
}

bool cn_arena_grow_array(cn_arena *a, void *array, size_t item, uint64_t n, void *room, size_t room_bytes) {
    uint64_t had = cn_grow_read(room, room_bytes), now = cn_grow_double(had, n, room_bytes);
    void *old, *p;
    if (n < had)
        return true;
    p = now ? cn_arena_zalloc(a, now, item) : NULL;
    if (!p)
        return false;
    memcpy(&old, array, sizeof old);
    if (had)
        memcpy(p, old, had * item);
    memcpy(array, &p, sizeof p);
    cn_grow_write(room, room_bytes, now);
    return true;
}

cn_str cn_arena_str(cn_arena *a, cn_str s) {
    char *p = s.n < SIZE_MAX - 64 ? cn_arena_alloc(a, s.n + 1) : NULL;
    if (!p)
        return (cn_str){NULL, 0};
    if (s.n)
        memcpy(p, s.p, s.n);
    p[s.n] = 0;
    return (cn_str){p, s.n};
}

char *cn_arena_printf(cn_arena *a, const char *fmt, ...) {
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    char *p = n < 0 ? NULL : cn_arena_alloc(a, (size_t)n + 1);
    if (p)
        vsnprintf(p, (size_t)n + 1, fmt, again);
    va_end(again);
    return p;
}
