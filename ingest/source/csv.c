#include "ingest/source/csv.h"

#include "engine/base/utf8.h"

void cn_csv_done(cn_csv *c) {
    cn_buf_done(&c->record);
    cn_buf_done(&c->header);
}

typedef struct state {
    bool quoted, start; /* inside quotes; at the start of a cell */
} state;

/* Goes over one line; st->quoted afterwards: the record goes on in the next line. */
static void scan(state *st, char sep, const char *p, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (st->quoted) {
            if (p[i] != '"')
                continue;
            if (i + 1 < n && p[i + 1] == '"')
                i++;
            else
                st->quoted = false;
        } else {
            st->quoted = st->start && p[i] == '"';
            st->start = p[i] == sep;
        }
    }
}

static cn_err break_off(cn_csv *c, const char *what) {
    c->broken = true;
    return cn_fail(CN_INVALID, "%s", what);
}

/* A file that cannot be read on gives no more records. */
static cn_err next_line(cn_csv *c, char **p, size_t *n, bool *too_long) {
    cn_err e = cn_input_line(c->in, p, n, too_long);
    c->broken = c->broken || (e != CN_OK && e != CN_END);
    return e;
}

/* All lines of the next record that is not blank, without the last line's end. */
static cn_err gather(cn_csv *c, char sep) {
    state st = {.start = true};
    char *p;
    size_t n;
    bool too_long;
    cn_buf_reset(&c->record);
    do
        CN_TRY(next_line(c, &p, &n, &too_long));
    while (n == 0 && !too_long);
    c->line = cn_input_line_number(c->in);
    for (;;) {
        if (too_long || n > CN_CSV_RECORD - c->record.n)
            return break_off(c, "the record has over 64 MiB; perhaps a quote is not closed");
        cn_buf_add(&c->record, p, n);
        scan(&st, sep, p, n);
        if (!st.quoted)
            return cn_buf_check(&c->record);
        cn_buf_putc(&c->record, '\n');
        cn_err e = next_line(c, &p, &n, &too_long);
        if (e == CN_END)
            return break_off(c, "a quote in this record is not closed before the file's end");
        CN_TRY(e);
    }
}

/* A cell that begins with a quote, unescaped where it stands. *at: behind its opening quote, then behind its closing one. */
static cn_err quoted_cell(char *p, size_t n, char sep, size_t *at, cn_str *ret) {
    char *to = p + *at;
    const char *from = to;
    size_t i = *at;
    for (; i < n; i++) {
        if (p[i] == '"' && !(i + 1 < n && p[i + 1] == '"'))
            break;
        i += p[i] == '"';
        *to++ = p[i];
    }
    i++;
    if (i < n && p[i] != sep)
        return cn_fail(CN_INVALID, "something follows a closing quote (byte %zu of the record); double the quotes inside a cell", i + 1);
    *at = i;
    *ret = (cn_str){from, (size_t)(to - from)};
    return CN_OK;
}

static cn_err split(cn_buf *record, char sep, cn_str *cells, uint32_t *ret_n) {
    char *p = record->p;
    size_t n = record->n, at = 0;
    uint32_t count = 0;
    for (;;) {
        if (count == CN_CSV_COLUMNS)
            return cn_fail(CN_INVALID, "it has over %d cells", CN_CSV_COLUMNS);
        if (at < n && p[at] == '"') {
            at++;
            CN_TRY(quoted_cell(p, n, sep, &at, &cells[count++]));
        } else {
            const char *end = at < n ? memchr(p + at, sep, n - at) : NULL;
            size_t len = end ? (size_t)(end - (p + at)) : n - at;
            cells[count++] = (cn_str){p + at, len};
            at += len;
        }
        if (at >= n)
            break;
        at++; /* the separator; where it is the last byte, an empty cell follows */
    }
    *ret_n = count;
    return CN_OK;
}

static cn_err check_utf8(const cn_csv *c) {
    size_t ok = cn_utf8_valid_to(cn_buf_str(&c->record));
    if (ok == c->record.n)
        return CN_OK;
    return cn_fail(CN_INVALID, "byte %zu of the record (0x%02X) is not UTF-8; convert the file: iconv -f WINDOWS-1252 -t UTF-8", ok + 1,
                   (unsigned)(unsigned char)c->record.p[ok]);
}

/* The separator of a header. */
static char separator(cn_str head) {
    if (memchr(head.p, '\t', head.n))
        return '\t';
    return memchr(head.p, ';', head.n) && !memchr(head.p, ',', head.n) ? ';' : ',';
}

static cn_err check_columns(const cn_csv *c) {
    for (uint32_t i = 0; i < c->n_columns; i++) {
        if (c->columns[i].n == 0)
            return cn_fail(CN_INVALID, "column %u has no name; the first line names the columns", i + 1);
        for (uint32_t j = 0; j < i; j++)
            if (cn_str_eq(c->columns[i], c->columns[j]))
                return cn_fail(CN_INVALID, "the column \"" CN_STR_FMT "\" stands there twice", CN_STR_ARG(c->columns[i]));
    }
    return CN_OK;
}

cn_err cn_csv_begin(cn_csv *c, cn_input *in) {
    cn_str head;
    cn_csv_done(c);
    memset(c, 0, sizeof *c);
    c->in = in;
    cn_buf_init(&c->record, 2 * CN_CSV_RECORD);
    cn_buf_init(&c->header, 2 * CN_CSV_RECORD);
    CN_TRY(cn_input_peek(in, 65536, &head));
    const char *nl = head.n ? memchr(head.p, '\n', head.n) : NULL;
    c->sep = head.n ? separator((cn_str){head.p, nl ? (size_t)(nl - head.p) : head.n}) : ',';
    cn_err e = gather(c, c->sep);
    if (e == CN_END)
        return cn_fail(CN_INVALID, "it is empty; its first line should name the columns");
    CN_TRY(e);
    CN_TRY(check_utf8(c));
    cn_buf_add(&c->header, c->record.p, c->record.n);
    CN_TRY(cn_buf_check(&c->header));
    CN_TRY(split(&c->header, c->sep, c->columns, &c->n_columns));
    return check_columns(c);
}

cn_err cn_csv_next(cn_csv *c) {
    if (c->broken)
        return CN_END;
    CN_TRY(gather(c, c->sep));
    CN_TRY(check_utf8(c));
    CN_TRY(split(&c->record, c->sep, c->cells, &c->n));
    if (c->n != c->n_columns)
        return cn_fail(CN_INVALID, "it has %u cells; the header names %u columns", c->n, c->n_columns);
    return CN_OK;
}
