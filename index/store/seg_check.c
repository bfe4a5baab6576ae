/* A segment read whole: every checksum, and that all it says of itself agrees. */
#include "engine/base/mem.h"
#include "index/store/bitmap.h"
#include "index/store/root.h"
#include "index/store/seg_inside.h"

static cn_err wrong(const cn_seg *s, uint32_t doc, const char *what) {
    return cn_fail_file(cn_env_path(s->env), ": document %u: %s", doc, what);
}

static cn_err check_label_list(cn_seg *s, uint32_t doc, cn_labels l) {
    for (uint32_t i = 0; i < l.n; i++)
        if (l.v[i].n == 0 || (i && cn_str_cmp(l.v[i - 1], l.v[i]) >= 0))
            return wrong(s, doc, "its labels are empty or out of order");
    return CN_OK;
}

/* Nothing can be worked out anew from a stub; that it says nothing it should not is checked. */
static cn_err check_stub(cn_seg *s, uint32_t doc, uint32_t *stubs) {
    static const cn_digest none;
    cn_record rec;
    cn_triple t;
    CN_TRY(cn_seg_record(s, doc, &rec));
    CN_TRY(cn_seg_class(s, s->arrays[CN_ARRAY_DOC_CLASS][doc], &t));
    bool empty = cn_digest_eq(&rec.head.content, &none) && cn_digest_eq(&rec.head.row, &none) && rec.head.gone <= CN_CHUNKS_MAX;
    ++*stubs;
    return empty && t.allow.n + t.deny.n + t.require.n == 0 ? CN_OK : wrong(s, doc, "a stub of an erased document says more than it should");
}

/* The leaf is a digest over all that a document is, so computing it anew checks everything it covers. */
static cn_err check_doc(cn_seg *s, uint32_t doc, cn_arena *a) {
    cn_doc d;
    cn_key key;
    cn_digest stored;
    CN_TRY(cn_seg_doc_full(s, doc, a, &d));
    CN_TRY(cn_seg_leaf(s, doc, &key, &stored));
    cn_key own = cn_key_of(d.source, d.id);
    if (!cn_digest_eq(&key, &own))
        return wrong(s, doc, "it stands under another's key");
    cn_digest leaf = cn_leaf_of(&d, s->rows.head.dim);
    if (!cn_digest_eq(&leaf, &stored))
        return wrong(s, doc, "its digest is not that of its contents");
    CN_TRY(check_label_list(s, doc, d.labels.allow));
    CN_TRY(check_label_list(s, doc, d.labels.deny));
    CN_TRY(check_label_list(s, doc, d.labels.require));
    for (uint32_t r = s->arrays[CN_ARRAY_DOC_ROW][doc]; r < s->arrays[CN_ARRAY_DOC_ROW][doc + 1]; r++)
        if (s->arrays[CN_ARRAY_ROW_DOC][r] != doc)
            return wrong(s, doc, "its rows name another document");
    return CN_OK;
}

static cn_err check_one(cn_seg *s, uint32_t doc, cn_arena *a, uint32_t *stubs) {
    cn_record rec;
    cn_stub stub;
    bool is;
    CN_TRY(cn_seg_stub(s, doc, &is, &stub));
    CN_TRY(is ? check_stub(s, doc, stubs) : check_doc(s, doc, a));
    CN_TRY(cn_seg_record(s, doc, &rec));
    return rec.head.cls == s->arrays[CN_ARRAY_DOC_CLASS][doc] ? CN_OK : wrong(s, doc, "its class is not the array's");
}

static cn_err check_docs(cn_seg *s) {
    cn_arena a;
    cn_err e = CN_OK;
    uint32_t stubs = 0;
    cn_arena_init(&a, 1 << 16, (size_t)1 << 30);
    for (uint32_t d = 0; e == CN_OK && d < s->rows.head.docs; d++) {
        e = check_one(s, d, &a, &stubs);
        cn_arena_reset(&a);
    }
    cn_arena_done(&a);
    CN_TRY(e);
    return stubs == s->rows.head.stubs ? CN_OK : cn_fail_file(cn_env_path(s->env), ": %u stubs of erased documents; its header says %u", stubs, s->rows.head.stubs);
}

static cn_err check_key_order(cn_seg *s) {
    cn_key before = {{0}}, key;
    cn_digest leaf;
    const uint32_t *by_key = s->arrays[CN_ARRAY_BY_KEY];
    for (uint32_t i = 0; i < s->rows.head.docs; i++) {
        CN_TRY(cn_seg_leaf(s, by_key[i], &key, &leaf));
        if (i && memcmp(before.b, key.b, sizeof key.b) >= 0)
            return wrong(s, by_key[i], "it is out of place in the order of keys");
        before = key;
    }
    return CN_OK;
}

static int by_name(const cn_doc *a, const cn_doc *b) {
    int c = cn_str_cmp(a->source, b->source);
    return c ? c : cn_str_cmp(a->id, b->id);
}

static cn_err invert(const cn_seg *s, uint32_t *row_at) {
    for (uint32_t r = 0; r < s->rows.head.rows; r++)
        row_at[r] = UINT32_MAX;
    for (uint32_t r = 0; r < s->rows.head.rows; r++) {
        uint32_t *at = &row_at[s->arrays[CN_ARRAY_ROW_RANK][r]];
        if (*at != UINT32_MAX)
            return cn_fail_file(cn_env_path(s->env), ": two rows have the same rank");
        *at = r;
    }
    return CN_OK;
}

static cn_err check_ranks(cn_seg *s) {
    cn_doc now = {0}, last = {0};
    const uint32_t *row_doc = s->arrays[CN_ARRAY_ROW_DOC];
    CN_AUTO_FREE uint32_t *row_at = cn_alloc((s->rows.head.rows + 1ull) * sizeof *row_at);
    if (!row_at)
        return cn_fail_memory();
    CN_TRY(invert(s, row_at));
    for (uint32_t i = 0; i < s->rows.head.rows; i++) {
        uint32_t row = row_at[i], doc = row_doc[row];
        bool same = i && row_doc[row_at[i - 1]] == doc;
        if (same ? row != row_at[i - 1] + 1 : row != s->arrays[CN_ARRAY_DOC_ROW][doc])
            return wrong(s, doc, "the ranks of its rows are out of order");
        CN_TRY(cn_seg_doc_brief(s, doc, &now));
        if (i && !same && by_name(&last, &now) >= 0)
            return wrong(s, doc, "its rank is not that of its source and id");
        last = now;
    }
    return CN_OK;
}

static cn_err check_class(cn_seg *s, uint32_t cls, uint64_t *rows) {
    cn_str bytes;
    bool right = true;
    roaring_bitmap_t *b = NULL;
    CN_TRY(cn_seg_class_rows(s, cls, &bytes));
    cn_err e = cn_bitmap_read(bytes, "the rows of a class", &b);
    if (e != CN_OK)
        return e == CN_DAMAGED ? cn_fail_file(cn_env_path(s->env), ": the rows of class %u cannot be read", cls) : e;
    roaring_uint32_iterator_t it;
    for (roaring_init_iterator(b, &it); right && it.has_value; roaring_advance_uint32_iterator(&it), ++*rows)
        right = it.current_value < s->rows.head.rows && s->arrays[CN_ARRAY_DOC_CLASS][s->arrays[CN_ARRAY_ROW_DOC][it.current_value]] == cls;
    roaring_bitmap_free(b);
    return right ? CN_OK : cn_fail_file(cn_env_path(s->env), ": the rows of class %u are not those of its documents", cls);
}

cn_err cn_seg_validate(cn_seg *s) {
    uint64_t rows = 0;
    CN_TRY(cn_blocks_verify(&s->blocks, 0, s->blocks.n));
    CN_TRY(check_docs(s));
    CN_TRY(check_key_order(s));
    CN_TRY(check_ranks(s));
    for (uint32_t c = 0; c < s->rows.head.classes; c++)
        CN_TRY(check_class(s, c, &rows));
    return rows == s->rows.head.rows ? CN_OK : cn_fail_file(cn_env_path(s->env), ": rows without a class");
}
