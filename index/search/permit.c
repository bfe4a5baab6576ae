/* permit.c -- which rows a principal may see in a pinned version: labels by class, then tombstones, policy and filter. */
#include <stdatomic.h>

#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "index/search/view_inside.h"

void cn_permit_unref(cn_permit *p) {
    if (!p || atomic_fetch_sub(&p->refs, 1) != 1)
        return;
    for (uint32_t i = 0; p->rows && i < p->parts; i++)
        cn_free(p->rows[i]);
    cn_free(p->rows);
    cn_word_counts_free(atomic_load(&p->counts));
    cn_free(p->n_rows);
    cn_free((void *)(uintptr_t)p->who.holds.v);
    cn_free((void *)(uintptr_t)p->who.asks.v);
    cn_free(p);
}

static const cn_touched *touched(const cn_view_part *p, uint32_t doc) {
    uint32_t lo = 0, hi = p->n_touched;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (p->touched[mid].doc == doc)
            return &p->touched[mid];
        if (p->touched[mid].doc < doc)
            lo = mid + 1;
        else
            hi = mid;
    }
    return NULL;
}

static cn_err class_permits(cn_seg *s, uint32_t cls, const cn_principal *who, bool *ret) {
    cn_triple t;
    CN_TRY(cn_seg_class(s, cls, &t));
    *ret = cn_triple_permits(&t, who);
    return CN_OK;
}

cn_err cn_permit_doc(cn_view *v, uint32_t part, uint32_t doc, const cn_principal *who, bool *ret) {
    const cn_view_part *p = &v->parts[part];
    const cn_touched *t = touched(p, doc);
    *ret = false;
    if (cn_part_lacks(p, doc) || (t && t->effect.dead))
        return CN_OK;
    if (!t)
        return class_permits(p->seg, cn_seg_doc_class(p->seg)[doc], who, ret);
    *ret = cn_triple_permits(&t->effect.labels, who);
    return CN_OK;
}

cn_err cn_in_time(uint32_t doc, uint64_t deadline_ns) {
    if (deadline_ns && doc % CN_LOOK == CN_LOOK - 1 && cn_mono_ns() > deadline_ns)
        return cn_fail(CN_DEADLINE, "the time was over before it was known which documents may be read");
    return CN_OK;
}

/* ---------- building a set ---------- */
static void set_rows(uint64_t *bits, uint32_t from, uint32_t to) {
    for (uint32_t row = from; row < to; row++)
        bits[row / 64] |= (uint64_t)1 << (row % 64);
}

static cn_err classes_of(cn_seg *s, const cn_principal *who, bool **ret) {
    uint32_t n = cn_seg_classes(s);
    bool *v = cn_calloc(n + 1u, sizeof *v);
    if (!v)
        return cn_fail_memory();
    for (uint32_t c = 0; c < n; c++) {
        cn_err e = class_permits(s, c, who, &v[c]);
        if (e != CN_OK) {
            cn_free(v);
            return e;
        }
    }
    *ret = v;
    return CN_OK;
}

typedef struct build {
    const cn_view_part *p;
    const cn_principal *who;
    const cn_filter *filter;
    const bool *classes;
    uint64_t deadline_ns;
    uint64_t *bits;
    uint32_t n;
} build;

static cn_err matches(build *b, uint32_t doc, bool *ret) {
    cn_doc d;
    *ret = true;
    if (!b->filter)
        return CN_OK;
    CN_TRY(cn_seg_doc_brief(b->p->seg, doc, &d));
    *ret = cn_filter_match(b->filter, &d);
    return CN_OK;
}

static cn_err add_docs(build *b) {
    cn_seg *s = b->p->seg;
    const uint32_t *cls = cn_seg_doc_class(s), *row = cn_seg_doc_row(s);
    uint32_t next = 0, docs = cn_seg_docs(s), classes = cn_seg_classes(s);
    bool any_dead = !roaring_bitmap_is_empty(b->p->dead) || b->p->hidden;
    for (uint32_t doc = 0; doc < docs; doc++) {
        CN_TRY(cn_in_time(doc, b->deadline_ns));
        bool may = cls[doc] < classes && b->classes[cls[doc]], fits;
        if (next < b->p->n_touched && b->p->touched[next].doc == doc) {
            const cn_effect *f = &b->p->touched[next++].effect;
            may = !f->dead && cn_triple_permits(&f->labels, b->who);
        }
        if (!may || (any_dead && cn_part_lacks(b->p, doc)))
            continue;
        CN_TRY(matches(b, doc, &fits));
        if (!fits)
            continue;
        set_rows(b->bits, row[doc], row[doc + 1]);
        b->n += row[doc + 1] - row[doc];
    }
    return CN_OK;
}

static cn_err build_part(const cn_view_part *p, const cn_principal *who, const cn_filter *filter, uint64_t deadline_ns, uint64_t **ret, uint32_t *ret_n) {
    bool *classes;
    build b = {.p = p, .who = who, .filter = filter, .deadline_ns = deadline_ns};
    CN_TRY(classes_of(p->seg, who, &classes));
    b.classes = classes;
    b.bits = cn_calloc(cn_seg_rows(p->seg) / 64u + 1u, sizeof *b.bits);
    cn_err e = b.bits ? add_docs(&b) : cn_fail_memory();
    cn_free(classes);
    if (e != CN_OK) {
        cn_free(b.bits);
        return e;
    }
    *ret = b.bits;
    *ret_n = b.n;
    return CN_OK;
}

static cn_err copy_labels(cn_labels l, cn_labels *ret) {
    size_t bytes = 0;
    for (uint32_t i = 0; i < l.n; i++)
        bytes += l.v[i].n;
    cn_str *v = cn_alloc(l.n * sizeof *v + bytes);
    if (!v)
        return cn_fail_memory();
    char *p = (char *)(v + l.n);
    for (uint32_t i = 0; i < l.n; i++) {
        v[i] = (cn_str){p, l.v[i].n};
        memcpy(p, l.v[i].p, l.v[i].n);
        p += l.v[i].n;
    }
    *ret = (cn_labels){v, l.n};
    return CN_OK;
}

static cn_err build_set(cn_view *v, const cn_principal *who, const cn_filter *filter, uint64_t deadline_ns, cn_permit **ret) {
    cn_permit *p = cn_calloc(1, sizeof *p);
    if (!p)
        return cn_fail_memory();
    p->refs = 1;
    p->parts = v->n_parts;
    p->rows = cn_calloc(v->n_parts + 1u, sizeof *p->rows);
    p->n_rows = cn_calloc(v->n_parts + 1u, sizeof *p->n_rows);
    cn_err e = p->rows && p->n_rows ? copy_labels(who->holds, &p->who.holds) : cn_fail_memory();
    if (e == CN_OK)
        e = copy_labels(who->asks, &p->who.asks);
    for (uint32_t i = 0; e == CN_OK && i < v->n_parts; i++)
        e = build_part(&v->parts[i], who, filter, deadline_ns, &p->rows[i], &p->n_rows[i]);
    if (e != CN_OK)
        cn_permit_unref(p);
    else
        *ret = p;
    return e;
}

/* ---------- the cache ---------- */
static uint64_t hash_labels(uint64_t h, cn_labels l) { /* FNV-1a, lengths and number too */
    for (uint32_t i = 0; i < l.n; i++) {
        for (size_t k = 0; k < l.v[i].n; k++)
            h = (h ^ (uint8_t)l.v[i].p[k]) * 0x100000001b3u;
        h = (h ^ (0x100 + l.v[i].n)) * 0x100000001b3u;
    }
    return (h ^ (0x10000 + (uint64_t)l.n)) * 0x100000001b3u;
}

static uint64_t hash_of(const cn_principal *who) {
    return hash_labels(hash_labels(0xcbf29ce484222325u, who->holds), who->asks);
}

static bool same_labels(cn_labels a, cn_labels b) {
    for (uint32_t i = 0; a.n == b.n && i < a.n; i++)
        if (!cn_str_eq(a.v[i], b.v[i]))
            return false;
    return a.n == b.n;
}

static bool same(const cn_principal *a, const cn_principal *b) { return same_labels(a->holds, b->holds) && same_labels(a->asks, b->asks); }

static cn_permit *find(cn_view *v, uint64_t hash, const cn_principal *who, const cn_digest *filter) {
    for (int i = 0; i < CN_PERMITS && v->permits[i]; i++) {
        cn_permit *p = v->permits[i];
        if (p->hash == hash && cn_digest_eq(&p->filter, filter) && same(&p->who, who)) {
            p->used = ++v->clock;
            atomic_fetch_add(&p->refs, 1);
            return p;
        }
    }
    return NULL;
}

static void keep(cn_view *v, cn_permit *p) {
    int at = 0;
    for (int i = 0; i < CN_PERMITS; i++) {
        if (!v->permits[i]) {
            at = i;
            break;
        }
        if (v->permits[i]->used < v->permits[at]->used)
            at = i;
    }
    cn_permit_unref(v->permits[at]);
    v->permits[at] = p;
    p->used = ++v->clock;
    atomic_fetch_add(&p->refs, 1);
}

cn_err cn_permit_get(cn_view *v, const cn_principal *who, const cn_filter *filter, uint64_t deadline_ns, cn_permit **ret) {
    cn_digest fd = cn_filter_digest(filter);
    uint64_t hash = hash_of(who);
    pthread_mutex_lock(&v->lock);
    cn_permit *p = find(v, hash, who, &fd);
    pthread_mutex_unlock(&v->lock);
    if (!p) {
        CN_TRY(build_set(v, who, filter, deadline_ns, &p));
        p->hash = hash;
        p->filter = fd;
        pthread_mutex_lock(&v->lock);
        keep(v, p);
        pthread_mutex_unlock(&v->lock);
    }
    *ret = p;
    return CN_OK;
}
