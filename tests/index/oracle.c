#include "tests/index/oracle.h"

#include <stdio.h>
#include <stdlib.h>

#include "engine/base/os.h"

uint64_t o_next(o_rand *r) {
    uint64_t z = (r->s += 0x9e3779b97f4a7c15u); /* splitmix64 */
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

uint32_t o_below(o_rand *r, uint32_t n) { return (uint32_t)((o_next(r) >> 32) * n >> 32); }
bool o_chance(o_rand *r, uint32_t percent) { return o_below(r, 100) < percent; }

/* ---------- documents ---------- */
const char *const o_label_name[O_LABELS] = {"group:a", "group:b", "group:c", "group:d", "group:e", "group:f",
                                            "public", "user:x", "user:y", "user:z"};
const char *const o_lang_name[4] = {"de", "en", "fr", "zh \"x\""};
const char *const o_tag_name[4] = {"alpha", "b c", "gamma", "in"};

static uint32_t some_labels(o_rand *r, uint32_t most) {
    uint32_t bits = 0;
    for (uint32_t i = o_below(r, most + 1); i > 0; i--)
        bits |= 1u << o_below(r, O_LABELS);
    return bits;
}

void o_doc_random(o_rand *r, uint32_t dim, o_doc *d) {
    d->allow = some_labels(r, 4);
    d->deny = o_chance(r, 15) ? some_labels(r, 2) : 0;
    d->require = o_chance(r, 15) ? some_labels(r, 2) : 0;
    d->lang = (int)o_below(r, 5) - 1;
    d->year = o_chance(r, 80) ? 2018 + o_below(r, 8) : 0;
    d->tags = o_below(r, 16);
    d->draft = (int)o_below(r, 3) - 1;
    d->rating = o_chance(r, 70) ? o_below(r, 11) / 2.0 : -1;
    d->day = (int)o_below(r, 32);
    d->chunks = o_chance(r, 5) ? 0 : 1 + o_below(r, O_CHUNKS_MAX);
    for (uint32_t c = 0; c < d->chunks; c++)
        for (uint32_t i = 0; i < dim; i++) /* few distinct values, so that scores tie often */
            d->vec[c][i] = (float)((int)o_below(r, 5) - 2) + (i == 0 ? 0.25f : 0);
}

int64_t o_doc_modified(const o_doc *d) {
    int64_t us;
    char text[32];
    if (d->day == 0)
        return CN_NO_TIME;
    snprintf(text, sizeof text, "2024-01-%02d", d->day);
    if (cn_time_parse(text, strlen(text), &us) != 0)
        abort();
    return us;
}

void o_doc_meta(const o_doc *d, cn_buf *out) {
    uint32_t n = 0;
    size_t at = cn_pack_map_open(out);
    if (d->draft >= 0) {
        cn_pack_cstr(out, "draft");
        cn_pack_bool(out, d->draft);
        n++;
    }
    if (d->lang >= 0) {
        cn_pack_cstr(out, "lang");
        cn_pack_cstr(out, o_lang_name[d->lang]);
        n++;
    }
    if (d->rating >= 0) {
        cn_pack_cstr(out, "rating");
        cn_pack_f64(out, d->rating);
        n++;
    }
    if (d->tags) {
        cn_pack_cstr(out, "tags");
        cn_pack_array(out, (uint32_t)__builtin_popcount(d->tags));
        for (int i = 0; i < 4; i++)
            if (d->tags >> i & 1)
                cn_pack_cstr(out, o_tag_name[i]);
        n++;
    }
    if (d->year) {
        cn_pack_cstr(out, "year");
        cn_pack_int(out, d->year);
        n++;
    }
    cn_pack_map_close(out, at, n);
}

/* ---------- filters ---------- */
static const char *const field_name[O_FIELDS] = {"lang", "year", "tags", "draft", "rating", "modified", "source", "id", "missing"};
static const char *const op_map[O_OPS] = {"eq", "ne", "gt", "gte", "lt", "lte", "in", "exists", "and", "or", "not"};
static const char *const op_text[6] = {"=", "!=", ">", ">=", "<", "<="};

static o_value value_random(o_rand *r, enum o_field field) {
    o_value v = {.kind = 's'};
    if (o_chance(r, 8))
        field = o_below(r, O_FIELDS); /* a value of another kind */
    switch (field) {
    case O_LANG:
        snprintf(v.s, sizeof v.s, "%s", o_lang_name[o_below(r, 4)]);
        break;
    case O_TAGS:
        snprintf(v.s, sizeof v.s, "%s", o_tag_name[o_below(r, 4)]);
        break;
    case O_YEAR:
        v = (o_value){.kind = 'i', .i = 2017 + o_below(r, 10)};
        break;
    case O_RATING:
        v = o_chance(r, 50) ? (o_value){.kind = 'i', .i = (int64_t)o_below(r, 7) - 1} : (o_value){.kind = 'f', .f = o_below(r, 12) / 2.0 - 0.5};
        break;
    case O_DRAFT:
        v = (o_value){.kind = 'b', .i = o_below(r, 2)};
        break;
    case O_MODIFIED:
        v = (o_value){.kind = 'd', .i = 1 + o_below(r, 31)};
        snprintf(v.s, sizeof v.s, "2024-01-%02d", (int)v.i);
        break;
    case O_SOURCE:
        snprintf(v.s, sizeof v.s, "s%u", o_below(r, 3));
        break;
    default:
        snprintf(v.s, sizeof v.s, "doc-%u", o_below(r, 200));
    }
    return v;
}

o_filter *o_filter_random(o_rand *r, int depth) {
    o_filter *f = calloc(1, sizeof *f);
    f->op = depth > 0 && o_chance(r, 60) ? O_AND + o_below(r, 3) : o_below(r, O_AND);
    f->field = o_below(r, O_FIELDS);
    f->n = 1;
    if (f->op == O_AND || f->op == O_OR)
        f->n = 2 + o_below(r, 2);
    if (f->op == O_IN)
        f->n = o_below(r, 4);
    for (uint32_t i = 0; i < f->n; i++) {
        if (f->op >= O_AND)
            f->child[i] = o_filter_random(r, depth - 1);
        else
            f->v[i] = value_random(r, f->field);
    }
    return f;
}

void o_filter_free(o_filter *f) {
    for (uint32_t i = 0; f && f->op >= O_AND && i < f->n; i++)
        o_filter_free(f->child[i]);
    free(f);
}

static void value_text(const o_value *v, cn_buf *out) {
    if (v->kind == 'i')
        cn_buf_printf(out, "%lld", (long long)v->i);
    else if (v->kind == 'f')
        cn_buf_printf(out, "%.1f", v->f);
    else if (v->kind == 'b')
        cn_buf_puts(out, v->i ? "true" : "false");
    else {
        cn_buf_putc(out, '"');
        for (const char *c = v->s; *c; c++) {
            if (*c == '"' || *c == '\\')
                cn_buf_putc(out, '\\');
            cn_buf_putc(out, *c);
        }
        cn_buf_putc(out, '"');
    }
}

static void joined_text(const o_filter *f, cn_buf *out) {
    for (uint32_t i = 0; i < f->n; i++) {
        cn_buf_puts(out, i == 0 ? "" : f->op == O_AND ? " and " : " or ");
        cn_buf_puts(out, "(");
        o_filter_text(f->child[i], out);
        cn_buf_puts(out, ")");
    }
}

void o_filter_text(const o_filter *f, cn_buf *out) {
    if (f->op == O_AND || f->op == O_OR) {
        joined_text(f, out);
    } else if (f->op == O_NOT) {
        cn_buf_puts(out, "not (");
        o_filter_text(f->child[0], out);
        cn_buf_puts(out, ")");
    } else if (f->op == O_EXISTS) {
        cn_buf_printf(out, "exists %s", field_name[f->field]);
    } else if (f->op == O_IN) {
        cn_buf_printf(out, "%s in (", field_name[f->field]);
        for (uint32_t i = 0; i < f->n; i++) {
            cn_buf_puts(out, i ? ", " : "");
            value_text(&f->v[i], out);
        }
        cn_buf_puts(out, ")");
    } else {
        cn_buf_printf(out, "%s%s", field_name[f->field], op_text[f->op]);
        value_text(&f->v[0], out);
    }
}

static void value_map(const o_value *v, cn_buf *out) {
    if (v->kind == 'i')
        cn_pack_int(out, v->i);
    else if (v->kind == 'f')
        cn_pack_f64(out, v->f);
    else if (v->kind == 'b')
        cn_pack_bool(out, v->i);
    else
        cn_pack_cstr(out, v->s);
}

void o_filter_map(const o_filter *f, cn_buf *out) {
    cn_pack_map(out, f->op >= O_AND ? 1 : 2);
    if (f->op < O_AND) {
        cn_pack_cstr(out, "field");
        cn_pack_cstr(out, field_name[f->field]);
    }
    cn_pack_cstr(out, op_map[f->op]);
    if (f->op == O_EXISTS) {
        cn_pack_bool(out, true);
        return;
    }
    if (f->op == O_AND || f->op == O_OR || f->op == O_IN)
        cn_pack_array(out, f->n);
    for (uint32_t i = 0; i < f->n; i++) {
        if (f->op >= O_AND)
            o_filter_map(f->child[i], out);
        else
            value_map(&f->v[i], out);
    }
}

/* The field of a document as up to four values of the oracle's own kind. */
static uint32_t field_values(const o_doc *d, enum o_field field, o_value v[4]) {
    uint32_t n = 0;
    memset(v, 0, 4 * sizeof *v);
    if (field == O_LANG && d->lang >= 0)
        snprintf(v[n].s, sizeof v[n].s, "%s", o_lang_name[d->lang]), v[n++].kind = 's';
    if (field == O_YEAR && d->year)
        v[n++] = (o_value){.kind = 'i', .i = d->year};
    if (field == O_RATING && d->rating >= 0)
        v[n++] = (o_value){.kind = 'f', .f = d->rating};
    if (field == O_DRAFT && d->draft >= 0)
        v[n++] = (o_value){.kind = 'b', .i = d->draft};
    if (field == O_MODIFIED && d->day)
        v[n++] = (o_value){.kind = 'm', .i = d->day};
    if (field == O_SOURCE || field == O_ID)
        snprintf(v[n].s, sizeof v[n].s, "%s", field == O_ID ? d->id : d->source), v[n++].kind = 's';
    for (int i = 0; field == O_TAGS && i < 4; i++)
        if (d->tags >> i & 1)
            snprintf(v[n].s, sizeof v[n].s, "%s", o_tag_name[i]), v[n++].kind = 's';
    return n;
}

/* a: the document's. 2: no order. */
static int value_order(const o_value *a, const o_value *b) {
    bool a_number = a->kind == 'i' || a->kind == 'f', b_number = b->kind == 'i' || b->kind == 'f';
    if (a_number && b_number) {
        double x = a->kind == 'i' ? (double)a->i : a->f, y = b->kind == 'i' ? (double)b->i : b->f;
        return (x > y) - (x < y);
    }
    if ((a->kind == 'm' && b->kind == 'd') || (a->kind == 'b' && b->kind == 'b'))
        return (a->i > b->i) - (a->i < b->i);
    if (a->kind == 's' && (b->kind == 's' || b->kind == 'd')) {
        int c = strcmp(a->s, b->s);
        return (c > 0) - (c < 0);
    }
    return 2;
}

static bool holds(enum o_op op, const o_value *a, const o_filter *f) {
    if (op == O_EQ || op == O_NE || op == O_IN) {
        for (uint32_t i = 0; i < f->n; i++)
            if (value_order(a, &f->v[i]) == 0)
                return true;
        return false;
    }
    int c = value_order(a, &f->v[0]);
    if (c == 2 || a->kind == 'b')
        return false;
    return op == O_GT ? c > 0 : op == O_GTE ? c >= 0 : op == O_LT ? c < 0 : c <= 0;
}

bool o_filter_match(const o_filter *f, const o_doc *d) {
    o_value v[4];
    bool any = false;
    if (f->op == O_NOT)
        return !o_filter_match(f->child[0], d);
    if (f->op >= O_AND) {
        for (uint32_t i = 0; i < f->n; i++)
            if (o_filter_match(f->child[i], d) == (f->op == O_OR))
                return f->op == O_OR;
        return f->op == O_AND;
    }
    uint32_t n = field_values(d, f->field, v);
    if (f->op == O_EXISTS)
        return n > 0;
    for (uint32_t i = 0; i < n; i++)
        any |= holds(f->op, &v[i], f);
    return f->op == O_NE ? !any : any;
}
