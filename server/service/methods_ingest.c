/* ingest.*: batch jobs; documents.put and documents.delete: small ones. */
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "index/vector.h"
#include "server/service/first_word.h"
#include "server/service/gate.h"
#include "server/service/inside.h"
#include "server/service/job_out.h"
#include "server/service/merger.h"
#include "server/service/methods_inside.h"
#include "server/service/reading.h"
#include "server/service/runner.h"

#define JOB_ARENA ((size_t)64 << 20)

/* One job with all it needs, so that it may outlive the call that asked for it. */
typedef struct task {
    cn_service *s;
    cn_arena arena;
    cn_tenant *t;
    bool rebuild;
    cn_job_opts job;
    cn_rebuild_opts again;
    cn_actor who;
    cn_progress_fn *progress;
    void *progress_ctx;
    cn_first_word *first; /* NULL: it is said, or nobody waits for it */
} task;

static void task_free(task *k) {
    cn_tenant_unref_p(&k->t);
    cn_arena_done(&k->arena);
    cn_free(k);
}

static void task_free_p(task **k) {
    if (*k)
        task_free(*k);
}

static cn_err keep(task *k, cn_str *s) {
    if (!s->p)
        return CN_OK;
    *s = cn_arena_str(&k->arena, *s);
    return s->p ? CN_OK : cn_fail_memory();
}

static cn_err task_new(cn_service *s, cn_call *c, cn_str tenant, const msgpack_object *p, task **ret) {
    CN_CLEANUP(task_free_p) task *k = cn_calloc(1, sizeof *k);
    if (!k)
        return cn_fail_memory();
    cn_arena_init(&k->arena, 4096, JOB_ARENA);
    k->s = s;
    CN_TRY(cn_call_tenant(s, tenant, &k->t));
    CN_TRY(cn_arg_actor(c, p, &k->who));
    CN_TRY(keep(k, &k->who.who));
    CN_TRY(keep(k, &k->who.via));
    CN_TRY(keep(k, &k->who.reason));
    *ret = k;
    k = NULL;
    return CN_OK;
}

/* ---------- what a caller may read ---------- */
/* Whoever is not the operator reaches the roots that the host's operator gave the tenant ("TENANT=PATH"); the source itself
 * opens nothing else, now or when the job goes on. */
static cn_err roots_of(cn_service *s, cn_str tenant, cn_arena *a, const cn_str **ret, uint32_t *ret_n) {
    const cn_service_opts *o = cn_service_options(s);
    uint32_t n = 0;
    cn_str *roots = cn_arena_zalloc(a, o->n_import_roots + 1u, sizeof *roots);
    if (!roots)
        return cn_fail_memory();
    for (uint32_t i = 0; i < o->n_import_roots; i++) {
        const char *eq = strchr(o->import_roots[i], '=');
        if (eq && cn_str_eq(tenant, (cn_str){o->import_roots[i], (size_t)(eq - o->import_roots[i])}))
            roots[n++] = cn_str_of(eq + 1); /* as long-lived as the service */
    }
    *ret = roots;
    *ret_n = n;
    return CN_OK;
}

static cn_err take_roots(cn_service *s, const cn_call *c, cn_str tenant, task *k) {
    cn_source_opts *from = &k->job.from;
    from->rooted = c->caller->kind != CN_CALLER_OPERATOR;
    return from->rooted ? roots_of(s, tenant, &k->arena, &from->roots, &from->n_roots) : CN_OK;
}

/* Said at once, though opening would say so too: a job that only then fails leaves a row behind. */
static cn_err check_path(const cn_source_opts *from, const char *path) {
    if (!from->rooted)
        return CN_OK;
    if (path[0] != '/')
        return cn_fail(CN_INVALID, "%s: a path for a server is one on its host, from the root (/...)", path);
    return cn_source_may_read(from, path);
}

static cn_err keep_path(task *k, cn_str path, const char **ret) {
    if (!path.n || memchr(path.p, 0, path.n))
        return cn_fail(CN_INVALID, "a path is empty or holds a NUL byte");
    CN_TRY(keep(k, &path));
    CN_TRY(check_path(&k->job.from, path.p));
    *ret = path.p;
    return CN_OK;
}

/* ---------- options from fields ---------- */
static cn_err take_paths(cn_service *s, cn_call *c, cn_str tenant, const msgpack_object *p, task *k) {
    cn_source_opts *from = &k->job.from;
    cn_str *v, rows = {NULL, 0};
    uint32_t n;
    CN_TRY(take_roots(s, c, tenant, k));
    CN_TRY(cn_arg_list(&c->arena, p, "paths", &v, &n));
    const char **paths = cn_arena_zalloc(&k->arena, n ? n : 1, sizeof *paths);
    if (!paths)
        return cn_fail_memory();
    for (uint32_t i = 0; i < n; i++)
        CN_TRY(keep_path(k, v[i], &paths[i]));
    from->paths = paths;
    from->n_paths = n;
    CN_TRY(cn_get_str(p, "rows", &rows));
    return rows.p ? keep_path(k, rows, &from->rows) : CN_OK;
}

static cn_err take_labels(cn_call *c, const msgpack_object *p, task *k) {
    cn_source_opts *from = &k->job.from;
    cn_str *v;
    uint32_t n;
    CN_TRY(cn_arg_list(&c->arena, p, "labels", &v, &n));
    CN_TRY(cn_labels_make(&k->arena, v, n, &from->labels));
    CN_TRY(cn_arg_list(&c->arena, p, "label_rules", &v, &n));
    cn_str *rules = cn_arena_zalloc(&k->arena, n ? n : 1, sizeof *rules);
    if (!rules)
        return cn_fail_memory();
    for (uint32_t i = 0; i < n; i++) {
        rules[i] = v[i];
        CN_TRY(keep(k, &rules[i]));
    }
    from->label_rules = rules;
    from->n_label_rules = n;
    return CN_OK;
}

static cn_err take_trust(cn_call *c, const msgpack_object *p, unsigned *ret) {
    cn_str *v;
    uint32_t n;
    CN_TRY(cn_arg_list(&c->arena, p, "trust", &v, &n));
    for (uint32_t i = 0; i < n; i++)
        if (cn_str_is(v[i], "sidecar"))
            *ret |= CN_TRUST_SIDECAR;
        else if (cn_str_is(v[i], "front-matter"))
            *ret |= CN_TRUST_FRONT_MATTER;
        else
            return cn_fail(CN_INVALID, "field \"trust\" takes sidecar and front-matter, not \"" CN_STR_FMT "\"", CN_STR_ARG(v[i]));
    return CN_OK;
}

/* To say so is to activate; an index that activates by itself was set so by whoever may. */
static cn_err take_activate(const cn_call *c, const msgpack_object *p, bool *ret, bool *ret_set) {
    bool activate = false;
    CN_TRY(cn_get_bool(p, "activate", &activate));
    if (activate && !cn_access_has(c->caller, CN_SCOPE(activate)))
        return cn_fail(CN_DENIED, "field \"activate\" needs the scope activate, which this key does not have; leave it out, and the index does as it is set");
    *ret = activate;
    *ret_set = cn_given(p, "activate") != NULL;
    return CN_OK;
}

static cn_err take_source(const msgpack_object *p, task *k) {
    cn_str source = CN_STR("default"), format = {NULL, 0};
    CN_TRY(cn_get_str(p, "source", &source));
    CN_TRY(cn_name_check(source, "source"));
    CN_TRY(keep(k, &source));
    k->job.from.source = source;
    CN_TRY(cn_get_str(p, "format", &format));
    if (format.p)
        CN_TRY(cn_format_parse(format, &k->job.from.format));
    CN_TRY(cn_get_str(p, "map", &k->job.from.map));
    return keep(k, &k->job.from.map);
}

static cn_err take_limits(const msgpack_object *p, cn_job_opts *o) {
    uint64_t threads = 0;
    o->max_deleted = o->max_relabelled = o->max_rejected = UINT64_MAX;
    CN_TRY(cn_get_uint(p, "max_deleted", 0, INT64_MAX, &o->max_deleted));
    CN_TRY(cn_get_uint(p, "max_relabelled", 0, INT64_MAX, &o->max_relabelled));
    CN_TRY(cn_get_uint(p, "max_rejected", 0, INT64_MAX, &o->max_rejected));
    CN_TRY(cn_get_uint(p, "threads", 1, 1024, &threads));
    o->threads = (unsigned)threads;
    return CN_OK;
}

static cn_err take_flags(const cn_call *c, const msgpack_object *p, cn_job_opts *o) {
    CN_TRY(cn_get_bool(p, "sync", &o->sync));
    CN_TRY(cn_get_bool(p, "reparse", &o->reparse));
    CN_TRY(cn_get_bool(p, "dry_run", &o->dry_run));
    CN_TRY(cn_get_bool(p, "strict_input", &o->strict_input));
    return take_activate(c, p, &o->activate, &o->activate_set);
}

/* ---------- running ---------- */
static const cn_str *resumed(const task *k) { return k->rebuild ? &k->again.resume : &k->job.resume; }

static cn_str id_of(const task *k) { return resumed(k)->n ? *resumed(k) : cn_str_of(k->rebuild ? k->again.id : k->job.id); }

static void show_progress(void *ctx, const cn_job_progress *n) {
    task *k = ctx;
    if (!k->progress)
        return;
    CN_AUTO_BUF cn_buf b;
    cn_buf_init(&b, 4096);
    cn_out_job_progress(&b, id_of(k), n);
    if (!b.failed)
        k->progress(k->progress_ctx, cn_buf_str(&b));
}

static cn_err measure(void *ctx, uint64_t version, uint64_t until_ns, const atomic_bool *halt) {
    task *k = ctx;
    return cn_gate_measure(k->s, cn_str_of(cn_tenant_name(k->t)), k->again.index, version, until_ns, halt, &k->who);
}

static cn_err run(task *k, cn_job_result *r) {
    cn_err err = k->rebuild ? cn_job_rebuild(k->t, &k->again, &k->who, show_progress, k, r) : cn_job_run(k->t, &k->job, &k->who, show_progress, k, r);
    if (r->version)
        cn_merger_tell(k->s->merger, cn_str_of(cn_tenant_name(k->t)), k->rebuild ? k->again.index : k->job.index);
    return err;
}

/* Only once: what becomes of it later is in the job's row. */
static void say_first(task *k, cn_err err) {
    if (k->first)
        cn_first_word_say(k->first, err);
    k->first = NULL;
}

static void say_begun(void *ctx) { say_first(ctx, CN_OK); }

/* Its outcome is in the job's row. */
static void run_alone(void *arg) {
    task *k = arg;
    cn_job_result r = {0};
    cn_error_forget_file();
    cn_err err = run(k, &r);
    say_first(k, err);
    if (err == CN_DAMAGED)
        cn_tell_damage(k->s, cn_str_of(cn_tenant_name(k->t)), k->rebuild ? k->again.index : k->job.index);
    task_free(k);
}

/* CN_OK: the runner has k, and frees it. */
static cn_err hand_over(cn_service *s, task *k, cn_first_word *w) {
    cn_first_word_init(w);
    k->first = w;
    k->job.begun = k->again.begun = say_begun;
    k->job.begun_ctx = k->again.begun_ctx = k;
    cn_err err = cn_runner_start(cn_service_runner(s), (cn_runner_job){run_alone, k});
    if (err != CN_OK)
        cn_first_word_done(w);
    return err;
}

/* An id that was given can be shown, listed and resumed: the job's row is committed by then. */
static cn_err answer_begun(cn_first_word *w, const char *job, cn_buf *out) {
    CN_TRY(cn_first_word_wait(w));
    cn_pack_map(out, 2);
    cn_out_cstr(out, "job", job);
    cn_out_cstr(out, "state", cn_job_state_name(CN_JOB_RUNNING));
    return CN_OK;
}

/* Takes k over. */
static cn_err start(cn_service *s, cn_call *c, const msgpack_object *p, task *k, cn_buf *out) {
    bool wait = c->caller->kind == CN_CALLER_OPERATOR, dry = k->rebuild ? k->again.dry_run : k->job.dry_run;
    char *id = k->rebuild ? k->again.id : k->job.id;
    char job[33];
    cn_job_result r = {0};
    cn_err err = cn_get_bool(p, "wait", &wait);
    k->job.leave = k->again.leave = cn_runner_leaving(cn_service_runner(s));
    k->job.gone = k->again.gone = dry ? c->gone : NULL;
    cn_str resume = *resumed(k);
    if (resume.n >= sizeof job)
        err = cn_job_unknown(resume);
    cn_job_new_id(id);
    snprintf(job, sizeof job, CN_STR_FMT, CN_STR_ARG(resume.n && err == CN_OK ? resume : cn_str_of(id)));
    if (err == CN_OK && !wait && !dry) { /* of a dry run there is nothing but its answer */
        cn_first_word w;
        err = hand_over(s, k, &w);
        if (err == CN_OK)
            return answer_begun(&w, job, out);
    }
    k->progress = c->progress;
    k->progress_ctx = c->progress_ctx;
    if (err == CN_OK)
        err = run(k, &r);
    if (err == CN_OK)
        cn_out_job_result(out, &r, dry);
    task_free(k);
    return err;
}

/* A resumed job works on its own index; so that must be the one that was asked for and may be reached. It reads what it was
 * given, which this caller must be allowed to; said before the job is taken up, so that it stays as it was. */
static cn_err check_resumed(cn_call *c, task *k, cn_str of) {
    cn_str index, job = *resumed(k);
    if (!job.n)
        return CN_OK;
    CN_TRY(cn_job_index(k->t, job, &c->arena, &index));
    if (!cn_str_eq(index, of))
        return cn_job_unknown(job);
    return k->rebuild ? CN_OK : cn_job_may_resume(k->t, job, &k->job.from, &c->arena); /* a rebuild reads no files */
}

/* A job that is resumed has its options already; a word that would change nothing is refused. */
static cn_err check_resume_alone(const msgpack_object *p) {
    static const char *const fit[] = {"tenant", "index", "key", "resume", "wait", "reason"};
    for (uint32_t i = 0; i < p->via.map.size; i++) {
        cn_str name = cn_obj_str(&p->via.map.ptr[i].key);
        bool fits = p->via.map.ptr[i].val.type == MSGPACK_OBJECT_NIL;
        for (size_t k = 0; k < sizeof fit / sizeof *fit; k++)
            fits = fits || cn_str_is(name, fit[k]);
        if (!fits)
            return cn_fail(CN_INVALID, "field \"" CN_STR_FMT "\" does not go with \"resume\": the job goes on with the options it had", CN_STR_ARG(name));
    }
    return CN_OK;
}

METHOD(ingest_start) {
    CN_CLEANUP(task_free_p) task *k = NULL;
    CN_TRY(task_new(s, c, tenant, p, &k));
    CN_TRY(cn_get_str(p, "resume", &k->job.resume));
    CN_TRY(keep(k, &k->job.resume));
    if (k->job.resume.n)
        CN_TRY(check_resume_alone(p));
    CN_TRY(cn_arg_str(p, "index", &k->job.index));
    CN_TRY(keep(k, &k->job.index));
    CN_TRY(take_paths(s, c, tenant, p, k));
    CN_TRY(check_resumed(c, k, k->job.index));
    CN_TRY(take_source(p, k));
    CN_TRY(take_labels(c, p, k));
    CN_TRY(take_trust(c, p, &k->job.from.trust));
    CN_TRY(take_flags(c, p, &k->job));
    CN_TRY(take_limits(p, &k->job));
    if (k->job.resume.n)
        k->job.activate = cn_access_has(c->caller, CN_SCOPE(activate));
    if (k->job.from.n_paths == 0 && !k->job.resume.n)
        return cn_fail(CN_INVALID, "field \"paths\" names nothing to ingest");
    task *given = k;
    k = NULL;
    return start(s, c, p, given, out);
}

METHOD(ingest_rebuild) {
    CN_CLEANUP(task_free_p) task *k = NULL;
    CN_TRY(task_new(s, c, tenant, p, &k));
    cn_rebuild_opts *o = &k->again;
    uint64_t threads = 0;
    k->rebuild = true;
    CN_TRY(cn_get_str(p, "resume", &o->resume));
    if (o->resume.n)
        CN_TRY(check_resume_alone(p));
    CN_TRY(cn_arg_str(p, "index", &o->index));
    CN_TRY(cn_get_str(p, "embedder", &o->embedder));
    CN_TRY(cn_get_str(p, "precision", &o->precision));
    CN_TRY(cn_get_str(p, "chunker", &o->chunker));
    CN_TRY(cn_get_str(p, "analyser", &o->analyser));
    CN_TRY(cn_get_uint(p, "catch_up", 0, UINT32_MAX, &o->catch_up));
    CN_TRY(cn_get_bool(p, "dry_run", &o->dry_run));
    if (o->catch_up && (o->embedder.n || o->precision.n || o->chunker.n || o->analyser.n || o->dry_run))
        return cn_fail(CN_INVALID, "field \"catch_up\" goes on with the model, chunker and analyser that version has; name no other, and no \"dry_run\", which tells of a whole rebuild");
    CN_TRY(cn_get_uint(p, "threads", 1, 1024, &threads));
    o->threads = (unsigned)threads;
    CN_TRY(keep(k, &o->resume));
    CN_TRY(keep(k, &o->index));
    CN_TRY(keep(k, &o->embedder));
    CN_TRY(keep(k, &o->precision));
    CN_TRY(keep(k, &o->chunker));
    CN_TRY(keep(k, &o->analyser));
    o->measure = measure;
    o->measure_ctx = k;
    CN_TRY(take_activate(c, p, &o->activate, &k->job.activate_set));
    if (o->resume.n)
        o->activate = cn_access_has(c->caller, CN_SCOPE(activate));
    CN_TRY(check_resumed(c, k, o->index));
    task *given = k;
    k = NULL;
    return start(s, c, p, given, out);
}

/* ---------- jobs ---------- */
static bool job_is_seen(void *ctx, cn_str index) { return cn_call_reaches(ctx, index); }

/* A job of an index beyond the key's reach does not exist for it. */
static cn_err check_job(cn_call *c, cn_tenant *t, cn_str job) {
    cn_str index;
    CN_TRY(cn_job_index(t, job, &c->arena, &index));
    return cn_call_reaches(c, index) ? CN_OK : cn_job_unknown(job);
}

/* NULL for the operator. */
static cn_err reader_of(cn_service *s, cn_call *c, cn_str tenant, cn_job_reader *room, const cn_job_reader **ret) {
    bool told_all = c->caller->kind == CN_CALLER_OPERATOR;
    if (!told_all)
        CN_TRY(roots_of(s, tenant, &c->arena, &room->roots, &room->n_roots));
    *ret = told_all ? NULL : room;
    return CN_OK;
}

METHOD(ingest_list) {
    (void)p;
    CN_AUTO_TENANT cn_tenant *t = NULL;
    cn_job_reader room;
    const cn_job_reader *to;
    CN_TRY(cn_call_tenant(s, tenant, &t));
    CN_TRY(reader_of(s, c, tenant, &room, &to));
    cn_pack_map(out, 1);
    cn_pack_cstr(out, "jobs");
    return cn_job_list(t, job_is_seen, c, to, out);
}

METHOD(ingest_show) {
    CN_AUTO_TENANT cn_tenant *t = NULL;
    cn_str job;
    bool rejected = false;
    cn_job_reader room;
    const cn_job_reader *to;
    CN_TRY(cn_arg_str(p, "job", &job));
    CN_TRY(cn_get_bool(p, "rejected", &rejected));
    CN_TRY(cn_call_tenant(s, tenant, &t));
    CN_TRY(check_job(c, t, job));
    CN_TRY(reader_of(s, c, tenant, &room, &to));
    return cn_job_show(t, job, rejected, to, out);
}

METHOD(ingest_cancel) {
    CN_AUTO_TENANT cn_tenant *t = NULL;
    cn_actor who;
    cn_str job;
    cn_job_reader room;
    const cn_job_reader *to;
    CN_TRY(cn_arg_str(p, "job", &job));
    CN_TRY(cn_arg_actor(c, p, &who));
    CN_TRY(cn_call_tenant(s, tenant, &t));
    CN_TRY(check_job(c, t, job));
    CN_TRY(reader_of(s, c, tenant, &room, &to));
    CN_TRY(cn_job_cancel(t, job, &who));
    return cn_job_show(t, job, false, to, out);
}

/* ---------- documents.put, documents.delete ---------- */
/* A given vector: bin of float32, little-endian, or a list of numbers. */
static cn_err take_vector(cn_arena *a, const msgpack_object *map, cn_raw *raw) {
    const msgpack_object *o = cn_get(map, "vector");
    if (!o || o->type == MSGPACK_OBJECT_NIL)
        return CN_OK;
    return cn_vector_read(a, o, &raw->vector, &raw->dim);
}

static cn_err take_meta(cn_arena *a, const msgpack_object *map, cn_raw *raw) {
    const msgpack_object *o = cn_get(map, "meta");
    if (!o || o->type == MSGPACK_OBJECT_NIL)
        return CN_OK;
    return cn_raw_meta(a, o, &raw->meta);
}

static cn_err take_time(const msgpack_object *map, int64_t *ret) {
    cn_str text = {NULL, 0};
    CN_TRY(cn_get_str(map, "modified", &text));
    if (text.n && cn_time_parse(text.p, text.n, ret) != 0)
        return cn_fail(CN_INVALID, "field \"modified\" must be a time like 2026-01-31T12:00:00Z");
    return CN_OK;
}

static cn_err take_document(cn_arena *a, const msgpack_object *map, cn_raw *raw) {
    static const char *const fields[] = {"id", "text", "title", "uri", "labels", "deny", "require", "meta", "modified", "vector", NULL};
    *raw = (cn_raw){.op = CN_OP_PUT, .format = CN_FMT_TEXT, .modified = CN_NO_TIME, .where = CN_STR("request")};
    CN_TRY(cn_only_fields(map, fields));
    CN_TRY(cn_arg_str(map, "id", &raw->id));
    CN_TRY(cn_get_str(map, "text", &raw->bytes));
    CN_TRY(cn_get_str(map, "title", &raw->title));
    CN_TRY(cn_get_str(map, "uri", &raw->uri));
    CN_TRY(cn_arg_labels(a, map, "labels", &raw->labels.allow));
    CN_TRY(cn_arg_labels(a, map, "deny", &raw->labels.deny));
    CN_TRY(cn_arg_labels(a, map, "require", &raw->labels.require));
    CN_TRY(take_time(map, &raw->modified));
    CN_TRY(take_meta(a, map, raw));
    CN_TRY(take_vector(a, map, raw));
    CN_TRY(cn_raw_tidy(a, raw));
    raw->labelled = cn_given(map, "labels") || cn_given(map, "deny") || cn_given(map, "require");
    if (raw->bytes.p || raw->vector)
        return CN_OK;
    raw->op = CN_OP_RELABEL;
    return raw->labelled ? CN_OK : cn_fail(CN_INVALID, "it has no field \"text\"; without one it changes labels, and needs labels, deny or require (labels [] lets nobody read it)");
}

static cn_err put(cn_service *s, cn_call *c, cn_str tenant, const msgpack_object *p, const cn_raw *raws, uint32_t n, cn_buf *out) {
    CN_CLEANUP(task_free_p) task *k = NULL;
    cn_job_result r = {0};
    CN_TRY(task_new(s, c, tenant, p, &k));
    CN_TRY(cn_arg_str(p, "index", &k->job.index));
    CN_TRY(take_source(p, k));
    CN_TRY(take_activate(c, p, &k->job.activate, &k->job.activate_set));
    k->job.max_deleted = k->job.max_relabelled = k->job.max_rejected = UINT64_MAX;
    cn_job_new_id(k->job.id);
    CN_TRY(cn_job_put(k->t, &k->job, raws, n, &k->who, &r));
    cn_merger_tell(s->merger, cn_str_of(cn_tenant_name(k->t)), k->job.index);
    cn_out_job_result(out, &r, false);
    return CN_OK;
}

METHOD(documents_put) {
    const msgpack_object *list = cn_get(p, "documents");
    if (!list || list->type != MSGPACK_OBJECT_ARRAY || list->via.array.size == 0)
        return cn_fail(CN_INVALID, "field \"documents\" must be a list of maps");
    uint32_t n = list->via.array.size;
    if (n > CN_ARG_LIST_MAX)
        return cn_fail(CN_INVALID, "%u documents in one call; at most %d are taken: split them, or use ingest.start", n, CN_ARG_LIST_MAX);
    cn_raw *raws = cn_arena_zalloc(&c->arena, n, sizeof *raws);
    if (!raws)
        return cn_fail_memory();
    for (uint32_t i = 0; i < n; i++) {
        cn_err err = take_document(&c->arena, &list->via.array.ptr[i], &raws[i]);
        if (err != CN_OK)
            return cn_wrap(err, "document %u", i + 1);
    }
    return put(s, c, tenant, p, raws, n, out);
}

METHOD(documents_delete) {
    cn_str *docs;
    uint32_t n;
    CN_TRY(cn_arg_list(&c->arena, p, "docs", &docs, &n));
    if (n == 0)
        return cn_fail(CN_INVALID, "field \"docs\" names no document");
    cn_raw *raws = cn_arena_zalloc(&c->arena, n, sizeof *raws);
    if (!raws)
        return cn_fail_memory();
    for (uint32_t i = 0; i < n; i++)
        raws[i] = (cn_raw){.op = CN_OP_DELETE, .id = docs[i], .modified = CN_NO_TIME, .where = CN_STR("request")};
    return put(s, c, tenant, p, raws, n, out);
}

#define SOURCE {"source", "str", false, "name of where they come from (default)"}
#define ACTIVATE {"activate", "bool", false, "make the new version answer, which needs the scope activate; else as the index is set"}
#define WAIT {"wait", "bool", false, "answer when the job has ended"}
static const cn_param p_start[] = {
    INDEX, {"paths", "list of str", false, "files, folders, globs"}, SOURCE,
    {"format", "str", false, "auto, text, md, html, pdf, docx, odt, epub, jsonl, csv, beir, npy, fvecs, fbin"},
    {"labels", "list of str", false, "labels of every document that brings none"},
    {"label_rules", "list of str", false, "GLOB=LABEL,LABEL; the first that fits an id counts"},
    {"trust", "list of str", false, "sidecar, front-matter: let authors set labels"},
    {"rows", "str", false, "JSON Lines with ids, labels and metadata for a file of vectors"},
    {"map", "str", false, "NAME=FIELD,...: which field of a row is which"},
    {"sync", "bool", false, "delete what this source no longer has"}, ACTIVATE,
    {"reparse", "bool", false, "make every document anew"}, {"dry_run", "bool", false, "only tell what it would do and cost; waits in any case, has no time limit, and ends when the connection is closed"},
    {"strict_input", "bool", false, "a document that cannot be read stops the activation"},
    {"max_deleted", "uint", false, "activate though so many go"}, {"max_relabelled", "uint", false, "activate though so many change labels"},
    {"max_rejected", "uint", false, "activate though so many cannot be read"},
    {"resume", "str", false, "a job that was interrupted"}, {"threads", "uint", false, "how many to use"}, WAIT, REASON, END};
static const cn_param p_rebuild[] = {INDEX, {"embedder", "str", false, "another model"}, {"precision", "str", false, "its precision"},
                                     {"chunker", "str", false, "another chunker"}, {"analyser", "str", false, "another analyser of words, as in admin.index_create"},
                                     {"catch_up", "uint", false, "a version that a rebuild made, and that newer documents are to be brought into"},
                                     {"activate", "bool", false, "make it answer when it is up to date, which needs the scope activate; never by how the index is set"},
                                     {"dry_run", "bool", false, "only tell what it would do and cost; waits in any case, has no time limit, and ends when the connection is closed"},
                                     {"resume", "str", false, "a rebuild that was interrupted"}, {"threads", "uint", false, "how many to use"}, WAIT, REASON, END};
static const cn_param p_none[] = {END};
static const cn_param p_show[] = {{"job", "str", true, "id of the job"}, {"rejected", "bool", false, "list what could not be read, and why"}, END};
static const cn_param p_cancel[] = {{"job", "str", true, "id of the job"}, REASON, END};
static const cn_param p_put[] = {INDEX, {"documents", "list", true, "maps {id, text, title, labels, deny, require, meta, uri, modified, vector}"}, SOURCE, ACTIVATE, REASON, END};
static const cn_param p_delete[] = {INDEX, {"docs", "list of str", true, "ids"}, SOURCE, ACTIVATE, REASON, END};

const cn_method cn_methods_ingest[] = {
    {"ingest.start", CN_SCOPE(ingest), CN_METHOD_DEAR | CN_METHOD_CHANGES, "read documents into a new version", p_start, ingest_start},
    {"ingest.rebuild", CN_SCOPE(ingest), CN_METHOD_DEAR | CN_METHOD_CHANGES, "a version from stored text by another chunker, embedder or analyser, a trial until it is activated", p_rebuild, ingest_rebuild},
    {"ingest.list", CN_SCOPE(ingest), CN_METHOD_PART, "jobs, newest first", p_none, ingest_list},
    {"ingest.show", CN_SCOPE(ingest), CN_METHOD_PART, "one job", p_show, ingest_show},
    {"ingest.cancel", CN_SCOPE(ingest), CN_METHOD_PART | CN_METHOD_CHANGES, "ask a job to stop, or give up one that stopped and free the space of what it built", p_cancel, ingest_cancel},
    {"documents.put", CN_SCOPE(ingest), CN_METHOD_DEAR | CN_METHOD_CHANGES, "add or change documents in a small version", p_put, documents_put},
    {"documents.delete", CN_SCOPE(ingest), CN_METHOD_DEAR | CN_METHOD_CHANGES, "delete documents in a small version", p_delete, documents_delete},
    {NULL, 0, 0, NULL, NULL, NULL},
};
