#include "ingest/source/source.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "engine/base/mem.h"
#include "index/policy/labels.h"
#include "index/policy/principal.h"
#include "ingest/source/row.h"
#include "ingest/source/vectors.h"
#include "ingest/source/walk.h"

typedef struct rule {
    cn_str glob;
    cn_labels labels;
} rule;

struct cn_source {
    cn_source_opts o;
    cn_arena own;              /* rules, names */
    rule *rules;
    uint32_t next_path;
    cn_walk *walk;             /* the folder being walked, or NULL */
    cn_input *in;              /* the file of rows being read, or NULL */
    cn_format format;          /* of in */
    char name[4200];           /* of in, for messages */
    cn_vector_file vectors;
    cn_input *rows;            /* --rows */
    uint64_t row;              /* of vectors, over all files */
    uint32_t dim;
    bool more;                 /* what was opened holds documents: they come next */
    bool in_folder;            /* in was met in a folder: what is wrong with it costs that file only */
    uint64_t done;             /* bytes of what is closed */
    uint64_t all, docs;
    cn_row_reader reader;
};

/* --- opening --- */
static cn_err parse_rule(cn_source *s, cn_str text, rule *ret) {
    const char *eq = text.n ? memrchr(text.p, '=', text.n) : NULL;
    if (!eq || eq == text.p)
        return cn_fail(CN_INVALID, "--label-rule \"" CN_STR_FMT "\" should be GLOB=LABEL,LABEL", CN_STR_ARG(text));
    size_t n = (size_t)(eq - text.p);
    ret->glob = cn_arena_str(&s->own, (cn_str){text.p, n});
    if (!ret->glob.p)
        return cn_fail_memory();
    cn_err e = cn_labels_parse(&s->own, (cn_str){eq + 1, text.n - n - 1}, &ret->labels);
    return e == CN_OK ? CN_OK : cn_wrap(e, "--label-rule \"" CN_STR_FMT "\"", CN_STR_ARG(text));
}

static cn_err parse_rules(cn_source *s) {
    s->rules = cn_arena_zalloc(&s->own, s->o.n_label_rules, sizeof *s->rules);
    if (!s->rules)
        return cn_fail_memory();
    for (uint32_t i = 0; i < s->o.n_label_rules; i++)
        CN_TRY(parse_rule(s, s->o.label_rules[i], &s->rules[i]));
    return CN_OK;
}

static cn_err open_file(const char *path, int *ret) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return cn_fail_errno(errno, "%s", path);
    *ret = fd;
    return CN_OK;
}

static cn_err open_rows(cn_source *s) {
    int fd;
    if (!s->o.rows)
        return CN_OK;
    CN_TRY(open_file(s->o.rows, &fd));
    return cn_input_open(fd, s->o.rows, cn_input_packed(cn_str_of(s->o.rows)), &s->rows);
}

static void count_file(cn_source *s, const struct stat *st) {
    s->all += (uint64_t)st->st_size;
    s->docs++;
}

static cn_err count_folder(cn_source *s, const char *path) {
    cn_walk *w;
    cn_walk_item item;
    cn_err e;
    CN_TRY(cn_walk_open(path, &w));
    while ((e = cn_walk_next(w, &item)) == CN_OK) {
        count_file(s, &item.st);
        if (item.fd >= 0)
            close(item.fd);
    }
    cn_walk_close(w);
    return e == CN_NOT_FOUND ? CN_OK : e;
}

/* Every path must be there before anything is read; sizes are for progress. */
static cn_err check_paths(cn_source *s) {
    struct stat st;
    for (uint32_t i = 0; i < s->o.n_paths; i++) {
        const char *path = s->o.paths[i];
        if (strcmp(path, "-") == 0)
            continue;
        if (stat(path, &st) != 0)
            return cn_fail_errno(errno, "%s", path);
        if (S_ISDIR(st.st_mode))
            CN_TRY(count_folder(s, path));
        else
            count_file(s, &st);
    }
    return CN_OK;
}

static cn_err begin(cn_source *s) {
    cn_fields fields;
    if (s->o.n_paths == 0)
        return cn_fail(CN_INVALID, "name at least one file or folder, or - for standard input");
    CN_TRY(cn_fields_parse(s->o.map, &fields));
    cn_row_reader_init(&s->reader, &fields);
    CN_TRY(parse_rules(s));
    CN_TRY(open_rows(s));
    return check_paths(s);
}

cn_err cn_source_open(const cn_source_opts *o, cn_source **ret) {
    cn_source *s = cn_calloc(1, sizeof *s);
    if (!s)
        return cn_fail_memory();
    s->o = *o;
    s->dim = o->dim;
    cn_arena_init(&s->own, 4096, 64 << 20);
    cn_err e = begin(s);
    if (e != CN_OK) {
        cn_source_close(s);
        return e;
    }
    *ret = s;
    return CN_OK;
}

void cn_source_close(cn_source *s) {
    if (!s)
        return;
    cn_walk_close(s->walk);
    cn_input_close(s->in);
    cn_input_close(s->rows);
    cn_row_reader_done(&s->reader);
    cn_arena_done(&s->own);
    cn_free(s);
}

void cn_source_progress(const cn_source *s, uint64_t *ret_done, uint64_t *ret_bytes, uint64_t *ret_docs) {
    *ret_done = s->done + (s->in ? cn_input_read(s->in) : 0);
    *ret_bytes = s->all;
    *ret_docs = s->in || s->format != CN_FMT_AUTO ? 0 : s->docs;
}

/* --- one document --- */
/* This document cannot be read: the stream goes on, with the reason that was recorded last. */
static cn_err reject(cn_err code, cn_arena *a, cn_raw *raw) {
    raw->err = code;
    raw->why = cn_arena_str(a, cn_str_of(cn_error_detail()));
    return raw->why.p ? CN_OK : cn_fail_memory();
}

static void take_labels(const cn_row *row, cn_raw *raw) {
    raw->labels = row->labels;
    raw->labelled = row->set[CN_FIELD_LABELS] || row->set[CN_FIELD_DENY] || row->set[CN_FIELD_REQUIRE];
}

/* What the row itself does not say about who may read it, a rule says, or --label. */
static void add_labels(const cn_source *s, bool allow_set, cn_raw *raw) {
    if (allow_set)
        return;
    for (uint32_t i = 0; i < s->o.n_label_rules; i++)
        if (cn_glob_match(s->rules[i].glob, raw->id)) {
            raw->labels.allow = s->rules[i].labels;
            raw->labelled = true;
            return;
        }
    raw->labels.allow = s->o.labels;
    raw->labelled = raw->labelled || s->o.labels.n;
}

static cn_err check_vector(cn_source *s, const cn_raw *raw) {
    if (!raw->vector)
        return CN_OK;
    if (s->dim && raw->dim != s->dim)
        return cn_fail(CN_INVALID, "field \"vector\": it has %u numbers; this index has %u", raw->dim, s->dim);
    cn_err e = cn_vec_check(raw->vector, raw->dim, s->o.metric);
    if (e != CN_OK)
        return cn_wrap(e, "field \"vector\"");
    s->dim = raw->dim;
    return CN_OK;
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
    take_labels(row, raw);
    if (!row->set[CN_FIELD_ID])
        return cn_fail(CN_INVALID, "it has no field \"" CN_STR_FMT "\"; name another with --map id=FIELD", CN_STR_ARG(s->reader.fields.name[CN_FIELD_ID][0]));
    if (row->remove) {
        raw->op = CN_OP_DELETE;
        return CN_OK;
    }
    if (!row->set[CN_FIELD_TEXT] && !row->vector) {
        if (!raw->labelled)
            return cn_fail(CN_INVALID, "it has no field \"" CN_STR_FMT "\"; name another with --map text=FIELD", CN_STR_ARG(s->reader.fields.name[CN_FIELD_TEXT][0]));
        raw->op = CN_OP_RELABEL;
    }
    if (raw->op == CN_OP_PUT && raw->bytes.n == 0 && row->title.n)
        raw->bytes = row->title; /* corpora have entries that are a title alone */
    if (raw->op == CN_OP_PUT && raw->bytes.n == 0 && !row->vector)
        return cn_fail(CN_INVALID, "its text is empty");
    add_labels(s, row->set[CN_FIELD_LABELS], raw);
    return check_vector(s, raw);
}

static void start_raw(cn_raw *raw) {
    *raw = (cn_raw){.format = CN_FMT_TEXT, .id = CN_STR(""), .title = CN_STR(""), .uri = CN_STR(""), .meta = CN_STR(""), .bytes = CN_STR(""),
                    .why = CN_STR(""), .modified = CN_NO_TIME};
}

static cn_err next_json(cn_source *s, cn_arena *a, cn_raw *raw) {
    char *line;
    size_t n;
    bool too_long;
    cn_row row;
    cn_err e;
    do
        CN_TRY(cn_input_line(s->in, &line, &n, &too_long));
    while (n == 0 && !too_long);
    char *where = cn_arena_printf(a, "%s:%llu", s->name, (unsigned long long)cn_input_line_number(s->in));
    if (!where)
        return cn_fail_memory();
    raw->where = cn_str_of(where);
    if (too_long)
        e = cn_fail(CN_INVALID, "the line is over %zu bytes", CN_LINE_MAX);
    else if ((e = cn_row_json(&s->reader, line, n, a, &row)) == CN_OK)
        e = fill_from_row(s, &row, raw);
    return e == CN_OK || e == CN_OVERLOADED ? e : reject(e, a, raw);
}

/* What --rows says of a vector's row. */
static cn_err join_row(cn_source *s, cn_arena *a, cn_raw *raw) {
    char *line;
    size_t n;
    bool too_long;
    cn_row row;
    cn_err e = cn_input_line(s->rows, &line, &n, &too_long);
    if (e == CN_NOT_FOUND)
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
    }
    return e == CN_OK ? CN_OK : cn_wrap(e, "%s:%llu", s->o.rows, (unsigned long long)cn_input_line_number(s->rows));
}

static cn_err next_vector(cn_source *s, cn_arena *a, cn_raw *raw) {
    cn_err e = cn_vectors_next(&s->vectors, a, &raw->vector, &raw->dim);
    if (e != CN_OK)
        return e == CN_NOT_FOUND ? e : cn_wrap(e, "%s", s->name);
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
        add_labels(s, false, raw);
        e = check_vector(s, raw);
    }
    s->row++;
    return e == CN_OK || e == CN_OVERLOADED ? e : reject(e, a, raw);
}

/* --- files --- */
static cn_err sidecar(cn_source *s, const cn_walk_item *f, cn_arena *a, cn_row *row, bool *ret_found) {
    char name[512];
    struct stat st;
    cn_str text;
    cn_input *in;
    if (snprintf(name, sizeof name, "%s.meta.json", f->name) >= (int)sizeof name)
        return CN_OK;
    int fd = openat(f->dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0 && errno == ENOENT)
        return CN_OK;
    if (fd < 0 || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        if (fd >= 0)
            close(fd);
        return cn_fail(CN_INVALID, "its sidecar %s cannot be read", name);
    }
    CN_TRY(cn_input_open(fd, name, false, &in));
    cn_err e = cn_input_all(in, 1 << 20, a, &text);
    cn_input_close(in);
    CN_TRY(e);
    union { const char *c; char *p; } at = {.c = text.p};
    *ret_found = true;
    e = cn_row_json(&s->reader, at.p, text.n, a, row);
    return e == CN_OK ? CN_OK : cn_wrap(e, "its sidecar %s", name);
}

static cn_err describe(cn_source *s, const cn_walk_item *f, cn_arena *a, cn_raw *raw) {
    cn_row row = {.modified = CN_NO_TIME};
    bool found = false;
    if (s->o.trust & CN_TRUST_SIDECAR)
        CN_TRY(sidecar(s, f, a, &row, &found));
    if (found) {
        raw->title = row.title;
        raw->uri = row.uri;
        raw->meta = row.meta;
        if (row.set[CN_FIELD_MODIFIED])
            raw->modified = row.modified;
        take_labels(&row, raw);
    }
    add_labels(s, row.set[CN_FIELD_LABELS], raw);
    return CN_OK;
}

static bool is_rows(cn_format f) { return f >= CN_FMT_JSONL && f < CN_FMT_COUNT; }

static cn_str without_packing(cn_str name) {
    if (!cn_input_packed(name))
        return name;
    while (name.p[name.n - 1] != '.')
        name.n--;
    return (cn_str){name.p, name.n - 1};
}

/* Rows: the file stays open, and what is given is its rows. */
static cn_err start_rows(cn_source *s, cn_input *in, cn_format format) {
    s->in = in;
    s->format = format;
    if (format == CN_FMT_NPY || format == CN_FMT_FVECS || format == CN_FMT_FBIN) {
        cn_err e = cn_vectors_begin(in, format, &s->vectors);
        if (e != CN_OK)
            return cn_wrap(e, "%s", s->name);
    } else if (format == CN_FMT_CSV) {
        return cn_fail(CN_INVALID, "%s: CSV is not read; turn it into JSON Lines", s->name);
    }
    return CN_OK;
}

static void stop_rows(cn_source *s) {
    if (s->in)
        s->done += cn_input_read(s->in);
    cn_input_close(s->in);
    s->in = NULL;
    s->format = CN_FMT_AUTO;
}

static cn_err whole_file(cn_source *s, const cn_walk_item *f, cn_input *in, cn_format format, cn_arena *a, cn_raw *raw) {
    raw->format = format;
    raw->modified = f->st.st_mtim.tv_sec * 1000000 + f->st.st_mtim.tv_nsec / 1000;
    cn_err e = cn_input_all(in, CN_PARSE_BYTES_MAX, a, &raw->bytes);
    s->done += cn_input_read(in);
    CN_TRY(e);
    if (raw->bytes.n == 0)
        return cn_fail(CN_INVALID, "empty: 0 bytes");
    return describe(s, f, a, raw);
}

/* A file is one document, or holds rows, which come next. */
static cn_err take_file(cn_source *s, const cn_walk_item *f, cn_arena *a, cn_raw *raw) {
    cn_input *in;
    cn_str head, id = raw->id;
    snprintf(s->name, sizeof s->name, "%.*s", (int)id.n, id.p);
    if (f->err != CN_OK)
        return reject(f->err, a, raw);
    cn_err e = cn_row_check_id(id);
    if (e == CN_OK)
        e = cn_input_open(f->fd, s->name, cn_input_packed(id), &in);
    else
        close(f->fd);
    if (e != CN_OK)
        return reject(e, a, raw);
    cn_format format = s->o.format;
    if ((e = cn_input_peek(in, 4096, &head)) == CN_OK && format == CN_FMT_AUTO)
        format = cn_format_guess(without_packing(id), head);
    if (e == CN_OK && is_rows(format)) {
        e = start_rows(s, in, format);
        s->more = e == CN_OK;
        if (s->more)
            return CN_OK;
        stop_rows(s);
        return s->in_folder ? reject(e, a, raw) : e;
    }
    if (e == CN_OK && format == CN_FMT_AUTO)
        e = cn_fail(CN_INVALID, "not a document that cairn reads (by its name and its first bytes)");
    if (e == CN_OK)
        e = whole_file(s, f, in, format, a, raw);
    cn_input_close(in);
    return e == CN_OK ? CN_OK : reject(e, a, raw);
}

static bool is_sidecar(const cn_walk_item *f) {
    char name[512];
    size_t n = strlen(f->name), end = strlen(".meta.json");
    if (n <= end || n >= sizeof name || strcmp(f->name + n - end, ".meta.json") != 0)
        return false;
    memcpy(name, f->name, n - end);
    name[n - end] = 0;
    return faccessat(f->dir, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static cn_err name_raw(cn_arena *a, const char *id, cn_raw *raw) {
    raw->id = cn_arena_str(a, cn_str_of(id));
    raw->where = raw->id;
    return raw->id.p ? CN_OK : cn_fail_memory();
}

static cn_err next_in_folder(cn_source *s, cn_arena *a, cn_raw *raw) {
    cn_walk_item f;
    for (;;) {
        CN_TRY(cn_walk_next(s->walk, &f));
        if (!(f.fd >= 0 && is_sidecar(&f)))
            break;
        close(f.fd);
    }
    s->in_folder = true;
    CN_TRY(name_raw(a, f.path, raw));
    return take_file(s, &f, a, raw);
}

static const char *base_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* A folder with corpus.jsonl and queries or judgements beside it: a BEIR folder, of which the corpus is read. */
static bool is_beir(const char *folder, char *path, size_t n) {
    char other[4200];
    snprintf(path, n, "%s/corpus.jsonl", folder);
    if (access(path, F_OK) != 0)
        return false;
    snprintf(other, sizeof other, "%s/queries.jsonl", folder);
    if (access(other, F_OK) == 0)
        return true;
    snprintf(other, sizeof other, "%s/qrels", folder);
    return access(other, F_OK) == 0;
}

static cn_err open_path(cn_source *s, const char *path, cn_arena *a, cn_raw *raw) {
    cn_walk_item f = {.path = path, .name = path, .dir = AT_FDCWD};
    char corpus[4200];
    s->in_folder = false;
    if (strcmp(path, "-") == 0) {
        snprintf(s->name, sizeof s->name, "standard input");
        cn_input *in;
        CN_TRY(cn_input_open(dup(0), s->name, false, &in));
        s->more = true;
        return start_rows(s, in, is_rows(s->o.format) ? s->o.format : CN_FMT_JSONL);
    }
    CN_TRY(open_file(path, &f.fd));
    if (fstat(f.fd, &f.st) == 0 && S_ISDIR(f.st.st_mode)) {
        close(f.fd);
        if (s->o.format != CN_FMT_BEIR && !(s->o.format == CN_FMT_AUTO && is_beir(path, corpus, sizeof corpus))) {
            s->more = true;
            return cn_walk_open(path, &s->walk);
        }
        snprintf(corpus, sizeof corpus, "%s/corpus.jsonl", path);
        CN_TRY(open_file(corpus, &f.fd));
        path = corpus;
    }
    CN_TRY(name_raw(a, base_name(path), raw));
    return take_file(s, &f, a, raw);
}

/* Lines of --rows that no vector stands beside: then all of them stood beside the wrong ones. */
static cn_err finish(cn_source *s) {
    char *line;
    size_t n;
    bool too_long;
    if (s->rows && cn_input_line(s->rows, &line, &n, &too_long) == CN_OK)
        return cn_fail(CN_INVALID, "%s has more lines than there are vectors (%llu)", s->o.rows, (unsigned long long)s->row);
    return CN_NOT_FOUND;
}

/* The next row of the file that is open; what is wrong with a file in a folder costs what is left of that file. */
static cn_err next_row(cn_source *s, cn_arena *a, cn_raw *raw) {
    bool vectors = s->format == CN_FMT_NPY || s->format == CN_FMT_FVECS || s->format == CN_FMT_FBIN;
    cn_err e = vectors ? next_vector(s, a, raw) : next_json(s, a, raw);
    if (e == CN_OK)
        return CN_OK;
    if (e == CN_INVALID && s->in_folder && !s->rows) {
        CN_TRY(reject(e, a, raw));
        CN_TRY(name_raw(a, s->name, raw));
        stop_rows(s);
        return CN_OK;
    }
    if (e == CN_NOT_FOUND) {
        stop_rows(s);
        s->more = true;
        return CN_OK;
    }
    return e;
}

static cn_err step(cn_source *s, cn_arena *a, cn_raw *raw) {
    if (s->in)
        return next_row(s, a, raw);
    if (!s->walk)
        return s->next_path < s->o.n_paths ? open_path(s, s->o.paths[s->next_path++], a, raw) : finish(s);
    cn_err e = next_in_folder(s, a, raw);
    if (e != CN_NOT_FOUND)
        return e;
    cn_walk_close(s->walk);
    s->walk = NULL;
    s->more = true;
    return CN_OK;
}

cn_err cn_source_next(cn_source *s, cn_arena *a, cn_raw *ret) {
    cn_raw raw;
    do {
        start_raw(&raw);
        s->more = false;
        CN_TRY(step(s, a, &raw));
    } while (s->more);
    *ret = raw;
    return CN_OK;
}
