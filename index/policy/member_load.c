/* member_load.c -- the whole directory of members in memory, compared with its sum. */
#include <pthread.h>
#include <stdatomic.h>

#include "engine/base/mem.h"
#include "engine/base/pack.h"
#include "index/control/records.h"
#include "index/policy/member_inside.h"
#include "index/policy/principal.h"

#define MEMBER_FORMAT 1
#define ARENA ((size_t)4 << 30)

/* ---------- the stored form ---------- */
void cn_member_pack(cn_buf *out, cn_labels labels) {
    size_t at = cn_record_open(out, MEMBER_FORMAT);
    cn_labels_text(out, labels);
    cn_record_close(out, at);
}

cn_err cn_member_unpack(cn_str principal, cn_str value, cn_str *ret_commas) {
    if (value.n < CN_RECORD_HEAD || value.p[0] != MEMBER_FORMAT)
        return cn_fail(CN_DAMAGED, "the entry of member \"" CN_STR_FMT "\" has no form this cairn reads; restore control.mdb from a backup", CN_STR_ARG(principal));
    if (!cn_record_holds(value))
        return cn_fail(CN_DAMAGED, "the entry of member \"" CN_STR_FMT "\" fails its checksum; restore control.mdb from a backup", CN_STR_ARG(principal));
    *ret_commas = (cn_str){value.p + CN_RECORD_HEAD, value.n - CN_RECORD_HEAD};
    return CN_OK;
}

/* ---------- loading ---------- */
typedef struct holder { /* one for each open tenant */
    pthread_mutex_t lock;
    cn_members *now;
} holder;

void cn_members_unref(cn_members *m) {
    if (!m || atomic_fetch_sub(&m->refs, 1) != 1)
        return;
    cn_free(m->v);
    cn_arena_done(&m->a);
    cn_free(m);
}

typedef struct load {
    cn_members *m;
    cn_sum sum;
} load;

static cn_err load_one(void *ctx, cn_str key, cn_str value, bool *stop) {
    (void)stop;
    load *l = ctx;
    cn_members *m = l->m;
    cn_str commas;
    if (cn_sum_is(key))
        return CN_OK;
    CN_TRY(cn_member_unpack(key, value, &commas));
    cn_sum_add(&l->sum, key, value);
    if (!cn_grow(m->v, m->n, m->room))
        return cn_fail_memory();
    const cn_member x = {cn_arena_str(&m->a, key), cn_arena_str(&m->a, commas)};
    if (!x.principal.p || !x.commas.p)
        return cn_fail_memory();
    m->v[m->n++] = x;
    return CN_OK;
}

static cn_err load_all(MDB_txn *txn, MDB_dbi dbi, cn_members *m) {
    load l = {.m = m};
    CN_TRY(cn_db_each(txn, dbi, (cn_str){"", 0}, load_one, &l));
    if (!cn_sum_same(&l.sum, &m->sum))
        return cn_fail(CN_DAMAGED, "the directory of members does not match its stored count and digest; nobody is answered by name until `cairn member sync` "
                       "brings it anew, or control.mdb is restored from a backup");
    return CN_OK;
}

typedef struct loading {
    cn_members *now, *ret; /* now: those that were there; NULL: none */
    uint64_t epoch;
} loading;

/* Epoch and members of one moment; those that were there where only the epoch has grown. */
static cn_err load_in(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    loading *g = ctx;
    cn_sum sum;
    CN_TRY(cn_epoch_of(txn, c->meta, &g->epoch));
    CN_TRY(cn_sum_get(txn, c->members, CN_MEMBERS_WHAT, &sum));
    g->ret = g->now;
    if (g->now && cn_sum_same(&sum, &g->now->sum))
        return CN_OK;
    cn_members *m = cn_calloc(1, sizeof *m);
    if (!m)
        return cn_fail_memory();
    cn_arena_init(&m->a, 65536, ARENA);
    m->refs = 1;
    m->sum = sum;
    cn_err e = load_all(txn, c->members, m);
    if (e != CN_OK)
        cn_members_unref(m);
    else
        g->ret = m;
    return e;
}

static cn_err make_holder(cn_tenant *t, void **ret) {
    (void)t;
    holder *h = cn_calloc(1, sizeof *h);
    if (!h)
        return cn_fail_memory();
    pthread_mutex_init(&h->lock, NULL);
    *ret = h;
    return CN_OK;
}

static void free_holder(void *p) {
    holder *h = p;
    cn_members_unref(h->now);
    pthread_mutex_destroy(&h->lock);
    cn_free(h);
}

static cn_err refresh(holder *h, cn_tenant *t) {
    loading g = {.now = h->now};
    uint64_t epoch;
    CN_TRY(cn_epoch(t, &epoch));
    if (h->now && h->now->epoch == epoch)
        return CN_OK;
    CN_TRY(cn_catalog_read(t, load_in, &g));
    g.ret->epoch = g.epoch;
    if (g.ret != h->now)
        cn_members_unref(h->now);
    h->now = g.ret;
    return CN_OK;
}

cn_err cn_members_load(cn_tenant *t, cn_members **ret) {
    void *slot;
    CN_TRY(cn_tenant_slot(t, CN_SLOT_MEMBERS, make_holder, free_holder, &slot));
    holder *h = slot;
    pthread_mutex_lock(&h->lock);
    cn_err e = refresh(h, t);
    if (e == CN_OK) {
        atomic_fetch_add(&h->now->refs, 1);
        *ret = h->now;
    }
    pthread_mutex_unlock(&h->lock);
    return e;
}

cn_err cn_members_check(cn_tenant *t) {
    loading g = {0};
    CN_TRY(cn_catalog_read(t, load_in, &g));
    cn_members_unref(g.ret);
    return CN_OK;
}

/* ---------- reading ---------- */
const cn_member *cn_members_find(const cn_members *m, cn_str principal) {
    uint32_t lo = 0, hi = m->n;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        int c = cn_str_cmp(m->v[mid].principal, principal);
        if (c == 0)
            return &m->v[mid];
        if (c < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return NULL;
}

static cn_err list_all(const cn_members *m, cn_err (*fn)(void *ctx, cn_str principal, cn_labels labels), void *ctx) {
    CN_CATALOG_ARENA(a);
    for (uint32_t i = 0; i < m->n; i++) {
        cn_labels labels = {0};
        cn_arena_reset(&a);
        CN_TRY(cn_labels_parse(&a, m->v[i].commas, &labels));
        CN_TRY(fn(ctx, m->v[i].principal, labels));
    }
    return CN_OK;
}

cn_err cn_member_list(cn_tenant *t, cn_err (*fn)(void *ctx, cn_str principal, cn_labels labels), void *ctx) {
    cn_members *m;
    CN_TRY(cn_members_load(t, &m));
    cn_err e = list_all(m, fn, ctx);
    cn_members_unref(m);
    return e;
}
