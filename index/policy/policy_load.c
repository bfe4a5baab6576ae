/* policy_load.c -- the whole policy in memory, shared until its epoch passes.
 *
 * The next one takes over what did not change: lists of revocations by their files, and documents by blocks. Which blocks
 * changed, the audit records since tell; that this is all, the count and digest over all records prove. Where they do not
 * come out, everything is read. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/log.h"
#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "index/control/inforce.h"
#include "index/control/records.h"
#include "index/policy/policy_inside.h"

#define ARENA ((size_t)8 << 30)
#define BLOCK_ARENA 4096
#define RECORDS_MAX 1000 /* audit records looked at for what changed; after more, all is read */
#define RETRY_NS 2000000000ull /* after so long, lists that could not be read are tried again */

typedef struct holder { /* one for each open tenant */
    pthread_mutex_t lock;
    cn_policy *now;
    uint64_t seq;   /* of the newest audit record when it was read */
} holder;

static void unref_block(cn_policy_block *b) {
    if (!b || atomic_fetch_sub(&b->refs, 1) != 1)
        return;
    cn_free(b->v);
    cn_arena_done(&b->a);
    cn_free(b);
}

static void unref_list(cn_gone_list *l) {
    if (atomic_fetch_sub(&l->refs, 1) != 1)
        return;
    cn_free(l->v);
    cn_arena_done(&l->a);
    cn_free(l);
}

void cn_policy_unref(cn_policy *p) {
    if (!p || atomic_fetch_sub(&p->refs, 1) != 1)
        return;
    for (uint32_t i = 0; i < p->n_lists; i++)
        unref_list(p->lists[i]);
    for (uint32_t b = 0; b < CN_POLICY_BLOCKS; b++)
        unref_block(p->blocks[b]);
    cn_free(p->lists);
    cn_free(p->patterns);
    cn_arena_done(&p->a);
    cn_free(p);
}

uint64_t cn_policy_epoch(const cn_policy *p) { return p->epoch; }

static cn_err load_pattern(cn_policy *p, bool glob, cn_str value) {
    CN_AUTO_UNPACKED cn_unpacked u = {0};
    cn_pattern x = {0};
    CN_TRY(cn_record_read(&u, value, CN_POLICY_FORMAT, "a record of the policy"));
    CN_TRY(cn_get_str(&u.o, "source", &x.source));
    CN_TRY(cn_get_str(&u.o, "glob", &x.glob));
    if (glob != (x.glob.p != NULL) || (!glob && x.source.n == 0))
        return cn_fail(CN_DAMAGED, "a pattern of the policy lacks its glob or its source");
    x.source = cn_arena_str(&p->a, x.source);
    if (glob)
        x.glob = cn_arena_str(&p->a, x.glob);
    if (!x.source.p || (glob && !x.glob.p))
        return cn_fail_memory();
    if (!cn_grow(p->patterns, p->n_patterns, p->room_patterns))
        return cn_fail_memory();
    p->patterns[p->n_patterns++] = x;
    return CN_OK;
}

static cn_policy_block *block_of(cn_policy *p, uint8_t first) {
    cn_policy_block **at = &p->blocks[first];
    if (*at)
        return *at;
    *at = cn_calloc(1, sizeof **at);
    if (*at) {
        cn_arena_init(&(*at)->a, BLOCK_ARENA, ARENA);
        (*at)->refs = 1;
    }
    return *at;
}

static cn_err load_doc(cn_policy *p, cn_str key, cn_str value) {
    cn_key k;
    if (key.n != 1 + sizeof k)
        return cn_fail(CN_DAMAGED, "a key of the policy has %zu bytes", key.n);
    memcpy(&k, key.p + 1, sizeof k);
    cn_policy_block *b = block_of(p, k.b[0]);
    if (!b || !cn_grow(b->v, b->n, b->room))
        return cn_fail_memory();
    CN_TRY(cn_policy_doc_read(value, &k, &b->a, &b->v[b->n]));
    cn_sum_add(&b->sum, key, value);
    b->n++;
    return CN_OK;
}

typedef struct load {
    cn_policy *p;
    const cn_policy *old;  /* what may be taken over; NULL: nothing */
    cn_tenant *t;
    const cn_catalog *c;
    MDB_txn *txn;
    cn_sum sum;            /* of all that is not in blocks */
} load;

static cn_err load_one(void *ctx, cn_str key, cn_str value, bool *stop) {
    (void)stop;
    load *l = ctx;
    if (cn_sum_is(key))
        return CN_OK;
    if (key.n && key.p[0] == 'd')
        return load_doc(l->p, key, value);
    cn_sum_add(&l->sum, key, value);
    if (key.n && (key.p[0] == 'g' || key.p[0] == 's'))
        return load_pattern(l->p, key.p[0] == 'g', value);
    return cn_fail(CN_DAMAGED, "the policy holds a record of an unknown kind; a newer cairn may have written it");
}

/* ---------- what changed ---------- */
typedef struct stale {
    bool block[CN_POLICY_BLOCKS];
} stale;

static void note_change(void *ctx, cn_str target, const msgpack_object *detail) {
    stale *s = ctx;
    s->block[cn_key_of(cn_obj_str(cn_get(detail, "source")), target).b[0]] = true;
}

/* Blocks that did not change, those that did, and all patterns, which are few. */
static cn_err load_changed(load *l, const stale *s) {
    for (uint32_t b = 0; b < CN_POLICY_BLOCKS; b++) {
        const char prefix[2] = {'d', (char)b};
        if (s->block[b])
            CN_TRY(cn_db_each(l->txn, l->c->policy, (cn_str){prefix, 2}, load_one, l));
        else if ((l->p->blocks[b] = l->old->blocks[b]))
            atomic_fetch_add(&l->p->blocks[b]->refs, 1);
    }
    CN_TRY(cn_db_each(l->txn, l->c->policy, CN_STR("g"), load_one, l));
    return cn_db_each(l->txn, l->c->policy, CN_STR("s"), load_one, l);
}

static bool is_whole(const load *l) {
    cn_sum all = l->sum;
    for (uint32_t b = 0; b < CN_POLICY_BLOCKS; b++)
        if (l->p->blocks[b])
            cn_sum_join(&all, &l->p->blocks[b]->sum);
    return cn_sum_same(&all, &l->p->sum);
}

/* ---------- revocations in force ---------- */
static cn_err load_gone(void *ctx, const cn_key *key, const cn_triple *gone) {
    load *l = ctx;
    cn_gone_list *list = l->p->lists[l->p->n_lists - 1];
    cn_gone g = {.key = *key};
    CN_TRY(cn_triple_copy(&list->a, gone, &g.gone));
    if (!cn_grow(list->v, list->n, list->room))
        return cn_fail_memory();
    if (list->n && memcmp(&list->v[list->n - 1].key, key, sizeof *key) >= 0)
        return cn_fail(CN_DAMAGED, "a list of revocations is out of order");
    list->v[list->n++] = g;
    return CN_OK;
}

typedef struct naming {
    uint64_t id;
    cn_arena a;
    cn_str name; /* empty: dropped meanwhile */
} naming;

static cn_err name_one(void *ctx, cn_str key, cn_str value, bool *stop) {
    naming *n = ctx;
    cn_index_info ix;
    CN_TRY(cn_index_read(key, value, &n->a, &ix));
    if ((*stop = ix.id == n->id))
        n->name = ix.name;
    return CN_OK;
}

/* Says in the list what is wrong and what to do. `why` is for the log: it names a path of the host. */
static cn_err note_broken(load *l, cn_gone_list *list) {
    char why[CN_ERROR_TEXT], file[CN_HEX_TEXT], text[CN_ERROR_TEXT];
    const char *tenant = cn_tenant_name(l->t);
    naming n = {.id = list->index_id};
    snprintf(why, sizeof why, "%s", cn_error_detail());
    cn_hex(list->own.id.b, sizeof list->own.id.b, file);
    cn_arena_init(&n.a, 16384, (size_t)16 << 20);
    cn_err e = cn_db_each(l->txn, l->c->index, (cn_str){"", 0}, name_one, &n);
    unsigned long long number = list->number;
    snprintf(text, sizeof text, "index " CN_STR_FMT ": the revocations of version %llu cannot be read, so no version before it, nor a rebuild of one, is shown; restore segments/%s.mdb"
             " of the tenant from a backup, or withdraw them: `cairn policy reinstate %s/" CN_STR_FMT " %llu --reason TEXT`",
             CN_STR_ARG(n.name), number, file, tenant, CN_STR_ARG(n.name), number);
    cn_log(CN_LOG_ERROR, "policy.damaged", "tenant=%s index=" CN_STR_FMT " version=%llu %s", tenant, CN_STR_ARG(n.name), number, why);
    cn_arena_done(&n.a);
    CN_TRY(e);
    list->broken = cn_arena_str(&list->a, cn_str_of(text));
    l->p->n_broken++;
    return list->broken.p ? CN_OK : cn_fail_memory();
}

static cn_err read_list(load *l, const cn_part *own) {
    cn_seg *seg;
    CN_TRY(cn_seg_open(l->t, &own->id, &own->digest, &seg));
    cn_err e = cn_revoked_each(seg, load_gone, l);
    if (e == CN_OK)
        e = cn_seg_sound(seg);
    cn_seg_close(seg);
    return e;
}

static cn_gone_list *taken_over(const cn_policy *old, uint64_t index_id, uint64_t number, const cn_part *own) {
    for (uint32_t i = 0; old && i < old->n_lists; i++) {
        cn_gone_list *x = old->lists[i];
        if (x->index_id == index_id && x->number == number && memcmp(&x->own, own, sizeof *own) == 0 && !x->broken.n) {
            atomic_fetch_add(&x->refs, 1);
            return x;
        }
    }
    return NULL;
}

static cn_gone_list *new_list(uint64_t index_id, uint64_t number, const cn_part *own) {
    cn_gone_list *x = cn_calloc(1, sizeof *x);
    if (!x)
        return NULL;
    cn_arena_init(&x->a, 65536, ARENA);
    x->refs = 1;
    x->index_id = index_id;
    x->number = number;
    x->own = *own;
    return x;
}

/* Damage to the file of one version concerns the versions of its index before it, not the whole tenant. */
static cn_err load_list(void *ctx, uint64_t index_id, uint64_t number, const cn_part *own) {
    load *l = ctx;
    cn_policy *p = l->p;
    if (!cn_grow(p->lists, p->n_lists, p->room_lists))
        return cn_fail_memory();
    cn_gone_list *known = taken_over(l->old, index_id, number, own), *list = known ? known : new_list(index_id, number, own);
    if (!list)
        return cn_fail_memory();
    p->lists[p->n_lists++] = list;
    cn_err e = known ? CN_OK : read_list(l, own);
    return e == CN_DAMAGED || e == CN_NOT_FOUND ? note_broken(l, list) : e;
}

/* ---------- loading ---------- */
typedef struct loading {
    cn_tenant *t;
    cn_policy *now, *ret; /* now: the one that was there; NULL: none */
    uint64_t epoch, seq;  /* seq: of now; then of ret */
} loading;

/* By what changed, or all; *ret NULL: what is known to have changed is not all that did. */
static cn_err load_by(const loading *g, const cn_catalog *c, MDB_txn *txn, const stale *changed, const cn_sum *sum, cn_policy **ret) {
    load l = {.p = cn_calloc(1, sizeof *l.p), .old = g->now, .t = g->t, .txn = txn, .c = c};
    if (!l.p)
        return cn_fail_memory();
    cn_arena_init(&l.p->a, BLOCK_ARENA, ARENA);
    l.p->refs = 1;
    l.p->sum = *sum;
    l.p->loaded_ns = cn_mono_ns();
    cn_err e = cn_inforce_sum_get(txn, c->inforce, &l.p->lists_sum);
    if (e == CN_OK)
        e = changed ? load_changed(&l, changed) : cn_db_each(txn, c->policy, (cn_str){"", 0}, load_one, &l);
    bool whole = e == CN_OK && is_whole(&l);
    if (e == CN_OK && !whole && !changed)
        e = cn_sum_differs(CN_POLICY_WHAT);
    if (whole)
        e = cn_inforce_each(g->t, txn, load_list, &l);
    if (e == CN_OK && whole)
        *ret = l.p;
    else
        cn_policy_unref(l.p);
    return e;
}

/* An audit record that cannot be read is no reason to answer nothing: then all is read. */
static cn_err load_next(const loading *g, const cn_catalog *c, MDB_txn *txn, const cn_sum *sum, cn_policy **ret) {
    stale changed = {{0}};
    cn_policy *p = NULL;
    if (g->now && cn_audit_since(c, txn, g->seq, RECORDS_MAX, "policy.", note_change, &changed) == CN_OK)
        CN_TRY(load_by(g, c, txn, &changed, sum, &p));
    if (!p)
        CN_TRY(load_by(g, c, txn, NULL, sum, &p));
    *ret = p;
    return CN_OK;
}

static bool try_again(const cn_policy *p) { return p->n_broken && cn_mono_ns() - p->loaded_ns > RETRY_NS; }

/* Epoch, policy and revocations of one moment; the policy that was there where only the epoch has grown. */
static cn_err load_in(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    loading *g = ctx;
    cn_sum sum, lists;
    uint64_t seq;
    CN_TRY(cn_epoch_of(txn, c->meta, &g->epoch));
    CN_TRY(cn_audit_seq(txn, c->meta, &seq));
    CN_TRY(cn_sum_get(txn, c->policy, CN_POLICY_WHAT, &sum));
    CN_TRY(cn_inforce_sum_get(txn, c->inforce, &lists));
    g->ret = g->now;
    if (!g->now || try_again(g->now) || !cn_sum_same(&sum, &g->now->sum) || !cn_sum_same(&lists, &g->now->lists_sum))
        CN_TRY(load_next(g, c, txn, &sum, &g->ret));
    g->seq = seq;
    return CN_OK;
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
    cn_policy_unref(h->now);
    pthread_mutex_destroy(&h->lock);
    cn_free(h);
}

static cn_err refresh(holder *h, cn_tenant *t) {
    loading g = {.t = t, .now = h->now, .seq = h->seq};
    uint64_t epoch;
    CN_TRY(cn_epoch(t, &epoch));
    if (h->now && h->now->epoch == epoch && !try_again(h->now))
        return CN_OK;
    CN_TRY(cn_catalog_read(t, load_in, &g));
    g.ret->epoch = g.epoch;
    if (g.ret != h->now)
        cn_policy_unref(h->now);
    h->now = g.ret;
    h->seq = g.seq;
    return CN_OK;
}

cn_err cn_policy_check(cn_tenant *t) {
    loading g = {.t = t};
    cn_err e = CN_OK;
    CN_TRY(cn_catalog_read(t, load_in, &g));
    for (uint32_t i = 0; e == CN_OK && i < g.ret->n_lists; i++)
        if (g.ret->lists[i]->broken.n)
            e = cn_fail(CN_DAMAGED, CN_STR_FMT, CN_STR_ARG(g.ret->lists[i]->broken));
    cn_policy_unref(g.ret);
    return e;
}

cn_err cn_policy_load(cn_tenant *t, cn_policy **ret) {
    void *slot;
    CN_TRY(cn_tenant_slot(t, CN_SLOT_POLICY, make_holder, free_holder, &slot));
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
