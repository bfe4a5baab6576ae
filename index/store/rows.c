#include "index/store/rows.h"

#include "engine/base/mem.h"

uint32_t cn_seg_block_rows(uint32_t dim) {
    uint32_t n = 1;
    if (dim == 0)
        return 0;
    while (n < CN_VEC_BLOCK_ROWS && (uint64_t)n * 2 * dim * sizeof(float) <= CN_VEC_BLOCK)
        n *= 2;
    return n;
}

static cn_err damaged(const cn_rows *r, const char *what) { return cn_fail_file(r->blocks->path, ": %s", what); }

/* ---------- loading ---------- */

cn_err cn_rows_head(cn_blocks *b, cn_seg_head *ret) {
    uint32_t n;
    cn_str p;
    cn_seg_head h;
    uint32_t at = cn_blocks_first(b, 'h', 0, &n);
    if (n != 1)
        return cn_fail_file(b->path, ": it has no header");
    CN_TRY(cn_blocks_get(b, at, &p));
    if (p.n < sizeof h)
        return cn_fail_file(b->path, ": its header is too short");
    memcpy(&h, p.p, sizeof h);
    if (h.format > CN_SEG_FORMAT)
        return cn_fail(CN_REFUSED, "%s has format %u; this program knows formats up to %d: use a newer cairn", b->path, h.format, CN_SEG_FORMAT);
    bool sane = h.format > 0 && h.dim <= CN_DIM_MAX && h.block_rows <= CN_VEC_BLOCK_ROWS && (h.block_rows & (h.block_rows - 1)) == 0 && !h.block_rows == !h.dim && h.rows <= CN_SEGMENT_ROWS_MAX &&
                h.docs <= CN_SEGMENT_ROWS_MAX && h.sources <= CN_SOURCES_MAX && h.stubs <= h.docs && (h.stubs == 0 || h.format > 1);
    if (!sane)
        return cn_fail_file(b->path, ": its header cannot be right");
    *ret = h;
    return CN_OK;
}

/* Blocks of one kind, numbered 0, 1, ... without a gap (the table is sorted, so the last number proves it). */
static cn_err expect(const cn_rows *r, char kind, uint32_t want, uint32_t *ret_first) {
    uint32_t n;
    *ret_first = cn_blocks_first(r->blocks, kind, 0, &n);
    if (n != want || (n && r->blocks->v[*ret_first + n - 1].head->b != n - 1))
        return cn_fail_file(r->blocks->path, ": it has %u blocks of kind %c; its header says %u", n, kind, want);
    return CN_OK;
}

/* The last block is written again when there is more: of a file that was not finished it may be longer than the header counts. */
static cn_err expect_bytes(const cn_rows *r, uint32_t at, uint32_t n, uint32_t each, uint64_t size) {
    for (uint32_t done = 0; done < n; at++) {
        uint32_t here = n - done < each ? n - done : each;
        uint64_t bytes = r->blocks->v[at].head->bytes, most = (r->head.state == CN_SEG_SEALED ? here : each) * size;
        if (bytes < here * size || bytes > most)
            return damaged(r, "a block of rows or keys has a wrong length");
        done += here;
    }
    return CN_OK;
}

/* The first words of a block lie on the page of its head, which is in memory by now; that they are right is proved when
 * the block is first touched (cn_rows_doc looks again). */
static cn_err read_firsts(cn_rows *r) {
    uint32_t next = 0;
    r->doc_first = cn_alloc((r->head.doc_blocks + 1ull) * sizeof *r->doc_first);
    if (!r->doc_first)
        return cn_fail_memory();
    for (uint32_t i = 0; i < r->head.doc_blocks; i++) {
        uint32_t first_n[2];
        cn_str p = cn_block_raw(r->blocks, r->doc0 + i);
        if (p.n < sizeof first_n)
            return damaged(r, "a block of documents is too short");
        memcpy(first_n, p.p, sizeof first_n);
        if (first_n[0] != next || first_n[1] == 0 || first_n[1] > r->head.docs - next)
            return damaged(r, "a block of documents is out of place");
        r->doc_first[i] = next;
        next += first_n[1];
    }
    r->doc_first[r->head.doc_blocks] = next;
    return next == r->head.docs ? CN_OK : damaged(r, "documents are missing");
}

static cn_err load(cn_rows *r) {
    CN_TRY(cn_rows_head(r->blocks, &r->head));
    const cn_seg_head *h = &r->head;
    CN_TRY(expect(r, 'd', h->doc_blocks, &r->doc0));
    CN_TRY(expect(r, 't', h->text_blocks, &r->text0));
    CN_TRY(expect(r, 'c', h->class_blocks, &r->class0));
    CN_TRY(expect(r, 'i', cn_blocks_for(h->docs, CN_IDS_BLOCK), &r->ids0));
    CN_TRY(expect(r, 'v', cn_blocks_for(h->dim ? h->rows : 0, h->block_rows), &r->vec0));
    CN_TRY(expect_bytes(r, r->ids0, h->docs, CN_IDS_BLOCK, sizeof(cn_id_rec)));
    CN_TRY(expect_bytes(r, r->vec0, h->dim ? h->rows : 0, h->block_rows, h->dim * sizeof(float)));
    return read_firsts(r);
}

cn_err cn_rows_load(cn_rows *r, cn_blocks *b) {
    *r = (cn_rows){.blocks = b};
    cn_err e = load(r);
    if (e != CN_OK)
        cn_rows_done(r);
    return e;
}

void cn_rows_done(cn_rows *r) {
    cn_free(r->doc_first);
    r->doc_first = NULL;
}

/* ---------- documents ---------- */

static uint32_t block_of(const cn_rows *r, uint32_t doc) {
    uint32_t lo = 0, hi = r->head.doc_blocks;
    while (hi - lo > 1) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (r->doc_first[mid] <= doc)
            lo = mid;
        else
            hi = mid;
    }
    return lo;
}

static cn_err parse(const cn_rows *r, const char *p, size_t room, cn_record *rec) {
    if (room < sizeof rec->head)
        return damaged(r, "a document's record is cut short");
    memcpy(&rec->head, p, sizeof rec->head);
    const cn_doc_head *h = &rec->head;
    uint64_t strings = (uint64_t)h->id + h->title + h->uri + h->mime + h->meta;
    uint64_t chunks = (sizeof *h + strings + 3) & ~(uint64_t)3;
    if (h->bytes > room || chunks + (uint64_t)h->n_chunks * sizeof(cn_chunk_rec) > h->bytes)
        return damaged(r, "a document's record is cut short");
    if (h->kind > CN_DOC_STUB_UNLABELLED || (h->kind ? h->bytes != sizeof *h || h->text.bytes || h->outline.bytes : h->gone != 0))
        return damaged(r, "a document's record is neither a document's nor a stub's");
    const char *s = p + sizeof *h;
    rec->bytes = p;
    rec->id = (cn_str){s, h->id}, s += h->id;
    rec->title = (cn_str){s, h->title}, s += h->title;
    rec->uri = (cn_str){s, h->uri}, s += h->uri;
    rec->mime = (cn_str){s, h->mime}, s += h->mime;
    rec->meta = (cn_str){s, h->meta};
    rec->chunks = (const cn_chunk_rec *)(const void *)(p + chunks);
    return CN_OK;
}

cn_err cn_rows_doc(const cn_rows *r, uint32_t doc, cn_record *ret) {
    cn_str p;
    uint32_t word[3], end;
    CN_ASSERT(doc < r->head.docs);
    uint32_t block = block_of(r, doc);
    CN_TRY(cn_blocks_get(r->blocks, r->doc0 + block, &p));
    memcpy(word, p.p, 2 * sizeof *word);
    uint64_t at = 8 + 4ull * (doc - word[0]);
    if (word[0] != r->doc_first[block] || doc - word[0] >= word[1] || 8 + 4ull * word[1] > p.n)
        return damaged(r, "a block of documents does not fit its place");
    memcpy(&word[2], p.p + at, sizeof *word);
    end = (uint32_t)p.n;
    if (word[2] > end || word[2] % 8)
        return damaged(r, "a document lies outside its block");
    return parse(r, p.p + word[2], end - word[2], ret);
}

cn_err cn_rows_text(const cn_rows *r, const cn_text_place *t, cn_str *ret) {
    cn_str p;
    if (t->bytes == 0) {
        *ret = (cn_str){"", 0};
        return CN_OK;
    }
    if (t->block >= r->head.text_blocks)
        return damaged(r, "a document's text is missing");
    CN_TRY(cn_blocks_get(r->blocks, r->text0 + t->block, &p));
    if ((uint64_t)t->at + t->bytes > p.n)
        return damaged(r, "a document's text lies outside its block");
    *ret = (cn_str){p.p + t->at, t->bytes};
    return CN_OK;
}

cn_err cn_rows_id(const cn_rows *r, uint32_t doc, const cn_id_rec **ret) {
    cn_str p;
    CN_ASSERT(doc < r->head.docs);
    CN_TRY(cn_blocks_get(r->blocks, r->ids0 + doc / CN_IDS_BLOCK, &p));
    *ret = (const cn_id_rec *)(const void *)p.p + doc % CN_IDS_BLOCK;
    return CN_OK;
}

cn_err cn_rows_chunk(const cn_rows *r, const cn_record *rec, uint32_t chunk, cn_chunk *ret) {
    CN_ASSERT(chunk < rec->head.n_chunks);
    const cn_chunk_rec *c = &rec->chunks[chunk];
    if (c->from > c->to || c->to > rec->head.text.bytes || (uint64_t)c->headings_at + c->headings > rec->head.bytes)
        return damaged(r, "a chunk lies outside its document");
    *ret = (cn_chunk){.from = c->from, .to = c->to, .page = c->page, .headings = {rec->bytes + c->headings_at, c->headings}};
    return CN_OK;
}

cn_err cn_classes_begin(cn_class_iter *it, const cn_rows *r, uint32_t b, cn_str *ret_block) {
    uint32_t head[2];
    cn_str p;
    CN_TRY(cn_blocks_get(r->blocks, r->class0 + b, &p));
    if (p.n < sizeof head)
        return damaged(r, "a block of classes is too short");
    memcpy(head, p.p, sizeof head);
    *it = (cn_class_iter){.at = sizeof head, .first = head[0], .left = head[1]};
    *ret_block = p;
    return CN_OK;
}

bool cn_class_next(cn_class_iter *it, cn_str block, cn_str *ret) {
    uint32_t n[3], len;
    size_t at = it->at;
    if (it->left == 0 || block.n - at < sizeof n)
        return false;
    memcpy(n, block.p + at, sizeof n);
    at += sizeof n;
    if (n[0] > CN_LABELS_MAX || n[1] > CN_LABELS_MAX || n[2] > CN_LABELS_MAX)
        return false;
    for (uint32_t i = 0; i < n[0] + n[1] + n[2]; i++) {
        if (block.n - at < sizeof len)
            return false;
        memcpy(&len, block.p + at, sizeof len);
        at += sizeof len;
        if (len > CN_LABEL_MAX || len > block.n - at)
            return false;
        at += len;
    }
    *ret = (cn_str){block.p + it->at, at - it->at};
    it->at = at;
    it->left--;
    return true;
}

cn_err cn_rows_sources(const cn_rows *r, cn_str *v) {
    cn_str p;
    uint32_t n, len;
    CN_TRY(cn_blocks_get(r->blocks, cn_blocks_first(r->blocks, 'h', 0, &n), &p));
    size_t at = sizeof r->head;
    for (uint32_t i = 0; i < r->head.sources; i++) {
        if (p.n - at < sizeof len)
            return damaged(r, "its list of sources is cut short");
        memcpy(&len, p.p + at, sizeof len);
        at += sizeof len;
        if (len > p.n - at)
            return damaged(r, "its list of sources is cut short");
        v[i] = (cn_str){p.p + at, len};
        at += len;
    }
    return CN_OK;
}
