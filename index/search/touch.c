#include "index/search/touch.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "engine/base/mem.h"

#define BLOCK_ARENA 1024
#define ARENA ((size_t)4 << 30)

static void unref_block(cn_touch_block *b) {
    if (!b || atomic_fetch_sub(&b->refs, 1) != 1)
        return;
    cn_arena_done(&b->a);
    cn_free(b);
}

static cn_touch_block *ref_block(cn_touch_block *b) {
    if (b)
        atomic_fetch_add(&b->refs, 1);
    return b;
}

cn_touches *cn_touches_ref(cn_touches *t) {
    atomic_fetch_add(&t->refs, 1);
    return t;
}

void cn_touches_unref(cn_touches *t) {
    if (!t || atomic_fetch_sub(&t->refs, 1) != 1)
        return;
    for (uint32_t i = 0; i < t->n; i++)
        unref_block(t->blocks[i]);
    cn_free(t);
}

const cn_touched *cn_touches_find(const cn_touches *t, uint32_t doc) {
    const cn_touch_block *b = t->blocks[doc / CN_TOUCH_BLOCK];
    uint32_t lo = 0, hi = b ? b->n : 0;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (b->v[mid].doc == doc)
            return &b->v[mid];
        if (b->v[mid].doc < doc)
            lo = mid + 1;
        else
            hi = mid;
    }
    return NULL;
}

/* ---------- making ---------- */
typedef struct make {
    cn_touch_fn *fn;
    void *ctx;
    cn_arena a;           /* of one call of fn */
    const uint32_t *docs; /* what is left of them */
    uint32_t n;
} make;

static cn_err add(cn_touch_block *b, uint32_t doc, const cn_effect *f) {
    cn_effect copy = {.dead = f->dead, .touched = true};
    if (!f->dead)
        CN_TRY(cn_triple_copy(&b->a, &f->labels, &copy.labels));
    b->v[b->n++] = (cn_touched){doc, copy};
    return CN_OK;
}

static cn_err add_new(make *m, cn_touch_block *b, uint32_t doc) {
    cn_effect f;
    cn_arena_reset(&m->a);
    CN_TRY(m->fn(m->ctx, doc, &m->a, &f));
    return f.touched ? add(b, doc, &f) : CN_OK;
}

/* The first n of m->docs, and those of old that are not among them. */
static cn_err fill(make *m, cn_touch_block *b, const cn_touch_block *old, uint32_t n) {
    uint32_t i = 0, k = 0, left = old ? old->n : 0;
    while (i < n || k < left) {
        bool new = i < n && (k == left || m->docs[i] <= old->v[k].doc);
        uint32_t doc = new ? m->docs[i] : old->v[k].doc;
        CN_TRY(new ? add_new(m, b, doc) : add(b, doc, &old->v[k].effect));
        i += new;
        k += k < left && old->v[k].doc == doc;
    }
    return CN_OK;
}

static cn_err make_block(make *m, const cn_touch_block *old, uint32_t n, cn_touch_block **ret) {
    cn_touch_block *b = cn_calloc(1, sizeof *b + ((size_t)n + (old ? old->n : 0)) * sizeof *b->v);
    if (!b)
        return cn_fail_memory();
    cn_arena_init(&b->a, BLOCK_ARENA, ARENA);
    b->refs = 1;
    cn_err e = fill(m, b, old, n);
    if (e != CN_OK || b->n == 0)
        unref_block(b);
    else
        *ret = b;
    return e;
}

static cn_err make_all(make *m, const cn_touches *old, cn_touches *t) {
    for (uint32_t i = 0; i < t->n; i++) {
        cn_touch_block *was = old ? old->blocks[i] : NULL;
        uint32_t n = 0;
        while (n < m->n && m->docs[n] / CN_TOUCH_BLOCK == i)
            n++;
        if (n == 0) { /* where there are no documents at all, m->docs is no pointer to go on from */
            t->blocks[i] = ref_block(was);
            continue;
        }
        CN_TRY(make_block(m, was, n, &t->blocks[i]));
        m->docs += n;
        m->n -= n;
    }
    return CN_OK;
}

static int by_number(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static uint32_t sort(uint32_t *v, uint32_t n) {
    uint32_t to = 0;
    if (n)
        qsort(v, n, sizeof *v, by_number);
    for (uint32_t i = 0; i < n; i++)
        if (i == 0 || v[i] != v[i - 1])
            v[to++] = v[i];
    return to;
}

cn_err cn_touches_make(uint32_t n_docs, const cn_touches *old, uint32_t *docs, uint32_t n, cn_touch_fn *fn, void *ctx, cn_touches **ret) {
    uint32_t blocks = n_docs / CN_TOUCH_BLOCK + 1;
    cn_touches *t = cn_calloc(1, sizeof *t + blocks * sizeof *t->blocks);
    if (!t)
        return cn_fail_memory();
    make m = {.fn = fn, .ctx = ctx, .docs = docs, .n = sort(docs, n)};
    cn_arena_init(&m.a, 16384, ARENA);
    t->refs = 1;
    t->n = blocks;
    cn_err e = make_all(&m, old, t);
    cn_arena_done(&m.a);
    if (e != CN_OK)
        cn_touches_unref(t);
    else
        *ret = t;
    return e;
}
