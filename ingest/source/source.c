/* Which file comes next: paths, folders, globs, standard input. */
#include "ingest/source/source.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "engine/base/mem.h"
#include "index/policy/glob.h"
#include "ingest/source/inside.h"

cn_err cn_raw_reject(cn_err code, cn_arena *a, cn_raw *raw) {
    raw->err = code;
    raw->why = cn_arena_str(a, cn_str_of(cn_error_detail()));
    return raw->why.p ? CN_OK : cn_fail_memory();
}

cn_err cn_raw_name(cn_arena *a, const char *id, cn_raw *raw) {
    raw->id = cn_arena_str(a, cn_str_of(id));
    raw->where = raw->id;
    return raw->id.p ? CN_OK : cn_fail_memory();
}

/* --- opening --- */
/* The rest of a path below a root; NULL: it does not lie there. */
static const char *below(const char *path, cn_str root) {
    while (root.n && root.p[root.n - 1] == '/')
        root.n--;
    bool fits = strncmp(path, root.p, root.n) == 0 && (path[root.n] == '/' || path[root.n] == 0);
    return fits ? path + root.n : NULL;
}

static cn_err open_rooted(const cn_source_opts *o, const char *path, int *ret) {
    struct stat st;
    const char *rest = NULL;
    uint32_t i = 0;
    while (i < o->n_roots && !(rest = below(path, o->roots[i])))
        i++;
    if (!rest)
        return cn_fail(CN_DENIED, "%s is not under an import root of this tenant; the host's operator sets them (import_root)", path);
    int root = open(o->roots[i].p, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int fd = root < 0 ? -1 : cn_open_beneath(root, rest), why = errno;
    if (root >= 0)
        close(root);
    if (fd < 0)
        return why == ELOOP || why == ENOTDIR /* a link where a folder should be is that */
                   ? cn_fail(CN_DENIED, "%s goes over a link, a file or up (..), which is not followed below an import root", path)
                   : cn_fail_errno(why, "%s", path);
    if (fstat(fd, &st) == 0 && !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode)) {
        close(fd);
        return cn_fail(CN_INVALID, "%s is neither a file nor a folder", path);
    }
    *ret = fd;
    return CN_OK;
}

static cn_err open_file(const cn_source *s, const char *path, int *ret) {
    if (s->o.rooted)
        return open_rooted(&s->o, path, ret);
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
    CN_TRY(open_file(s, s->o.rows, &fd));
    return cn_input_open(fd, s->o.rows, &s->unpacker, &s->rows);
}

/* Whether there is something of just this name; of a client's, nothing outside its roots is looked for. */
static bool is_there(const cn_source_opts *o, const char *path) {
    int fd;
    if (!o->rooted)
        return access(path, F_OK) == 0;
    if (open_rooted(o, path, &fd) != CN_OK)
        return false;
    close(fd);
    return true;
}

/* True when path is a glob (and nothing of that name is there): *ret_root is the folder before its first wildcard, *ret_glob the
 * rest, which is matched with paths relative to that folder. */
static bool split_glob(const cn_source_opts *o, const char *path, char *ret_root, size_t n, const char **ret_glob) {
    const char *magic = strpbrk(path, "*?[");
    if (!magic || is_there(o, path))
        return false;
    while (magic > path && magic[-1] != '/')
        magic--;
    int len = (int)(magic - path);
    if (snprintf(ret_root, n, "%.*s", len ? len : 1, len ? path : ".") >= (int)n)
        return false;
    *ret_glob = magic;
    return true;
}

cn_err cn_source_may_read(const cn_source_opts *o, const char *path) {
    char folder[4200];
    const char *glob;
    int fd;
    if (!o->rooted)
        return CN_OK;
    CN_TRY(open_rooted(o, split_glob(o, path, folder, sizeof folder, &glob) ? folder : path, &fd));
    close(fd);
    return CN_OK;
}

static bool fits(cn_str glob, const cn_walk_item *f) { return glob.n == 0 || cn_glob_match(glob, cn_str_of(f->path)); }

static void count_file(cn_source *s, const struct stat *st) {
    s->all += (uint64_t)st->st_size;
    s->docs++;
}

/* Files below a folder, for progress; and whether a glob fits any at all. */
static cn_err count_folder(cn_source *s, const char *path, cn_str glob) {
    cn_walk *w;
    cn_walk_item item;
    cn_err e;
    uint64_t before = s->docs;
    int fd;
    CN_TRY(open_file(s, path, &fd));
    CN_TRY(cn_walk_open(fd, path, &w));
    while ((e = cn_walk_next(w, &item)) == CN_OK) {
        if (!item.folder && fits(glob, &item))
            count_file(s, &item.st);
        if (item.fd >= 0)
            close(item.fd);
    }
    cn_walk_close(w);
    if (e != CN_END)
        return e;
    return glob.n && s->docs == before ? cn_fail(CN_NOT_FOUND, "no file fits %s/" CN_STR_FMT, path, CN_STR_ARG(glob)) : CN_OK;
}

/* A pipe of the operator's own is not opened yet: whoever writes into it would not like a reader that goes away. */
static cn_err stat_path(const cn_source *s, const char *path, struct stat *ret) {
    int fd;
    if (!s->o.rooted)
        return stat(path, ret) == 0 ? CN_OK : cn_fail_errno(errno, "%s", path);
    CN_TRY(open_rooted(&s->o, path, &fd));
    int rc = fstat(fd, ret), why = errno;
    close(fd);
    return rc == 0 ? CN_OK : cn_fail_errno(why, "%s", path);
}

static cn_err check_path(cn_source *s, const char *path) {
    struct stat st;
    char root[4200];
    const char *glob;
    if (strcmp(path, "-") == 0)
        return s->o.rooted ? cn_fail(CN_DENIED, "standard input is not a client's to name") : CN_OK;
    if (split_glob(&s->o, path, root, sizeof root, &glob))
        return count_folder(s, root, cn_str_of(glob));
    CN_TRY(stat_path(s, path, &st));
    if (S_ISDIR(st.st_mode))
        return count_folder(s, path, CN_STR(""));
    count_file(s, &st);
    return CN_OK;
}

static cn_err begin(cn_source *s) {
    cn_fields fields;
    if (s->o.n_paths == 0)
        return cn_fail(CN_INVALID, "name at least one file or folder, or - for standard input");
    CN_TRY(cn_fields_parse(s->o.map, &fields));
    cn_row_reader_init(&s->reader, &fields);
    CN_TRY(cn_rules_parse(s));
    CN_TRY(open_rows(s));
    for (uint32_t i = 0; i < s->o.n_paths; i++) /* every path must be there before anything is read */
        CN_TRY(check_path(s, s->o.paths[i]));
    return CN_OK;
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
    cn_unpacker_free(s->unpacker);
    cn_csv_done(&s->csv);
    cn_row_reader_done(&s->reader);
    cn_arena_done(&s->own);
    cn_free(s);
}

void cn_source_progress(const cn_source *s, uint64_t *ret_done, uint64_t *ret_bytes, uint64_t *ret_docs) {
    *ret_done = s->done + (s->in ? cn_input_read(s->in) : 0);
    *ret_bytes = s->all;
    *ret_docs = s->in || s->format != CN_FMT_AUTO ? 0 : s->docs;
}

/* --- folders --- */
static cn_err next_in_folder(cn_source *s, cn_arena *a, cn_raw *raw) {
    cn_walk_item f;
    for (;;) {
        CN_TRY(cn_walk_next(s->walk, &f));
        if (f.folder || (fits(s->glob, &f) && !(f.fd >= 0 && cn_file_is_sidecar(&f))))
            break;
        if (f.fd >= 0)
            close(f.fd);
    }
    s->in_folder = true;
    CN_TRY(cn_raw_name(a, f.path, raw));
    return cn_file_take(s, &f, a, raw);
}

/* A folder with corpus.jsonl and queries or judgements beside it: a BEIR folder, of which the corpus is read. */
static bool is_beir(int folder) {
    bool corpus = faccessat(folder, "corpus.jsonl", F_OK, AT_SYMLINK_NOFOLLOW) == 0;
    return corpus && (faccessat(folder, "queries.jsonl", F_OK, 0) == 0 || faccessat(folder, "qrels", F_OK, 0) == 0);
}

static cn_err open_corpus(const char *folder, int dir, int *ret) {
    struct stat st;
    int fd = cn_open_beneath(dir, "corpus.jsonl"), why = errno;
    if (fd < 0)
        return why == ELOOP ? cn_fail(CN_INVALID, "%s/corpus.jsonl is a link; name the file that it leads to", folder) : cn_fail_errno(why, "%s/corpus.jsonl", folder);
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        close(fd);
        return cn_fail(CN_INVALID, "%s/corpus.jsonl is no file", folder);
    }
    *ret = fd;
    return CN_OK;
}

/* Takes fd over. */
static cn_err open_folder(cn_source *s, int fd, const char *path, cn_str glob) {
    s->more = true;
    s->glob = cn_arena_str(&s->own, glob);
    if (s->glob.p)
        return cn_walk_open(fd, path, &s->walk);
    close(fd);
    return cn_fail_memory();
}

/* --- standard input --- */
static const char *base_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* Without --format: lines of JSON, or what shows itself by its first bytes. */
static cn_err guess_input(cn_input *in, cn_format *ret) {
    cn_str head, s;
    CN_TRY(cn_input_peek(in, 4096, &head));
    for (s = head; s.n && (*s.p == ' ' || *s.p == '\n' || *s.p == '\r' || *s.p == '\t' || (uint8_t)*s.p >= 0x80);)
        s = (cn_str){s.p + 1, s.n - 1};
    *ret = s.n == 0 || *s.p == '{' ? CN_FMT_JSONL : cn_format_guess(CN_STR("-"), head);
    if (*ret == CN_FMT_TEXT || *ret == CN_FMT_AUTO)
        return cn_fail(CN_INVALID, "standard input is not JSON Lines; say what it is with --format (text, md, html, csv, npy...), and unpack it first if it is packed");
    return CN_OK;
}

static cn_err open_input(cn_source *s, cn_arena *a, cn_raw *raw) {
    cn_walk_item f = {.path = "stdin", .name = "stdin", .fd = dup(0), .dir = AT_FDCWD};
    cn_format asked = s->o.format;
    cn_input *in;
    snprintf(s->name, sizeof s->name, "standard input");
    CN_TRY(cn_input_open(f.fd, s->name, NULL, &in));
    cn_err e = asked == CN_FMT_AUTO ? guess_input(in, &asked) : CN_OK;
    if (e == CN_OK && cn_format_is_rows(asked)) {
        s->more = true;
        return cn_stream_start(s, in, asked); /* s->in has it, also on failure */
    }
    if (e == CN_OK && (e = cn_raw_name(a, f.path, raw)) == CN_OK) {
        cn_err whole = cn_file_whole(s, &f, in, asked, a, raw);
        e = whole == CN_OK ? CN_OK : cn_raw_reject(whole, a, raw);
    }
    cn_input_close(in);
    return e;
}

/* --- one path after another --- */
static cn_err open_path(cn_source *s, const char *path, cn_arena *a, cn_raw *raw) {
    cn_walk_item f = {.path = path, .name = path, .dir = AT_FDCWD};
    char other[4200];
    const char *glob;
    s->in_folder = false;
    if (strcmp(path, "-") == 0)
        return open_input(s, a, raw);
    if (split_glob(&s->o, path, other, sizeof other, &glob)) {
        CN_TRY(open_file(s, other, &f.fd));
        return open_folder(s, f.fd, other, cn_str_of(glob));
    }
    CN_TRY(open_file(s, path, &f.fd));
    if (fstat(f.fd, &f.st) == 0 && S_ISDIR(f.st.st_mode)) {
        int folder = f.fd;
        if (s->o.format != CN_FMT_BEIR && !(s->o.format == CN_FMT_AUTO && is_beir(folder)))
            return open_folder(s, folder, path, CN_STR(""));
        cn_err e = open_corpus(path, folder, &f.fd);
        close(folder);
        CN_TRY(e);
        snprintf(other, sizeof other, "%s/corpus.jsonl", path);
        path = other;
    }
    CN_TRY(cn_raw_name(a, base_name(path), raw));
    return cn_file_take(s, &f, a, raw);
}

/* Lines of --rows that no vector stands beside: then all of them stood beside the wrong ones. */
static cn_err finish(cn_source *s) {
    char *line;
    size_t n;
    bool too_long;
    if (s->rows && cn_input_line(s->rows, &line, &n, &too_long) == CN_OK)
        return cn_fail(CN_INVALID, "%s has more lines than there are vectors (%llu)", s->o.rows, (unsigned long long)s->row);
    return CN_END;
}

static cn_err step(cn_source *s, cn_arena *a, cn_raw *raw) {
    if (s->in)
        return cn_stream_next(s, a, raw);
    if (!s->walk)
        return s->next_path < s->o.n_paths ? open_path(s, s->o.paths[s->next_path++], a, raw) : finish(s);
    cn_err e = next_in_folder(s, a, raw);
    if (e != CN_END)
        return e;
    cn_walk_close(s->walk);
    s->walk = NULL;
    s->more = true;
    return CN_OK;
}

static void start_raw(cn_raw *raw) {
    *raw = (cn_raw){.format = CN_FMT_TEXT, .id = CN_STR(""), .title = CN_STR(""), .uri = CN_STR(""), .meta = CN_STR(""), .bytes = CN_STR(""),
                    .why = CN_STR(""), .modified = CN_NO_TIME};
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
