#include "ingest/source/row.h"

#include <errno.h>
#include <stdlib.h>

#include "engine/base/os.h"
#include "engine/base/utf8.h"
#include "index/policy/labels.h"
#include "ingest/parse/normal.h"
#include "ingest/source/jscan.h"
#include "ingest/source/source.h"

static const char *const usual[CN_FIELD_COUNT][2] = {
    [CN_FIELD_ID] = {"id", "_id"}, [CN_FIELD_TITLE] = {"title", NULL}, [CN_FIELD_TEXT] = {"text", NULL},
    [CN_FIELD_LABELS] = {"labels", NULL}, [CN_FIELD_DENY] = {"deny", NULL}, [CN_FIELD_REQUIRE] = {"require", NULL},
    [CN_FIELD_META] = {"meta", "metadata"}, [CN_FIELD_URI] = {"uri", NULL}, [CN_FIELD_MODIFIED] = {"modified", NULL},
    [CN_FIELD_VECTOR] = {"vector", NULL}, [CN_FIELD_OP] = {"op", NULL}};

static int usual_find(cn_str name) {
    for (int f = 0; f < CN_FIELD_COUNT; f++)
        if (cn_str_is(name, usual[f][0]) || (usual[f][1] && cn_str_is(name, usual[f][1])))
            return f;
    return -1;
}

static cn_err map_one(cn_str pair, cn_fields *f) {
    const char *eq = pair.n ? memchr(pair.p, '=', pair.n) : NULL;
    cn_str name = {pair.p, eq ? (size_t)(eq - pair.p) : pair.n};
    int i = eq ? usual_find(name) : -1;
    if (i < 0 || name.n + 1 == pair.n)
        return cn_fail(CN_INVALID, "--map: \"" CN_STR_FMT "\" should be NAME=FIELD, where NAME is one of id title text labels deny require meta uri modified vector op",
                       CN_STR_ARG(pair));
    f->name[i][0] = (cn_str){eq + 1, pair.n - name.n - 1};
    f->name[i][1] = (cn_str){NULL, 0};
    f->mapped[i] = true;
    return CN_OK;
}

cn_err cn_fields_parse(cn_str map, cn_fields *ret) {
    cn_fields f = {0};
    for (int i = 0; i < CN_FIELD_COUNT; i++)
        for (int j = 0; j < 2; j++)
            f.name[i][j] = cn_str_of(usual[i][j]);
    for (cn_str one; cn_str_next(&map, ',', &one);)
        CN_TRY(map_one(one, &f));
    *ret = f;
    return CN_OK;
}

int cn_fields_find(const cn_fields *f, cn_str name) {
    for (int i = 0; i < CN_FIELD_COUNT; i++)
        if (cn_str_eq(name, f->name[i][0]) || (f->name[i][1].n && cn_str_eq(name, f->name[i][1])))
            return i;
    return -1;
}

void cn_row_reader_init(cn_row_reader *r, const cn_fields *f) {
    r->fields = *f;
    cn_meta_init(&r->meta);
}

void cn_row_reader_done(cn_row_reader *r) { cn_meta_done(&r->meta); }

/* --- fields that look like labels --- */
static const struct {
    const char *word;
    cn_field field;
    bool ours; /* a name of this program: a slip of the pen is one too */
} alike[] = {{"labels", CN_FIELD_LABELS, true}, {"acl", CN_FIELD_LABELS, false}, {"acls", CN_FIELD_LABELS, false}, {"access", CN_FIELD_LABELS, false},
             {"allow", CN_FIELD_LABELS, false}, {"allowed", CN_FIELD_LABELS, false}, {"permission", CN_FIELD_LABELS, false},
             {"permissions", CN_FIELD_LABELS, false}, {"readers", CN_FIELD_LABELS, false}, {"deny", CN_FIELD_DENY, false}, {"denied", CN_FIELD_DENY, false},
             {"denies", CN_FIELD_DENY, false}, {"require", CN_FIELD_REQUIRE, true}};
#define ALIKE (sizeof alike / sizeof *alike)
#define ALIKE_BYTES 16

/* One letter more, less or other, or two that changed places. */
static bool slipped(cn_str a, cn_str b) {
    if (a.n > b.n)
        return slipped(b, a);
    size_t i = 0, more = b.n - a.n;
    while (i < a.n && a.p[i] == b.p[i])
        i++;
    cn_str rest_a = {a.p + i, a.n - i}, rest_b = {b.p + i, b.n - i};
    if (more)
        return more == 1 && memcmp(rest_a.p, rest_b.p + 1, rest_a.n) == 0;
    bool swapped = rest_a.n > 1 && rest_a.p[0] == rest_b.p[1] && rest_a.p[1] == rest_b.p[0];
    size_t same_from = swapped ? 2 : rest_a.n ? 1 : 0;
    return memcmp(rest_a.p + same_from, rest_b.p + same_from, rest_a.n - same_from) == 0;
}

/* A cn_field, or -1. Case and what parts words do not count. */
static int looks_like(cn_str key) {
    char plain[ALIKE_BYTES];
    size_t n = 0;
    for (size_t i = 0; i < key.n; i++) {
        char c = key.p[i];
        if (c == '_' || c == '-' || c == ' ' || c == '.')
            continue;
        if (n == sizeof plain)
            return -1;
        plain[n++] = c >= 'A' && c <= 'Z' ? (char)(c + 'a' - 'A') : c;
    }
    cn_str word = {plain, n};
    for (size_t i = 0; i < ALIKE; i++) {
        cn_str w = cn_str_of(alike[i].word);
        if (cn_str_eq(word, w) || (alike[i].ours && slipped(word, w)))
            return (int)alike[i].field;
    }
    return -1;
}

static void doubt(const cn_row_reader *r, cn_str key, cn_row *row) {
    int f = looks_like(key);
    if (f >= 0 && !r->fields.mapped[f])
        row->doubt[f] = key;
}

static cn_err check_doubt(const cn_row_reader *r, const cn_row *row) {
    static const cn_field of[] = {CN_FIELD_LABELS, CN_FIELD_DENY, CN_FIELD_REQUIRE};
    if (row->remove)
        return CN_OK;
    if (row->null_labels)
        return cn_fail(CN_INVALID, "field \"" CN_STR_FMT "\" is null; leave it out for the labels of rows that have none, or give a list ([]: nobody may read it)",
                       CN_STR_ARG(r->fields.name[CN_FIELD_LABELS][0]));
    for (size_t i = 0; i < sizeof of / sizeof *of; i++) {
        cn_str is = row->doubt[of[i]], meant = r->fields.name[of[i]][0];
        if (is.p && !row->set[of[i]])
            return cn_fail(CN_INVALID, "field \"" CN_STR_FMT "\" looks like \"" CN_STR_FMT "\", which is not there; call it so, or say --map " CN_STR_FMT "=" CN_STR_FMT
                           "; if it is something else: --map " CN_STR_FMT "=" CN_STR_FMT, CN_STR_ARG(is), CN_STR_ARG(meant), CN_STR_ARG(meant), CN_STR_ARG(is), CN_STR_ARG(meant), CN_STR_ARG(meant));
    }
    return CN_OK;
}

/* --- single values --- */
cn_err cn_row_check_id(cn_str id) {
    if (id.n == 0 || id.n > CN_DOC_ID_MAX)
        return cn_fail(CN_INVALID, "an id has 1 to %d bytes, not %zu", CN_DOC_ID_MAX, id.n);
    for (size_t i = 0; i < id.n; i++)
        if ((unsigned char)id.p[i] < 0x20 || id.p[i] == 0x7f)
            return cn_fail(CN_INVALID, "an id may not hold control characters (byte %zu is 0x%02X)", i + 1, (unsigned)(unsigned char)id.p[i]);
    return CN_OK;
}

static cn_err keep(cn_arena *a, cn_str s, cn_str *ret) {
    *ret = cn_arena_str(a, s);
    return ret->p ? CN_OK : cn_fail_memory();
}

static cn_err set_id(cn_str s, cn_arena *a, cn_row *row) {
    CN_TRY(cn_row_check_id(s));
    return keep(a, s, &row->id);
}

static cn_err set_title(cn_str s, cn_arena *a, cn_row *row) {
    CN_AUTO_BUF cn_buf line;
    cn_buf_init(&line, s.n * 4 + 64);
    cn_normal_line(&line, s);
    CN_TRY(cn_buf_check(&line));
    if (line.n > CN_TITLE_MAX)
        return cn_fail(CN_INVALID, "a title has at most %d bytes, not %zu", CN_TITLE_MAX, line.n);
    return keep(a, cn_buf_str(&line), &row->title);
}

static cn_err set_uri(cn_str s, cn_arena *a, cn_row *row) {
    if (s.n > CN_URI_MAX)
        return cn_fail(CN_INVALID, "a uri has at most %d bytes, not %zu", CN_URI_MAX, s.n);
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] < 0x20 || s.p[i] == 0x7f)
            return cn_fail(CN_INVALID, "a uri may not hold control characters (byte %zu)", i + 1);
    return keep(a, s, &row->uri);
}

static cn_err set_modified(cn_str s, cn_row *row) {
    if (cn_time_parse(s.p, s.n, &row->modified) != 0)
        return cn_fail(CN_INVALID, "it is not a time; write it as 2026-11-23T10:20:30Z or 2026-11-23");
    return CN_OK;
}

static cn_err set_op(cn_str s, cn_row *row) {
    if (!cn_str_is(s, "delete") && !cn_str_is(s, "put"))
        return cn_fail(CN_INVALID, "it is neither put nor delete");
    row->remove = cn_str_is(s, "delete");
    return CN_OK;
}

static cn_labels *labels_of(cn_row *row, cn_field f) {
    return f == CN_FIELD_LABELS ? &row->labels.allow : f == CN_FIELD_DENY ? &row->labels.deny : &row->labels.require;
}

static cn_err set_vector(cn_row_reader *r, cn_jscan *j, cn_arena *a, cn_row *row) {
    unsigned n;
    CN_TRY(cn_jscan_floats(j, r->floats, CN_DIM_MAX, &n));
    if (n == 0)
        return cn_fail(CN_INVALID, "it is empty");
    float *v = cn_arena_alloc(a, n * sizeof *v);
    if (!v)
        return cn_fail_memory();
    memcpy(v, r->floats, n * sizeof *v);
    row->vector = v;
    row->dim = n;
    return CN_OK;
}

/* A field that is text: in a row a string, in a table any cell. */
static cn_err set_text(cn_field f, cn_str s, cn_arena *a, cn_row *row) {
    switch ((int)f) {
    case CN_FIELD_ID: return set_id(s, a, row);
    case CN_FIELD_TITLE: return set_title(s, a, row);
    case CN_FIELD_TEXT: return keep(a, s, &row->text);
    case CN_FIELD_URI: return set_uri(s, a, row);
    case CN_FIELD_MODIFIED: return set_modified(s, row);
    case CN_FIELD_OP: return set_op(s, row);
    case CN_FIELD_LABELS:
    case CN_FIELD_DENY:
    case CN_FIELD_REQUIRE: return cn_labels_parse(a, s, labels_of(row, f));
    default: break;
    }
    return cn_fail(CN_INVALID, "it cannot be text");
}

cn_err cn_raw_tidy(cn_arena *a, cn_raw *raw) {
    const struct {
        const char *name;
        cn_str *at;
        cn_field field;
    } words[] = {{"id", &raw->id, CN_FIELD_ID}, {"title", &raw->title, CN_FIELD_TITLE}, {"uri", &raw->uri, CN_FIELD_URI}, {"text", &raw->bytes, CN_FIELD_TEXT}};
    cn_row row = {.id = raw->id, .title = raw->title, .uri = raw->uri};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (!words[i].at->p)
            continue;
        cn_err e = cn_utf8_ok(*words[i].at) ? CN_OK : cn_fail(CN_INVALID, "it is not valid UTF-8");
        if (e == CN_OK && words[i].field != CN_FIELD_TEXT)
            e = set_text(words[i].field, *words[i].at, a, &row);
        if (e != CN_OK)
            return cn_wrap(e, "field \"%s\"", words[i].name);
    }
    raw->id = row.id;
    raw->title = row.title;
    raw->uri = row.uri;
    return CN_OK;
}

/* --- JSON --- */
static cn_err pack_number(cn_buf *b, cn_str s) {
    bool whole = !memchr(s.p, '.', s.n) && !memchr(s.p, 'e', s.n) && !memchr(s.p, 'E', s.n);
    if (!whole) {
        double d = cn_jscan_double(s);
        if (d - d != 0) /* infinite */
            return cn_fail(CN_INVALID, "the number is too large");
        cn_pack_f64(b, d);
        return CN_OK;
    }
    char text[24], *end;
    if (s.n >= sizeof text)
        return cn_fail(CN_INVALID, "the number does not fit into 64 bits; write it as a string");
    memcpy(text, s.p, s.n);
    text[s.n] = 0;
    errno = 0;
    if (text[0] == '-')
        cn_pack_int(b, strtoll(text, &end, 10));
    else
        cn_pack_uint(b, strtoull(text, &end, 10));
    return errno ? cn_fail(CN_INVALID, "the number does not fit into 64 bits; write it as a string") : CN_OK;
}

static cn_err string_list(cn_row_reader *r, cn_jscan *j, uint32_t *ret) {
    uint32_t n = 0;
    cn_err e;
    CN_TRY(cn_jscan_open(j, '['));
    while ((e = cn_jscan_element(j)) == CN_OK) {
        if (cn_jscan_kind(j) != CN_J_STRING)
            return cn_fail(CN_INVALID, "this list holds strings only");
        if (n == CN_LABELS_MAX)
            return cn_fail(CN_INVALID, "this list has over %d strings", CN_LABELS_MAX);
        CN_TRY(cn_jscan_string(j, &r->labels[n++]));
    }
    if (e != CN_END)
        return e;
    *ret = n;
    return CN_OK;
}

static cn_err label_list(cn_row_reader *r, cn_jscan *j, cn_arena *a, cn_labels *ret) {
    uint32_t n;
    CN_TRY(string_list(r, j, &n));
    return cn_labels_make(a, r->labels, n, ret);
}

static cn_err pack_list(cn_row_reader *r, cn_jscan *j, cn_buf *b) {
    uint32_t n;
    CN_TRY(string_list(r, j, &n));
    cn_pack_array(b, n);
    for (uint32_t i = 0; i < n; i++)
        cn_pack_str(b, r->labels[i]);
    return CN_OK;
}

static cn_err pack_value(cn_row_reader *r, cn_jscan *j, cn_jkind kind, cn_buf *b) {
    cn_str s;
    if (kind == CN_J_STRING) {
        CN_TRY(cn_jscan_string(j, &s));
        cn_pack_str(b, s);
        return CN_OK;
    }
    if (kind == CN_J_NUMBER) {
        CN_TRY(cn_jscan_number(j, &s));
        return pack_number(b, s);
    }
    if (kind == CN_J_ARRAY)
        return pack_list(r, j, b);
    if (kind == CN_J_OBJECT)
        return cn_fail(CN_INVALID, "it is nested; metadata is flat: strings, numbers, booleans and lists of strings");
    CN_TRY(cn_jscan_word(j));
    cn_pack_bool(b, kind == CN_J_TRUE);
    return CN_OK;
}

static cn_err meta_entries(cn_row_reader *r, cn_jscan *j) {
    cn_str key;
    unsigned number = 0;
    cn_err e;
    CN_TRY(cn_jscan_open(j, '{'));
    while ((e = cn_jscan_key(j, &key)) == CN_OK) {
        cn_jkind kind = cn_jscan_kind(j);
        number++;
        if (kind == CN_J_NULL) {
            CN_TRY(cn_jscan_word(j));
            continue;
        }
        CN_TRY(cn_meta_key(&r->meta, key));
        e = pack_value(r, j, kind, &r->meta.values);
        if (e != CN_OK)
            return cn_wrap(e, "entry %u", number);
    }
    return e == CN_END ? CN_OK : e;
}

static cn_err meta_map(cn_row_reader *r, cn_jscan *j, cn_arena *a, cn_row *row) {
    cn_meta_reset(&r->meta);
    CN_TRY(meta_entries(r, j));
    return cn_meta_close(&r->meta, a, &row->meta);
}

static cn_err json_value(cn_row_reader *r, cn_field f, cn_jscan *j, cn_jkind kind, cn_arena *a, cn_row *row) {
    cn_str s;
    if (f == CN_FIELD_META)
        return kind == CN_J_OBJECT ? meta_map(r, j, a, row) : cn_fail(CN_INVALID, "it should be an object");
    if (f == CN_FIELD_VECTOR)
        return kind == CN_J_ARRAY ? set_vector(r, j, a, row) : cn_fail(CN_INVALID, "it should be an array of numbers");
    bool labels = f == CN_FIELD_LABELS || f == CN_FIELD_DENY || f == CN_FIELD_REQUIRE;
    if (labels && kind == CN_J_ARRAY)
        return label_list(r, j, a, labels_of(row, f));
    if (f == CN_FIELD_ID && kind == CN_J_NUMBER) {
        CN_TRY(cn_jscan_number(j, &s));
        return set_id(s, a, row);
    }
    if (kind != CN_J_STRING)
        return cn_fail(CN_INVALID, labels ? "it should be a list of strings" : "it should be a string");
    CN_TRY(cn_jscan_string(j, &s));
    return set_text(f, s, a, row);
}

static cn_err json_field(cn_row_reader *r, cn_str key, cn_jscan *j, cn_arena *a, cn_row *row) {
    int f = cn_fields_find(&r->fields, key);
    cn_jkind kind = cn_jscan_kind(j);
    if (f < 0) {
        if (kind != CN_J_NUMBER && kind != CN_J_TRUE && kind != CN_J_FALSE)
            doubt(r, key, row);
        return cn_jscan_skip(j);
    }
    if (row->set[f])
        return cn_fail(CN_INVALID, "it stands there twice");
    if (kind == CN_J_NULL) {
        row->null_labels |= f == CN_FIELD_LABELS;
        return cn_jscan_word(j);
    }
    CN_TRY(json_value(r, (cn_field)f, j, kind, a, row));
    row->set[f] = true;
    return CN_OK;
}

cn_err cn_row_json(cn_row_reader *r, char *line, size_t n, cn_arena *a, cn_row *ret) {
    cn_jscan j;
    cn_row row = {.modified = CN_NO_TIME, .meta = CN_STR(""), .title = CN_STR(""), .uri = CN_STR("")};
    cn_str key;
    cn_err e;
    CN_TRY(cn_jscan_begin(&j, line, n));
    if (cn_jscan_kind(&j) != CN_J_OBJECT)
        return cn_fail(CN_INVALID, n ? "the line is not a JSON object { }" : "the line is empty");
    CN_TRY(cn_jscan_open(&j, '{'));
    while ((e = cn_jscan_key(&j, &key)) == CN_OK) {
        e = json_field(r, key, &j, a, &row);
        if (e != CN_OK) {
            ret->id = row.id; /* so that what is rejected has its name */
            return cn_fields_find(&r->fields, key) < 0 ? e : cn_wrap(e, "field \"" CN_STR_FMT "\"", CN_STR_ARG(key));
        }
    }
    if (e != CN_END)
        return e;
    CN_TRY(cn_jscan_end(&j));
    ret->id = row.id;
    CN_TRY(check_doubt(r, &row));
    *ret = row;
    return CN_OK;
}

/* --- cells --- */
void cn_row_start(cn_row_reader *r, cn_row *ret) {
    *ret = (cn_row){.modified = CN_NO_TIME, .meta = CN_STR(""), .title = CN_STR(""), .uri = CN_STR("")};
    cn_meta_reset(&r->meta);
}

cn_err cn_row_finish(cn_row_reader *r, cn_arena *a, cn_row *row) {
    CN_TRY(check_doubt(r, row));
    return cn_meta_close(&r->meta, a, &row->meta);
}

static cn_err json_cell(cn_row_reader *r, cn_field f, cn_str s, cn_arena *a, cn_row *row) {
    cn_jscan j;
    cn_str copy = cn_arena_str(a, s); /* with a NUL after it; keys of metadata point into it */
    if (!copy.p)
        return cn_fail_memory();
    union { const char *c; char *p; } at = {.c = copy.p};
    CN_TRY(cn_jscan_begin(&j, at.p, copy.n));
    CN_TRY(f == CN_FIELD_VECTOR ? set_vector(r, &j, a, row) : meta_entries(r, &j));
    return cn_jscan_end(&j);
}

cn_err cn_row_cell(cn_row_reader *r, cn_field f, cn_str value, cn_arena *a, cn_row *row) {
    bool json = f == CN_FIELD_VECTOR || f == CN_FIELD_META;
    cn_err e = json ? json_cell(r, f, value, a, row) : set_text(f, value, a, row);
    if (e != CN_OK)
        return cn_wrap(e, "field \"" CN_STR_FMT "\"", CN_STR_ARG(r->fields.name[f][0]));
    row->set[f] = true;
    return CN_OK;
}

cn_err cn_row_labels(cn_row_reader *r, cn_field f, uint32_t n, cn_arena *a, cn_row *row) {
    CN_TRY(cn_labels_make(a, r->labels, n, labels_of(row, f)));
    row->set[f] = true;
    return CN_OK;
}

/* A number that a reader of JSON would write the same way again: no exponent, no zeros more than needed, at most 15 digits. */
static bool plain_number(cn_str s) {
    size_t i = s.n && s.p[0] == '-', from = i, digits = 0, point = 0;
    for (; i < s.n; i++) {
        if (s.p[i] >= '0' && s.p[i] <= '9')
            digits++;
        else if (s.p[i] == '.' && !point && i > from && i + 1 < s.n)
            point = i;
        else
            return false;
    }
    bool zeros = digits > 1 && s.p[from] == '0' && point != from + 1;
    return digits && digits <= 15 && !zeros;
}

void cn_row_doubt(const cn_row_reader *r, cn_str key, cn_str value, cn_row *row) {
    if (!plain_number(value) && !cn_str_is(value, "true") && !cn_str_is(value, "false"))
        doubt(r, key, row);
}

cn_err cn_row_meta(cn_row_reader *r, cn_str key, cn_str value, bool string) {
    cn_buf *b = &r->meta.values;
    CN_TRY(cn_meta_key(&r->meta, key));
    bool yes = cn_str_is(value, "true");
    if (!string && plain_number(value))
        return pack_number(b, value);
    if (!string && (yes || cn_str_is(value, "false")))
        cn_pack_bool(b, yes);
    else
        cn_pack_str(b, value);
    return CN_OK;
}

cn_err cn_row_meta_list(cn_row_reader *r, cn_str key, uint32_t n) {
    CN_TRY(cn_meta_key(&r->meta, key));
    cn_pack_array(&r->meta.values, n);
    for (uint32_t i = 0; i < n; i++)
        cn_pack_str(&r->meta.values, r->labels[i]);
    return CN_OK;
}
