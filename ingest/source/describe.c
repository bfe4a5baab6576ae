/* What is said of a document besides its bytes: label rules, --label, and what its author says where that is trusted. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "index/policy/labels.h"
#include "index/policy/glob.h"
#include "ingest/source/front.h"
#include "ingest/source/inside.h"

#define SIDECAR_MAX ((size_t)1 << 20)

/* --- rules --- */
static cn_err parse_rule(cn_source *s, cn_str text, cn_label_rule *ret) {
    const char *eq = text.p && text.n ? memrchr(text.p, '=', text.n) : NULL;
    if (!eq || eq == text.p)
        return cn_fail(CN_INVALID, "--label-rule \"" CN_STR_FMT "\" should be GLOB=LABEL,LABEL", CN_STR_ARG(text));
    size_t n = (size_t)(eq - text.p);
    ret->glob = cn_arena_str(&s->own, (cn_str){text.p, n});
    if (!ret->glob.p)
        return cn_fail_memory();
    cn_err e = cn_labels_parse(&s->own, (cn_str){eq + 1, text.n - n - 1}, &ret->labels);
    return e == CN_OK ? CN_OK : cn_wrap(e, "--label-rule \"" CN_STR_FMT "\"", CN_STR_ARG(text));
}

cn_err cn_rules_parse(cn_source *s) {
    s->rules = cn_arena_zalloc(&s->own, s->o.n_label_rules, sizeof *s->rules);
    if (!s->rules)
        return cn_fail_memory();
    for (uint32_t i = 0; i < s->o.n_label_rules; i++)
        CN_TRY(parse_rule(s, s->o.label_rules[i], &s->rules[i]));
    return CN_OK;
}

void cn_labels_take(const cn_row *row, cn_raw *raw) {
    raw->labels = row->labels;
    raw->labelled = row->set[CN_FIELD_LABELS] || row->set[CN_FIELD_DENY] || row->set[CN_FIELD_REQUIRE];
}

void cn_labels_add(const cn_source *s, bool allow_set, cn_raw *raw) {
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

/* --- the author's word --- */
/* The sidecar beside a file: never through a link, only a plain file. -1 with CN_OK: there is none. */
static cn_err open_sidecar(const cn_walk_item *f, const char *name, int *ret) {
    struct stat st;
    int fd = openat(f->dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0 && errno == ENOENT) {
        *ret = -1;
        return CN_OK;
    }
    if (fd < 0 || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        if (fd >= 0)
            close(fd);
        return cn_fail(CN_INVALID, "its sidecar %s cannot be read: not a plain file, or no permission", name);
    }
    *ret = fd;
    return CN_OK;
}

static cn_err sidecar(cn_source *s, const cn_walk_item *f, cn_arena *a, cn_row *row) {
    char name[512];
    cn_str text;
    cn_input *in;
    int fd = -1;
    if (!S_ISREG(f->st.st_mode)) /* standard input has none */
        return CN_OK;
    if (snprintf(name, sizeof name, "%s.meta.json", f->name) >= (int)sizeof name)
        return CN_OK;
    CN_TRY(open_sidecar(f, name, &fd));
    if (fd < 0)
        return CN_OK;
    CN_TRY(cn_input_open(fd, name, NULL, &in));
    cn_err e = cn_input_all(in, SIDECAR_MAX, a, &text);
    cn_input_close(in);
    CN_TRY(e);
    union { const char *c; char *p; } at = {.c = text.p};
    e = cn_row_json(&s->reader, at.p, text.n, a, row);
    return e == CN_OK ? CN_OK : cn_wrap(e, "its sidecar %s", name);
}

static void take_words(const cn_row *row, cn_raw *raw) {
    if (row->title.n)
        raw->title = row->title;
    if (row->uri.n)
        raw->uri = row->uri;
    if (row->meta.n)
        raw->meta = row->meta;
    if (row->set[CN_FIELD_MODIFIED])
        raw->modified = row->modified;
    cn_labels_take(row, raw);
}

/* A sidecar stands for the front matter as well. */
cn_err cn_file_describe(cn_source *s, const cn_walk_item *f, cn_arena *a, cn_raw *raw) {
    cn_row row = {.modified = CN_NO_TIME};
    bool said = false;
    if (s->o.trust & CN_TRUST_SIDECAR) {
        CN_TRY(sidecar(s, f, a, &row));
        for (int i = 0; i < CN_FIELD_COUNT; i++)
            said = said || row.set[i];
    }
    if (!said && (s->o.trust & CN_TRUST_FRONT_MATTER) && raw->format == CN_FMT_MD) {
        cn_err e = cn_front_read(&s->reader, raw->bytes, a, &row);
        if (e != CN_OK)
            return cn_wrap(e, "its front matter");
    }
    take_words(&row, raw);
    cn_labels_add(s, row.set[CN_FIELD_LABELS], raw);
    return CN_OK;
}
