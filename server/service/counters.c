/* Requests and errors, for all and for each tenant: what stats shows. */
#include "server/service/inside.h"

static cn_counter *find(cn_service *s, cn_str tenant) {
    unsigned n = atomic_load_explicit(&s->n_counters, memory_order_acquire);
    for (unsigned i = 0; i < n; i++)
        if (cn_str_is(tenant, s->counters[i].tenant))
            return &s->counters[i];
    return NULL;
}

static cn_counter *find_or_add(cn_service *s, cn_str tenant) {
    cn_counter *c = find(s, tenant);
    if (c || tenant.n == 0 || tenant.n > CN_NAME_MAX)
        return c;
    pthread_mutex_lock(&s->count_lock);
    unsigned n = atomic_load(&s->n_counters);
    c = find(s, tenant);
    if (!c && n < CN_TENANTS_COUNTED) {
        c = &s->counters[n];
        memcpy(c->tenant, tenant.p, tenant.n);
        atomic_store_explicit(&s->n_counters, n + 1, memory_order_release);
    }
    pthread_mutex_unlock(&s->count_lock);
    return c;
}

void cn_count(cn_service *s, cn_str tenant, bool failed) {
    atomic_fetch_add_explicit(&s->requests, 1, memory_order_relaxed);
    if (failed)
        atomic_fetch_add_explicit(&s->errors, 1, memory_order_relaxed);
    cn_counter *c = find_or_add(s, tenant);
    if (!c)
        return;
    atomic_fetch_add_explicit(&c->requests, 1, memory_order_relaxed);
    if (failed)
        atomic_fetch_add_explicit(&c->errors, 1, memory_order_relaxed);
}

void cn_count_dropped(cn_service *s, cn_str tenant, uint64_t records) {
    cn_counter *c = find_or_add(s, tenant);
    if (c)
        atomic_fetch_add_explicit(&c->dropped, records, memory_order_relaxed);
}

const cn_counter *cn_counter_of(cn_service *s, cn_str tenant) { return find(s, tenant); }
