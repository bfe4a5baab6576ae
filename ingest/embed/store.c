#include "ingest/embed/store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "engine/base/pack.h"
#include "ingest/embed/bert.h"
#include "ingest/embed/http.h"
#include "ingest/embed/static.h"

#define PATH_BYTES 4096
#define MANIFEST_MAX 65536

static cn_err join(char path[PATH_BYTES], const char *a, const char *b) {
    if (snprintf(path, PATH_BYTES, "%s/%s", a, b) >= PATH_BYTES)
        return cn_fail(CN_INVALID, "the path %.100s... is too long", a);
    return CN_OK;
}

static cn_err model_path(const char *data_dir, cn_str name, char path[PATH_BYTES]) {
    char rest[CN_NAME_MAX + 16];
    CN_TRY(cn_name_check(name, "model"));
    snprintf(rest, sizeof rest, "models/" CN_STR_FMT, CN_STR_ARG(name));
    return join(path, data_dir, rest);
}

/* --- the manifest --- */

static cn_err write_all(int fd, const char *path, cn_str bytes) {
    while (bytes.n) {
        ssize_t n = write(fd, bytes.p, bytes.n > (1u << 30) ? (1u << 30) : bytes.n);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return cn_fail_errno(errno, "%s", path);
        bytes.p += n;
        bytes.n -= (size_t)n;
    }
    return fsync(fd) == 0 ? CN_OK : cn_fail_errno(errno, "%s", path);
}

static cn_err write_file(const char *folder, const char *name, cn_str bytes) {
    char path[PATH_BYTES];
    CN_TRY(join(path, folder, name));
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd < 0)
        return cn_fail_errno(errno, "%s", path);
    cn_err err = write_all(fd, path, bytes);
    close(fd);
    return err;
}

static cn_err write_manifest(const char *folder, const cn_manifest *m) {
    CN_AUTO_BUF cn_buf b;
    cn_buf_init(&b, MANIFEST_MAX);
    size_t at = cn_record_open(&b, CN_MANIFEST_FORMAT);
    cn_pack_map(&b, 5);
    cn_pack_cstr(&b, "digest");
    cn_pack_bin(&b, m->digest.b, sizeof m->digest.b);
    cn_pack_cstr(&b, "dim");
    cn_pack_uint(&b, m->dim);
    cn_pack_cstr(&b, "kind");
    cn_pack_cstr(&b, m->kind);
    cn_pack_cstr(&b, "max_tokens");
    cn_pack_uint(&b, m->max_tokens);
    cn_pack_cstr(&b, "sizes");
    cn_pack_array(&b, CN_PART_COUNT);
    for (cn_model_part k = 0; k < CN_PART_COUNT; k++)
        cn_pack_uint(&b, m->sizes[k]);
    cn_record_close(&b, at);
    CN_TRY(cn_buf_check(&b));
    return write_file(folder, CN_MANIFEST_FILE, cn_buf_str(&b));
}

static cn_err read_fields(const msgpack_object *o, cn_manifest *m) {
    uint64_t dim = 0, most = 0;
    cn_str kind = {0};
    const msgpack_object *sizes = cn_get(o, "sizes");
    CN_TRY(cn_get_str(o, "kind", &kind));
    bool http = cn_str_is(kind, "http");
    CN_TRY(cn_get_digest32(o, "digest", m->digest.b));
    CN_TRY(cn_get_uint(o, "dim", 1, CN_MODEL_HIDDEN_MAX, &dim));
    CN_TRY(cn_get_uint(o, "max_tokens", 3, http ? CN_HTTP_TOKENS_MAX : CN_MODEL_TOKENS_MAX, &most));
    if (!dim || !most || (!http && !cn_str_is(kind, "bert") && !cn_str_is(kind, "static")) || !sizes || sizes->type != MSGPACK_OBJECT_ARRAY || sizes->via.array.size != CN_PART_COUNT)
        return cn_fail(CN_INVALID, "a field is missing or wrong");
    for (uint32_t k = 0; k < CN_PART_COUNT; k++) {
        const msgpack_object *v = &sizes->via.array.ptr[k];
        if (v->type != MSGPACK_OBJECT_POSITIVE_INTEGER)
            return cn_fail(CN_INVALID, "a size is no whole number");
        m->sizes[k] = v->via.u64;
    }
    memcpy(m->kind, kind.p, kind.n);
    m->dim = (uint32_t)dim;
    m->max_tokens = (uint32_t)most;
    return CN_OK;
}

static cn_err parse_manifest(const char *path, cn_str bytes, cn_manifest *ret) {
    CN_AUTO_UNPACKED cn_unpacked u = {0};
    cn_manifest m = {0};
    CN_TRY(cn_record_read(&u, bytes, CN_MANIFEST_FORMAT, path));
    if (read_fields(&u.o, &m) != CN_OK)
        return cn_wrap(CN_DAMAGED, "%s; remove the model (`cairn model remove`) and add it again", path);
    *ret = m;
    return CN_OK;
}

static cn_err read_file(const char *path, char *bytes, size_t room, size_t *ret_n) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return cn_fail_errno(errno, "%s", path);
    ssize_t n = read(fd, bytes, room);
    int why = errno;
    close(fd);
    if (n < 0)
        return cn_fail_errno(why, "%s", path);
    *ret_n = (size_t)n;
    return CN_OK;
}

static cn_err read_manifest(const char *folder, cn_manifest *ret) {
    char path[PATH_BYTES], bytes[4096];
    size_t n;
    CN_TRY(join(path, folder, CN_MANIFEST_FILE));
    CN_TRY(read_file(path, bytes, sizeof bytes, &n));
    return parse_manifest(path, (cn_str){bytes, n}, ret);
}

/* What is damaged is the model, whichever of its files it was. */
static cn_err of_model(const char *folder, cn_err err) {
    if (err == CN_DAMAGED)
        cn_error_note_file(folder);
    return err;
}

static cn_err no_model(cn_str name) {
    return cn_fail(CN_NOT_FOUND, "no model \"" CN_STR_FMT "\"; `cairn model list` shows those there are, `cairn model add` brings one", CN_STR_ARG(name));
}

cn_err cn_model_manifest(const char *data_dir, cn_str name, cn_manifest *ret) {
    char path[PATH_BYTES];
    CN_TRY(model_path(data_dir, name, path));
    struct stat st;
    if (stat(path, &st) != 0 && errno == ENOENT)
        return no_model(name);
    cn_err err = read_manifest(path, ret);
    return of_model(path, err == CN_NOT_FOUND ? cn_wrap(CN_DAMAGED, "model \"" CN_STR_FMT "\"", CN_STR_ARG(name)) : err);
}

/* Vectors of other weights under the same name would be compared with those of the index, and nobody would know. */
static cn_err is_same(const cn_model_dir *d, const cn_manifest *m, const char *path) {
    cn_digest now = cn_model_dir_digest(d);
    if (!cn_digest_eq(&now, &m->digest))
        return cn_fail(CN_DAMAGED, "the files in %s are not those of the model that was added; remove the model (`cairn model remove`) and add it again", path);
    return CN_OK;
}

cn_err cn_model_open(const char *data_dir, cn_str name, cn_manifest *ret_manifest, cn_model_dir *ret) {
    char path[PATH_BYTES];
    cn_manifest m;
    cn_model_dir d;
    CN_TRY(cn_model_manifest(data_dir, name, &m));
    CN_TRY(model_path(data_dir, name, path));
    cn_err err = strcmp(m.kind, "static") == 0 ? cn_model_dir_open_table(path, &d) : cn_model_dir_open(path, &d);
    if (err == CN_INVALID)
        return of_model(path, cn_wrap(CN_DAMAGED, "%s; remove the model (`cairn model remove`) and add it again", path));
    CN_TRY(err);
    for (cn_model_part k = 0; k < CN_PART_COUNT && err == CN_OK; k++)
        if (d.part[k].bytes.n != m.sizes[k])
            err = cn_fail(CN_DAMAGED, "%s/%s has %zu bytes, but had %llu when the model was added; remove the model (`cairn model remove`) and add it again", path,
                          d.part[k].name[0] ? d.part[k].name : "(a file that is gone)", d.part[k].bytes.n, (unsigned long long)m.sizes[k]);
    if (err == CN_OK)
        err = is_same(&d, &m, path);
    if (err != CN_OK) {
        cn_model_dir_done(&d);
        return of_model(path, err);
    }
    *ret_manifest = m;
    *ret = d;
    return CN_OK;
}

cn_err cn_model_open_http(const char *data_dir, cn_str name, cn_http_config *ret) {
    char folder[PATH_BYTES], path[PATH_BYTES], json[CN_HTTP_FILE_MAX];
    cn_manifest m;
    cn_http_config c;
    size_t n;
    CN_TRY(cn_model_manifest(data_dir, name, &m));
    CN_TRY(model_path(data_dir, name, folder));
    CN_TRY(join(path, folder, CN_HTTP_FILE));
    CN_TRY(read_file(path, json, sizeof json, &n));
    if (cn_http_config_read((cn_str){json, n}, &c) != CN_OK)
        return of_model(folder, cn_wrap(CN_DAMAGED, "%s; put it right, or remove the model (`cairn model remove`) and add it again", path));
    cn_digest digest = cn_http_config_digest(&c);
    if (!cn_digest_eq(&digest, &m.digest))
        return of_model(folder, cn_fail(CN_DAMAGED, "%s has another url, model or dimensions than when the model was added; put them back, or add it under another name", path));
    *ret = c;
    return CN_OK;
}

cn_file_mark cn_model_mark(const char *data_dir, cn_str name, const char *file) {
    char folder[PATH_BYTES], path[PATH_BYTES];
    struct stat st;
    if (model_path(data_dir, name, folder) != CN_OK || join(path, folder, file) != CN_OK || stat(path, &st) != 0)
        return (cn_file_mark){0};
    return (cn_file_mark){st.st_dev, st.st_ino, (uint64_t)st.st_size, (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec};
}

cn_err cn_model_verify(const char *data_dir, cn_str name) {
    cn_manifest m;
    cn_model_dir d;
    cn_http_config c;
    CN_TRY(cn_model_manifest(data_dir, name, &m));
    if (strcmp(m.kind, "http") == 0)
        return cn_model_open_http(data_dir, name, &c);
    CN_TRY(cn_model_open(data_dir, name, &m, &d));
    cn_model_dir_done(&d);
    return CN_OK;
}

/* --- adding --- */

/* Loads everything as a query would, and looks at each number. */
static cn_err check(const cn_model_dir *d, cn_manifest *ret) {
    cn_manifest m = {.kind = "bert"};
    cn_bert_config c;
    cn_wordpiece *w = NULL;
    cn_bert *b = NULL;
    CN_TRY(cn_model_config(d, &c));
    CN_TRY(cn_wordpiece_new(d->part[CN_PART_VOCAB].bytes, &c.pieces, &w));
    uint32_t lines = cn_wordpiece_size(w);
    cn_wordpiece_free(w);
    if (lines > c.words)
        return cn_fail(CN_INVALID, "vocab.txt has %u lines, but vocab_size in config.json is %u", lines, c.words);
    CN_TRY(cn_bert_new(&c, d->part[CN_PART_WEIGHTS].bytes, false, true, &b));
    cn_bert_free(b);
    m.dim = c.hidden;
    m.max_tokens = c.max_tokens;
    for (cn_model_part k = 0; k < CN_PART_COUNT; k++)
        m.sizes[k] = d->part[k].bytes.n;
    m.digest = cn_model_dir_digest(d);
    *ret = m;
    return CN_OK;
}

static cn_err sync_folder(const char *path) {
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return cn_fail_errno(errno, "%s", path);
    int rc = fsync(fd);
    close(fd);
    return rc == 0 ? CN_OK : cn_fail_errno(errno, "%s", path);
}

/* What was renamed is done, whatever the disk says of it. */
static cn_err sync_done(const char *models, cn_str name, const char *what) {
    cn_err err = sync_folder(models);
    return err == CN_OK ? CN_OK : cn_wrap(err, "the model \"" CN_STR_FMT "\" is %s, but a power cut may undo that", CN_STR_ARG(name), what);
}

static cn_err make_folder(const char *path) {
    return mkdir(path, 0755) == 0 || errno == EEXIST ? CN_OK : cn_fail_errno(errno, "%s", path);
}

static cn_err copy_parts(const cn_model_dir *d, const char *to) {
    for (cn_model_part k = 0; k < CN_PART_COUNT; k++) {
        char path[PATH_BYTES];
        const char *name = d->part[k].name, *slash = strchr(name, '/');
        if (!name[0])
            continue;
        if (slash) {
            CN_TRY(join(path, to, name));
            path[strlen(path) - strlen(slash)] = 0;
            CN_TRY(make_folder(path));
        }
        CN_TRY(write_file(to, name, d->part[k].bytes));
        if (slash)
            CN_TRY(sync_folder(path));
    }
    return CN_OK;
}

/* What goes into a new model's folder. */
typedef cn_err fill_fn(const void *from, const char *to, cn_manifest *ret);

/* What is checked is the copy: the folder given may still change. */
static cn_err fill_bert(const void *from, const char *to, cn_manifest *ret) {
    cn_model_dir d;
    CN_TRY(cn_model_dir_open(from, &d));
    cn_err err = copy_parts(&d, to);
    cn_model_dir_done(&d);
    CN_TRY(err);
    CN_TRY(cn_model_dir_open(to, &d));
    err = check(&d, ret);
    cn_model_dir_done(&d);
    CN_TRY(err);
    CN_TRY(write_manifest(to, ret));
    return sync_folder(to);
}

static cn_err fill_http(const void *from, const char *to, cn_manifest *ret) {
    const cn_http_config *c = from;
    cn_manifest m = {.kind = "http", .dim = c->dim, .max_tokens = c->max_tokens};
    CN_AUTO_BUF cn_buf json;
    cn_buf_init(&json, CN_HTTP_FILE_MAX);
    cn_http_config_write(c, &json);
    CN_TRY(cn_buf_check(&json));
    m.digest = cn_http_config_digest(c);
    CN_TRY(write_file(to, CN_HTTP_FILE, cn_buf_str(&json)));
    CN_TRY(write_manifest(to, &m));
    *ret = m;
    return sync_folder(to);
}

typedef struct made {
    const cn_token_table *table;
    cn_str vocab;
} made;

static cn_err write_table(const char *to, const cn_token_table *t) {
    uint8_t head[CN_TABLE_HEAD];
    char path[PATH_BYTES];
    CN_TRY(join(path, to, CN_TABLE_FILE));
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd < 0)
        return cn_fail_errno(errno, "%s", path);
    cn_table_head(t, head);
    cn_err err = write_all(fd, path, (cn_str){(const char *)head, sizeof head});
    if (err == CN_OK)
        err = write_all(fd, path, (cn_str){(const char *)t->rows, (size_t)t->words * t->dim * sizeof *t->rows});
    close(fd);
    return err;
}

/* As a query would load it. */
static cn_err check_table(const cn_model_dir *d) {
    cn_token_table t;
    cn_wordpiece *w;
    CN_TRY(cn_table_validate(d->part[CN_PART_WEIGHTS].bytes, &t));
    CN_TRY(cn_wordpiece_new(d->part[CN_PART_VOCAB].bytes, &t.pieces, &w));
    cn_err err = cn_static_check(&t, w);
    cn_wordpiece_free(w);
    return err;
}

static cn_err fill_table(const void *from, const char *to, cn_manifest *ret) {
    const made *x = from;
    cn_manifest m = {.kind = "static", .dim = x->table->dim, .max_tokens = CN_TABLE_TOKENS_MAX};
    cn_model_dir d;
    CN_TRY(write_file(to, "vocab.txt", x->vocab));
    CN_TRY(write_table(to, x->table));
    CN_TRY(cn_model_dir_open_table(to, &d));
    cn_err err = check_table(&d);
    for (cn_model_part k = 0; k < CN_PART_COUNT; k++)
        m.sizes[k] = d.part[k].bytes.n;
    m.digest = cn_model_dir_digest(&d);
    cn_model_dir_done(&d);
    CN_TRY(err);
    CN_TRY(write_manifest(to, &m));
    *ret = m;
    return sync_folder(to);
}

/* Removes a folder of plain files, and folders of such in it. */
static void remove_folder(const char *path, int depth) {
    DIR *dir = opendir(path);
    struct dirent *e;
    while (dir && (e = readdir(dir))) {
        char inner[PATH_BYTES];
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 || join(inner, path, e->d_name) != CN_OK)
            continue;
        if (unlink(inner) != 0 && depth > 0)
            remove_folder(inner, depth - 1);
    }
    if (dir)
        closedir(dir);
    rmdir(path);
}

#define DAY_US ((int64_t)86400 * 1000000)
/* An add that was killed leaves its folder; a day later nobody works on it any more. */
static void sweep(const char *models) {
    DIR *dir = opendir(models);
    struct dirent *e;
    while (dir && (e = readdir(dir))) {
        char path[PATH_BYTES];
        struct stat st;
        if (strncmp(e->d_name, ".tmp-", 5) == 0 && join(path, models, e->d_name) == CN_OK && stat(path, &st) == 0 &&
            cn_is_due((int64_t)st.st_mtime * 1000000, DAY_US))
            remove_folder(path, 1);
    }
    if (dir)
        closedir(dir);
}

static cn_err same_or_conflict(const char *data_dir, cn_str name, const cn_manifest *m) {
    cn_manifest there;
    CN_TRY(cn_model_manifest(data_dir, name, &there));
    if (cn_digest_eq(&there.digest, &m->digest))
        return CN_OK;
    return cn_fail(CN_CONFLICT, "another model is already named \"" CN_STR_FMT "\"; add this one under another name", CN_STR_ARG(name));
}

/* The description of a service that is here already, by another one of the same service. */
static cn_err replace_http(const char *from, const char *to) {
    static const char *const files[] = {CN_HTTP_FILE, CN_MANIFEST_FILE};
    for (int i = 0; i < 2; i++) {
        char was[PATH_BYTES], is[PATH_BYTES];
        CN_TRY(join(was, from, files[i]));
        CN_TRY(join(is, to, files[i]));
        if (rename(was, is) != 0)
            return cn_fail_errno(errno, "%s", is);
    }
    return sync_folder(to);
}

/* A name under models/ that no model can have, and that sweep() knows. */
static cn_err unique_path(const char *models, char path[PATH_BYTES]) {
    char unique[32] = ".tmp-";
    uint8_t random[8];
    cn_random(random, sizeof random);
    cn_hex(random, sizeof random, unique + 5);
    return join(path, models, unique);
}

static cn_err add(const char *data_dir, cn_str name, fill_fn *fill, const void *from) {
    char models[PATH_BYTES], path[PATH_BYTES], tmp[PATH_BYTES];
    cn_manifest m;
    CN_TRY(model_path(data_dir, name, path));
    CN_TRY(join(models, data_dir, "models"));
    CN_TRY(make_folder(models));
    sweep(models);
    CN_TRY(unique_path(models, tmp));
    if (mkdir(tmp, 0755) != 0)
        return cn_fail_errno(errno, "%s", tmp);
    cn_err err = fill(from, tmp, &m);
    if (err == CN_OK && rename(tmp, path) == 0)
        return sync_done(models, name, "added");
    if (err == CN_OK)
        err = errno == ENOTEMPTY || errno == EEXIST ? same_or_conflict(data_dir, name, &m) : cn_fail_errno(errno, "%s", path);
    if (err == CN_OK && strcmp(m.kind, "http") == 0)
        err = replace_http(tmp, path);
    remove_folder(tmp, 1);
    return err == CN_OK ? sync_done(models, name, "added") : err;
}

cn_err cn_model_add(const char *data_dir, cn_str name, const char *folder) { return add(data_dir, name, fill_bert, folder); }

cn_err cn_model_add_table(const char *data_dir, cn_str name, const cn_token_table *t, cn_str vocab) {
    return add(data_dir, name, fill_table, &(made){t, vocab});
}

cn_err cn_model_add_http(const char *data_dir, cn_str name, const cn_http_config *given) {
    cn_http_config c = *given;
    char text[CN_NAME_MAX + 1];
    CN_TRY(cn_name_check(name, "model"));
    CN_TRY(cn_http_config_settle(&c));
    snprintf(text, sizeof text, CN_STR_FMT, CN_STR_ARG(name));
    c.send_dim = c.dim != 0;
    if (!c.dim)
        CN_TRY(cn_http_learn_dim(text, &c));
    return add(data_dir, name, fill_http, &c);
}

/* --- holding and removing --- */

cn_err cn_model_hold(const char *data_dir, cn_str name, bool alone, int *ret_fd) {
    char path[PATH_BYTES];
    struct stat held, named;
    CN_TRY(model_path(data_dir, name, path));
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? no_model(name) : cn_fail_errno(errno, "%s", path);
    cn_err err = CN_OK;
    if (flock(fd, (alone ? LOCK_EX : LOCK_SH) | LOCK_NB) != 0)
        err = errno != EWOULDBLOCK ? cn_fail_errno(errno, "%s", path)
              : alone ? cn_fail(CN_CONFLICT, "a job, or an index that is being made, works with the model \"" CN_STR_FMT "\"; remove it afterwards", CN_STR_ARG(name))
                      : cn_fail(CN_CONFLICT, "the model \"" CN_STR_FMT "\" is being removed", CN_STR_ARG(name));
    else if (fstat(fd, &held) != 0 || stat(path, &named) != 0 || held.st_ino != named.st_ino || held.st_dev != named.st_dev)
        err = no_model(name); /* it went, or another came, between the two */
    if (err != CN_OK)
        close(fd);
    else
        *ret_fd = fd;
    return err;
}

cn_err cn_model_discard(const char *data_dir, cn_str name) {
    char models[PATH_BYTES], path[PATH_BYTES], tmp[PATH_BYTES];
    CN_TRY(model_path(data_dir, name, path));
    CN_TRY(join(models, data_dir, "models"));
    CN_TRY(unique_path(models, tmp));
    if (rename(path, tmp) != 0)
        return cn_fail_errno(errno, "%s", path);
    CN_TRY(sync_done(models, name, "removed"));
    remove_folder(tmp, 1);
    return CN_OK;
}

/* --- listing --- */

static int by_text(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static cn_err each(const char *data_dir, char **names, size_t n, cn_err (*fn)(void *, cn_str, cn_str, uint32_t, uint32_t, const cn_digest *), void *ctx) {
    qsort(names, n, sizeof *names, by_text);
    for (size_t i = 0; i < n; i++) {
        cn_manifest m;
        cn_err err = cn_model_manifest(data_dir, cn_str_of(names[i]), &m);
        if (err == CN_UNAVAILABLE || err == CN_OVERLOADED)
            m = (cn_manifest){.kind = "unreadable"};
        else if (err != CN_OK)
            m = (cn_manifest){.kind = "damaged"}; /* the others are listed all the same */
        CN_TRY(fn(ctx, cn_str_of(names[i]), cn_str_of(m.kind), m.dim, m.max_tokens, &m.digest));
    }
    return CN_OK;
}

#define MODELS_MAX 10000

cn_err cn_model_list(const char *data_dir, cn_err (*fn)(void *, cn_str, cn_str, uint32_t, uint32_t, const cn_digest *), void *ctx) {
    char path[PATH_BYTES];
    CN_TRY(join(path, data_dir, "models"));
    DIR *dir = opendir(path);
    if (!dir)
        return errno == ENOENT ? CN_OK : cn_fail_errno(errno, "%s", path);
    CN_AUTO_FREE char **names = cn_calloc(MODELS_MAX, sizeof *names);
    size_t n = 0;
    cn_err err = names ? CN_OK : cn_fail_memory();
    struct dirent *e = NULL;
    while (err == CN_OK && n < MODELS_MAX && (errno = 0, e = readdir(dir)))
        if (e->d_name[0] != '.' && !(names[n++] = cn_strdup_n(e->d_name, strlen(e->d_name))))
            err = cn_fail_memory();
    if (err == CN_OK && !e && errno)
        err = cn_fail_errno(errno, "reading the directory %s", path);
    closedir(dir);
    if (err == CN_OK)
        err = each(data_dir, names, n, fn, ctx);
    for (size_t i = 0; i < n; i++)
        cn_free(names[i]);
    return err;
}
