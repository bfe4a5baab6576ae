#include "ingest/job/ledger.h"

#include "engine/base/mem.h"
#include "index/store/bitmap.h"

#define WORDS(docs) (((size_t)(docs) + 63) / 64)

static bool has(const uint64_t *bits, uint32_t i) { return bits[i / 64] >> (i % 64) & 1; }
static void set(uint64_t *bits, uint32_t i) { bits[i / 64] |= (uint64_t)1 << (i % 64); }

typedef struct dead_bits {
    uint64_t *bits;
    uint32_t docs;
    bool outside, alive; /* alive: takes out instead */
} dead_bits;

static bool set_dead(uint32_t doc, void *ctx) {
    dead_bits *d = ctx;
    if (doc >= d->docs) {
        d->outside = true;
        return false;
    }
    if (d->alive)
        d->bits[doc / 64] &= ~((uint64_t)1 << (doc % 64));
    else
        set(d->bits, doc);
    return true;
}

static cn_err read_bits(cn_str bytes, dead_bits *d) {
    roaring_bitmap_t *r;
    cn_err e = cn_bitmap_read(bytes, "a list of deleted documents", &r);
    if (e != CN_OK)
        return e == CN_DAMAGED ? cn_fail(e, "a list of deleted documents cannot be read; run cairn scrub") : e;
    roaring_iterate(r, set_dead, d);
    roaring_bitmap_free(r);
    return d->outside ? cn_fail(CN_DAMAGED, "a list of deleted documents names one that does not exist; run cairn scrub") : CN_OK;
}

/* A stub of an erased document counts as there: it can be deleted and replaced, and nothing else (it->erased). */
static cn_err read_dead(cn_seg *own, const cn_part *part, cn_ledger_part *p) {
    cn_str bytes;
    dead_bits d = {p->dead, p->docs, false, false};
    CN_TRY(cn_version_tombs(own, &part->id, &bytes));
    CN_TRY(read_bits(bytes, &d));
    d.alive = true;
    cn_err e = cn_seg_stubs(p->seg) ? cn_version_stubs(own, &part->id, &bytes) : CN_NOT_FOUND;
    return e == CN_OK ? read_bits(bytes, &d) : e == CN_NOT_FOUND ? CN_OK : e;
}

static cn_err open_part(cn_tenant *t, cn_seg *own, const cn_part *part, cn_ledger_part *p) {
    CN_TRY(cn_seg_open(t, &part->id, &part->digest, &p->seg));
    p->docs = cn_seg_docs(p->seg);
    size_t words = WORDS(p->docs) ? WORDS(p->docs) : 1;
    p->dead = cn_calloc(3 * words, sizeof *p->dead);
    if (!p->dead)
        return cn_fail_memory();
    p->seen = p->dead + words;
    p->taken = p->seen + words;
    return read_dead(own, part, p);
}

static uint64_t count_live(const cn_ledger_part *p) {
    uint64_t dead = 0;
    for (size_t w = 0; w < WORDS(p->docs); w++)
        dead += (uint64_t)__builtin_popcountll(p->dead[w]);
    return p->docs - dead;
}

cn_err cn_ledger_open(cn_tenant *t, const cn_version *head, cn_ledger *ret) {
    cn_ledger l = {0};
    if (!head || head->n_parts == 0) {
        *ret = l;
        return CN_OK;
    }
    cn_seg *own;
    CN_TRY(cn_seg_open(t, &head->own, &head->own_digest, &own));
    l.parts = cn_calloc(head->n_parts, sizeof *l.parts);
    cn_err err = l.parts ? CN_OK : cn_fail_memory();
    for (uint32_t i = 0; err == CN_OK && i < head->n_parts; i++) {
        l.n = i + 1;
        err = open_part(t, own, &head->parts[i], &l.parts[i]);
        l.live += err == CN_OK ? count_live(&l.parts[i]) : 0;
    }
    cn_seg_close(own);
    if (err != CN_OK)
        cn_ledger_close(&l);
    else
        *ret = l;
    return err;
}

void cn_ledger_close(cn_ledger *l) {
    for (uint32_t i = 0; i < l->n; i++) {
        cn_seg_close(l->parts[i].seg);
        cn_free(l->parts[i].dead);
    }
    cn_free(l->parts);
    *l = (cn_ledger){0};
}

void cn_ledger_forget(cn_ledger *l) {
    for (uint32_t i = 0; i < l->n; i++)
        memset(l->parts[i].seen, 0, 2 * WORDS(l->parts[i].docs) * sizeof(uint64_t));
}

/* Newest segment first: a row there replaces older ones, which are dead in the head anyway. */
bool cn_ledger_find(const cn_ledger *l, const cn_key *key, cn_place *ret) {
    for (uint32_t i = l->n; i-- > 0;) {
        uint32_t doc;
        if (cn_seg_find(l->parts[i].seg, key, &doc) && doc < l->parts[i].docs && !has(l->parts[i].dead, doc)) {
            *ret = (cn_place){i, doc};
            return true;
        }
    }
    return false;
}

bool cn_ledger_lives(const cn_ledger_part *p, uint32_t doc) { return doc < p->docs && !has(p->dead, doc); }
bool cn_ledger_taken(const cn_ledger_part *p, uint32_t doc) { return has(p->taken, doc); }

void cn_ledger_see(cn_ledger *l, cn_place at) { set(l->parts[at.part].seen, at.doc); }

bool cn_ledger_take(cn_ledger *l, cn_place at) {
    cn_ledger_see(l, at);
    if (has(l->parts[at.part].taken, at.doc))
        return false;
    set(l->parts[at.part].taken, at.doc);
    return true;
}

/* The first document from doc on whose bit is in neither of two sets; docs: there is none. */
static uint32_t next_clear(const uint64_t *a, const uint64_t *b, uint32_t doc, uint32_t docs) {
    while (doc < docs) {
        uint64_t clear = ~(a[doc / 64] | b[doc / 64]) >> (doc % 64);
        if (clear)
            doc += (uint32_t)__builtin_ctzll(clear);
        else
            doc = (doc / 64 + 1) * 64;
        if (clear)
            return doc < docs ? doc : docs;
    }
    return docs;
}

bool cn_ledger_next_rest(const cn_ledger *l, cn_place *io_at) {
    for (cn_place at = *io_at; at.part < l->n; at = (cn_place){at.part + 1, 0}) {
        const cn_ledger_part *p = &l->parts[at.part];
        at.doc = next_clear(p->dead, p->taken, at.doc, p->docs);
        if (at.doc < p->docs) {
            *io_at = at;
            return true;
        }
    }
    return false;
}

static cn_err one_unseen(cn_seg *seg, uint32_t doc, cn_str source, cn_err (*fn)(void *ctx, const cn_key *key), void *ctx) {
    cn_doc d;
    cn_key key;
    cn_digest leaf;
    CN_TRY(cn_seg_doc_brief(seg, doc, &d));
    if (!cn_str_eq(d.source, source))
        return CN_OK;
    CN_TRY(cn_seg_leaf(seg, doc, &key, &leaf)); /* a stub has no id */
    return fn(ctx, &key);
}

cn_err cn_ledger_unseen(const cn_ledger *l, cn_str source, cn_err (*fn)(void *ctx, const cn_key *key), void *ctx) {
    for (uint32_t i = 0; i < l->n; i++) {
        const cn_ledger_part *p = &l->parts[i];
        for (uint32_t doc = 0; (doc = next_clear(p->dead, p->seen, doc, p->docs)) < p->docs; doc++)
            CN_TRY(one_unseen(p->seg, doc, source, fn, ctx));
    }
    return CN_OK;
}
