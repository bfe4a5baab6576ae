#include "ingest/source/front.h"

#include "engine/base/utf8.h"

#define FRONT_MAX ((size_t)1 << 16)

typedef struct lines {
    cn_str rest;
    unsigned number; /* of the line last given */
} lines;

static cn_str unquote(cn_str s) {
    s = cn_str_trim(s);
    bool quoted = s.n >= 2 && (*s.p == '"' || *s.p == '\'') && s.p[s.n - 1] == *s.p;
    return quoted ? (cn_str){s.p + 1, s.n - 2} : s;
}

static bool next_line(lines *l, cn_str *ret) {
    bool more = cn_str_next(&l->rest, '\n', ret);
    l->number += more;
    return more;
}

static bool ends_front(cn_str line) {
    line = cn_str_trim(line);
    return cn_str_is(line, "---") || cn_str_is(line, "...");
}

/* The lines between the marks; false: there is no front matter. */
static bool find(cn_str file, lines *ret) {
    cn_str line;
    if (file.n >= 3 && memcmp(file.p, "\xef\xbb\xbf", 3) == 0)
        file = (cn_str){file.p + 3, file.n - 3};
    lines l = {.rest = file};
    if (!next_line(&l, &line) || !cn_str_is(cn_str_trim(line), "---"))
        return false;
    lines inside = l;
    const char *from = l.rest.p;
    while (next_line(&l, &line) && (size_t)(line.p - from) < FRONT_MAX)
        if (ends_front(line)) {
            inside.rest.n = (size_t)(line.p - from);
            *ret = inside;
            return true;
        }
    return false;
}

/* --- values --- */
typedef struct value {
    bool list;
    cn_str text;
    uint32_t n; /* of r->labels, when it is a list */
} value;

static cn_err add(cn_row_reader *r, cn_str item, value *v) {
    item = unquote(item);
    if (item.n == 0)
        return CN_OK;
    if (v->n == CN_LABELS_MAX)
        return cn_fail(CN_INVALID, "its list has over %d entries", CN_LABELS_MAX);
    r->labels[v->n++] = item;
    return CN_OK;
}

static cn_err inline_list(cn_row_reader *r, cn_str s, value *v) {
    for (cn_str one; cn_str_next(&s, ',', &one);)
        CN_TRY(add(r, one, v));
    return CN_OK;
}

/* Lines "- item" below a key without a value. */
static cn_err list_below(cn_row_reader *r, lines *l, value *v) {
    cn_str line;
    for (lines ahead = *l; next_line(&ahead, &line); *l = ahead) {
        line = cn_str_trim(line);
        if (line.n && line.p[0] != '#' && line.p[0] != '-')
            return CN_OK;
        if (line.n && line.p[0] == '-') {
            v->list = true;
            CN_TRY(add(r, (cn_str){line.p + 1, line.n - 1}, v));
        }
    }
    return CN_OK;
}

static cn_str without_comment(cn_str s) {
    if (s.n && (*s.p == '"' || *s.p == '\''))
        return s;
    for (size_t i = 1; i < s.n; i++)
        if (s.p[i] == '#' && cn_is_blank(s.p[i - 1]))
            return cn_str_trim((cn_str){s.p, i});
    return s;
}

static cn_err read_value(cn_row_reader *r, cn_str s, lines *l, value *ret) {
    value v = {.text = unquote(without_comment(cn_str_trim(s)))};
    s = without_comment(cn_str_trim(s));
    if (s.n && (s.p[0] == '|' || s.p[0] == '>')) { /* a block of lines below it: not flat */
        v.text = (cn_str){s.p, 0};
    } else if (s.n == 0) {
        CN_TRY(list_below(r, l, &v));
    } else if (s.p[0] == '[') {
        if (s.p[s.n - 1] != ']')
            return cn_fail(CN_INVALID, "its list [ does not end on the same line");
        v.list = true;
        CN_TRY(inline_list(r, (cn_str){s.p + 1, s.n - 2}, &v));
    }
    *ret = v;
    return CN_OK;
}

static cn_err take(cn_row_reader *r, cn_str key, const value *v, cn_str raw_value, cn_arena *a, cn_row *row) {
    int f = cn_fields_find(&r->fields, key);
    bool labels = f == CN_FIELD_LABELS || f == CN_FIELD_DENY || f == CN_FIELD_REQUIRE;
    if (f == CN_FIELD_ID || f == CN_FIELD_TEXT || f == CN_FIELD_VECTOR || f == CN_FIELD_OP)
        return CN_OK; /* a file's path is its id, and its body its text */
    if (f >= 0 && row->set[f])
        return cn_fail(CN_INVALID, "it stands there twice");
    if (labels)
        return v->list ? cn_row_labels(r, (cn_field)f, v->n, a, row) : cn_row_cell(r, (cn_field)f, v->text, a, row);
    if (f >= 0 && f != CN_FIELD_META)
        return v->list ? cn_fail(CN_INVALID, "it should be one value, no list") : v->text.n ? cn_row_cell(r, (cn_field)f, v->text, a, row) : CN_OK;
    if (f < 0)
        cn_row_doubt(r, key, v->text, row);
    if (v->list)
        return cn_row_meta_list(r, key, v->n);
    bool quoted = v->text.p != cn_str_trim(raw_value).p;
    return v->text.n ? cn_row_meta(r, key, v->text, quoted) : CN_OK;
}

static cn_err read_line(cn_row_reader *r, cn_str line, lines *l, cn_arena *a, cn_row *row) {
    const char *colon = line.n ? memchr(line.p, ':', line.n) : NULL;
    value v = {0};
    if (!colon || cn_is_blank(line.p[0]) || line.p[0] == '#' || line.p[0] == '-')
        return CN_OK;
    size_t n = (size_t)(colon - line.p), number = l->number;
    cn_str key = unquote((cn_str){line.p, n}), text = {colon + 1, line.n - n - 1};
    cn_err e = read_value(r, text, l, &v);
    if (e == CN_OK)
        e = take(r, key, &v, text, a, row);
    if (e == CN_OK || cn_fields_find(&r->fields, key) < 0) /* any other key is the document's own word, which is kept nowhere */
        return e == CN_OK ? e : cn_wrap(e, "line %zu", number);
    return cn_wrap(e, "line %zu, \"" CN_STR_FMT "\"", number, CN_STR_ARG(key));
}

cn_err cn_front_read(cn_row_reader *r, cn_str file, cn_arena *a, cn_row *io) {
    lines l;
    cn_str line;
    cn_row row = *io;
    if (!find(file, &l))
        return CN_OK;
    size_t ok = cn_utf8_valid_to(l.rest);
    if (ok < l.rest.n)
        return cn_fail(CN_INVALID, "byte %zu (0x%02X) is not UTF-8", (size_t)(l.rest.p - file.p) + ok + 1, (unsigned)(unsigned char)l.rest.p[ok]);
    cn_row_start(r, &row);
    while (next_line(&l, &line))
        CN_TRY(read_line(r, line, &l, a, &row));
    CN_TRY(cn_row_finish(r, a, &row));
    *io = row;
    return CN_OK;
}
