#include "engine/base/arena.h"
#include "index/store/seg_inside.h"

const cn_seg_id *cn_seg_get_id(const cn_seg *s) { return &s->id; }
uint32_t cn_seg_docs(const cn_seg *s) { return s->rows.head.docs; }
uint32_t cn_seg_rows(const cn_seg *s) { return s->rows.head.rows; }
uint32_t cn_seg_dim(const cn_seg *s) { return s->rows.head.dim; }
int64_t cn_seg_made_us(const cn_seg *s) { return s->rows.head.made_us; }
const uint32_t *cn_seg_row_doc(const cn_seg *s) { return s->arrays[CN_ARRAY_ROW_DOC]; }
const uint32_t *cn_seg_doc_row(const cn_seg *s) { return s->arrays[CN_ARRAY_DOC_ROW]; }
const uint32_t *cn_seg_row_rank(const cn_seg *s) { return s->arrays[CN_ARRAY_ROW_RANK]; }
const uint32_t *cn_seg_doc_class(const cn_seg *s) { return s->arrays[CN_ARRAY_DOC_CLASS]; }
uint32_t cn_seg_classes(const cn_seg *s) { return s->rows.head.classes; }
uint32_t cn_seg_sources(const cn_seg *s) { return s->rows.head.sources; }
cn_str cn_seg_source(const cn_seg *s, uint32_t source) { return s->sources[source]; }

uint64_t cn_seg_class_bytes(const cn_seg *s) {
    uint64_t bytes = 0;
    for (uint32_t b = 0; b < s->rows.head.class_blocks; b++)
        bytes += s->blocks.v[s->rows.class0 + b].head->bytes;
    return bytes;
}

static cn_err no_such(const char *what, uint32_t i, uint32_t n) {
    return cn_fail(CN_NOT_FOUND, "there is no %s %u: the segment has %u", what, i, n);
}

cn_err cn_seg_vecs(cn_seg *s, cn_vecs *ret) {
    const cn_seg_head *h = &s->rows.head;
    if (h->dim == 0)
        return cn_fail(CN_NOT_FOUND, "the segment has no vectors");
    CN_TRY(cn_blocks_verify(&s->blocks, s->rows.vec0, s->n_vecs));
    *ret = (cn_vecs){.blocks = s->vecs, .n = h->rows, .dim = h->dim, .block_rows = h->block_rows};
    return CN_OK;
}

cn_err cn_seg_class(cn_seg *s, uint32_t cls, cn_triple *ret) {
    if (cls >= s->rows.head.classes)
        return no_such("class", cls, s->rows.head.classes);
    *ret = s->classes[cls];
    return CN_OK;
}

cn_err cn_seg_class_rows(cn_seg *s, uint32_t cls, cn_str *ret) {
    uint32_t n = s->rows.head.classes;
    if (cls >= n)
        return no_such("class", cls, n);
    const uint64_t *offset = (const uint64_t *)(const void *)s->class_rows.p;
    const char *base = s->class_rows.p + (n + 1ull) * sizeof *offset;
    *ret = (cn_str){base + offset[cls], offset[cls + 1] - offset[cls]};
    return CN_OK;
}

cn_err cn_seg_sound(cn_seg *s) {
    if (!cn_map_torn_any())
        return CN_OK;
    pthread_mutex_lock(&s->lock);
    cn_err e = CN_OK;
    for (const cn_seg_made *m = s->made; e == CN_OK && m; m = m->next)
        e = m->sound ? m->sound(m) : CN_OK;
    pthread_mutex_unlock(&s->lock);
    return e == CN_OK ? cn_blocks_sound(&s->blocks) : e;
}

/* ---------- documents ---------- */

uint32_t cn_seg_stubs(const cn_seg *s) { return s->rows.head.stubs; }

cn_err cn_seg_stub(cn_seg *s, uint32_t doc, bool *ret_is, cn_stub *ret) {
    cn_record rec;
    *ret_is = false;
    if (s->rows.head.stubs == 0)
        return CN_OK;
    CN_TRY(cn_seg_record(s, doc, &rec));
    if (rec.head.kind == CN_DOC_WHOLE)
        return CN_OK;
    if (rec.head.source >= s->rows.head.sources)
        return cn_fail_file(s->blocks.path, ": a document's source does not exist");
    *ret_is = true;
    *ret = (cn_stub){s->sources[rec.head.source], rec.head.gone, rec.head.kind == CN_DOC_STUB_UNLABELLED};
    return CN_OK;
}

cn_err cn_seg_record(cn_seg *s, uint32_t doc, cn_record *ret) {
    if (doc >= s->rows.head.docs)
        return no_such("document", doc, s->rows.head.docs);
    return cn_rows_doc(&s->rows, doc, ret);
}

cn_err cn_seg_fill(cn_seg *s, const cn_record *rec, cn_doc *ret) {
    const cn_doc_head *h = &rec->head;
    if (h->source >= s->rows.head.sources || h->cls >= s->rows.head.classes)
        return cn_fail_file(s->blocks.path, ": a document's source or class does not exist");
    *ret = (cn_doc){.source = s->sources[h->source], .id = rec->id, .title = rec->title, .uri = rec->uri, .mime = rec->mime, .modified = h->modified,
                    .content = h->content, .row = h->row, .labels = s->classes[h->cls], .meta = rec->meta, .n_chunks = h->n_chunks};
    return CN_OK;
}

cn_err cn_seg_doc_brief(cn_seg *s, uint32_t doc, cn_doc *ret) {
    cn_record rec;
    CN_TRY(cn_seg_record(s, doc, &rec));
    return cn_seg_fill(s, &rec, ret);
}

static cn_err with_text(cn_seg *s, const cn_record *rec, cn_doc *ret) {
    CN_TRY(cn_seg_fill(s, rec, ret));
    CN_TRY(cn_rows_text(&s->rows, &rec->head.text, &ret->text));
    return cn_rows_text(&s->rows, &rec->head.outline, &ret->outline);
}

cn_err cn_seg_doc(cn_seg *s, uint32_t doc, cn_doc *ret) {
    cn_record rec;
    cn_doc d = {0};
    CN_TRY(cn_seg_record(s, doc, &rec));
    CN_TRY(with_text(s, &rec, &d));
    *ret = d;
    return CN_OK;
}

static cn_err vector_of(cn_seg *s, uint32_t row, const float **ret) {
    cn_str p;
    const cn_seg_head *h = &s->rows.head;
    *ret = NULL;
    if (h->dim == 0)
        return CN_OK;
    CN_TRY(cn_blocks_get(&s->blocks, s->rows.vec0 + row / h->block_rows, &p));
    *ret = s->vecs[row / h->block_rows] + (uint64_t)(row % h->block_rows) * h->dim;
    return CN_OK;
}

/* A record's own idea of its rows must be that of the arrays, which were checked at open. */
static cn_err check_rows(const cn_seg *s, uint32_t doc, const cn_record *rec) {
    const uint32_t *doc_row = s->arrays[CN_ARRAY_DOC_ROW];
    if (rec->head.first_row == doc_row[doc] && rec->head.n_chunks == doc_row[doc + 1] - doc_row[doc])
        return CN_OK;
    return cn_fail_file(s->blocks.path, ": document %u has other rows than the arrays say", doc);
}

cn_err cn_seg_doc_full(cn_seg *s, uint32_t doc, cn_arena *arena, cn_doc *ret) {
    cn_record rec;
    cn_doc d = {0};
    CN_TRY(cn_seg_record(s, doc, &rec));
    CN_TRY(with_text(s, &rec, &d));
    CN_TRY(check_rows(s, doc, &rec));
    cn_chunk *chunks = cn_arena_zalloc(arena, d.n_chunks + 1ull, sizeof *chunks);
    if (!chunks)
        return cn_fail_memory();
    for (uint32_t i = 0; i < d.n_chunks; i++) {
        CN_TRY(cn_rows_chunk(&s->rows, &rec, i, &chunks[i]));
        CN_TRY(vector_of(s, rec.head.first_row + i, &chunks[i].vector));
    }
    d.chunks = chunks;
    *ret = d;
    return CN_OK;
}

static cn_err row_record(cn_seg *s, uint32_t row, cn_record *ret, uint32_t *ret_doc) {
    if (row >= s->rows.head.rows)
        return no_such("row", row, s->rows.head.rows);
    uint32_t doc = s->arrays[CN_ARRAY_ROW_DOC][row];
    CN_TRY(cn_rows_doc(&s->rows, doc, ret));
    CN_TRY(check_rows(s, doc, ret));
    if (row < ret->head.first_row || row - ret->head.first_row >= ret->head.n_chunks)
        return cn_fail_file(s->blocks.path, ": row %u is not one of its document's", row);
    *ret_doc = doc;
    return CN_OK;
}

cn_err cn_seg_row(cn_seg *s, uint32_t row, cn_chunk *ret, uint32_t *ret_doc, uint32_t *ret_chunk) {
    cn_record rec;
    cn_chunk c;
    uint32_t doc;
    CN_TRY(row_record(s, row, &rec, &doc));
    CN_TRY(cn_rows_chunk(&s->rows, &rec, row - rec.head.first_row, &c));
    CN_TRY(vector_of(s, row, &c.vector));
    *ret = c;
    *ret_doc = doc;
    *ret_chunk = row - rec.head.first_row;
    return CN_OK;
}

cn_err cn_seg_text_digest(cn_seg *s, uint32_t row, cn_digest *ret) {
    cn_record rec;
    cn_chunk c;
    uint32_t doc;
    cn_str text;
    CN_TRY(row_record(s, row, &rec, &doc));
    CN_TRY(cn_rows_chunk(&s->rows, &rec, row - rec.head.first_row, &c));
    CN_TRY(cn_rows_text(&s->rows, &rec.head.text, &text));
    *ret = cn_sha256_of(text.p + c.from, c.to - c.from);
    return CN_OK;
}

/* ---------- keys ---------- */

static const cn_id_rec *id_of(const cn_seg *s, uint32_t doc) { /* verified at open */
    const cn_id_rec *v = (const cn_id_rec *)(const void *)cn_block_raw(&s->blocks, s->rows.ids0 + doc / CN_IDS_BLOCK).p;
    return v + doc % CN_IDS_BLOCK;
}

static const cn_id_rec *id_at(const cn_seg *s, uint32_t place) { return id_of(s, s->arrays[CN_ARRAY_BY_KEY][place]); }

static uint64_t head_of(const cn_key *k) {
    uint64_t v = 0;
    for (int i = 0; i < 8; i++)
        v = v << 8 | k->b[i];
    return v;
}

#define GUESSES 12 /* more are needed only where keys are not spread evenly */

/* The first place in the order of keys that is not before `key`. Keys are digests, spread evenly: where one lies between two
 * others can be guessed ("interpolation search"), which reads a few records instead of one for each halving. */
static uint32_t lower_bound(const cn_seg *s, const cn_key *key) {
    uint32_t lo = 0, hi = s->rows.head.docs;
    uint64_t want = head_of(key), below = 0, above = UINT64_MAX;
    for (unsigned i = 0; lo < hi; i++) {
        double part = above > below ? (double)(want - below) / (double)(above - below) : .5;
        uint32_t at = lo + (uint32_t)((i < GUESSES ? part : .5) * (hi - lo));
        at = at < hi ? at : hi - 1;
        const cn_key *k = &id_at(s, at)->key;
        if (memcmp(k->b, key->b, sizeof key->b) < 0) {
            lo = at + 1;
            below = head_of(k);
        } else {
            hi = at;
            above = head_of(k);
        }
    }
    return lo;
}

bool cn_seg_find(cn_seg *s, const cn_key *key, uint32_t *ret_doc) {
    uint32_t i = lower_bound(s, key);
    if (i == s->rows.head.docs || !cn_digest_eq(&id_at(s, i)->key, key))
        return false;
    *ret_doc = s->arrays[CN_ARRAY_BY_KEY][i];
    return true;
}

cn_err cn_seg_leaf(cn_seg *s, uint32_t doc, cn_key *ret_key, cn_digest *ret_leaf) {
    if (doc >= s->rows.head.docs)
        return no_such("document", doc, s->rows.head.docs);
    *ret_key = id_of(s, doc)->key;
    *ret_leaf = id_of(s, doc)->leaf;
    return CN_OK;
}

cn_err cn_seg_bucket(cn_seg *s, unsigned bits, uint32_t bucket, cn_err (*fn)(void *ctx, const cn_key *key, const cn_digest *leaf, uint32_t doc), void *ctx) {
    CN_ASSERT(bits <= 32 && (bits == 32 || bucket >> bits == 0));
    cn_key first = {{0}};
    uint64_t head = bits ? (uint64_t)bucket << (64 - bits) : 0;
    for (int i = 0; i < 8; i++)
        first.b[i] = (uint8_t)(head >> (56 - 8 * i));
    for (uint32_t i = lower_bound(s, &first); i < s->rows.head.docs; i++) {
        const cn_id_rec *r = id_at(s, i);
        if (cn_key_bucket(&r->key, bits) != bucket)
            return CN_OK;
        CN_TRY(fn(ctx, &r->key, &r->leaf, s->arrays[CN_ARRAY_BY_KEY][i]));
    }
    return CN_OK;
}

cn_err cn_seg_part(cn_seg *s, char part, cn_str name, cn_str *ret) {
    char tail[256];
    if (name.n >= sizeof tail)
        return cn_fail(CN_NOT_FOUND, "a segment has no part with a name of %zu bytes", name.n);
    tail[0] = part;
    if (name.n)
        memcpy(tail + 1, name.p, name.n);
    cn_err e = cn_blocks_part(&s->blocks, (cn_str){tail, 1 + name.n}, ret);
    return e == CN_NOT_FOUND ? cn_fail(CN_NOT_FOUND, "%s has no part %c %.*s", s->blocks.path, part, (int)name.n, name.p ? name.p : "") : e;
}
