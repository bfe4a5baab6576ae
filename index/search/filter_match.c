/* Evaluation. Metadata is read where it lies: one pass over the packed map to find a field, no decoding, no memory. */
#include "engine/base/os.h"
#include "index/search/filter_tree.h"

typedef struct cursor {
    const uint8_t *p;
    size_t n;
} cursor;

/* A field's value in a document: absent, one scalar, or a list whose elements follow. */
typedef struct found {
    bool present, list;
    value one;
    cursor rest;      /* list: its elements */
    uint64_t count;
} found;

static uint64_t take_uint(cursor *c, size_t n) {
    uint64_t v = 0;
    for (size_t i = 0; i < n; i++)
        v = v << 8 | c->p[i];
    c->p += n;
    c->n -= n;
    return v;
}

static uint8_t take_head(cursor *c) { return (uint8_t)take_uint(c, 1); }

/* Bytes of a str or bin, or false when the object is another kind. The object is known to be whole. */
static bool take_str(cursor *c, cn_str *ret) {
    cursor at = *c;
    uint8_t h = take_head(&at);
    size_t n;
    if (h >= 0xa0 && h < 0xc0)
        n = h & 31u;
    else if (h == 0xd9 || h == 0xc4)
        n = (size_t)take_uint(&at, 1);
    else if (h == 0xda || h == 0xc5)
        n = (size_t)take_uint(&at, 2);
    else if (h == 0xdb || h == 0xc6)
        n = (size_t)take_uint(&at, 4);
    else
        return false;
    *ret = (cn_str){(const char *)at.p, n};
    *c = (cursor){at.p + n, at.n - n};
    return true;
}

static bool take_count(cursor *c, uint8_t fix, uint8_t wide16, uint64_t *ret) {
    cursor at = *c;
    uint8_t h = take_head(&at);
    if ((h & 0xf0) == fix)
        *ret = h & 15u;
    else if (h == wide16)
        *ret = take_uint(&at, 2);
    else if (h == wide16 + 1)
        *ret = take_uint(&at, 4);
    else
        return false;
    *c = at;
    return true;
}

static value int_value(int64_t i) {
    return i < 0 ? (value){.kind = VALUE_INT, .as.i = i} : (value){.kind = VALUE_UINT, .as.u = (uint64_t)i};
}

static bool take_number(cursor *c, value *ret) {
    cursor at = *c;
    uint8_t h = take_head(&at);
    if (h < 0x80 || h >= 0xe0)
        *ret = int_value((int8_t)h);
    else if (h >= 0xcc && h <= 0xcf)
        *ret = (value){.kind = VALUE_UINT, .as.u = take_uint(&at, (size_t)1 << (h - 0xcc))};
    else if (h >= 0xd0 && h <= 0xd3) {
        size_t n = (size_t)1 << (h - 0xd0);
        uint64_t raw = take_uint(&at, n) << (64 - 8 * n);
        *ret = int_value((int64_t)raw >> (64 - 8 * n));
    } else if (h == 0xca || h == 0xcb) {
        uint64_t raw = take_uint(&at, h == 0xca ? 4 : 8);
        uint32_t raw32 = (uint32_t)raw;
        float f;
        *ret = (value){.kind = VALUE_FLOAT};
        memcpy(&f, &raw32, sizeof f);
        memcpy(&ret->as.f, &raw, sizeof raw);
        if (h == 0xca)
            ret->as.f = (double)f;
    } else
        return false;
    *c = at;
    return true;
}

static bool take_scalar(cursor *c, value *ret) {
    cn_str s;
    if (take_str(c, &s)) {
        *ret = cn_filter_str_value(s);
        return true;
    }
    if (*c->p == 0xc2 || *c->p == 0xc3) {
        *ret = (value){.kind = VALUE_BOOL, .as.i = take_head(c) == 0xc3};
        return true;
    }
    return take_number(c, ret);
}

static bool skip(cursor *c) {
    size_t n;
    if (cn_pack_check(c->p, c->n, &n) != CN_OK)
        return false;
    *c = (cursor){c->p + n, c->n - n};
    return true;
}

/* A whole object lies at c. */
static found read_value(cursor c) {
    found f = {0};
    if (take_count(&c, 0x90, 0xdc, &f.count)) {
        f.list = true;
        f.present = f.count > 0;
        f.rest = c;
    } else
        f.present = take_scalar(&c, &f.one);
    return f;
}

/* What is not a map of whole objects holds no field: damage was found at the block's checksum, before this. */
static found in_meta(cn_str meta, cn_str field) {
    cursor c = {(const uint8_t *)meta.p, meta.n};
    size_t whole;
    uint64_t pairs = 0;
    if (meta.n == 0 || cn_pack_check(meta.p, meta.n, &whole) != CN_OK || whole != meta.n || !take_count(&c, 0x80, 0xde, &pairs))
        return (found){0};
    for (uint64_t i = 0; i < pairs; i++) {
        cn_str key;
        if (!take_str(&c, &key))
            return (found){0};
        if (cn_str_eq(key, field))
            return read_value(c);
        if (!skip(&c))
            return (found){0};
    }
    return (found){0};
}

static found text_field(cn_str s) { return (found){.present = s.n > 0, .one = cn_filter_str_value(s)}; }

static found modified_field(int64_t us) {
    found f = {.present = us != CN_NO_TIME};
    f.one = (value){.kind = VALUE_STR, .is_time = true, .time_us = us};
    return f;
}

static found field_of(const cn_doc *doc, cn_str field) {
    if (cn_str_is(field, "source"))
        return text_field(doc->source);
    if (cn_str_is(field, "id"))
        return text_field(doc->id);
    if (cn_str_is(field, "title"))
        return text_field(doc->title);
    if (cn_str_is(field, "uri"))
        return text_field(doc->uri);
    if (cn_str_is(field, "mime"))
        return text_field(doc->mime);
    if (cn_str_is(field, "modified"))
        return modified_field(doc->modified);
    return in_meta(doc->meta, field);
}

static long double number(const value *v) {
    if (v->kind == VALUE_FLOAT)
        return (long double)v->as.f;
    return v->kind == VALUE_INT ? (long double)v->as.i : (long double)v->as.u;
}

/* -1, 0, 1; false when the two have no order. */
static bool order(const value *a, const value *b, int *ret) {
    bool text = a->kind == VALUE_STR;
    if (text != (b->kind == VALUE_STR) || (a->kind == VALUE_BOOL) != (b->kind == VALUE_BOOL))
        return false;
    if (text && a->is_time && b->is_time)
        *ret = (a->time_us > b->time_us) - (a->time_us < b->time_us);
    else if (text && (!a->as.str.p || !b->as.str.p))
        return false; /* `modified` beside a text that is no time */
    else if (text)
        *ret = cn_str_cmp(a->as.str, b->as.str);
    else if (a->kind == VALUE_BOOL)
        *ret = (int)(a->as.i - b->as.i);
    else {
        long double x = number(a), y = number(b);
        if (!(x <= y) && !(x >= y))
            return false;
        *ret = (x > y) - (x < y);
    }
    return true;
}

static bool equal(const value *a, const value *b) {
    int c;
    if (a->kind == VALUE_STR && b->kind == VALUE_STR && a->as.str.p && b->as.str.p)
        return cn_str_eq(a->as.str, b->as.str);
    return order(a, b, &c) && c == 0;
}

int cn_filter_order_numbers(const value *a, const value *b) {
    long double x = number(a), y = number(b);
    return (x > y) - (x < y);
}

/* Among n values in their order: texts by bytes, or numbers. */
static bool bisect(const value *values, uint32_t n, const value *v) {
    uint32_t lo = 0, hi = n;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        int c = v->kind == VALUE_STR ? cn_str_cmp(values[mid].as.str, v->as.str) : cn_filter_order_numbers(&values[mid], v);
        if (c == 0)
            return true;
        if (c < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return false;
}

static bool in_any(const cn_filter *f, const value *v) {
    bool text = v->kind == VALUE_STR, number = !text && v->kind != VALUE_BOOL && !(v->kind == VALUE_FLOAT && v->as.f - v->as.f != 0);
    if (f->op == OP_IN && text && v->as.str.p)
        return bisect(f->values, f->texts, v);
    if (f->op == OP_IN && number)
        return bisect(f->values + f->texts, f->numbers, v);
    for (uint32_t i = 0; i < f->n; i++)
        if (equal(v, &f->values[i]))
            return true;
    return false;
}

static bool compare(const cn_filter *f, const value *v) {
    int c = 0;
    if (f->op == OP_EQ || f->op == OP_NE || f->op == OP_IN)
        return in_any(f, v);
    if (v->kind == VALUE_BOOL || !order(v, &f->values[0], &c))
        return false;
    switch (f->op) {
    case OP_GT:
        return c > 0;
    case OP_GTE:
        return c >= 0;
    case OP_LT:
        return c < 0;
    default:
        return c <= 0;
    }
}

static bool compare_found(const cn_filter *f, const found *at) {
    if (!at->present)
        return false;
    if (!at->list)
        return compare(f, &at->one);
    cursor c = at->rest;
    for (uint64_t i = 0; i < at->count; i++) {
        value v;
        if (!take_scalar(&c, &v))
            return false; /* lists hold scalars only */
        if (compare(f, &v))
            return true;
    }
    return false;
}

static bool any_child(const cn_filter *f, const cn_doc *doc, bool want) {
    for (uint32_t i = 0; i < f->n; i++)
        if (cn_filter_match(f->children[i], doc) == want)
            return true;
    return false;
}

bool cn_filter_match(const cn_filter *f, const cn_doc *doc) {
    found at;
    switch (f->op) {
    case OP_AND:
        return !any_child(f, doc, false);
    case OP_OR:
        return any_child(f, doc, true);
    case OP_NOT:
        return !cn_filter_match(f->children[0], doc);
    case OP_EXISTS:
        return field_of(doc, f->field).present == (f->values[0].as.i != 0);
    default:
        at = field_of(doc, f->field);
        return compare_found(f, &at) != (f->op == OP_NE);
    }
}
