/* The last steps of a segment: what can only be known when all rows are there. Each array is u32 and is built from the
 * committed blocks, read in place, so that memory stays at some words a document. */
#include <roaring/roaring.h>
#include <stdlib.h>

#include "engine/base/os.h"
#include "index/store/segw_inside.h"

typedef struct finish {
    cn_segw *w;
    MDB_txn *read; /* the state before these steps; its blocks are not touched by them */
    cn_blocks blocks;
    cn_rows rows;
    cn_str *sources;
} finish;

static cn_err put_array(finish *f, enum cn_seg_array a, const uint32_t *v, size_t n) {
    return cn_segw_put(f->w, 'a', a, 0, (cn_str){NULL, 0}, &(cn_piece){v, n * sizeof *v}, 1);
}

static cn_err new_array(size_t n, uint32_t **ret) {
    *ret = cn_alloc((n + 1) * sizeof **ret);
    return *ret ? CN_OK : cn_fail_memory();
}

/* ---------- by document ---------- */

static cn_err make_doc_arrays(finish *f, uint32_t **ret_doc_row, uint32_t **ret_doc_class) {
    uint32_t docs = f->rows.head.docs, row = 0;
    cn_record rec;
    CN_TRY(new_array(docs + 1ull, ret_doc_row));
    CN_TRY(new_array(docs, ret_doc_class));
    for (uint32_t d = 0; d < docs; d++) {
        CN_TRY(cn_rows_doc(&f->rows, d, &rec));
        if (rec.head.first_row != row || rec.head.cls >= f->rows.head.classes || rec.head.n_chunks > f->rows.head.rows - row)
            return cn_fail_file(f->w->path, ": document %u does not follow the one before it", d);
        (*ret_doc_row)[d] = row;
        (*ret_doc_class)[d] = rec.head.cls;
        row += rec.head.n_chunks;
    }
    (*ret_doc_row)[docs] = row;
    if (row != f->rows.head.rows)
        return cn_fail_file(f->w->path, ": %u rows of %u", row, f->rows.head.rows);
    CN_TRY(put_array(f, CN_ARRAY_DOC_ROW, *ret_doc_row, docs + 1ull));
    return put_array(f, CN_ARRAY_DOC_CLASS, *ret_doc_class, docs);
}

static cn_err make_row_doc(finish *f, const uint32_t *doc_row) {
    CN_AUTO_FREE uint32_t *v = NULL;
    CN_TRY(new_array(f->rows.head.rows, &v));
    for (uint32_t d = 0; d < f->rows.head.docs; d++)
        for (uint32_t r = doc_row[d]; r < doc_row[d + 1]; r++)
            v[r] = d;
    return put_array(f, CN_ARRAY_ROW_DOC, v, f->rows.head.rows);
}

/* ---------- by key: digests are spread evenly, so their first bits sort them nearly ---------- */

static int by_digest(const void *a, const void *b, void *ctx) {
    const finish *f = ctx;
    const cn_id_rec *x = NULL, *y = NULL;
    uint32_t i = *(const uint32_t *)a, j = *(const uint32_t *)b;
    if (cn_rows_id(&f->rows, i, &x) != CN_OK || cn_rows_id(&f->rows, j, &y) != CN_OK)
        return (i > j) - (i < j); /* cannot be: all blocks were verified before */
    return memcmp(x->key.b, y->key.b, sizeof x->key.b);
}

static unsigned bits_for(uint32_t n) {
    unsigned bits = 1;
    while (bits < 20 && 1u << bits < n)
        bits++;
    return bits;
}

static uint32_t first_bits(const cn_key *k, unsigned bits) {
    return ((uint32_t)k->b[0] << 24 | (uint32_t)k->b[1] << 16 | (uint32_t)k->b[2] << 8 | k->b[3]) >> (32 - bits);
}

static cn_err make_by_key(finish *f) {
    CN_AUTO_FREE uint32_t *v = NULL, *end = NULL;
    uint32_t docs = f->rows.head.docs;
    unsigned bits = bits_for(docs);
    const cn_id_rec *rec = NULL;
    CN_TRY(new_array(docs, &v));
    end = cn_calloc((1ull << bits) + 1, sizeof *end);
    if (!end)
        return cn_fail_memory();
    for (uint32_t d = 0; d < docs; d++) {
        CN_TRY(cn_rows_id(&f->rows, d, &rec));
        end[first_bits(&rec->key, bits) + 1]++;
    }
    for (uint32_t b = 0; b < 1u << bits; b++)
        end[b + 1] += end[b];
    for (uint32_t d = 0; d < docs; d++) {
        CN_TRY(cn_rows_id(&f->rows, d, &rec));
        v[end[first_bits(&rec->key, bits)]++] = d;
    }
    for (uint32_t b = 0; b < 1u << bits; b++) { /* end[b] is now where bucket b ends */
        uint32_t from = b ? end[b - 1] : 0;
        if (end[b] - from > 1)
            qsort_r(v + from, end[b] - from, sizeof *v, by_digest, f);
        cn_give_way_at(b);
    }
    return put_array(f, CN_ARRAY_BY_KEY, v, docs);
}

/* ---------- by (source, id): the order of ties ---------- */

typedef struct item {
    uint64_t prefix;  /* the 8 bytes of the id after what all ids share, big-endian: most comparisons end here */
    uint32_t source;  /* place of the source among the sorted names */
    uint32_t doc;
} item;

static int by_id(const void *a, const void *b, void *ctx) {
    const finish *f = ctx;
    const item *x = a, *y = b;
    cn_record rx, ry;
    if (x->source != y->source)
        return x->source < y->source ? -1 : 1;
    if (x->prefix != y->prefix)
        return x->prefix < y->prefix ? -1 : 1;
    if (cn_rows_doc(&f->rows, x->doc, &rx) != CN_OK || cn_rows_doc(&f->rows, y->doc, &ry) != CN_OK)
        return (x->doc > y->doc) - (x->doc < y->doc);
    return cn_str_cmp(rx.id, ry.id);
}

static size_t shared(cn_str a, cn_str b, size_t most) {
    size_t n = 0;
    while (n < most && n < a.n && n < b.n && a.p[n] == b.p[n])
        n++;
    return n;
}

static uint64_t prefix_of(cn_str id, size_t skip) {
    uint64_t v = 0;
    for (size_t i = skip; i < skip + 8; i++)
        v = v << 8 | (i < id.n ? (uint8_t)id.p[i] : 0);
    return v;
}

static cn_err make_items(finish *f, item *v) {
    cn_record rec;
    cn_str first = {NULL, 0};
    uint32_t docs = f->rows.head.docs, sources = f->rows.head.sources;
    size_t skip = SIZE_MAX;
    CN_AUTO_FREE uint32_t *place = cn_calloc(sources + 1ull, sizeof *place);
    if (!place)
        return cn_fail_memory();
    for (uint32_t a = 0; a < sources; a++)
        for (uint32_t b = 0; b < sources; b++)
            place[a] += cn_str_cmp(f->sources[b], f->sources[a]) < 0;
    for (uint32_t d = 0; d < docs; d++) {
        CN_TRY(cn_rows_doc(&f->rows, d, &rec));
        if (rec.id.n == 0) /* a stub */
            continue;
        cn_give_way_at(d);
        first = skip == SIZE_MAX ? rec.id : first;
        skip = shared(first, rec.id, skip);
    }
    for (uint32_t d = 0; d < docs; d++) {
        CN_TRY(cn_rows_doc(&f->rows, d, &rec));
        if (rec.head.source >= sources)
            return cn_fail_file(f->w->path, ": document %u has no source", d);
        cn_give_way_at(d);
        v[d] = (item){.prefix = prefix_of(rec.id, skip), .source = place[rec.head.source], .doc = d};
    }
    return CN_OK;
}

static cn_err make_rank(finish *f, const uint32_t *doc_row) {
    uint32_t docs = f->rows.head.docs, next = 0;
    CN_AUTO_FREE uint32_t *rank = NULL;
    CN_AUTO_FREE item *v = cn_alloc((docs + 1ull) * sizeof *v);
    if (!v)
        return cn_fail_memory();
    CN_TRY(make_items(f, v));
    qsort_r(v, docs, sizeof *v, by_id, f);
    CN_TRY(new_array(f->rows.head.rows, &rank));
    for (uint32_t i = 0; i < docs; i++)
        for (uint32_t r = doc_row[v[i].doc]; r < doc_row[v[i].doc + 1]; r++)
            rank[r] = next++;
    return put_array(f, CN_ARRAY_ROW_RANK, rank, f->rows.head.rows);
}

/* ---------- rows of each class ---------- */

static cn_err add_bitmap(cn_buf *out, const uint32_t *docs, uint32_t n, const uint32_t *doc_row) {
    roaring_bitmap_t *b = roaring_bitmap_create();
    if (!b)
        return cn_fail_memory();
    for (uint32_t i = 0; i < n; i++)
        roaring_bitmap_add_range(b, doc_row[docs[i]], doc_row[docs[i] + 1]);
    roaring_bitmap_run_optimize(b);
    size_t size = roaring_bitmap_portable_size_in_bytes(b);
    char *p = cn_buf_take(out, size);
    if (p)
        roaring_bitmap_portable_serialize(b, p);
    roaring_bitmap_free(b);
    return cn_buf_check(out);
}

static cn_err make_class_rows(finish *f, const uint32_t *doc_row, const uint32_t *doc_class) {
    uint32_t docs = f->rows.head.docs, classes = f->rows.head.classes;
    CN_AUTO_FREE uint32_t *end = cn_calloc(classes + 2ull, sizeof *end);
    CN_AUTO_FREE uint64_t *offset = cn_alloc((classes + 1ull) * sizeof *offset);
    CN_AUTO_FREE uint32_t *sorted = NULL;
    CN_AUTO_BUF cn_buf out;
    cn_buf_init(&out, CN_BLOCK_MAX / 2);
    CN_TRY(new_array(docs, &sorted));
    if (!end || !offset)
        return cn_fail_memory();
    for (uint32_t d = 0; d < docs; d++)
        end[doc_class[d] + 1]++;
    for (uint32_t c = 0; c < classes; c++)
        end[c + 1] += end[c];
    for (uint32_t d = 0; d < docs; d++)
        sorted[end[doc_class[d]]++] = d;
    for (uint32_t c = 0; c < classes; c++) { /* end[c] is now where class c ends */
        uint32_t from = c ? end[c - 1] : 0;
        offset[c] = out.n;
        CN_TRY(add_bitmap(&out, sorted + from, end[c] - from, doc_row));
    }
    offset[classes] = out.n;
    cn_piece p[] = {{offset, (classes + 1ull) * sizeof *offset}, {out.p, out.n}};
    return cn_segw_put(f->w, 'r', 0, 0, (cn_str){NULL, 0}, p, 2);
}

/* ---------- all of them ---------- */

static cn_err make_all(finish *f) {
    CN_AUTO_FREE uint32_t *doc_row = NULL, *doc_class = NULL;
    CN_TRY(make_doc_arrays(f, &doc_row, &doc_class));
    CN_TRY(make_row_doc(f, doc_row));
    CN_TRY(make_by_key(f));
    CN_TRY(make_rank(f, doc_row));
    return make_class_rows(f, doc_row, doc_class);
}

static cn_err load(finish *f) {
    MDB_txn *write;
    MDB_dbi dbi;
    CN_TRY(cn_behind_txn(f->w->disk, &write, &dbi));
    CN_TRY(cn_blocks_load(&f->blocks, f->w->path, &f->w->id, f->read, dbi));
    CN_TRY(cn_rows_load(&f->rows, &f->blocks));
    CN_TRY(cn_blocks_verify(&f->blocks, f->rows.doc0, f->rows.head.doc_blocks));
    CN_TRY(cn_blocks_verify(&f->blocks, f->rows.ids0, cn_blocks_for(f->rows.head.docs, CN_IDS_BLOCK)));
    f->sources = cn_calloc(f->rows.head.sources + 1ull, sizeof *f->sources);
    return f->sources ? cn_rows_sources(&f->rows, f->sources) : cn_fail_memory();
}

cn_err cn_segw_finish(cn_segw *w) {
    finish f = {.w = w};
    CN_TRY(cn_txn_read(w->env, &f.read));
    cn_err e = load(&f);
    if (e == CN_OK)
        e = make_all(&f);
    cn_free(f.sources);
    cn_rows_done(&f.rows);
    cn_blocks_done(&f.blocks);
    cn_txn_abort(w->env, f.read);
    return e;
}
