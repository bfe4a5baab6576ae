#include "ingest/job/outline.h"

#define OUTLINE_FORMAT 1

static void put_varint(cn_buf *b, uint64_t v) {
    while (v >= 0x80) {
        cn_buf_putc(b, (char)(v | 0x80));
        v >>= 7;
    }
    cn_buf_putc(b, (char)v);
}

cn_err cn_outline_pack(const cn_block *blocks, uint32_t n, cn_buf *out) {
    cn_buf_putc(out, OUTLINE_FORMAT);
    put_varint(out, n);
    uint64_t at = 0;
    uint32_t page = 0;
    for (uint32_t i = 0; i < n; i++) {
        const cn_block *b = &blocks[i];
        if (b->from < at || b->to < b->from || b->page < page || b->kind > 15 || b->level > 15)
            return cn_fail(CN_INVALID, "its blocks of text are out of order");
        cn_buf_putc(out, (char)(b->kind | b->level << 4));
        put_varint(out, b->from - at);
        put_varint(out, b->to - b->from);
        put_varint(out, b->page - page);
        at = b->to;
        page = b->page;
    }
    return cn_buf_check(out);
}

static bool get_varint(cn_str *s, uint64_t *ret) {
    uint64_t v = 0;
    for (unsigned shift = 0; s->n && shift < 63; shift += 7) {
        uint8_t byte = (uint8_t)*s->p;
        s->p++;
        s->n--;
        v |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80)) {
            *ret = v;
            return true;
        }
    }
    return false;
}

static bool get_block(cn_str *s, uint64_t text_bytes, uint64_t *at, uint32_t *page, cn_block *ret) {
    if (!s->n)
        return false;
    uint8_t head = (uint8_t)*s->p;
    s->p++;
    s->n--;
    uint64_t gap, len, pages;
    if (!get_varint(s, &gap) || !get_varint(s, &len) || !get_varint(s, &pages))
        return false;
    if (gap > text_bytes - *at || len > text_bytes - *at - gap || pages > UINT32_MAX - *page)
        return false;
    *page += (uint32_t)pages;
    *ret = (cn_block){.from = *at + gap, .to = *at + gap + len, .page = *page, .kind = head & 15, .level = head >> 4};
    *at = ret->to;
    return true;
}

cn_err cn_outline_unpack(cn_str s, uint64_t text_bytes, cn_arena *a, const cn_block **ret, uint32_t *ret_n) {
    uint64_t n = 1, at = 0;
    uint32_t page = 0;
    bool whole = s.n == 0;
    if (!whole) {
        uint8_t format = (uint8_t)*s.p;
        s = (cn_str){s.p + 1, s.n - 1};
        if (format != OUTLINE_FORMAT || !get_varint(&s, &n) || n > CN_OUTLINE_BLOCKS || n > s.n)
            return cn_fail(CN_DAMAGED, "the outline of a document's text cannot be read");
    }
    cn_block *v = cn_arena_zalloc(a, n ? n : 1, sizeof *v);
    if (!v)
        return cn_fail_memory();
    if (whole)
        v[0] = (cn_block){.to = text_bytes, .kind = CN_BLOCK_PARA};
    for (uint64_t i = 0; i < n && !whole; i++)
        if (!get_block(&s, text_bytes, &at, &page, &v[i]))
            return cn_fail(CN_DAMAGED, "the outline of a document's text ends outside it");
    *ret = v;
    *ret_n = (uint32_t)n;
    return CN_OK;
}
