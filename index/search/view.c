/* view.c -- an index's version, pinned under one policy epoch: built once, shared by all who ask. */
#include <stdatomic.h>
#include <stdlib.h>

#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "index/search/view_inside.h"

#define ARENA ((size_t)4 << 30)
#define VIEWS_MAX 256
#define PINS 100
#define PAST_NS 60000000000ull /* how long a view of a past epoch is kept unasked */

typedef struct holder { /* of an open tenant; the last used first */
    pthread_mutex_t lock;
    cn_view *first;
} holder;

static void free_part(cn_view_part *p) {
    if (p->dead)
        roaring_bitmap_free(p->dead);
    if (p->hidden)
        roaring_bitmap_free(p->hidden);
    cn_touches_unref(p->touches);
    if (p->seg)
        cn_seg_close(p->seg);
}

void cn_view_unref(cn_view *v) {
    if (!v || atomic_fetch_sub(&v->refs, 1) != 1)
        return;
    for (int i = 0; i < CN_PERMITS; i++)
        cn_permit_unref(v->permits[i].set);
    for (uint32_t i = 0; v->parts && i < v->n_parts; i++)
        free_part(&v->parts[i]);
    cn_free(v->parts);
    if (v->own)
        cn_seg_close(v->own);
    cn_policy_unref(v->policy);
    pthread_mutex_destroy(&v->lock);
    cn_arena_done(&v->a);
    cn_free(v);
}

const cn_version *cn_view_version(const cn_view *v) { return &v->ver; }
const cn_index_info *cn_view_index(const cn_view *v) { return &v->ix; }
const cn_modes *cn_view_modes(const cn_view *v) { return &v->modes; }
uint64_t cn_view_epoch(const cn_view *v) { return v->epoch; }

/* ---------- documents that the policy touches ---------- */
typedef struct found { /* in one part */
    uint32_t *docs, n, room;
} found;

typedef struct touching {
    cn_view *v;
    found *of; /* each part */
} touching;

static cn_err find_key(void *ctx, const cn_key *key) {
    touching *t = ctx;
    for (uint32_t i = 0; i < t->v->n_parts; i++) {
        found *f = &t->of[i];
        uint32_t doc;
        if (!cn_seg_find(t->v->parts[i].seg, key, &doc))
            continue;
        if (!cn_grow(f->docs, f->n, f->room))
            return cn_fail_memory();
        f->docs[f->n++] = doc;
    }
    return CN_OK;
}

typedef struct touched {
    const cn_view *v;
    cn_seg *seg;
} touched;

static cn_err effect_of(void *ctx, uint32_t doc, cn_arena *a, cn_effect *ret) {
    const touched *t = ctx;
    cn_doc d;
    cn_key key;
    cn_digest leaf;
    cn_triple row;
    CN_TRY(cn_seg_leaf(t->seg, doc, &key, &leaf));
    CN_TRY(cn_seg_doc_brief(t->seg, doc, &d));
    CN_TRY(cn_seg_class(t->seg, cn_seg_doc_class(t->seg)[doc], &row));
    return cn_policy_effect(t->v->policy, t->v->ix.id, &t->v->ver, &key, d.source, d.id, &row, cn_seg_get_id(t->seg), a, ret);
}

static cn_err touch_parts(touching *t, const cn_view *before) {
    cn_view *v = t->v;
    CN_TRY(before ? cn_policy_changed(v->policy, before->policy, find_key, t) : cn_policy_keys(v->policy, v->ix.id, &v->ver, find_key, t));
    for (uint32_t i = 0; i < v->n_parts; i++) {
        cn_view_part *p = &v->parts[i];
        cn_touches *was = before ? before->parts[i].touches : NULL;
        if (was && t->of[i].n == 0)
            p->touches = cn_touches_ref(was);
        else
            CN_TRY(cn_touches_make(cn_seg_docs(p->seg), was, t->of[i].docs, t->of[i].n, effect_of, &(touched){v, p->seg}, &p->touches));
    }
    return CN_OK;
}

/* before: the same version under an earlier policy that this one follows; NULL: none is at hand. */
static cn_err touch_all(cn_view *v, const cn_view *before) {
    touching t = {v, cn_calloc(v->n_parts + 1u, sizeof *t.of)};
    if (!t.of)
        return cn_fail_memory();
    cn_err e = touch_parts(&t, before);
    for (uint32_t i = 0; i < v->n_parts; i++)
        cn_free(t.of[i].docs);
    cn_free(t.of);
    return e;
}

/* Is it the very same version, under a policy of which only single documents have changed since? */
static bool follows(const cn_view *v, const cn_view *old) {
    bool same = old && old->ix.id == v->ix.id && old->ver.number == v->ver.number && old->own == v->own && old->n_parts == v->n_parts;
    for (uint32_t i = 0; same && i < v->n_parts; i++)
        same = old->parts[i].seg == v->parts[i].seg;
    return same && cn_policy_follows(v->policy, old->policy, v->ix.id, &v->ver);
}

/* Permitted sets of before: what has changed in one is made anew when it is asked for (permit.c). */
static void take_permits(cn_view *v, cn_view *before) {
    pthread_mutex_lock(&before->lock);
    for (int i = 0; i < CN_PERMITS && before->permits[i].set; i++) {
        v->permits[i] = before->permits[i];
        atomic_fetch_add(&v->permits[i].set->refs, 1);
    }
    v->clock = before->clock;
    pthread_mutex_unlock(&before->lock);
}

/* ---------- documents that a pattern hides ---------- */
/* Found already, for an older view under the same patterns? */
static const roaring_bitmap_t *found_hidden(const cn_view *old, const cn_view *v, const cn_seg *seg) {
    if (!old || !old->policy || !cn_policy_same_patterns(old->policy, v->policy))
        return NULL;
    for (uint32_t i = 0; i < old->n_parts; i++)
        if (old->parts[i].seg == seg)
            return old->parts[i].hidden;
    return NULL;
}

/* A pattern may hide any document: each is looked at, once for a segment. */
static cn_err hide(cn_view *v, const cn_view *old, cn_view_part *p) {
    const roaring_bitmap_t *known = found_hidden(old, v, p->seg);
    p->hidden = known ? roaring_bitmap_copy(known) : roaring_bitmap_create();
    if (!p->hidden)
        return cn_fail_memory();
    for (uint32_t doc = 0; !known && doc < cn_seg_docs(p->seg); doc++) {
        cn_doc d;
        CN_TRY(cn_seg_doc_brief(p->seg, doc, &d));
        if (cn_policy_pattern_hides(v->policy, d.source, d.id))
            roaring_bitmap_add(p->hidden, doc);
    }
    return CN_OK;
}

static cn_err hide_all(cn_view *v, const cn_view *old) {
    for (uint32_t i = 0; cn_policy_has_patterns(v->policy) && i < v->n_parts; i++)
        CN_TRY(hide(v, old, &v->parts[i]));
    return CN_OK;
}

/* ---------- opening ---------- */
static cn_cells *cells_of(const cn_view *v, cn_seg *seg, cn_flat *flat, bool coded) {
    return coded && v->ix.set.cells ? cn_seg_cells(seg, &v->space, flat) : NULL;
}

static cn_faiss *faiss_of(const cn_view *v, cn_seg *seg, cn_flat *flat, bool coded) {
    return coded && v->ix.set.faiss.n ? cn_seg_faiss(seg, &v->space, flat, v->ix.set.faiss) : NULL;
}

static cn_err open_part(cn_tenant *t, cn_view *v, uint32_t i) {
    cn_view_part *p = &v->parts[i];
    const cn_part *m = &v->ver.parts[i];
    cn_str dead;
    v->n_parts = i + 1;
    CN_TRY(cn_seg_open(t, &m->id, &m->digest, &p->seg));
    CN_TRY(cn_version_tombs(v->own, &m->id, &dead));
    CN_TRY(cn_bitmap_read(dead, "the list of dead documents of a segment", &p->dead));
    if (v->space.dim && cn_seg_rows(p->seg)) {
        CN_TRY(cn_seg_flat(p->seg, &v->space, &p->flat, &p->coded));
        p->cells = cells_of(v, p->seg, p->flat, p->coded);
        p->faiss = faiss_of(v, p->seg, p->flat, p->coded);
    }
    return CN_OK;
}

/* Policy and version of one epoch: one that was read before a flip and the other after it would be a state that never was. */
static cn_err pin(cn_tenant *t, cn_str index, cn_view *v) {
    for (int tries = 0; tries < PINS; tries++) {
        cn_pin p;
        cn_policy_unref(v->policy);
        v->policy = NULL;
        CN_TRY(cn_policy_load(t, &v->policy));
        CN_TRY(cn_version_pin(t, index, v->asked, &v->a, &p));
        v->epoch = p.epoch;
        v->host = p.host;
        v->ix = p.ix;
        v->ver = p.version;
        v->space = p.space;
        v->modes = p.modes;
        v->of = p.of;
        if (p.epoch == cn_policy_epoch(v->policy))
            return CN_OK;
    }
    return cn_fail(CN_OVERLOADED, "the catalog changed each time it was read");
}

/* The file is the same, and what was derived from it: one that was brought back, or found damaged, is opened anew. */
static bool same_file(cn_tenant *t, const cn_seg_id *id, const cn_digest *digest, cn_seg *seg) {
    cn_seg *now;
    if (cn_seg_open(t, id, digest, &now) != CN_OK)
        return false;
    bool same = now == seg && cn_seg_sound(seg) == CN_OK;
    cn_seg_close(now);
    return same;
}

static bool same_part(cn_tenant *t, const cn_view *v, uint32_t i) {
    const cn_view_part *p = &v->parts[i];
    cn_flat *flat = p->flat;
    bool coded = p->coded;
    if (!same_file(t, &v->ver.parts[i].id, &v->ver.parts[i].digest, p->seg))
        return false;
    if (v->space.dim && cn_seg_rows(p->seg) && cn_seg_flat(p->seg, &v->space, &flat, &coded) != CN_OK)
        return false;
    return flat == p->flat && coded == p->coded && cells_of(v, p->seg, flat, coded) == p->cells && faiss_of(v, p->seg, flat, coded) == p->faiss;
}

/* Epochs grow for the whole tenant: by a member, or by a flip of another index. Would a view made now, pinned already, be the
 * old one again? It would where all that it is made of is the same: the catalog's records, the policy as loaded, the files. */
static bool still_holds(cn_tenant *t, const cn_view *old, const cn_view *now) {
    if (old->policy != now->policy || !cn_digest_eq(&old->of, &now->of) || !same_file(t, &now->ver.own, &now->ver.own_digest, old->own))
        return false;
    for (uint32_t i = 0; i < old->n_parts; i++)
        if (!same_part(t, old, i))
            return false;
    return true;
}

static cn_err fill(cn_tenant *t, cn_str index, cn_view *old, cn_view *v) {
    if (v->ver.marks & (CN_MARK_QUARANTINED | CN_MARK_DROPPED))
        return cn_fail(CN_REFUSED, "version %llu was dropped or is quarantined and does not answer", (unsigned long long)v->ver.number);
    cn_err e = cn_seg_open(t, &v->ver.own, &v->ver.own_digest, &v->own);
    if (e != CN_OK)
        return cn_wrap(e, "index " CN_STR_FMT ", version %llu", CN_STR_ARG(index), (unsigned long long)v->ver.number);
    v->parts = cn_calloc(v->ver.n_parts + 1u, sizeof *v->parts);
    if (!v->parts)
        return cn_fail_memory();
    v->analyses = cn_analyser_parse(v->ver.recipe.analyser, &v->analyser) == CN_OK;
    for (uint32_t i = 0; i < v->ver.n_parts; i++)
        CN_TRY(open_part(t, v, i));
    CN_TRY(hide_all(v, old));
    cn_view *before = follows(v, old) ? old : NULL;
    CN_TRY(touch_all(v, before));
    if (before)
        take_permits(v, before);
    return CN_OK;
}

/* Of the tenant's catalog and of the host's settings, by which views are told apart from later ones. */
typedef struct moment {
    uint64_t epoch, host;
} moment;

/* *ret: a new one; or the old one with a reference more, and then *ret_at: the moment at which it still holds. */
static cn_err make(cn_tenant *t, cn_str index, uint64_t number, cn_view *old, cn_view **ret, moment *ret_at) {
    cn_view *v = cn_calloc(1, sizeof *v);
    if (!v)
        return cn_fail_memory();
    cn_arena_init(&v->a, 16384, ARENA);
    pthread_mutex_init(&v->lock, NULL);
    v->refs = 1;
    v->asked = number;
    cn_err e = pin(t, index, v);
    if (e == CN_OK && old && still_holds(t, old, v)) {
        *ret_at = (moment){v->epoch, v->host};
        atomic_fetch_add(&old->refs, 1);
        *ret = old;
        cn_view_unref(v);
        return CN_OK;
    }
    if (e == CN_OK)
        e = fill(t, index, old, v);
    if (e != CN_OK)
        cn_view_unref(v);
    else
        *ret = v;
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

static void drop_from(cn_view **at) {
    while (*at) {
        cn_view *v = *at;
        *at = v->next;
        cn_view_unref(v);
    }
}

static void free_holder(void *p) {
    holder *h = p;
    drop_from(&h->first);
    pthread_mutex_destroy(&h->lock);
    cn_free(h);
}

static bool answers(const cn_view *v, cn_str index, uint64_t number) { return v->asked == number && cn_str_eq(v->ix.name, index); }

/* The cached view of this question, moved to the front; or, of another moment, *ret_old. Both are referenced. */
static cn_view *find(holder *h, cn_str index, uint64_t number, const moment *now, cn_view **ret_old) {
    for (cn_view **at = &h->first; *at; at = &(*at)->next) {
        cn_view *v = *at;
        if (!answers(v, index, number))
            continue;
        atomic_fetch_add(&v->refs, 1);
        if (v->epoch != now->epoch || v->host != now->host) {
            *ret_old = v;
            return NULL;
        }
        *at = v->next;
        v->next = h->first;
        h->first = v;
        v->used_ns = cn_mono_ns();
        return v;
    }
    return NULL;
}

/* Takes the place of the older one, which has held the segments open until now. Views of other questions stay for a while,
 * for the same reason, though their epoch has passed. */
static void keep(holder *h, cn_view *v) {
    unsigned n = 1;
    v->used_ns = cn_mono_ns();
    for (cn_view **at = &h->first; *at;) {
        cn_view *x = *at;
        bool past = x->epoch < v->epoch && v->used_ns - x->used_ns > PAST_NS;
        if (!answers(x, v->ix.name, v->asked) && !past && ++n <= VIEWS_MAX) {
            at = &x->next;
            continue;
        }
        *at = x->next;
        cn_view_unref(x);
    }
    atomic_fetch_add(&v->refs, 1);
    v->next = h->first;
    h->first = v;
}

/* Under the lock, so that both only grow. */
static void renew(cn_view *v, const moment *at) {
    v->used_ns = cn_mono_ns();
    if (v->epoch < at->epoch)
        v->epoch = at->epoch;
    if (v->host < at->host)
        v->host = at->host;
}

static cn_err open_new(cn_tenant *t, holder *h, cn_str index, uint64_t number, cn_view *old, cn_view **ret) {
    cn_view *v = NULL;
    moment at = {0};
    cn_err e = make(t, index, number, old, &v, &at);
    if (e == CN_NOT_FOUND || e == CN_DAMAGED) /* gc may have been quicker than this reader: the catalog says where to look now */
        e = make(t, index, number, old, &v, &at);
    CN_TRY(e);
    pthread_mutex_lock(&h->lock);
    if (v == old)
        renew(v, &at);
    else
        keep(h, v);
    pthread_mutex_unlock(&h->lock);
    *ret = v;
    return CN_OK;
}

cn_err cn_view_open(cn_tenant *t, cn_str index, uint64_t number, cn_view **ret) {
    void *slot;
    moment now;
    cn_view *old = NULL;
    CN_TRY(cn_tenant_slot(t, CN_SLOT_VIEWS, make_holder, free_holder, &slot));
    CN_TRY(cn_epoch(t, &now.epoch));
    CN_TRY(cn_env_stamp(cn_data_host(cn_tenant_data(t)), &now.host));
    holder *h = slot;
    pthread_mutex_lock(&h->lock);
    cn_view *v = find(h, index, number, &now, &old);
    pthread_mutex_unlock(&h->lock);
    cn_err e = v ? CN_OK : open_new(t, h, index, number, old, &v);
    cn_view_unref(old);
    if (e == CN_OK)
        *ret = v;
    return e;
}

void cn_views_flush(cn_tenant *t) {
    void *slot;
    if (cn_tenant_slot(t, CN_SLOT_VIEWS, make_holder, free_holder, &slot) != CN_OK)
        return;
    holder *h = slot;
    pthread_mutex_lock(&h->lock);
    drop_from(&h->first);
    pthread_mutex_unlock(&h->lock);
}

/* ---------- documents ---------- */
cn_err cn_view_sound(const cn_view *v) {
    for (uint32_t i = 0; i < v->n_parts; i++)
        CN_TRY(cn_seg_sound(v->parts[i].seg));
    return CN_OK;
}

bool cn_view_find(const cn_view *v, const cn_key *key, uint32_t *ret_part, uint32_t *ret_doc) {
    for (uint32_t i = v->n_parts; i-- > 0;)
        if (cn_seg_find(v->parts[i].seg, key, ret_doc) && !roaring_bitmap_contains(v->parts[i].dead, *ret_doc)) {
            *ret_part = i;
            return true;
        }
    return false;
}

cn_err cn_view_doc(cn_view *v, cn_str source, cn_str id, const cn_principal *who, cn_seg **ret_seg, uint32_t *ret_doc) {
    cn_key key = cn_key_of(source, id);
    uint32_t part, doc;
    bool may = false;
    if (cn_view_find(v, &key, &part, &doc))
        CN_TRY(cn_permit_doc(v, part, doc, who, &may));
    CN_TRY(cn_view_sound(v));
    if (!may)
        return cn_fail(CN_NOT_FOUND, "no such document");
    *ret_seg = v->parts[part].seg;
    *ret_doc = doc;
    return CN_OK;
}

static cn_err part_reads_any(cn_view *v, uint32_t part, cn_str id, const cn_principal *who, bool *ret) {
    cn_seg *seg = v->parts[part].seg;
    bool may = false;
    for (uint32_t i = 0; !may && i < cn_seg_sources(seg); i++) {
        cn_key key = cn_key_of(cn_seg_source(seg, i), id);
        uint32_t doc;
        if (cn_seg_find(seg, &key, &doc) && !roaring_bitmap_contains(v->parts[part].dead, doc))
            CN_TRY(cn_permit_doc(v, part, doc, who, &may));
    }
    *ret = may;
    return CN_OK;
}

cn_err cn_view_reads_any(cn_view *v, cn_str id, const cn_principal *who, bool *ret) {
    bool may = false;
    for (uint32_t i = 0; !may && i < v->n_parts; i++)
        CN_TRY(part_reads_any(v, i, id, who, &may));
    CN_TRY(cn_view_sound(v));
    *ret = may;
    return CN_OK;
}
