/* table.h -- a set of numbers found by hash, open addressing; what is compared lives with the caller.
 *
 * Owns:    its slots: 8 bytes each, at most three quarters of them used.
 * Thread:  one at a time.
 * Limits:  2^31 entries. */
#pragma once
#include "engine/base/error.h"
#include "engine/base/mem.h"

typedef struct cn_table {
    uint64_t *slots; /* 0: free; else the hash in the upper half, the number + 1 in the lower */
    uint32_t n, mask;
} cn_table;

/* Empties it and keeps the slots. */
static inline void cn_table_clear(cn_table *t) {
    for (uint32_t i = 0; t->slots && i <= t->mask; i++)
        t->slots[i] = 0;
    t->n = 0;
}

typedef bool cn_table_eq(void *ctx, uint32_t number);

static inline void cn_table_done(cn_table *t) {
    cn_free(t->slots);
    *t = (cn_table){0};
}

/* The number whose hash is `hash` and for which eq holds; UINT32_MAX when there is none. */
static inline uint32_t cn_table_find(const cn_table *t, uint32_t hash, cn_table_eq *eq, void *ctx) {
    if (!t->slots)
        return UINT32_MAX;
    for (uint32_t i = hash & t->mask; t->slots[i]; i = (i + 1) & t->mask)
        if (t->slots[i] >> 32 == hash && eq(ctx, (uint32_t)t->slots[i] - 1))
            return (uint32_t)t->slots[i] - 1;
    return UINT32_MAX;
}

static inline void cn_table_place(uint64_t *slots, uint32_t mask, uint64_t slot) {
    uint32_t i = (uint32_t)(slot >> 32) & mask;
    while (slots[i])
        i = (i + 1) & mask;
    slots[i] = slot;
}

static inline cn_err cn_table_add(cn_table *t, uint32_t hash, uint32_t number) {
    if (!t->slots || t->n >= t->mask / 4 * 3) {
        uint32_t mask = t->slots ? t->mask * 2 + 1 : 255;
        uint64_t *slots = cn_calloc((size_t)mask + 1, sizeof *slots);
        if (!slots)
            return cn_fail_memory();
        for (uint32_t i = 0; t->slots && i <= t->mask; i++)
            if (t->slots[i])
                cn_table_place(slots, mask, t->slots[i]);
        cn_free(t->slots);
        t->slots = slots;
        t->mask = mask;
    }
    cn_table_place(t->slots, t->mask, (uint64_t)hash << 32 | (number + 1));
    t->n++;
    return CN_OK;
}
