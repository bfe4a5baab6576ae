#include "engine/base/json.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/utf8.h"

/* --- parsing --- */
static cn_err pack_value(const json_t *v, int depth, cn_buf *out);

static cn_err pack_list(const json_t *v, int depth, cn_buf *out) {
    size_t n = json_array_size(v);
    if (n > CN_PACK_NODES)
        return cn_fail(CN_INVALID, "a JSON list of more than %u values", CN_PACK_NODES);
    cn_pack_array(out, (uint32_t)n);
    for (size_t i = 0; i < n; i++)
        CN_TRY(pack_value(json_array_get(v, i), depth + 1, out));
    return CN_OK;
}

static cn_err pack_fields(const json_t *v, int depth, cn_buf *out) {
    size_t n = json_object_size(v);
    if (n > CN_PACK_NODES)
        return cn_fail(CN_INVALID, "a JSON map of more than %u fields", CN_PACK_NODES);
    cn_pack_map(out, (uint32_t)n);
    json_t *fields;
    memcpy(&fields, &v, sizeof fields); /* jansson's iterators take no const */
    for (void *it = json_object_iter(fields); it; it = json_object_iter_next(fields, it)) {
        cn_pack_cstr(out, json_object_iter_key(it));
        CN_TRY(pack_value(json_object_iter_value(it), depth + 1, out));
    }
    return CN_OK;
}

static cn_err pack_value(const json_t *v, int depth, cn_buf *out) {
    bool nested = json_is_object(v) || json_is_array(v);
    if (nested && depth >= CN_PACK_DEPTH)
        return cn_fail(CN_INVALID, "the JSON is nested more than %d levels deep", CN_PACK_DEPTH);
    switch (json_typeof(v)) {
    case JSON_OBJECT: return pack_fields(v, depth, out);
    case JSON_ARRAY: return pack_list(v, depth, out);
    case JSON_STRING: cn_pack_str(out, (cn_str){json_string_value(v), json_string_length(v)}); break;
    case JSON_INTEGER: cn_pack_int(out, json_integer_value(v)); break;
    case JSON_REAL: cn_pack_f64(out, json_real_value(v)); break;
    case JSON_TRUE: cn_pack_bool(out, true); break;
    case JSON_FALSE: cn_pack_bool(out, false); break;
    case JSON_NULL: cn_pack_nil(out); break;
    }
    return CN_OK;
}

cn_err cn_json_parse(cn_str text, cn_buf *out) {
    json_error_t why;
    json_t *v = json_loadb(text.p ? text.p : "", text.n, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &why);
    if (!v)
        return cn_fail(CN_INVALID, "JSON, line %d column %d: %s", why.line, why.column, why.text);
    size_t before = out->n;
    cn_err err = pack_value(v, 0, out);
    json_decref(v);
    if (err == CN_OK)
        return cn_buf_check(out);
    out->n = before;
    return err;
}

/* --- writing --- */
static unsigned code_point(const char *text, size_t n) { /* of n valid bytes, at most three */
    const unsigned char *p = (const unsigned char *)text;
    return n == 1 ? p[0] : n == 2 ? (p[0] & 0x1fu) << 6 | (p[1] & 0x3fu) : (p[0] & 0xfu) << 12 | (p[1] & 0x3fu) << 6 | (p[2] & 0x3fu);
}

/* What would play with a terminal is escaped, as any reader of JSON reads it back. */
void cn_json_write_str(cn_buf *out, cn_str s) {
    size_t valid = cn_utf8_valid_to(s); /* looked for again only behind a bad byte */
    cn_buf_putc(out, '"');
    while (s.n) {
        size_t plain = 0;
        while (plain < valid && s.p[plain] != '"' && s.p[plain] != '\\' && !cn_utf8_plays(s.p + plain, valid - plain))
            plain++;
        cn_buf_add(out, s.p, plain);
        s = (cn_str){s.p + plain, s.n - plain};
        valid -= plain;
        if (!s.n)
            break;
        char c = *s.p;
        size_t n = 1;
        if (!valid)
            cn_buf_puts(out, "\xef\xbf\xbd");
        else if (c == '"' || c == '\\')
            cn_buf_add(out, (char[]){'\\', c}, 2);
        else if (c == '\n')
            cn_buf_puts(out, "\\n");
        else if (c == '\t')
            cn_buf_puts(out, "\\t");
        else
            cn_buf_printf(out, "\\u%04x", code_point(s.p, n = cn_utf8_plays(s.p, valid)));
        s = (cn_str){s.p + n, s.n - n};
        valid = valid ? valid - n : cn_utf8_valid_to(s);
    }
    cn_buf_putc(out, '"');
}

/* The fewest digits that read back as the same number. */
static void write_number(cn_buf *out, double v, bool single) {
    if (!isfinite(v)) {
        cn_buf_puts(out, "null");
        return;
    }
    char text[40];
    for (int digits = single ? 6 : 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, v);
        if (single ? strtof(text, NULL) == (float)v : strtod(text, NULL) == v)
            break;
    }
    cn_buf_puts(out, text);
    if (!strpbrk(text, ".e"))
        cn_buf_puts(out, ".0");
}

static void write_hex(cn_buf *out, const char *p, size_t n) {
    cn_buf_putc(out, '"');
    for (size_t i = 0; i < n; i++)
        cn_buf_printf(out, "%02x", (unsigned char)p[i]);
    cn_buf_putc(out, '"');
}

static void new_line(cn_buf *out, int indent, int level) {
    if (!indent)
        return;
    cn_buf_putc(out, '\n');
    for (int i = 0; i < indent * level; i++)
        cn_buf_putc(out, ' ');
}

static void write_value(cn_buf *out, const msgpack_object *o, int indent, int level);

static void write_key(cn_buf *out, const msgpack_object *key) {
    if (cn_is_str(key)) {
        cn_json_write_str(out, cn_obj_str(key));
        return;
    }
    cn_buf_putc(out, '"'); /* JSON's keys are strings: a number becomes its digits */
    if (key->type == MSGPACK_OBJECT_POSITIVE_INTEGER || key->type == MSGPACK_OBJECT_NEGATIVE_INTEGER)
        write_value(out, key, 0, 0);
    cn_buf_putc(out, '"');
}

static void write_list(cn_buf *out, const msgpack_object *o, int indent, int level) {
    cn_buf_putc(out, '[');
    for (uint32_t i = 0; i < o->via.array.size; i++) {
        if (i)
            cn_buf_puts(out, indent ? "," : ", ");
        new_line(out, indent, level + 1);
        write_value(out, &o->via.array.ptr[i], indent, level + 1);
    }
    if (o->via.array.size)
        new_line(out, indent, level);
    cn_buf_putc(out, ']');
}

static void write_map(cn_buf *out, const msgpack_object *o, int indent, int level) {
    cn_buf_putc(out, '{');
    for (uint32_t i = 0; i < o->via.map.size; i++) {
        if (i)
            cn_buf_puts(out, indent ? "," : ", ");
        new_line(out, indent, level + 1);
        write_key(out, &o->via.map.ptr[i].key);
        cn_buf_puts(out, ": ");
        write_value(out, &o->via.map.ptr[i].val, indent, level + 1);
    }
    if (o->via.map.size)
        new_line(out, indent, level);
    cn_buf_putc(out, '}');
}

static void write_value(cn_buf *out, const msgpack_object *o, int indent, int level) {
    switch (o->type) {
    case MSGPACK_OBJECT_NIL: cn_buf_puts(out, "null"); break;
    case MSGPACK_OBJECT_BOOLEAN: cn_buf_puts(out, o->via.boolean ? "true" : "false"); break;
    case MSGPACK_OBJECT_POSITIVE_INTEGER: cn_buf_printf(out, "%llu", (unsigned long long)o->via.u64); break;
    case MSGPACK_OBJECT_NEGATIVE_INTEGER: cn_buf_printf(out, "%lld", (long long)o->via.i64); break;
    case MSGPACK_OBJECT_FLOAT32: write_number(out, o->via.f64, true); break;
    case MSGPACK_OBJECT_FLOAT64: write_number(out, o->via.f64, false); break;
    case MSGPACK_OBJECT_STR: cn_json_write_str(out, cn_obj_str(o)); break;
    case MSGPACK_OBJECT_BIN: write_hex(out, o->via.bin.ptr, o->via.bin.size); break;
    case MSGPACK_OBJECT_EXT: write_hex(out, o->via.ext.ptr, o->via.ext.size); break;
    case MSGPACK_OBJECT_ARRAY: write_list(out, o, indent, level); break;
    case MSGPACK_OBJECT_MAP: write_map(out, o, indent, level); break;
    }
}

void cn_json_write(cn_buf *out, const msgpack_object *o, int indent) { write_value(out, o, indent, 0); }
