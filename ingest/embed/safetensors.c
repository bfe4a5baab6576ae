#include "ingest/embed/safetensors.h"

#include <jansson.h>
#include <stdlib.h>

#include "engine/base/mem.h"

static const struct {
    const char *name;
    uint32_t bytes;
    cn_st_type type;
} types[] = {
    {"F32", 4, CN_ST_F32}, {"F16", 2, CN_ST_F16}, {"BF16", 2, CN_ST_BF16}, {"F64", 8, CN_ST_OTHER}, {"I64", 8, CN_ST_OTHER},
    {"U64", 8, CN_ST_OTHER}, {"I32", 4, CN_ST_OTHER}, {"U32", 4, CN_ST_OTHER}, {"I16", 2, CN_ST_OTHER}, {"U16", 2, CN_ST_OTHER},
    {"I8", 1, CN_ST_OTHER}, {"U8", 1, CN_ST_OTHER}, {"BOOL", 1, CN_ST_OTHER}, {"F8_E4M3", 1, CN_ST_OTHER}, {"F8_E5M2", 1, CN_ST_OTHER},
};

static cn_err bad(const char *name, const char *why) {
    return cn_fail(CN_INVALID, "safetensors: tensor \"%.100s\": %s", name, why);
}

static bool get_u64(const json_t *j, uint64_t *ret) {
    if (!json_is_integer(j) || json_integer_value(j) < 0)
        return false;
    *ret = (uint64_t)json_integer_value(j);
    return true;
}

/* Bytes that the shape takes, or false when they do not fit 64 bits. */
static bool shape_bytes(const cn_tensor *t, uint32_t each, uint64_t *ret) {
    uint64_t n = each;
    for (uint32_t i = 0; i < t->dims; i++)
        if (__builtin_mul_overflow(n, t->shape[i], &n))
            return false;
    *ret = n;
    return true;
}

static cn_err read_shape(const char *name, const json_t *shape, cn_tensor *t) {
    if (!json_is_array(shape) || json_array_size(shape) > CN_ST_DIMS)
        return bad(name, "no shape of at most 8 dimensions");
    t->dims = (uint32_t)json_array_size(shape);
    for (uint32_t i = 0; i < t->dims; i++)
        if (!get_u64(json_array_get(shape, i), &t->shape[i]))
            return bad(name, "a dimension that is no whole number");
    return CN_OK;
}

static cn_err read_tensor(const char *name, const json_t *j, uint64_t data, cn_tensor *t) {
    const char *dtype = json_string_value(json_object_get(j, "dtype"));
    const json_t *offsets = json_object_get(j, "data_offsets");
    uint32_t each = 0;
    for (size_t i = 0; dtype && i < sizeof types / sizeof *types; i++)
        if (strcmp(dtype, types[i].name) == 0) {
            each = types[i].bytes;
            t->type = types[i].type;
        }
    if (!each)
        return bad(name, "a dtype that is not known");
    t->name = cn_str_of(name);
    CN_TRY(read_shape(name, json_object_get(j, "shape"), t));
    if (json_array_size(offsets) != 2 || !get_u64(json_array_get(offsets, 0), &t->from) || !get_u64(json_array_get(offsets, 1), &t->to))
        return bad(name, "data_offsets is not [from, to]");
    uint64_t bytes;
    if (t->from > t->to || t->to > data)
        return bad(name, "its data lies outside the file; is the file cut short?");
    if (!shape_bytes(t, each, &bytes) || bytes != t->to - t->from)
        return bad(name, "shape and data_offsets do not agree");
    return CN_OK;
}

static int by_place(const void *a, const void *b) {
    const cn_tensor *x = a, *y = b;
    int c = (x->from > y->from) - (x->from < y->from);
    return c ? c : (x->to > y->to) - (x->to < y->to);
}
static int by_name(const void *a, const void *b) { return cn_str_cmp(((const cn_tensor *)a)->name, ((const cn_tensor *)b)->name); }

static cn_err check_places(cn_safetensors *s, uint64_t data) {
    uint64_t at = 0;
    qsort(s->v, s->n, sizeof *s->v, by_place);
    for (uint32_t i = 0; i < s->n; i++) {
        if (s->v[i].from != at)
            return bad(s->v[i].name.p, "a gap or an overlap before its data");
        at = s->v[i].to;
    }
    if (at != data)
        return cn_fail(CN_INVALID, "safetensors: the tensors end at byte %llu of %llu of data", (unsigned long long)at, (unsigned long long)data);
    qsort(s->v, s->n, sizeof *s->v, by_name);
    return CN_OK;
}

static cn_err read_tensors(cn_safetensors *s, json_t *root, uint64_t data) {
    size_t n = json_object_size(root);
    if (n > CN_ST_TENSORS_MAX)
        return cn_fail(CN_INVALID, "safetensors: %zu tensors; at most %u are read", n, CN_ST_TENSORS_MAX);
    s->v = cn_calloc(n, sizeof *s->v);
    if (!s->v)
        return cn_fail_memory();
    const char *name;
    json_t *j;
    json_object_foreach(root, name, j) {
        if (strcmp(name, "__metadata__") == 0)
            continue;
        CN_TRY(read_tensor(name, j, data, &s->v[s->n]));
        s->n++;
    }
    return check_places(s, data);
}

cn_err cn_safetensors_parse(cn_str file, cn_safetensors *ret) {
    uint64_t head = 0;
    for (size_t i = 0; file.n >= 8 && i < 8; i++)
        head |= (uint64_t)(uint8_t)file.p[i] << (8 * i);
    if (file.n < 8 || head < 2 || head > CN_ST_HEADER_MAX || head > file.n - 8)
        return cn_fail(CN_INVALID, "safetensors: the header's length does not fit a file of %zu bytes; it is damaged or no safetensors file", file.n);
    json_error_t why;
    json_t *root = json_loadb(file.p + 8, (size_t)head, JSON_REJECT_DUPLICATES, &why);
    if (!json_is_object(root)) {
        json_decref(root);
        return cn_fail(CN_INVALID, "safetensors: the header is no JSON object: %s", root ? "another value" : why.text);
    }
    cn_safetensors s = {.data = (const uint8_t *)file.p + 8 + head, .json = root};
    cn_err err = read_tensors(&s, root, file.n - 8 - head);
    if (err == CN_OK)
        *ret = s;
    else
        cn_safetensors_done(&s);
    return err;
}

void cn_safetensors_done(cn_safetensors *s) {
    cn_free(s->v);
    json_decref(s->json);
    *s = (cn_safetensors){0};
}

const cn_tensor *cn_safetensors_find(const cn_safetensors *s, cn_str name) {
    cn_tensor key = {.name = name};
    return s->n ? bsearch(&key, s->v, s->n, sizeof *s->v, by_name) : NULL;
}

/* IEEE 754 half precision: 1 sign, 5 exponent, 10 fraction bits. */
static float half(uint16_t h) {
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exp = h >> 10 & 31, frac = h & 0x3ff, bits;
    float f;
    if (exp == 0) { /* frac x 2^-24 */
        f = (float)frac * 0x1p-24f;
        return sign ? -f : f;
    }
    bits = exp == 31 ? sign | 0x7f800000 | frac << 13 : sign | (exp + 112) << 23 | frac << 13;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static float wide(uint16_t b) {
    uint32_t bits = (uint32_t)b << 16;
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

void cn_safetensors_read(const cn_safetensors *s, const cn_tensor *t, uint64_t at, uint64_t n, float *out) {
    const uint8_t *p = s->data + t->from;
    if (t->type == CN_ST_F32) {
        memcpy(out, p + at * 4, n * 4);
        return;
    }
    for (uint64_t i = 0; i < n; i++) {
        uint16_t v = (uint16_t)(p[(at + i) * 2] | p[(at + i) * 2 + 1] << 8);
        out[i] = t->type == CN_ST_F16 ? half(v) : wide(v);
    }
}
