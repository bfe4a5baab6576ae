#include "ingest/job/opts.h"

#include <limits.h>
#include <stdio.h>
#include <unistd.h>

void cn_job_opts_default(cn_job_opts *o) {
    *o = (cn_job_opts){.max_deleted = UINT64_MAX, .max_relabelled = UINT64_MAX, .max_rejected = UINT64_MAX};
    o->from.source = CN_STR("default");
}

/* ---------- writing ---------- */
static void pack_path(const char *path, const char *cwd, cn_buf *out) {
    char whole[2 * PATH_MAX];
    if (path[0] == '/' || strcmp(path, "-") == 0) {
        cn_pack_cstr(out, path);
        return;
    }
    snprintf(whole, sizeof whole, "%s/%s", cwd, path);
    cn_pack_cstr(out, whole);
}

static void pack_strs(const cn_str *v, uint32_t n, cn_buf *out) {
    cn_pack_array(out, n);
    for (uint32_t i = 0; i < n; i++)
        cn_pack_str(out, v[i]);
}

static void pack_from(const cn_source_opts *f, const char *cwd, cn_buf *out) {
    cn_pack_cstr(out, "paths"), cn_pack_array(out, f->n_paths);
    for (uint32_t i = 0; i < f->n_paths; i++)
        pack_path(f->paths[i], cwd, out);
    cn_pack_cstr(out, "source"), cn_pack_str(out, f->source);
    cn_pack_cstr(out, "format"), cn_pack_uint(out, (uint64_t)f->format);
    cn_pack_cstr(out, "map"), cn_pack_str(out, f->map);
    cn_pack_cstr(out, "rows");
    if (f->rows)
        pack_path(f->rows, cwd, out);
    else
        cn_pack_nil(out);
    cn_pack_cstr(out, "labels"), pack_strs(f->labels.v, f->labels.n, out);
    cn_pack_cstr(out, "label_rules"), pack_strs(f->label_rules, f->n_label_rules, out);
    cn_pack_cstr(out, "trust"), cn_pack_uint(out, f->trust);
}

cn_err cn_opts_pack(const cn_job_opts *o, cn_buf *out) {
    char cwd[PATH_MAX];
    if (!getcwd(cwd, sizeof cwd))
        cwd[0] = 0;
    cn_pack_map(out, 23);
    pack_from(&o->from, cwd, out);
    cn_pack_cstr(out, "sync"), cn_pack_bool(out, o->sync);
    cn_pack_cstr(out, "activate"), cn_pack_bool(out, o->activate);
    cn_pack_cstr(out, "activate_set"), cn_pack_bool(out, o->activate_set);
    cn_pack_cstr(out, "reparse"), cn_pack_bool(out, o->reparse);
    cn_pack_cstr(out, "strict_input"), cn_pack_bool(out, o->strict_input);
    cn_pack_cstr(out, "max_deleted"), cn_pack_uint(out, o->max_deleted);
    cn_pack_cstr(out, "max_relabelled"), cn_pack_uint(out, o->max_relabelled);
    cn_pack_cstr(out, "max_rejected"), cn_pack_uint(out, o->max_rejected);
    cn_pack_cstr(out, "threads"), cn_pack_uint(out, o->threads);
    cn_pack_cstr(out, "index"), cn_pack_str(out, o->index);
    cn_pack_cstr(out, "embedder"), cn_pack_str(out, o->embedder);
    cn_pack_cstr(out, "precision"), cn_pack_str(out, o->precision);
    cn_pack_cstr(out, "chunker"), cn_pack_str(out, o->chunker);
    cn_pack_cstr(out, "analyser"), cn_pack_str(out, o->analyser);
    cn_pack_cstr(out, "catch_up"), cn_pack_uint(out, o->catch_up);
    return cn_buf_check(out);
}

/* ---------- reading ---------- */
static cn_err copy(const msgpack_object *map, const char *key, cn_arena *a, cn_str *ret) {
    cn_str s = {NULL, 0};
    CN_TRY(cn_get_str(map, key, &s));
    *ret = cn_arena_str(a, s);
    return ret->p ? CN_OK : cn_fail_memory();
}

static cn_err copy_list(const msgpack_object *map, const char *key, cn_arena *a, cn_str **ret, uint32_t *ret_n) {
    const msgpack_object *list = cn_get(map, key);
    if (!list || list->type != MSGPACK_OBJECT_ARRAY)
        return cn_fail(CN_DAMAGED, "the options of a job hold no list \"%s\"", key);
    cn_str *v = cn_arena_zalloc(a, list->via.array.size + 1u, sizeof *v);
    if (!v)
        return cn_fail_memory();
    for (uint32_t i = 0; i < list->via.array.size; i++) {
        v[i] = cn_arena_str(a, cn_obj_str(&list->via.array.ptr[i]));
        if (!v[i].p)
            return cn_fail_memory();
    }
    *ret = v;
    *ret_n = list->via.array.size;
    return CN_OK;
}

static cn_err read_from(const msgpack_object *m, cn_arena *a, cn_source_opts *f) {
    cn_str *paths, *labels, *rules, rows = {NULL, 0};
    uint64_t format = 0, trust = 0;
    CN_TRY(copy_list(m, "paths", a, &paths, &f->n_paths));
    const char **texts = cn_arena_zalloc(a, f->n_paths + 1u, sizeof *texts);
    if (!texts)
        return cn_fail_memory();
    for (uint32_t i = 0; i < f->n_paths; i++)
        texts[i] = paths[i].p;
    f->paths = texts;
    CN_TRY(copy(m, "source", a, &f->source));
    CN_TRY(cn_get_uint(m, "format", 0, CN_FMT_COUNT - 1, &format));
    CN_TRY(copy(m, "map", a, &f->map));
    CN_TRY(copy(m, "rows", a, &rows));
    CN_TRY(copy_list(m, "labels", a, &labels, &f->labels.n));
    CN_TRY(copy_list(m, "label_rules", a, &rules, &f->n_label_rules));
    CN_TRY(cn_get_uint(m, "trust", 0, UINT32_MAX, &trust));
    f->format = (cn_format)format;
    f->rows = rows.n ? rows.p : NULL;
    f->labels.v = labels;
    f->label_rules = rules;
    f->trust = (unsigned)trust;
    return CN_OK;
}

cn_err cn_opts_unpack(cn_str bytes, cn_arena *a, cn_job_opts *ret) {
    CN_AUTO_UNPACKED cn_unpacked u = {0};
    uint64_t threads = 0;
    cn_job_opts o = *ret;
    CN_TRY(cn_unpack(&u, bytes.p, bytes.n));
    CN_TRY(read_from(&u.o, a, &o.from));
    CN_TRY(copy(&u.o, "index", a, &o.index));
    CN_TRY(copy(&u.o, "embedder", a, &o.embedder));
    CN_TRY(copy(&u.o, "precision", a, &o.precision));
    CN_TRY(copy(&u.o, "chunker", a, &o.chunker));
    CN_TRY(copy(&u.o, "analyser", a, &o.analyser));
    CN_TRY(cn_get_uint(&u.o, "catch_up", 0, UINT64_MAX, &o.catch_up));
    CN_TRY(cn_get_bool(&u.o, "sync", &o.sync));
    CN_TRY(cn_get_bool(&u.o, "activate", &o.activate));
    CN_TRY(cn_get_bool(&u.o, "activate_set", &o.activate_set));
    CN_TRY(cn_get_bool(&u.o, "reparse", &o.reparse));
    CN_TRY(cn_get_bool(&u.o, "strict_input", &o.strict_input));
    CN_TRY(cn_get_uint(&u.o, "max_deleted", 0, UINT64_MAX, &o.max_deleted));
    CN_TRY(cn_get_uint(&u.o, "max_relabelled", 0, UINT64_MAX, &o.max_relabelled));
    CN_TRY(cn_get_uint(&u.o, "max_rejected", 0, UINT64_MAX, &o.max_rejected));
    CN_TRY(cn_get_uint(&u.o, "threads", 0, 4096, &threads));
    o.threads = (unsigned)threads;
    *ret = o;
    return CN_OK;
}
