#include "server/service/vector_cache.h"

#include <pthread.h>

#include "engine/base/mem.h"

#define NONE UINT32_MAX

typedef struct entry {
    cn_digest key;
    float *v;
    uint32_t dim;
    bool cut;
    uint32_t older, newer; /* in the order of use */
    uint32_t next;         /* in its bucket */
} entry;

struct cn_vector_cache {
    pthread_mutex_t lock;
    uint32_t n, room, oldest, newest;
    uint32_t *buckets; /* room of them */
    entry *entries;
};

cn_err cn_vector_cache_new(uint32_t entries, cn_vector_cache **ret) {
    cn_vector_cache *c = cn_calloc(1, sizeof *c);
    if (!c)
        return cn_fail_memory();
    pthread_mutex_init(&c->lock, NULL);
    c->room = entries;
    c->oldest = c->newest = NONE;
    c->entries = cn_calloc(entries, sizeof *c->entries);
    c->buckets = cn_alloc(entries * sizeof *c->buckets);
    if (!c->entries || !c->buckets) {
        cn_vector_cache_free(c);
        return cn_fail_memory();
    }
    memset(c->buckets, 0xff, entries * sizeof *c->buckets);
    *ret = c;
    return CN_OK;
}

void cn_vector_cache_free(cn_vector_cache *c) {
    if (!c)
        return;
    for (uint32_t i = 0; i < c->n; i++)
        cn_free(c->entries[i].v);
    cn_free(c->entries);
    cn_free(c->buckets);
    pthread_mutex_destroy(&c->lock);
    cn_free(c);
}

static uint32_t *bucket(cn_vector_cache *c, const cn_digest *key) { return &c->buckets[cn_digest_hash(key) % c->room]; }

static void unlink_use(cn_vector_cache *c, uint32_t i) {
    entry *e = &c->entries[i];
    *(e->older == NONE ? &c->oldest : &c->entries[e->older].newer) = e->newer;
    *(e->newer == NONE ? &c->newest : &c->entries[e->newer].older) = e->older;
}

static void link_newest(cn_vector_cache *c, uint32_t i) {
    entry *e = &c->entries[i];
    e->older = c->newest;
    e->newer = NONE;
    *(c->newest == NONE ? &c->oldest : &c->entries[c->newest].newer) = i;
    c->newest = i;
}

static uint32_t find(cn_vector_cache *c, const cn_digest *key) {
    uint32_t i = *bucket(c, key);
    while (i != NONE && !cn_digest_eq(&c->entries[i].key, key))
        i = c->entries[i].next;
    return i;
}

bool cn_vector_cache_get(cn_vector_cache *c, const cn_digest *key, float *out, uint32_t dim, bool *ret_cut) {
    pthread_mutex_lock(&c->lock);
    uint32_t i = find(c, key);
    bool found = i != NONE && c->entries[i].dim == dim;
    if (found) {
        memcpy(out, c->entries[i].v, dim * sizeof *out);
        *ret_cut = c->entries[i].cut;
        unlink_use(c, i);
        link_newest(c, i);
    }
    pthread_mutex_unlock(&c->lock);
    return found;
}

/* A free entry, or the oldest one taken out of its bucket and of the order. */
static uint32_t take_entry(cn_vector_cache *c) {
    if (c->n < c->room)
        return c->n++;
    uint32_t i = c->oldest, *at = bucket(c, &c->entries[i].key);
    while (*at != i)
        at = &c->entries[*at].next;
    *at = c->entries[i].next;
    unlink_use(c, i);
    cn_free(c->entries[i].v);
    return i;
}

void cn_vector_cache_put(cn_vector_cache *c, const cn_digest *key, const float *v, uint32_t dim, bool cut) {
    float *copy = cn_alloc(dim * sizeof *copy);
    if (!copy)
        return;
    memcpy(copy, v, dim * sizeof *copy);
    pthread_mutex_lock(&c->lock);
    if (find(c, key) == NONE) {
        uint32_t i = take_entry(c), *at = bucket(c, key);
        c->entries[i] = (entry){.key = *key, .v = copy, .dim = dim, .cut = cut, .next = *at};
        *at = i;
        link_newest(c, i);
        copy = NULL;
    }
    pthread_mutex_unlock(&c->lock);
    cn_free(copy);
}
