#include "engine/base/buf.h"
#include "engine/base/pack.h"
#include "index/store/root.h"

/* Many short fields go into one digest: gathered here, so that the digest is called seldom. The bytes are those of
 * cn_sha256_field() and cn_sha256_u64(). */
typedef struct feed {
    cn_sha256 *s;
    size_t n;
    uint8_t b[1024];
} feed;

static void flush(feed *f) {
    cn_sha256_add(f->s, f->b, f->n);
    f->n = 0;
}

static void add(feed *f, const void *p, size_t n) {
    if (n > sizeof f->b - f->n)
        flush(f);
    if (n > sizeof f->b) {
        cn_sha256_add(f->s, p, n);
        return;
    }
    if (n)
        memcpy(f->b + f->n, p, n);
    f->n += n;
}

static void add_u64(feed *f, uint64_t v) {
    uint8_t b[8];
    for (int i = 0; i < 8; i++)
        b[i] = (uint8_t)(v >> (8 * i));
    add(f, b, sizeof b);
}

static void add_field(feed *f, cn_str s) {
    add_u64(f, s.n);
    add(f, s.p, s.n);
}

static void add_labels(feed *f, cn_labels l) {
    add_u64(f, l.n);
    for (uint32_t i = 0; i < l.n; i++)
        add_field(f, l.v[i]);
}

static void add_chunk(feed *f, const cn_doc *d, const cn_chunk *c, uint32_t dim) {
    cn_digest text = cn_sha256_of(d->text.p + c->from, c->to - c->from);
    cn_digest vector = {{0}};
    if (c->vector && dim)
        vector = c->vector_sha ? *c->vector_sha : cn_sha256_of(c->vector, dim * sizeof(float));
    add_u64(f, c->from);
    add_u64(f, c->to);
    add_u64(f, c->page);
    add_field(f, c->headings);
    add(f, &text, sizeof text);
    add(f, &vector, sizeof vector);
}

cn_digest cn_leaf_of(const cn_doc *d, uint32_t dim) {
    cn_sha256 s;
    feed f;
    f.s = &s;
    f.n = 0;
    cn_sha256_begin(&s);
    add_field(&f, CN_STR("cairn leaf 1"));
    add_field(&f, d->source);
    add_field(&f, d->id);
    add(&f, &d->content, sizeof d->content);
    add_labels(&f, d->labels.allow);
    add_labels(&f, d->labels.deny);
    add_labels(&f, d->labels.require);
    add_field(&f, d->meta);
    add_u64(&f, d->n_chunks);
    for (uint32_t i = 0; i < d->n_chunks; i++)
        add_chunk(&f, d, &d->chunks[i], dim);
    flush(&f);
    cn_digest leaf = cn_sha256_get(&s);
    cn_sha256_end(&s);
    return leaf;
}
