/* run_rebuild.c -- rebuild: the job, and with --queries the answers of what it made beside those of the active version, before
 * anyone activates it. */
#include "tools/cairn/bench.h"
#include "tools/cairn/diff.h"

#define PARAMS_MAX ((size_t)1 << 20)

/* Options that belong to asking, as fields of the questions. */
static const char *const asking[] = {"k", "limit", "labels", "as"};
static const char *const options[] = {"-k", "--limit", "--as", "--principal"};
#define ASKING (sizeof asking / sizeof *asking)

static bool of_asking(cn_str field) {
    for (size_t i = 0; i < ASKING; i++)
        if (cn_str_is(field, asking[i]))
            return true;
    return false;
}

/* The fields of one of the two calls; those of the questions with the two versions. */
static cn_err pack_fields(const msgpack_object *all, bool questions, uint64_t from, uint64_t to, cn_buf *out) {
    const msgpack_object_map *m = &all->via.map;
    size_t at = cn_pack_map_open(out);
    uint32_t n = 0;
    for (uint32_t i = 0; i < m->size; i++) {
        cn_str field = cn_obj_str(&m->ptr[i].key);
        bool place = cn_str_is(field, "index") || cn_str_is(field, "tenant");
        if (questions ? !place && !of_asking(field) : of_asking(field))
            continue;
        cn_pack_object(out, &m->ptr[i].key);
        cn_pack_object(out, &m->ptr[i].val);
        n++;
    }
    if (questions) {
        cn_pack_cstr(out, "from"), cn_pack_uint(out, from);
        cn_pack_cstr(out, "to"), cn_pack_uint(out, to);
        n += 2;
    }
    cn_pack_map_close(out, at, n);
    return cn_buf_check(out);
}

static cn_err check(const msgpack_object *params, const char *path) {
    bool activate = false;
    for (size_t i = 0; i < ASKING && !path; i++)
        if (cn_get(params, asking[i]))
            return cn_fail(CN_INVALID, "%s is for asking questions: give them with --queries FILE", options[i]);
    if (!path)
        return CN_OK;
    CN_TRY(cn_get_bool(params, "activate", &activate));
    if (activate)
        return cn_fail(CN_INVALID, "--queries shows what would change before anyone activates it: leave --activate out, and say `cairn activate` afterwards");
    return CN_OK;
}

/* Before hours are spent. */
static cn_err readable(const char *path) {
    bench_questions q = {0};
    cn_err err = bench_questions_read(path, &q);
    bench_questions_done(&q);
    return err;
}

static cn_err active_version(const msgpack_object *params, uint64_t *ret) {
    CN_AUTO_BUF cn_buf place;
    CN_AUTO_BUF cn_buf out = {0};
    CN_AUTO_UNPACKED cn_unpacked u = {0};
    cn_str tenant = {NULL, 0}, index = {NULL, 0};
    cn_buf_init(&place, PARAMS_MAX);
    CN_TRY(cn_get_str(params, "tenant", &tenant));
    CN_TRY(cn_get_str(params, "index", &index));
    cn_pack_map(&place, 2);
    cn_pack_cstr(&place, "tenant"), cn_pack_str(&place, tenant);
    cn_pack_cstr(&place, "index"), cn_pack_str(&place, index);
    CN_TRY(cmd_call_method("versions.list", cn_buf_str(&place), &out));
    CN_TRY(cn_unpack(&u, out.p, out.n));
    return cn_get_uint(&u.o, "active", 0, UINT64_MAX, ret);
}

static int compare(const cmd *c, const msgpack_object *params, cn_str rebuilt, const char *path, int code) {
    CN_AUTO_BUF cn_buf asked;
    CN_AUTO_UNPACKED cn_unpacked u = {0};
    uint64_t active = 0, made = 0;
    cn_buf_init(&asked, PARAMS_MAX);
    cn_err err = cn_unpack(&u, rebuilt.p, rebuilt.n);
    if (err == CN_OK)
        err = cn_get_uint(&u.o, "version", 0, UINT64_MAX, &made);
    if (err == CN_OK)
        err = active_version(params, &active);
    if (err == CN_OK && (!made || !active))
        return cmd_print(c, rebuilt) ? EXIT_FAILED : code; /* there are no two versions to compare */
    if (err == CN_OK)
        err = pack_fields(params, true, active, made, &asked);
    if (err != CN_OK)
        return cmd_fail(err);
    int compared = diff_answers(c, cn_buf_str(&asked), path, rebuilt);
    return compared ? compared : code;
}

int run_rebuild(const cmd *c, cmd_call *call) {
    CN_AUTO_BUF cn_buf job;
    CN_AUTO_BUF cn_buf out = {0};
    CN_AUTO_UNPACKED cn_unpacked u = {0};
    const char *path = cmd_value(c, call, "--queries");
    cn_buf_init(&job, PARAMS_MAX);
    cn_err err = cn_unpack(&u, call->params.p, call->params.n);
    if (err == CN_OK)
        err = check(&u.o, path);
    if (err != CN_OK)
        return cmd_usage(err);
    err = path ? readable(path) : CN_OK;
    if (err == CN_OK)
        err = pack_fields(&u.o, false, 0, 0, &job);
    if (err == CN_OK)
        err = cmd_call_job(c->method, cn_buf_str(&job), &out);
    if (err != CN_OK)
        return cmd_fail(err);
    int code = cmd_code_of_job(call, cn_buf_str(&out));
    if (path)
        return compare(c, &u.o, cn_buf_str(&out), path, code);
    int printed = cmd_print(c, cn_buf_str(&out));
    return printed ? printed : code;
}
