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
    for (uint32_t i = 0; p->touches && i < p->parts; i++)
        cn_touches_unref(p->touches[i]);
    cn_free(p->rows);
    cn_free(p->touches);
    cn_word_counts_free(atomic_load(&p->counts));
    cn_free(p->n_rows);
    cn_free((void *)(uintptr_t)p->who.holds.v);
    cn_free((void *)(uintptr_t)p->who.asks.v);
    cn_free(p);
}

static cn_err class_permits(cn_seg *s, uint32_t cls, const cn_principal *who, bool *ret) {
    cn_triple t;
    CN_TRY(cn_seg_class(s, cls, &t));
    *ret = cn_triple_permits(&t, who);
    return CN_OK;
}

cn_err cn_permit_doc(cn_view *v, uint32_t part, uint32_t doc, const cn_principal *who, bool *ret) {
    const cn_view_part *p = &v->parts[part];
    const cn_touched *t = cn_touches_find(p->touches, doc);
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
/* Of the bits from the word's first on, those of from..to. */
static uint64_t bits_of(uint32_t word, uint32_t from, uint32_t to) {
    uint64_t low = from > word * 64u ? ~(uint64_t)0 << (from % 64) : ~(uint64_t)0;
    return to - word * 64u < 64 ? low & (((uint64_t)1 << (to % 64)) - 1) : low;
}

static void set_rows(uint64_t *bits, uint32_t from, uint32_t to) {
    for (uint32_t w = from / 64; from < to && w <= (to - 1) / 64; w++)
        bits[w] |= bits_of(w, from, to);
}

static void clear_rows(uint64_t *bits, uint32_t from, uint32_t to) {
    for (uint32_t w = from / 64; from < to && w <= (to - 1) / 64; w++)
        bits[w] &= ~bits_of(w, from, to);
}

static uint32_t count_rows(const uint64_t *bits, uint32_t from, uint32_t to) {
    uint32_t n = 0;
    for (uint32_t w = from / 64; from < to && w <= (to - 1) / 64; w++)
        n += (uint32_t)__builtin_popcountll(bits[w] & bits_of(w, from, to));
    return n;
}

/* One more than there are: a document of none of them is nobody's. */
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
    bool *classes;         /* which of them may be seen; NULL: to be asked one by one */
    uint64_t deadline_ns;
    uint64_t *bits;
    uint32_t n;
} build;

static cn_err class_seen(const build *b, uint32_t cls, bool *ret) {
    uint32_t n = cn_seg_classes(b->p->seg);
    if (b->classes)
        *ret = b->classes[cls < n ? cls : n];
    else if (cls >= n)
        *ret = false;
    else
        return class_permits(b->p->seg, cls, b->who, ret);
    return CN_OK;
}

/* By their classes alone: neighbours of one class at once. */
static cn_err add_by_class(build *b, uint32_t from, uint32_t to) {
    const uint32_t *row = cn_seg_doc_row(b->p->seg), *cls = cn_seg_doc_class(b->p->seg);
    for (uint32_t doc = from, next; doc < to; doc = next) {
        bool may;
        CN_TRY(class_seen(b, cls[doc], &may));
        for (next = doc + 1; next < to && cls[next] == cls[doc]; next++)
            ;
        if (may)
            set_rows(b->bits, row[doc], row[next]);
    }
    return CN_OK;
}

/* Where the policy says something of a document, what it says counts. */
static void add_touched(build *b, const cn_touch_block *t) {
    const uint32_t *row = cn_seg_doc_row(b->p->seg);
    for (uint32_t i = 0; t && i < t->n; i++) {
        const cn_touched *x = &t->v[i];
        if (!x->effect.dead && cn_triple_permits(&x->effect.labels, b->who))
            set_rows(b->bits, row[x->doc], row[x->doc + 1]);
        else
            clear_rows(b->bits, row[x->doc], row[x->doc + 1]);
    }
}

static void take_listed(build *b, const roaring_bitmap_t *docs, uint32_t from, uint32_t to) {
    const uint32_t *row = cn_seg_doc_row(b->p->seg);
    roaring_uint32_iterator_t it;
    if (!docs)
        return;
    roaring_init_iterator(docs, &it);
    for (bool more = roaring_move_uint32_iterator_equalorlarger(&it, from); more && it.current_value < to; more = roaring_advance_uint32_iterator(&it))
        clear_rows(b->bits, row[it.current_value], row[it.current_value + 1]);
}

static cn_err take_unmatched(build *b, uint32_t from, uint32_t to) {
    const uint32_t *row = cn_seg_doc_row(b->p->seg);
    for (uint32_t doc = from; doc < to; doc++) {
        cn_doc d;
        CN_TRY(cn_in_time(doc, b->deadline_ns));
        if (!count_rows(b->bits, row[doc], row[doc + 1]))
            continue;
        CN_TRY(cn_seg_doc_brief(b->p->seg, doc, &d));
        if (!cn_filter_match(b->filter, &d))
            clear_rows(b->bits, row[doc], row[doc + 1]);
    }
    return CN_OK;
}

/* The documents of one block of the policy's, none of whose rows is in the set. */
static cn_err add_block(build *b, uint32_t block) {
    const uint32_t *row = cn_seg_doc_row(b->p->seg);
    uint32_t docs = cn_seg_docs(b->p->seg), from = block * CN_TOUCH_BLOCK, to = docs - from < CN_TOUCH_BLOCK ? docs : from + CN_TOUCH_BLOCK;
    CN_TRY(cn_in_time(CN_LOOK - 1, b->deadline_ns)); /* once is enough, but for a filter */
    CN_TRY(add_by_class(b, from, to));
    add_touched(b, b->p->touches->blocks[block]);
    take_listed(b, b->p->dead, from, to);
    take_listed(b, b->p->hidden, from, to);
    if (b->filter)
        CN_TRY(take_unmatched(b, from, to));
    b->n += count_rows(b->bits, row[from], row[to]);
    return CN_OK;
}

static cn_err build_whole(build *b) {
    CN_TRY(classes_of(b->p->seg, b->who, &b->classes));
    cn_err e = CN_OK;
    for (uint32_t i = 0; e == CN_OK && i < b->p->touches->n; i++)
        e = add_block(b, i);
    cn_free(b->classes);
    return e;
}

/* From the set of an earlier policy: only what that said in blocks that are no more is asked again. */
static cn_err build_from(build *b, const cn_permit *old, uint32_t part) {
    const uint32_t *row = cn_seg_doc_row(b->p->seg);
    uint32_t docs = cn_seg_docs(b->p->seg);
    memcpy(b->bits, old->rows[part], (cn_seg_rows(b->p->seg) / 64u + 1u) * sizeof *b->bits);
    b->n = old->n_rows[part];
    for (uint32_t i = 0; i < b->p->touches->n; i++) {
        uint32_t from = i * CN_TOUCH_BLOCK, first = row[from], end = row[docs - from < CN_TOUCH_BLOCK ? docs : from + CN_TOUCH_BLOCK];
        if (old->touches[part]->blocks[i] == b->p->touches->blocks[i])
            continue;
        b->n -= count_rows(b->bits, first, end);
        clear_rows(b->bits, first, end);
        CN_TRY(add_block(b, i));
    }
    return CN_OK;
}

static cn_err build_part(build *b, const cn_permit *old, uint32_t part, cn_permit *p) {
    b->bits = cn_calloc(cn_seg_rows(b->p->seg) / 64u + 1u, sizeof *b->bits);
    p->rows[part] = b->bits;
    if (!b->bits)
        return cn_fail_memory();
    p->touches[part] = cn_touches_ref(b->p->touches);
    CN_TRY(old ? build_from(b, old, part) : build_whole(b));
    p->n_rows[part] = b->n;
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

/* old: of the same principal and filter, under an earlier policy; NULL: there is none. */
static cn_err build_set(cn_view *v, const cn_principal *who, const cn_filter *filter, uint64_t deadline_ns, const cn_permit *old, cn_permit **ret) {
    cn_permit *p = cn_calloc(1, sizeof *p);
    if (!p)
        return cn_fail_memory();
    p->refs = 1;
    p->parts = v->n_parts;
    p->rows = cn_calloc(v->n_parts + 1u, sizeof *p->rows);
    p->n_rows = cn_calloc(v->n_parts + 1u, sizeof *p->n_rows);
    p->touches = cn_calloc(v->n_parts + 1u, sizeof(cn_touches *));
    cn_err e = p->rows && p->n_rows && p->touches ? copy_labels(who->holds, &p->who.holds) : cn_fail_memory();
    if (e == CN_OK)
        e = copy_labels(who->asks, &p->who.asks);
    for (uint32_t i = 0; e == CN_OK && i < v->n_parts; i++)
        e = build_part(&(build){.p = &v->parts[i], .who = who, .filter = filter, .deadline_ns = deadline_ns}, old, i, p);
    if (e != CN_OK)
        cn_permit_unref(p);
    else
        *ret = p;
    return e;
}

/* ---------- the cache ---------- */
/* No label holds the bytes that end one, or a list of them. */
static uint32_t hash_labels(uint32_t h, cn_labels l) {
    for (uint32_t i = 0; i < l.n; i++)
        h = cn_hash_byte(cn_hash_bytes(h, l.v[i]), 0xff);
    return cn_hash_byte(h, 0xfe);
}

static uint32_t hash_of(const cn_principal *who) { return hash_labels(hash_labels(CN_HASH_BEGIN, who->holds), who->asks); }

static bool same(const cn_principal *a, const cn_principal *b) { return cn_labels_eq(a->holds, b->holds) && cn_labels_eq(a->asks, b->asks); }

static bool is_of(const cn_permit *p, uint32_t hash, const cn_principal *who, const cn_digest *filter) {
    return p->hash == hash && cn_digest_eq(&p->filter, filter) && same(&p->who, who);
}

static cn_permit *find(cn_view *v, uint32_t hash, const cn_principal *who, const cn_digest *filter) {
    for (int i = 0; i < CN_PERMITS && v->permits[i].set; i++) {
        cn_permit *p = v->permits[i].set;
        if (is_of(p, hash, who, filter)) {
            v->permits[i].used = ++v->clock;
            atomic_fetch_add(&p->refs, 1);
            return p;
        }
    }
    return NULL;
}

/* Made by what this view's policy says? */
static bool is_current(const cn_view *v, const cn_permit *p) {
    for (uint32_t i = 0; i < v->n_parts; i++)
        if (p->touches[i] != v->parts[i].touches)
            return false;
    return true;
}

/* In the place of the same principal's and filter's, a free one, or that of the one not used for longest. */
static void keep(cn_view *v, cn_permit *p) {
    int at = 0;
    for (int i = 0; i < CN_PERMITS; i++) {
        if (!v->permits[i].set || is_of(v->permits[i].set, p->hash, &p->who, &p->filter)) {
            at = i;
            break;
        }
        if (v->permits[i].used < v->permits[at].used)
            at = i;
    }
    cn_permit_unref(v->permits[at].set);
    v->permits[at].set = p;
    v->permits[at].used = ++v->clock;
    atomic_fetch_add(&p->refs, 1);
}

static cn_permit *look_up(cn_view *v, uint32_t hash, const cn_principal *who, const cn_digest *filter) {
    pthread_mutex_lock(&v->lock);
    cn_permit *p = find(v, hash, who, filter);
    pthread_mutex_unlock(&v->lock);
    return p;
}

cn_permit *cn_permit_kept(cn_view *v, const cn_principal *who, const cn_filter *filter) {
    cn_digest fd = cn_filter_digest(filter);
    cn_permit *p = look_up(v, hash_of(who), who, &fd);
    if (!p || is_current(v, p))
        return p;
    cn_permit_unref(p);
    return NULL;
}

cn_err cn_permit_get(cn_view *v, const cn_principal *who, const cn_filter *filter, uint64_t deadline_ns, cn_permit **ret) {
    cn_digest fd = cn_filter_digest(filter);
    uint32_t hash = hash_of(who);
    cn_permit *old = look_up(v, hash, who, &fd), *p = NULL;
    if (old && is_current(v, old)) {
        *ret = old;
        return CN_OK;
    }
    cn_err e = build_set(v, who, filter, deadline_ns, old, &p);
    cn_permit_unref(old);
    CN_TRY(e);
    p->hash = hash;
    p->filter = fd;
    pthread_mutex_lock(&v->lock);
    keep(v, p);
    pthread_mutex_unlock(&v->lock);
    *ret = p;
    return CN_OK;
}
