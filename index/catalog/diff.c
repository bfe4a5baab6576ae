/* diff.c -- what two versions differ in: only Merkle buckets whose digests differ are walked. An erased document of which a
 * stub is left has no name to be told by: it counts as absent, but for one of the same leaf on the other side. */
#include <stdlib.h>

#include "engine/base/mem.h"
#include "index/catalog/live.h"
#include "index/policy/policy.h"

typedef struct place {
    cn_key key;
    cn_digest leaf;
    uint32_t seg, doc;
    bool stub;
} place;

typedef struct side {
    cn_living live;
    cn_str table; /* of buckets: u32 bits, u32 count, (u32 bucket, 32 bytes)... */
    uint32_t bits, at_table;
    place *v;     /* of the bucket being walked */
    size_t n, room;
    uint32_t seg; /* being walked */
} side;

static void side_done(side *s) {
    cn_live_close(&s->live);
    cn_free(s->v);
}

static cn_err side_open(cn_tenant *t, const cn_version *v, side *s) {
    if (v->marks & CN_MARK_DROPPED)
        return cn_fail(CN_NOT_FOUND, "version %llu was dropped", (unsigned long long)v->number);
    CN_TRY(cn_live_open(t, v, &s->live));
    CN_TRY(cn_seg_part(s->live.own, CN_PART_BUCKETS, CN_STR(""), &s->table));
    CN_TRY(cn_buckets_validate(s->table));
    memcpy(&s->bits, s->table.p, 4);
    return CN_OK;
}

/* The bucket's digest in the table, or NULL when it is empty. */
static const char *bucket_digest(side *s, uint32_t bucket) {
    uint32_t count;
    memcpy(&count, s->table.p + 4, 4);
    for (; s->at_table < count; s->at_table++) {
        const char *e = s->table.p + 8 + (size_t)s->at_table * 36;
        uint32_t b;
        memcpy(&b, e, 4);
        if (b >= bucket)
            return b == bucket ? e + 4 : NULL;
    }
    return NULL;
}

static cn_err take(void *ctx, const cn_key *key, const cn_digest *leaf, uint32_t doc) {
    side *s = ctx;
    bool stub = roaring_bitmap_contains(s->live.stubs[s->seg], doc);
    if (roaring_bitmap_contains(s->live.dead[s->seg], doc) && !stub)
        return CN_OK;
    if (!cn_grow(s->v, s->n, s->room))
        return cn_fail_memory();
    s->v[s->n++] = (place){*key, *leaf, s->seg, doc, stub};
    return CN_OK;
}

static int by_key(const void *a, const void *b) { return memcmp(((const place *)a)->key.b, ((const place *)b)->key.b, sizeof(cn_key)); }

static cn_err fill(side *s, unsigned bits, uint32_t bucket) {
    s->n = 0;
    for (s->seg = 0; s->seg < s->live.n; s->seg++)
        CN_TRY(cn_seg_bucket(s->live.segs[s->seg], bits, bucket, take, s));
    if (s->n > 1)
        qsort(s->v, s->n, sizeof *s->v, by_key);
    return CN_OK;
}

typedef struct diff diff;
struct diff {
    side m, n;
    cn_err (*tell)(diff *d, const place *x, const place *y); /* x of m, y of n; NULL: that side has none */
    cn_diff_fn *fn;
    cn_loss loss;
    void *ctx;
    cn_arena a; /* of what is told of one document */
};

/* ---------- a difference, told by name and labels ---------- */
static cn_err read_doc(diff *d, side *s, const place *p, cn_doc *ret) { return cn_seg_doc_full(s->live.segs[p->seg], p->doc, &d->a, ret); }

/* Only the labels differ when the new document with the old labels has the old leaf. */
static cn_err compare(diff *d, const place *x, const place *y) {
    cn_doc was, is, mixed;
    CN_TRY(read_doc(d, &d->m, x, &was));
    CN_TRY(read_doc(d, &d->n, y, &is));
    mixed = is;
    mixed.labels = was.labels;
    cn_digest leaf = cn_leaf_of(&mixed, cn_seg_dim(d->n.live.segs[y->seg]));
    enum cn_diff_kind kind = cn_digest_eq(&leaf, &x->leaf) ? CN_DIFF_RELABELLED : CN_DIFF_CHANGED;
    return d->fn(d->ctx, kind, is.source, is.id, &was.labels, &is.labels);
}

static cn_err describe(diff *d, const place *x, const place *y) {
    cn_doc doc;
    static const cn_triple none;
    if (x && y)
        return compare(d, x, y);
    CN_TRY(x ? read_doc(d, &d->m, x, &doc) : read_doc(d, &d->n, y, &doc));
    return d->fn(d->ctx, x ? CN_DIFF_DELETED : CN_DIFF_ADDED, doc.source, doc.id, x ? &doc.labels : &none, x ? &none : &doc.labels);
}

/* ---------- what is lost, counted by the records alone ---------- */
static cn_err count_loss(diff *d, const place *x, const place *y) {
    cn_doc was, is;
    d->loss.deleted += !y;
    if (!x || !y)
        return CN_OK;
    CN_TRY(cn_seg_doc_brief(d->m.live.segs[x->seg], x->doc, &was));
    CN_TRY(cn_seg_doc_brief(d->n.live.segs[y->seg], y->doc, &is));
    d->loss.relabelled += cn_digest_eq(&was.content, &is.content) && !cn_digest_eq(&was.row, &is.row) && !cn_digest_is_zero(&is.row);
    return CN_OK;
}

/* ---------- the walk ---------- */
static cn_err one(diff *d, const place *x, const place *y) {
    cn_arena_reset(&d->a);
    return (x ? x : y)->stub ? CN_OK : d->tell(d, x, y);
}

static cn_err walk(diff *d, unsigned bits, uint32_t bucket) {
    CN_TRY(fill(&d->m, bits, bucket));
    CN_TRY(fill(&d->n, bits, bucket));
    size_t i = 0, j = 0;
    while (i < d->m.n || j < d->n.n) {
        int c = i == d->m.n ? 1 : j == d->n.n ? -1 : by_key(&d->m.v[i], &d->n.v[j]);
        const place *x = c <= 0 ? &d->m.v[i] : NULL, *y = c >= 0 ? &d->n.v[j] : NULL;
        bool differ = c != 0 || !cn_digest_eq(&x->leaf, &y->leaf);
        if (differ && x && y && y->stub)
            y = NULL;
        else if (differ && x && y && x->stub)
            x = NULL;
        if (differ)
            CN_TRY(one(d, x, y));
        i += c <= 0;
        j += c >= 0;
    }
    return CN_OK;
}

/* A file cut short meanwhile gave zeros, and so a difference that is none, or none where there is one. */
static cn_err sound(const side *s) {
    for (uint32_t i = 0; i < s->live.n; i++)
        CN_TRY(cn_seg_sound(s->live.segs[i]));
    return s->live.own ? cn_seg_sound(s->live.own) : CN_OK;
}

static cn_err walk_all(diff *d) {
    unsigned bits = d->m.bits > d->n.bits ? d->m.bits : d->n.bits;
    for (uint32_t bucket = 0; bucket < 1u << bits; bucket++) {
        if (d->m.bits == d->n.bits) {
            const char *x = bucket_digest(&d->m, bucket), *y = bucket_digest(&d->n, bucket);
            if ((!x && !y) || (x && y && memcmp(x, y, 32) == 0))
                continue;
        }
        CN_TRY(walk(d, bits, bucket));
    }
    return CN_OK;
}

static cn_err run(cn_tenant *t, cn_str index, uint64_t m, uint64_t n, diff *d) {
    __attribute__((cleanup(cn_arena_done))) cn_arena a;
    cn_arena_init(&a, 16384, (size_t)1 << 30);
    cn_arena_init(&d->a, 65536, (size_t)4 << 30);
    cn_version x, y;
    cn_err err = cn_version_get(t, index, m, &a, &x);
    if (err == CN_OK)
        err = cn_version_get(t, index, n, &a, &y);
    if (err == CN_OK)
        err = side_open(t, &x, &d->m);
    if (err == CN_OK)
        err = side_open(t, &y, &d->n);
    if (err == CN_OK)
        err = walk_all(d);
    if (err == CN_OK)
        err = sound(&d->m);
    if (err == CN_OK)
        err = sound(&d->n);
    side_done(&d->m);
    side_done(&d->n);
    cn_arena_done(&d->a);
    return err;
}

cn_err cn_version_diff(cn_tenant *t, cn_str index, uint64_t m, uint64_t n, cn_diff_fn *fn, void *ctx) {
    diff d = {.tell = describe, .fn = fn, .ctx = ctx};
    return run(t, index, m, n, &d);
}

cn_err cn_version_loss(cn_tenant *t, cn_str index, uint64_t m, uint64_t n, cn_loss *ret) {
    diff d = {.tell = count_loss};
    CN_TRY(run(t, index, m, n, &d));
    *ret = d.loss;
    return CN_OK;
}
