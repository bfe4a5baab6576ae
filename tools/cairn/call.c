/* call.c -- one call: through a server (remote.c), or on files, by the service in this process for the account that owns them. */
#include <pwd.h>
#include <stdlib.h>
#include <unistd.h>

#include "server/service/service.h"
#include "tools/cairn/local.h"

#define RESULT_MAX ((size_t)1 << 30)

cmd_env cmd_the_env;
static cn_service *service;
static char operator_name[sizeof((cn_caller *)0)->who];

const char *cmd_data_dir(void) {
    if (cmd_the_env.data)
        return cmd_the_env.data;
    cmd_the_env.nowhere = true;
    if (cmd_is_remote())
        cn_fail(CN_INVALID, "this works on files, not through a server: give --data DIR, or set CAIRN_DATA");
    else
        cn_fail(CN_INVALID, "no data directory was named: give --data DIR, or set CAIRN_DATA");
    return NULL;
}

static void name_operator(void) {
    struct passwd *pw = getpwuid(getuid());
    snprintf(operator_name, sizeof operator_name, "uid:%u(%s)", (unsigned)getuid(), pw ? pw->pw_name : "?");
}

static cn_err open_service(void) {
    if (service)
        return CN_OK;
    cn_service_opts o = {.data_dir = cmd_data_dir(), .trace = cmd_the_env.no_trace ? CN_TRACE_OFF : CN_TRACE_AS_NOTED};
    name_operator();
    return o.data_dir ? cn_service_open(&o, &service) : CN_INVALID;
}

static cn_err call_here(const char *method, const msgpack_object *params, cn_buf *out) {
    cn_caller who = {.kind = CN_CALLER_OPERATOR, .via = "command"};
    cn_call call;
    CN_TRY(open_service());
    memcpy(who.who, operator_name, sizeof who.who);
    CN_TRY(cn_call_init(&call));
    call.caller = &who;
    call.progress = cmd_progress;
    cn_buf_init(out, RESULT_MAX);
    cn_err err = cn_service_call(service, &call, cn_str_of(method), params, out);
    cn_call_done(&call);
    return err;
}

bool cmd_is_job(const char *method) { return strcmp(method, "ingest.start") == 0 || strcmp(method, "ingest.rebuild") == 0; }

static cn_err call_job(const char *method, cn_str params, const msgpack_object *map, cn_buf *out) {
    cmd_interrupt_begin(method, map);
    cn_err err = cmd_is_remote() ? cmd_call_remote(method, params, out) : call_here(method, map, out);
    cmd_interrupt_end();
    if (err == CN_OK)
        cmd_progress_done(cn_buf_str(out));
    else
        cmd_progress_end();
    return err;
}

cn_err cmd_call_method(const char *method, cn_str params, cn_buf *out) {
    CN_AUTO_UNPACKED cn_unpacked u = {0};
    CN_TRY(cn_unpack(&u, params.p, params.n));
    if (cmd_is_job(method))
        return call_job(method, params, &u.o, out);
    return cmd_is_remote() ? cmd_call_remote(method, params, out) : call_here(method, &u.o, out);
}

cn_err cmd_error_named(cn_str name) {
    for (cn_err e = CN_OK + 1; e < CN_ERR_COUNT; e++)
        if (cn_str_is(name, cn_err_name(e)))
            return e;
    return CN_OK;
}

/* "NOT_FOUND: there is no ...": a result tells its error as one text. */
static cn_err failed(cn_str why) {
    const char *colon = memchr(why.p, ':', why.n);
    size_t n = colon ? (size_t)(colon - why.p) : 0;
    cn_err e = cmd_error_named((cn_str){why.p, n});
    return e != CN_OK && why.n > n + 2 ? cn_fail(e, "%.*s", (int)(why.n - n - 2), why.p + n + 2) : cn_fail(CN_INTERNAL, CN_STR_FMT, CN_STR_ARG(why));
}

cn_err cmd_results(const msgpack_object *answer, uint32_t n, const msgpack_object **ret) {
    const msgpack_object *list = cn_get(answer, "results");
    if (!list || list->type != MSGPACK_OBJECT_ARRAY || list->via.array.size != n)
        return cn_fail(CN_INTERNAL, "the answer has not as many results as questions");
    *ret = list->via.array.ptr;
    return CN_OK;
}

cn_err cmd_hits(const msgpack_object *result, const msgpack_object **ret) {
    cn_str why = cn_obj_str(cn_get(result, "error"));
    *ret = cn_get(result, "hits");
    if (why.n)
        return failed(why);
    return *ret && (*ret)->type == MSGPACK_OBJECT_ARRAY ? CN_OK : cn_fail(CN_INTERNAL, "an answer has no hits");
}

bool cmd_fell_back(const msgpack_object *answer) {
    const msgpack_object *list = cn_get(cn_get(answer, "made_by"), "degraded");
    for (uint32_t i = 0; list && list->type == MSGPACK_OBJECT_ARRAY && i < list->via.array.size; i++)
        if (cn_str_is(cn_obj_str(&list->via.array.ptr[i]), "embedder_unavailable"))
            return true;
    return false;
}

cn_err cmd_as_asked(const msgpack_object *answer) {
    if (cmd_fell_back(answer))
        return cn_fail(CN_UNAVAILABLE, "the embedder cannot be reached, so this was answered by its words alone; what is measured would be mode lexical. "
                                       "Ask one question with `cairn query` to see, or say --mode lexical");
    return CN_OK;
}

void cmd_close(void) {
    cmd_remote_close();
    if (service)
        cn_service_close(service);
    service = NULL;
}
