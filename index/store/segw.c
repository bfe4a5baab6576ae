#include <stdio.h>

#include "engine/base/os.h"
#include "index/store/root.h"
#include "index/store/segw_inside.h"

/* ---------- the file ---------- */

cn_err cn_segw_broken(cn_segw *w, cn_err e) {
    if (e != CN_OK && w->broken == CN_OK) {
        w->broken = e;
        snprintf(w->why, sizeof w->why, "%s", cn_error_detail());
    }
    return e;
}

static cn_err usable(const cn_segw *w) {
    if (w->broken != CN_OK)
        return cn_fail(w->broken, "%s", w->why);
    return CN_OK;
}

cn_err cn_segw_put(cn_segw *w, char kind, uint32_t a, uint32_t b, cn_str tail, const cn_piece *pieces, unsigned n) {
    CN_TRY(cn_behind_put(w->disk, kind, a, b, tail, pieces, n));
    return kind == 'n' || kind == 'h' ? CN_OK : cn_behind_step(w->disk); /* the note and the header count in one commit */
}

cn_err cn_segw_lend(cn_segw *w, cn_blocks *ret) {
    MDB_txn *txn;
    MDB_dbi dbi;
    CN_TRY(cn_behind_txn(w->disk, &txn, &dbi));
    return cn_blocks_load(ret, w->path, &w->id, txn, dbi);
}

static const cn_str no_tail = {NULL, 0};

/* ---------- closing blocks ---------- */

static cn_err close_docs(cn_segw *w) {
    uint32_t n = w->head.docs - w->docs_first;
    if (n == 0)
        return CN_OK;
    uint32_t base = (8 + 4 * n + 7) & ~7u, head[2] = {w->docs_first, n};
    uint32_t *offset = (uint32_t *)(void *)w->offsets.p;
    for (uint32_t i = 0; i < n; i++)
        offset[i] += base;
    uint32_t pad = base - 8 - 4 * n;
    cn_piece p[] = {{head, sizeof head}, {offset, 4ull * n}, {"\0\0\0\0", pad}, {w->docs.p, w->docs.n}};
    CN_TRY(cn_segw_put(w, 'd', 0, w->head.doc_blocks, no_tail, p, 4));
    w->head.doc_blocks++;
    w->docs_first = w->head.docs;
    cn_buf_reset(&w->docs);
    cn_buf_reset(&w->offsets);
    return CN_OK;
}

static cn_err close_text(cn_segw *w, const void *p, size_t n) {
    if (n == 0)
        return CN_OK;
    CN_TRY(cn_segw_put(w, 't', 0, w->head.text_blocks, no_tail, &(cn_piece){p, n}, 1));
    w->head.text_blocks++;
    return CN_OK;
}

static cn_err close_open_text(cn_segw *w) {
    CN_TRY(close_text(w, w->text.p, w->text.n));
    cn_buf_reset(&w->text);
    return CN_OK;
}

static cn_err close_classes(cn_segw *w) {
    uint32_t head[2] = {w->classes_first, w->head.classes - w->classes_first};
    if (head[1] == 0)
        return CN_OK;
    cn_piece p[] = {{head, sizeof head}, {w->classes.p, w->classes.n}};
    CN_TRY(cn_segw_put(w, 'c', 0, w->head.class_blocks, no_tail, p, 2));
    w->head.class_blocks++;
    w->classes_first = w->head.classes;
    cn_buf_reset(&w->classes);
    return CN_OK;
}

/* The last block of keys or vectors is written as far as it is filled, and again when there is more. */
static cn_err put_ids(cn_segw *w, uint32_t block, uint32_t n) {
    return n ? cn_segw_put(w, 'i', 0, block, no_tail, &(cn_piece){w->ids, n * sizeof *w->ids}, 1) : CN_OK;
}

static cn_err put_vecs(cn_segw *w, uint32_t block, uint32_t n) {
    return n ? cn_segw_put(w, 'v', 0, block, no_tail, &(cn_piece){w->vecs, (size_t)n * w->head.dim * sizeof(float)}, 1) : CN_OK;
}

cn_err cn_segw_flush_all(cn_segw *w) {
    CN_TRY(close_docs(w));
    CN_TRY(close_open_text(w));
    CN_TRY(close_classes(w));
    CN_TRY(put_ids(w, w->head.docs / CN_IDS_BLOCK, w->head.docs % CN_IDS_BLOCK));
    if (w->head.dim)
        CN_TRY(put_vecs(w, w->head.rows / w->head.block_rows, w->head.rows % w->head.block_rows));
    if (w->note_changed)
        CN_TRY(cn_segw_put(w, 'n', 0, 0, no_tail, &(cn_piece){w->note.p, w->note.n}, 1));
    w->note_changed = false;
    cn_piece p[] = {{&w->head, sizeof w->head}, {w->sources.p, w->sources.n}};
    return cn_segw_put(w, 'h', 0, 0, no_tail, p, 2);
}

static cn_err commit(cn_segw *w) {
    if (!w->changed && cn_behind_dirty(w->disk) == 0)
        return CN_OK;
    CN_TRY(cn_segw_flush_all(w));
    CN_TRY(cn_behind_commit(w->disk));
    w->changed = false;
    return CN_OK;
}

cn_err cn_segw_commit(cn_segw *w) {
    CN_TRY(usable(w));
    CN_TRY(cn_segw_broken(w, commit(w)));
    return cn_segw_broken(w, cn_behind_wait(w->disk));
}

/* ---------- sources and classes ---------- */

cn_err cn_segw_source_add(cn_segw *w, cn_str name, uint32_t *ret) {
    uint32_t n = w->head.sources;
    for (uint32_t i = n; i-- > 0;)
        if (cn_str_eq(w->source_names[i], name)) {
            *ret = i;
            return CN_OK;
        }
    if (n == CN_SOURCES_MAX)
        return cn_fail(CN_INVALID, "one segment holds documents of at most %d sources", CN_SOURCES_MAX);
    char *own = cn_strdup_n(name.p, name.n);
    uint32_t len = (uint32_t)name.n;
    if (!own || !cn_resize(w->source_names, n + 1ull)) {
        cn_free(own);
        return cn_fail_memory();
    }
    w->source_names[n] = (cn_str){own, name.n};
    w->head.sources = n + 1;
    cn_buf_add(&w->sources, &len, sizeof len);
    cn_buf_add(&w->sources, name.p, name.n);
    CN_TRY(cn_buf_check(&w->sources));
    *ret = n;
    return CN_OK;
}

static void pack_labels(cn_buf *b, cn_labels l) {
    for (uint32_t i = 0; i < l.n; i++) {
        uint32_t n = (uint32_t)l.v[i].n;
        cn_buf_add(b, &n, sizeof n);
        cn_buf_add(b, l.v[i].p, l.v[i].n);
    }
}

typedef struct class_eq {
    const cn_segw *w;
    cn_str bytes;
} class_eq;

static bool same_class(void *ctx, uint32_t number) {
    const class_eq *c = ctx;
    uint64_t from = c->w->class_at[number];
    return cn_str_eq((cn_str){c->w->class_bytes.p + from, c->w->class_at[number + 1] - from}, c->bytes);
}

static cn_err class_room(cn_segw *w) {
    bool first = !w->class_at;
    if (!cn_grow(w->class_at, w->head.classes + 1, w->class_room))
        return cn_fail_memory();
    if (first)
        w->class_at[0] = 0;
    return CN_OK;
}

cn_err cn_segw_class_add(cn_segw *w, cn_str bytes, uint32_t *ret) {
    cn_digest d = cn_sha256_of(bytes.p, bytes.n); /* labels come from documents: a weak hash could be made to collide */
    class_eq eq = {w, bytes};
    uint32_t n = w->head.classes, found = cn_table_find(&w->class_table, cn_digest_hash(&d), same_class, &eq);
    if (found != UINT32_MAX) {
        *ret = found;
        return CN_OK;
    }
    if (w->class_bytes.n + bytes.n > CN_CLASS_BYTES_MAX)
        return cn_fail(CN_INVALID, "the different sets of labels in one segment take over %llu MiB; use fewer, or groups", CN_CLASS_BYTES_MAX >> 20);
    CN_TRY(class_room(w));
    cn_buf_add(&w->class_bytes, bytes.p, bytes.n);
    cn_buf_add(&w->classes, bytes.p, bytes.n);
    CN_TRY(cn_buf_check(&w->class_bytes));
    CN_TRY(cn_buf_check(&w->classes));
    w->class_at[n + 1] = w->class_bytes.n;
    CN_TRY(cn_table_add(&w->class_table, cn_digest_hash(&d), n));
    w->head.classes++;
    *ret = n;
    return CN_OK;
}

static cn_err class_of(cn_segw *w, const cn_triple *t, uint32_t *ret) {
    uint32_t n[3] = {t->allow.n, t->deny.n, t->require.n};
    cn_buf_reset(&w->key_of_class);
    cn_buf_add(&w->key_of_class, n, sizeof n);
    pack_labels(&w->key_of_class, t->allow);
    pack_labels(&w->key_of_class, t->deny);
    pack_labels(&w->key_of_class, t->require);
    CN_TRY(cn_buf_check(&w->key_of_class));
    CN_TRY(cn_segw_class_add(w, cn_buf_str(&w->key_of_class), ret));
    return w->classes.n > CN_SMALL_BLOCK ? close_classes(w) : CN_OK;
}

/* ---------- adding ---------- */

static cn_err check_labels(cn_labels l, const char *what) {
    if (l.n > CN_LABELS_MAX)
        return cn_fail(CN_INVALID, "%u labels in \"%s\"; a document has at most %d", l.n, what, CN_LABELS_MAX);
    for (uint32_t i = 0; i < l.n; i++) {
        if (l.v[i].n == 0 || l.v[i].n > CN_LABEL_MAX)
            return cn_fail(CN_INVALID, "a label in \"%s\" has %zu bytes; it must be 1 to %d", what, l.v[i].n, CN_LABEL_MAX);
        CN_ASSERT(i == 0 || cn_str_cmp(l.v[i - 1], l.v[i]) < 0); /* sorted, each once: the caller's part of cn_labels */
    }
    return CN_OK;
}

static cn_err check_bytes(cn_str s, size_t most, const char *what) {
    return s.n <= most ? CN_OK : cn_fail(CN_INVALID, "the %s has %zu bytes; it may have %zu", what, s.n, most);
}

static cn_err check_doc(const cn_segw *w, const cn_doc *d) {
    CN_TRY(cn_name_check(d->source, "source"));
    if (d->id.n == 0)
        return cn_fail(CN_INVALID, "a document has no id");
    CN_TRY(check_bytes(d->id, CN_DOC_ID_MAX, "id"));
    CN_TRY(check_bytes(d->title, CN_TITLE_MAX, "title"));
    CN_TRY(check_bytes(d->uri, CN_URI_MAX, "uri"));
    CN_TRY(check_bytes(d->mime, 256, "mime type"));
    CN_TRY(check_bytes(d->meta, CN_META_MAX, "metadata"));
    CN_TRY(check_bytes(d->text, CN_TEXT_MAX, "text"));
    CN_TRY(check_bytes(d->outline, CN_OUTLINE_MAX, "outline"));
    CN_TRY(check_labels(d->labels.allow, "allow"));
    CN_TRY(check_labels(d->labels.deny, "deny"));
    CN_TRY(check_labels(d->labels.require, "require"));
    if (d->n_chunks > CN_CHUNKS_MAX)
        return cn_fail(CN_INVALID, "a document has %u chunks; it may have %u", d->n_chunks, CN_CHUNKS_MAX);
    if (d->n_chunks > CN_SEGMENT_ROWS_MAX - w->head.rows || w->head.docs >= CN_SEGMENT_ROWS_MAX)
        return cn_fail(CN_REFUSED, "a segment holds at most %u rows and documents; split the input", CN_SEGMENT_ROWS_MAX);
    return CN_OK;
}

static cn_err check_chunks(const cn_segw *w, const cn_doc *d) {
    uint64_t headings = 0;
    for (uint32_t i = 0; i < d->n_chunks; i++) {
        const cn_chunk *c = &d->chunks[i];
        if (c->from > c->to || c->to > d->text.n)
            return cn_fail(CN_INVALID, "chunk %u reaches from byte %llu to %llu of a text of %zu", i, (unsigned long long)c->from, (unsigned long long)c->to, d->text.n);
        if (!c->vector != !w->head.dim)
            return cn_fail(CN_INVALID, w->head.dim ? "chunk %u has no vector" : "chunk %u has a vector; this index has none", i);
        headings += c->headings.n;
    }
    return headings < CN_RECORD_MAX / 2 ? CN_OK : cn_fail(CN_INVALID, "the heading paths of a document take %llu bytes", (unsigned long long)headings);
}

static void pack_chunks(cn_buf *b, const cn_doc *d, uint32_t at) {
    cn_str last = {NULL, 0};
    uint32_t last_at = at += d->n_chunks * (uint32_t)sizeof(cn_chunk_rec);
    for (uint32_t i = 0; i < d->n_chunks; i++) {
        const cn_chunk *c = &d->chunks[i];
        if (!cn_str_eq(c->headings, last)) { /* chunks of one section share the bytes */
            last = c->headings;
            last_at = at;
            at += (uint32_t)last.n;
        }
        cn_chunk_rec r = {(uint32_t)c->from, (uint32_t)c->to, c->page, last_at, (uint32_t)last.n};
        cn_buf_add(b, &r, sizeof r);
    }
    last = (cn_str){NULL, 0};
    for (uint32_t i = 0; i < d->n_chunks; i++)
        if (!cn_str_eq(d->chunks[i].headings, last)) {
            last = d->chunks[i].headings;
            cn_buf_add(b, last.p, last.n);
        }
}

static void pad(cn_buf *b, size_t to) {
    static const char zeros[8];
    cn_buf_add(b, zeros, (to - b->n % to) % to);
}

static cn_err pack_record(cn_segw *w, const cn_doc *d, cn_doc_head *h) {
    cn_buf *b = &w->record;
    const cn_str strings[] = {d->id, d->title, d->uri, d->mime, d->meta};
    cn_buf_reset(b);
    cn_buf_add(b, h, sizeof *h);
    for (size_t i = 0; i < sizeof strings / sizeof *strings; i++)
        cn_buf_add(b, strings[i].p, strings[i].n);
    pad(b, 4);
    pack_chunks(b, d, (uint32_t)b->n);
    h->bytes = (uint32_t)b->n;
    pad(b, 8);
    CN_TRY(cn_buf_check(b));
    memcpy(b->p, h, sizeof *h);
    return CN_OK;
}

static cn_err add_text(cn_segw *w, cn_str text, cn_text_place *ret) {
    w->head.text_bytes += text.n;
    if (w->text.n + text.n > CN_SMALL_BLOCK)
        CN_TRY(close_open_text(w));
    *ret = (cn_text_place){w->head.text_blocks, (uint32_t)w->text.n, (uint32_t)text.n};
    if (text.n > CN_SMALL_BLOCK) /* a block of its own, without a copy */
        return close_text(w, text.p, text.n);
    cn_buf_add(&w->text, text.p, text.n);
    return cn_buf_check(&w->text);
}

static cn_err add_record(cn_segw *w) {
    uint32_t at = (uint32_t)w->docs.n;
    cn_buf_add(&w->docs, w->record.p, w->record.n);
    cn_buf_add(&w->offsets, &at, sizeof at);
    CN_TRY(cn_buf_check(&w->docs));
    return cn_buf_check(&w->offsets);
}

/* Vectors go block by block. Rows of a document that is not whole yet may be committed: the header does not count them,
 * and a resume writes over them. */
static cn_err add_vectors(cn_segw *w, const cn_doc *d) {
    uint32_t dim = w->head.dim, room = w->head.block_rows;
    for (uint32_t i = 0; dim && i < d->n_chunks; i++) {
        uint32_t row = w->head.rows + i, in = row % room;
        memcpy(w->vecs + (size_t)in * dim, d->chunks[i].vector, dim * sizeof(float));
        if (in + 1 < room)
            continue;
        CN_TRY(put_vecs(w, row / room, room));
    }
    return CN_OK;
}

static cn_err add_id(cn_segw *w, const cn_key *key, const cn_digest *leaf) {
    uint32_t doc = w->head.docs, in = doc % CN_IDS_BLOCK;
    w->ids[in] = (cn_id_rec){*key, *leaf};
    CN_TRY(cn_table_add(&w->keys, cn_digest_hash(key), doc));
    return in + 1 < CN_IDS_BLOCK ? CN_OK : put_ids(w, doc / CN_IDS_BLOCK, CN_IDS_BLOCK);
}

/* A commit writes the open block of vectors too, so it is best when that is nearly empty. */
static bool commit_is_due(const cn_segw *w) {
    uint64_t dirty = cn_behind_dirty(w->disk);
    if (dirty < CN_BEHIND_COMMIT)
        return false;
    uint32_t room = w->head.block_rows;
    return dirty >= 2 * CN_BEHIND_COMMIT || room == 0 || w->head.rows % room <= room / 8;
}

static cn_err add(cn_segw *w, const cn_doc *d, const cn_key *key, const cn_digest *leaf) {
    cn_doc_head h = {.n_chunks = d->n_chunks, .first_row = w->head.rows, .modified = d->modified, .content = d->content, .row = d->row,
                     .id = (uint32_t)d->id.n, .title = (uint32_t)d->title.n, .uri = (uint32_t)d->uri.n, .mime = (uint32_t)d->mime.n, .meta = (uint32_t)d->meta.n};
    w->changed = true;
    CN_TRY(cn_segw_source_add(w, d->source, &h.source));
    CN_TRY(class_of(w, &d->labels, &h.cls));
    CN_TRY(add_text(w, d->text, &h.text));
    CN_TRY(add_text(w, d->outline, &h.outline));
    CN_TRY(pack_record(w, d, &h));
    if (w->docs.n && w->docs.n + w->record.n > CN_SMALL_BLOCK)
        CN_TRY(close_docs(w));
    CN_TRY(add_record(w));
    CN_TRY(add_vectors(w, d));
    CN_TRY(add_id(w, key, leaf));
    w->head.docs++;
    w->head.rows += d->n_chunks;
    return commit_is_due(w) ? commit(w) : CN_OK;
}

cn_err cn_segw_add_leaf(cn_segw *w, const cn_doc *d, const cn_digest *leaf) {
    CN_TRY(usable(w));
    CN_TRY(check_doc(w, d));
    CN_TRY(check_chunks(w, d));
    cn_key key = cn_key_of(d->source, d->id);
    if (cn_segw_has(w, &key))
        return cn_fail(CN_CONFLICT, "the document " CN_STR_FMT " of source " CN_STR_FMT " comes twice", CN_STR_ARG(d->id), CN_STR_ARG(d->source));
    CN_TRY(usable(w));
    return cn_segw_broken(w, add(w, d, &key, leaf));
}

static cn_err add_stub(cn_segw *w, const cn_key *key, const cn_digest *leaf, const cn_stub *s) {
    static const cn_triple none;
    static const cn_doc nothing;
    cn_doc_head h = {.first_row = w->head.rows, .modified = CN_NO_TIME, .kind = s->unlabelled ? CN_DOC_STUB_UNLABELLED : CN_DOC_STUB, .gone = s->chunks};
    w->changed = true;
    CN_TRY(cn_segw_source_add(w, s->source, &h.source));
    CN_TRY(class_of(w, &none, &h.cls));
    CN_TRY(pack_record(w, &nothing, &h));
    if (w->docs.n && w->docs.n + w->record.n > CN_SMALL_BLOCK)
        CN_TRY(close_docs(w));
    CN_TRY(add_record(w));
    CN_TRY(add_id(w, key, leaf));
    w->head.docs++;
    w->head.stubs++;
    return commit_is_due(w) ? commit(w) : CN_OK;
}

cn_err cn_segw_add_stub(cn_segw *w, const cn_key *key, const cn_digest *leaf, const cn_stub *stub) {
    CN_TRY(usable(w));
    CN_TRY(cn_name_check(stub->source, "source"));
    if (stub->chunks > CN_CHUNKS_MAX || w->head.docs >= CN_SEGMENT_ROWS_MAX)
        return cn_fail(CN_INVALID, "a stub says that it had %u chunks, or the segment is full", stub->chunks);
    if (cn_segw_has(w, key))
        return cn_fail(CN_CONFLICT, "a document of source " CN_STR_FMT " comes twice", CN_STR_ARG(stub->source));
    CN_TRY(usable(w));
    return cn_segw_broken(w, add_stub(w, key, leaf, stub));
}

cn_err cn_segw_add(cn_segw *w, const cn_doc *d) {
    CN_TRY(check_chunks(w, d)); /* what is hashed must lie where the document says */
    cn_digest leaf = cn_leaf_of(d, w->head.dim);
    return cn_segw_add_leaf(w, d, &leaf);
}

/* ---------- looking up ---------- */

typedef struct key_eq {
    cn_segw *w;
    const cn_key *key;
} key_eq;

static bool same_key(void *ctx, uint32_t doc) {
    const key_eq *k = ctx;
    cn_segw *w = k->w;
    if (doc / CN_IDS_BLOCK == w->head.docs / CN_IDS_BLOCK)
        return cn_digest_eq(&w->ids[doc % CN_IDS_BLOCK].key, k->key);
    uint8_t name[9] = {'i'};
    uint32_t block = doc / CN_IDS_BLOCK;
    for (int i = 0; i < 4; i++)
        name[5 + i] = (uint8_t)(block >> (24 - 8 * i));
    cn_str v;
    MDB_txn *txn;
    MDB_dbi dbi;
    cn_err e = cn_behind_txn(w->disk, &txn, &dbi);
    if (e == CN_OK)
        e = cn_db_get(txn, dbi, (cn_str){(const char *)name, sizeof name}, &v);
    if (e != CN_OK) {
        cn_segw_broken(w, cn_fail_file(w->path, ": a block of keys cannot be read"));
        return false;
    }
    const cn_id_rec *ids = (const cn_id_rec *)(const void *)(v.p + CN_BLOCK_HEAD);
    return memcmp(&ids[doc % CN_IDS_BLOCK].key, k->key, sizeof *k->key) == 0;
}

bool cn_segw_has(cn_segw *w, const cn_key *key) {
    key_eq k = {w, key};
    return cn_table_find(&w->keys, cn_digest_hash(key), same_key, &k) != UINT32_MAX;
}

/* ---------- notes, parts, what it is ---------- */

cn_err cn_segw_note(cn_segw *w, cn_str note) {
    CN_TRY(usable(w));
    if (note.n > 1 << 20)
        return cn_fail(CN_INVALID, "a job's note has %zu bytes; it may have 1 MiB", note.n);
    cn_buf_reset(&w->note);
    cn_buf_add(&w->note, note.p, note.n);
    w->note_changed = w->changed = true;
    return cn_segw_broken(w, cn_buf_check(&w->note));
}

cn_err cn_segw_get_note(cn_segw *w, cn_buf *ret) {
    cn_buf_add(ret, w->note.p, w->note.n);
    return cn_buf_check(ret);
}

cn_err cn_segw_put_part(cn_segw *w, char part, cn_str name, cn_str value) {
    char tail[256];
    if (w->broken != CN_OK)
        return cn_fail(w->broken, "%s", w->why);
    if (name.n > 128)
        return cn_fail(CN_INVALID, "a part's name has %zu bytes; it may have 128", name.n);
    tail[0] = part;
    if (name.n)
        memcpy(tail + 1, name.p, name.n);
    w->changed = true;
    return cn_segw_broken(w, cn_segw_put(w, 'p', (uint8_t)part, 0, (cn_str){tail, 1 + name.n}, &(cn_piece){value.p, value.n}, 1));
}

cn_seg_id cn_segw_id(const cn_segw *w) { return w->id; }
uint32_t cn_segw_docs(const cn_segw *w) { return w->head.docs; }
uint64_t cn_segw_cpu_ns(cn_segw *w) { return cn_behind_cpu_ns(w->disk); }
