#include "ingest/job/folders.h"

#include <ctype.h>

#include "engine/base/mem.h"
#include "ingest/job/opts.h"

static cn_str without_slashes(cn_str s) {
    while (s.n && s.p[s.n - 1] == '/')
        s.n--;
    return s;
}

/* The folder that a path lies in, or a glob begins in. */
static cn_str folder_of(const char *path) {
    size_t n = strcspn(path, "*?[");
    cn_str s = path[n] ? (cn_str){path, n} : without_slashes((cn_str){path, n});
    while (s.n && s.p[s.n - 1] != '/')
        s.n--;
    return without_slashes(s);
}

static cn_err of_given(const cn_job_row *r, cn_arena *a, cn_folders *ret) {
    cn_job_opts o;
    cn_job_opts_default(&o);
    CN_TRY(cn_opts_unpack(r->opts, a, &o));
    ret->v = cn_arena_zalloc(a, o.from.n_paths + 1u, sizeof *ret->v);
    if (!ret->v)
        return cn_fail_memory();
    for (uint32_t i = 0; i < o.from.n_paths; i++)
        ret->v[ret->n++] = folder_of(o.from.paths[i]);
    if (o.from.rows)
        ret->v[ret->n++] = folder_of(o.from.rows);
    return CN_OK;
}

cn_err cn_folders_of(const cn_job_row *r, const cn_job_reader *to, cn_arena *a, cn_folders *ret) {
    cn_folders f = {NULL, 0};
    if (to && cn_str_is(r->via, "command")) {
        CN_TRY(of_given(r, a, &f));
    } else if (to) {
        f.v = cn_arena_zalloc(a, to->n_roots + 1u, sizeof *f.v);
        if (!f.v)
            return cn_fail_memory();
        for (; f.n < to->n_roots; f.n++)
            f.v[f.n] = without_slashes(to->roots[f.n]);
    }
    *ret = f;
    return CN_OK;
}

static bool in_name(char c) { return isalnum((unsigned char)c) || (c && strchr("_-.", c)); }

/* The length of the longest of them that stands at text[i]; 0: none does. */
static size_t folder_at(const cn_folders *f, const char *text, size_t n, size_t i) {
    size_t most = 0;
    if (i && (in_name(text[i - 1]) || text[i - 1] == '/'))
        return 0;
    for (uint32_t k = 0; k < f->n; k++) {
        size_t len = f->v[k].n;
        if (len > most && len <= n - i && memcmp(text + i, f->v[k].p, len) == 0 && (len == n - i || !in_name(text[i + len])))
            most = len;
    }
    return most;
}

size_t cn_folders_cut(const cn_folders *f, char *text, size_t n) {
    size_t at = 0;
    for (size_t i = 0; i < n;) {
        size_t len = folder_at(f, text, n, i);
        text[at++] = len ? '.' : text[i];
        i += len ? len : 1;
    }
    return at;
}
