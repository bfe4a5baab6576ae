/* arena.h -- memory for one request or one batch.
 *
 * Owns:    its blocks; all of it dies at cn_arena_reset() or cn_arena_done(). A reset keeps the first block, so a
 *          warm request allocates nothing from the heap.
 * Thread:  one at a time; it travels with the request.
 * Limits:  never past the cap given at init; then NULL, and nothing has changed. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/str.h"

typedef struct cn_arena_block cn_arena_block;
typedef struct cn_arena {
    cn_arena_block *first, *now;
    size_t block, cap, used; /* bytes: size of a block, most in all, taken from the heap by now */
} cn_arena;

void cn_arena_init(cn_arena *a, size_t block, size_t cap);
void cn_arena_reset(cn_arena *a);
void cn_arena_done(cn_arena *a);
void *cn_arena_alloc(cn_arena *a, size_t n);  /* 16-byte aligned, not cleared */
void *cn_arena_zalloc(cn_arena *a, size_t count, size_t size);
/* As cn_grow() (mem.h), of an array in this arena: what is new is cleared, and the old place stays taken until the reset. */
#define cn_arena_grow(a, v, n, room) cn_arena_grow_array((a), &(v), sizeof *(v), (n), &(room), sizeof(room))
bool cn_arena_grow_array(cn_arena *a, void *array, size_t item, uint64_t n, void *room, size_t room_bytes);
cn_str cn_arena_str(cn_arena *a, cn_str s);   /* a copy, NUL after its end; .p is NULL when out of memory */
char *cn_arena_printf(cn_arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
