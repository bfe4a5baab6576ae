/* The rows of a file: lines of JSON, records of CSV, vectors. */
#include <stdio.h>

#include "ingest/source/inside.h"

bool cn_format_is_rows(cn_format f) { return f >= CN_FMT_JSONL && f < CN_FMT_COUNT; }
static bool is_vectors(cn_format f) { return f == CN_FMT_NPY || f == CN_FMT_FVECS || f == CN_FMT_FBIN; }

/* --- one row --- */
static cn_err check_vector(cn_source *s, const cn_raw *raw) {
    if (!raw->vector)
        return CN_OK;
    if (s->dim && raw->dim != s->dim)
        return cn_fail(CN_INVALID, "field \"vector\": it has %u numbers; this index has %u", raw->dim, s->dim);
    cn_err e = cn_vec_check(raw->vector, raw->dim, s->o.metric);
    return e == CN_OK ? CN_OK : cn_wrap(e, "field \"vector\"");
}

static cn_err no_field(const cn_source *s, cn_field f, const char *name) {
    return cn_fail(CN_INVALID, "it has no field \"" CN_STR_FMT "\"; name another with --map %s=FIELD", CN_STR_ARG(s->reader.fields.name[f][0]), name);
}

static cn_err fill_from_row(cn_source *s, const cn_row *row, cn_raw *raw) {
    raw->id = row->id;
    raw->title = row->title;
    raw->uri = row->uri;
    raw->bytes = row->text;
    raw->vector = row->vector;
    raw->dim = row->dim;
    raw->modified = row->modified;
    raw->meta = row->meta;
    cn_labels_take(row, raw);
    if (!row->set[CN_FIELD_ID])
        return no_field(s, CN_FIELD_ID, "id");
    if (row->remove) {
        raw->op = CN_OP_DELETE;
        return CN_OK;
    }
    if (!row->set[CN_FIELD_TEXT] && !row->vector) {
        if (!raw->labelled)
            return no_field(s, CN_FIELD_TEXT, "text");
        raw->op = CN_OP_RELABEL;
    }
    if (raw->op == CN_OP_PUT && raw->bytes.n == 0 && row->title.n)
        raw->bytes = row->title; /* corpora have entries that are a title alone */
    if (raw->op == CN_OP_PUT && raw->bytes.n == 0 && !row->vector)
        return cn_fail(CN_INVALID, "its text is empty");
    cn_labels_add(s, row->set[CN_FIELD_LABELS], raw);
    return check_vector(s, raw);
}

static cn_err name_line(cn_source *s, uint64_t line, cn_arena *a, cn_raw *raw) {
    char *where = cn_arena_printf(a, "%s:%llu", s->name, (unsigned long long)line);
    raw->where = cn_str_of(where);
    return where ? CN_OK : cn_fail_memory();
}

cn_err cn_raw_settle(cn_err e, cn_arena *a, cn_raw *raw) { return e == CN_OK || e == CN_OVERLOADED ? e : cn_raw_reject(e, a, raw); }

static cn_err next_json(cn_source *s, cn_arena *a, cn_raw *raw) {
    char *line;
    size_t n;
    bool too_long;
    cn_row row = {.id = {"", 0}};
    cn_err e;
    do
        CN_TRY(cn_input_line(s->in, &line, &n, &too_long));
    while (n == 0 && !too_long);
    CN_TRY(name_line(s, cn_input_line_number(s->in), a, raw));
    if (too_long)
        e = cn_fail(CN_INVALID, "the line is over %zu bytes", CN_LINE_MAX);
    else if ((e = cn_row_json(&s->reader, line, n, a, &row)) == CN_OK)
        e = fill_from_row(s, &row, raw);
    else
        raw->id = row.id;
    return cn_raw_settle(e, a, raw);
}

/* --- CSV --- */
/* An empty cell says nothing, but for text (there is none) and labels (nobody). */
static cn_err take_cell(cn_source *s, uint32_t i, cn_arena *a, cn_row *row) {
    cn_str value = s->csv.cells[i], column = s->csv.columns[i];
    int f = cn_fields_find(&s->reader.fields, column);
    if (f < 0)
        cn_row_doubt(&s->reader, column, value, row);
    bool counts = f == CN_FIELD_TEXT || f == CN_FIELD_LABELS || f == CN_FIELD_DENY || f == CN_FIELD_REQUIRE;
    if (value.n == 0 && !counts)
        return CN_OK;
    if (f >= 0 && row->set[f])
        return cn_fail(CN_INVALID, "two of its columns are the field \"" CN_STR_FMT "\"", CN_STR_ARG(column));
    if (f >= 0)
        return cn_row_cell(&s->reader, (cn_field)f, value, a, row);
    if (column.n > 5 && memcmp(column.p, "meta.", 5) == 0)
        column = (cn_str){column.p + 5, column.n - 5};
    cn_err e = cn_row_meta(&s->reader, column, value, false);
    return e == CN_OK ? CN_OK : cn_wrap(e, "column \"" CN_STR_FMT "\"", CN_STR_ARG(column));
}

static cn_err csv_row(cn_source *s, cn_arena *a, cn_raw *raw) {
    cn_row row;
    cn_err e = CN_OK;
    cn_row_start(&s->reader, &row);
    for (uint32_t i = 0; i < s->csv.n && e == CN_OK; i++)
        e = take_cell(s, i, a, &row);
    raw->id = row.id; /* so that what is rejected has its name */
    CN_TRY(e);
    CN_TRY(cn_row_finish(&s->reader, a, &row));
    return fill_from_row(s, &row, raw);
}

static cn_err next_csv(cn_source *s, cn_arena *a, cn_raw *raw) {
    cn_err e = cn_csv_next(&s->csv);
    if (e == CN_END)
        return e;
    if (e == CN_INVALID && s->csv.broken) /* what follows cannot be told from it */
        return cn_wrap(e, "%s:%llu", s->name, (unsigned long long)s->csv.line);
    CN_TRY(name_line(s, s->csv.line, a, raw));
    return cn_raw_settle(e == CN_OK ? csv_row(s, a, raw) : e, a, raw);
}

static cn_err check_columns(const cn_source *s) {
    bool has[CN_FIELD_COUNT] = {false};
    for (uint32_t i = 0; i < s->csv.n_columns; i++) {
        int f = cn_fields_find(&s->reader.fields, s->csv.columns[i]);
        if (f >= 0)
            has[f] = true;
    }
    if (!has[CN_FIELD_ID])
        return cn_fail(CN_INVALID, "line 1 names no column \"" CN_STR_FMT "\"; name another with --map id=COLUMN", CN_STR_ARG(s->reader.fields.name[CN_FIELD_ID][0]));
    if (has[CN_FIELD_TEXT] || has[CN_FIELD_TITLE] || has[CN_FIELD_VECTOR] || has[CN_FIELD_LABELS] || has[CN_FIELD_DENY] || has[CN_FIELD_REQUIRE] || has[CN_FIELD_OP])
        return CN_OK;
    return cn_fail(CN_INVALID, "line 1 names no column \"" CN_STR_FMT "\"; name another with --map text=COLUMN", CN_STR_ARG(s->reader.fields.name[CN_FIELD_TEXT][0]));
}

static cn_err start_csv(cn_source *s, cn_input *in) {
    CN_TRY(cn_csv_begin(&s->csv, in));
    return check_columns(s);
}

/* --- vectors --- */
/* What --rows says of a vector's row. */
static cn_err join_row(cn_source *s, cn_arena *a, cn_raw *raw) {
    char *line;
    size_t n;
    bool too_long;
    cn_row row = {.id = {NULL, 0}};
    cn_err e = cn_input_line(s->rows, &line, &n, &too_long);
    if (e == CN_END)
        return cn_fail(CN_INVALID, "%s ends before row %llu of the vectors; it needs one line for each", s->o.rows, (unsigned long long)s->row);
    CN_TRY(e);
    const float *vector = raw->vector;
    uint32_t dim = raw->dim;
    e = too_long ? cn_fail(CN_INVALID, "the line is over %zu bytes", CN_LINE_MAX) : cn_row_json(&s->reader, line, n, a, &row);
    if (e == CN_OK && row.vector)
        e = cn_fail(CN_INVALID, "it has a vector of its own");
    if (e == CN_OK) {
        if (!row.set[CN_FIELD_ID])
            row.id = raw->id;
        row.set[CN_FIELD_ID] = true;
        row.vector = vector;
        row.dim = dim;
        e = fill_from_row(s, &row, raw);
    } else {
        raw->id = row.id; /* not the vector's number: the line may name another */
    }
    return e == CN_OK ? CN_OK : cn_wrap(e, "%s:%llu", s->o.rows, (unsigned long long)cn_input_line_number(s->rows));
}

static cn_err next_vector(cn_source *s, cn_arena *a, cn_raw *raw) {
    cn_err e = cn_vectors_next(&s->vectors, a, &raw->vector, &raw->dim);
    if (e != CN_OK)
        return e == CN_END ? e : cn_wrap(e, "%s", s->name);
    char *id = cn_arena_printf(a, "%llu", (unsigned long long)s->row);
    char *where = cn_arena_printf(a, "%s: row %llu", s->name, (unsigned long long)(s->vectors.row - 1));
    if (!id || !where)
        return cn_fail_memory();
    raw->id = cn_str_of(id);
    raw->where = cn_str_of(where);
    if (s->rows) {
        e = join_row(s, a, raw);
        if (e != CN_OK && cn_input_line_number(s->rows) <= s->row)
            return e; /* --rows ended: what follows would stand beside the wrong vectors */
    } else {
        cn_labels_add(s, false, raw);
        e = check_vector(s, raw);
    }
    s->row++;
    return cn_raw_settle(e, a, raw);
}

/* --- the file --- */
/* A byte order mark before text is dropped; text in UTF-16 is told from a broken line. */
static cn_err skip_mark(cn_input *in) {
    cn_str head;
    const char *taken;
    CN_TRY(cn_input_peek(in, 3, &head));
    if (head.n >= 2 && (memcmp(head.p, "\xff\xfe", 2) == 0 || memcmp(head.p, "\xfe\xff", 2) == 0))
        return cn_fail(CN_INVALID, "it is UTF-16; convert it first: iconv -f UTF-16 -t UTF-8");
    return head.n == 3 && memcmp(head.p, "\xef\xbb\xbf", 3) == 0 ? cn_input_take(in, 3, &taken) : CN_OK;
}

cn_err cn_stream_start(cn_source *s, cn_input *in, cn_format format) {
    cn_err e;
    s->in = in;
    s->format = format;
    if (is_vectors(format))
        e = cn_vectors_begin(in, format, &s->vectors);
    else if ((e = skip_mark(in)) == CN_OK && format == CN_FMT_CSV)
        e = start_csv(s, in);
    return e == CN_OK ? CN_OK : cn_wrap(e, "%s", s->name);
}

void cn_stream_stop(cn_source *s) {
    if (s->in)
        s->done += cn_input_read(s->in);
    cn_input_close(s->in);
    s->in = NULL;
    s->format = CN_FMT_AUTO;
}

bool cn_stream_stands_alone(const cn_source *s) {
    return s->rows || (!s->in_folder && !(s->in && cn_input_cut(s->in) && !is_vectors(s->format)));
}

/* Of the formats whose every byte is of a row: no line, or no vector, came. */
static bool held_nothing(const cn_source *s) {
    return s->format == CN_FMT_JSONL ? cn_input_line_number(s->in) == 0 : s->format == CN_FMT_FVECS && s->vectors.row == 0 && !s->rows;
}

/* The rest of the file counts as one rejection. */
static cn_err give_up(cn_source *s, cn_err e, cn_arena *a, cn_raw *raw) {
    CN_TRY(cn_raw_reject(e, a, raw));
    CN_TRY(cn_raw_name(a, s->name, raw));
    raw->many = true;
    cn_stream_stop(s);
    return CN_OK;
}

/* What is wrong with a whole file in a folder costs what is left of that file. */
cn_err cn_stream_next(cn_source *s, cn_arena *a, cn_raw *raw) {
    cn_err e = is_vectors(s->format) ? next_vector(s, a, raw) : s->format == CN_FMT_CSV ? next_csv(s, a, raw) : next_json(s, a, raw);
    if (e == CN_OK)
        return CN_OK;
    if (e == CN_END && held_nothing(s)) /* told, and no failure: there may have been nothing to send */
        return give_up(s, cn_fail(CN_INVALID, "empty: no row in it"), a, raw);
    if (e == CN_INVALID && !cn_stream_stands_alone(s))
        return give_up(s, e, a, raw);
    if (e == CN_END) {
        cn_stream_stop(s);
        s->more = true;
        return CN_OK;
    }
    return e;
}
