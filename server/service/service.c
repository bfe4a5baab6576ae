/* Opening, and the way of every call: caller, method, fields, access, work, one map. */
#include "server/service/service.h"

#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "index/search/search.h"
#include "server/service/compactor.h"
#include "server/service/inside.h"
#include "server/service/merger.h"
#include "server/service/reading.h"
#include "server/service/recorder.h"
#include "server/service/runner.h"
#include "server/service/shadow.h"
#include "server/service/upkeep.h"

/* --- opening --- */
static cn_err copy_list(cn_arena *a, const char *const *list, uint32_t n, const char *const **ret) {
    const char **copy = cn_arena_alloc(a, (n + 1) * sizeof *copy);
    if (!copy)
        return cn_fail_memory();
    for (uint32_t i = 0; i < n; i++)
        if (!(copy[i] = cn_arena_str(a, cn_str_of(list[i])).p))
            return cn_fail_memory();
    *ret = copy;
    return CN_OK;
}

static cn_err open_parts(cn_service *s, const cn_service_opts *o) {
    CN_TRY(copy_list(&s->arena, o->import_roots, o->n_import_roots, &s->opts.import_roots));
    CN_TRY(cn_service_set_anonymous(s, o->anonymous, o->n_anonymous));
    CN_TRY(cn_data_open(o->data_dir, &s->data));
    s->opts.data_dir = cn_data_dir(s->data);
    CN_TRY(cn_models_new(s->opts.data_dir, &s->models));
    CN_TRY(cn_runner_new(&s->runner));
    const cn_trace_limits limits = {o->trace_bytes, o->trace_keep_us};
    if (o->upkeep)
        CN_TRY(cn_upkeep_new(s->data, &s->busy, o->upkeep, &s->upkeep));
    if (o->upkeep)
        CN_TRY(cn_compactor_new(s->data, &s->busy, o->upkeep->compact_after_ms, &s->compactor));
    if (o->upkeep)
        CN_TRY(cn_merger_new(s->data, &s->busy, o->upkeep->merge_rate, &s->merger));
    if (o->upkeep)
        CN_TRY(cn_shadow_new(s, o->upkeep, &s->shadow));
    return o->trace == CN_TRACE_OFF ? CN_OK : cn_recorder_new(s, o->trace == CN_TRACE_ON ? &limits : NULL, &s->recorder);
}

cn_err cn_service_open(const cn_service_opts *o, cn_service **ret) {
    cn_service *s = cn_calloc(1, sizeof *s);
    if (!s)
        return cn_fail_memory();
    s->opts = (cn_service_opts){.embed_threads = o->embed_threads ? o->embed_threads : cn_cpus(), .n_import_roots = o->n_import_roots};
    s->start_ns = cn_mono_ns();
    pthread_rwlock_init(&s->lock, NULL);
    pthread_mutex_init(&s->count_lock, NULL);
    pthread_mutex_init(&s->busy.lock, NULL);
    cn_arena_init(&s->arena, 4096, 16 << 20);
    cn_arena_init(&s->anonymous_arena, 4096, 16 << 20);
    cn_err err = open_parts(s, o);
    if (err != CN_OK) {
        cn_service_close(s);
        return err;
    }
    *ret = s;
    return CN_OK;
}

void cn_service_leave(cn_service *s) {
    cn_runner_leave(s->runner);
    cn_upkeep_leave(s->upkeep);
    cn_compactor_leave(s->compactor);
    cn_merger_leave(s->merger);
    cn_shadow_leave(s->shadow);
}

void cn_service_cut(cn_service *s) { cn_recorder_leave(s->recorder); }

void cn_service_close(cn_service *s) {
    if (!s)
        return;
    cn_upkeep_leave(s->upkeep);
    cn_compactor_leave(s->compactor);
    cn_merger_leave(s->merger);
    cn_shadow_leave(s->shadow);
    cn_runner_free(s->runner);
    cn_shadow_free(s->shadow); /* first: it tells upkeep of damage */
    cn_upkeep_free(s->upkeep);
    cn_compactor_free(s->compactor);
    cn_merger_free(s->merger);
    cn_recorder_free(s->recorder);
    cn_models_free(s->models);
    if (s->data)
        cn_data_close(s->data);
    cn_arena_done(&s->arena);
    cn_arena_done(&s->anonymous_arena);
    pthread_rwlock_destroy(&s->lock);
    pthread_mutex_destroy(&s->count_lock);
    pthread_mutex_destroy(&s->busy.lock);
    cn_free(s);
}

cn_data *cn_service_data(cn_service *s) { return s->data; }
struct cn_runner *cn_service_runner(cn_service *s) { return s->runner; }
const cn_service_opts *cn_service_options(const cn_service *s) { return &s->opts; }

cn_err cn_service_set_anonymous(cn_service *s, const char *const *tenants, uint32_t n) {
    cn_arena fresh;
    cn_arena_init(&fresh, 4096, 16 << 20);
    const char *const *copy;
    cn_err err = copy_list(&fresh, tenants, n, &copy);
    if (err != CN_OK) {
        cn_arena_done(&fresh);
        return err;
    }
    pthread_rwlock_wrlock(&s->lock);
    cn_arena old = s->anonymous_arena;
    s->anonymous_arena = fresh;
    s->opts.anonymous = copy;
    s->opts.n_anonymous = n;
    pthread_rwlock_unlock(&s->lock);
    cn_arena_done(&old);
    return CN_OK;
}

void cn_service_set_trace(cn_service *s, uint64_t bytes, uint64_t keep_us) {
    if (s->recorder)
        cn_recorder_limit(s->recorder, &(cn_trace_limits){bytes, keep_us});
}

void cn_service_set_upkeep(cn_service *s, const cn_upkeep_opts *o) {
    if (s->upkeep)
        cn_upkeep_set(s->upkeep, o);
    if (s->compactor)
        cn_compactor_set(s->compactor, o->compact_after_ms);
    if (s->merger)
        cn_merger_set(s->merger, o->merge_rate);
    if (s->shadow)
        cn_shadow_set(s->shadow, o);
}

void cn_service_set_busy(cn_service *s, cn_busy_fn *fn, void *ctx) { cn_busy_set(&s->busy, fn, ctx); }

/* --- calls --- */
cn_err cn_call_init(cn_call *c) {
    *c = (cn_call){0};
    cn_arena_init(&c->arena, CN_CALL_BLOCK, CN_CALL_CAP);
    cn_buf_init(&c->record, CN_TRACE_MAP);
    return cn_searcher_new(&c->searcher);
}

void cn_call_reset(cn_call *c) { cn_arena_reset(&c->arena); }

void cn_call_done(cn_call *c) {
    cn_searcher_free(c->searcher);
    cn_free(c->hits);
    cn_free(c->passages);
    cn_buf_done(&c->record);
    cn_arena_done(&c->arena);
    *c = (cn_call){0};
}

const cn_method *const cn_methods[] = {cn_methods_query,  cn_methods_versions, cn_methods_gate, cn_methods_eval, cn_methods_policy, cn_methods_member, cn_methods_audit,
                                       cn_methods_ingest, cn_methods_incident, cn_methods_operate, cn_methods_recall, cn_methods_admin, NULL};

const cn_method *cn_method_find(cn_str name) {
    for (const cn_method *const *group = cn_methods; *group; group++)
        for (const cn_method *m = *group; m->name; m++)
            if (cn_str_is(name, m->name))
                return m;
    return NULL;
}

/* A request may carry its own key; then that one counts, and no other. */
static cn_err take_key(cn_service *s, cn_call *c, const cn_method *m, const msgpack_object *params, cn_caller *room) {
    cn_str key = {NULL, 0};
    CN_TRY(cn_get_str(params, "key", &key));
    if (!key.p || (m->flags & CN_METHOD_OPEN))
        return m->flags & CN_METHOD_OPEN ? CN_OK : cn_access_refresh(s, c, room);
    CN_TRY(cn_service_auth(s, key, c->caller->via, &c->arena, room));
    c->caller = room;
    return CN_OK;
}

static cn_err no_method(cn_str method) {
    char name[CN_ERROR_TEXT];
    size_t n = method.n < sizeof name ? method.n : sizeof name;
    for (size_t i = 0; i < n; i++)
        name[i] = method.p[i] ? method.p[i] : '?';
    return cn_fail(CN_NOT_FOUND, "there is no method \"%.*s\"; api.describe lists them", (int)n, name);
}

/* What a change is answered with has its memory before anything is changed: else what is done could be told as an error. */
#define CHANGE_ANSWER ((size_t)32 << 10)
static cn_err make_ready(cn_call *c, const cn_method *m, cn_buf *out) {
    if (!(m->flags & CN_METHOD_CHANGES))
        return CN_OK;
    size_t left = out->cap - out->n;
    cn_buf_grow(out, left < CHANGE_ANSWER ? left : CHANGE_ANSWER);
    CN_TRY(cn_buf_check(out));
    return cn_arena_alloc(&c->arena, 1) ? CN_OK : cn_fail_memory();
}

static cn_err run(cn_service *s, cn_call *c, cn_str method, const msgpack_object *params, cn_caller *room, cn_str *tenant, cn_buf *out) {
    const cn_method *m = cn_method_find(method);
    if (!m)
        return no_method(method);
    if (params && params->type != MSGPACK_OBJECT_MAP)
        return cn_fail(CN_INVALID, "%s takes one map", m->name);
    CN_TRY(take_key(s, c, m, params, room));
    CN_TRY(cn_access_check(s, c, m, params, tenant));
    CN_TRY(cn_fields_check(m, params));
    CN_TRY(make_ready(c, m, out));
    CN_TRY(m->fn(s, c, *tenant, params, out));
    if (out->failed)
        return out->refused ? cn_fail_memory() : cn_fail(CN_OVERLOADED, "the answer would be over %zu bytes; ask for less at once", out->cap);
    return CN_OK;
}

/* An index that is not there answers with the same words as one that the key may not reach, whoever found out; a tenant likewise. */
static cn_err plain_not_found(cn_service *s, cn_call *c, cn_str method, cn_str tenant, const msgpack_object *params) {
    char why[CN_ERROR_TEXT];
    snprintf(why, sizeof why, "%s", cn_error_detail());
    cn_str index = cn_obj_str(cn_get(params, "index"));
    cn_index_info info;
    cn_tenant *t;
    if (!tenant.n)
        return CN_NOT_FOUND;
    if (cn_tenant_open(s->data, tenant, &t) != CN_OK)
        return cn_no_tenant(tenant);
    bool made = cn_str_is(method, "admin.index_create"); /* there what is missing is the model */
    cn_err err = index.p && !made ? cn_index_get(t, index, &c->arena, &info) : CN_OK;
    cn_tenant_unref(t);
    return err == CN_NOT_FOUND ? cn_no_index(index) : cn_fail(CN_NOT_FOUND, "%s", why);
}

cn_err cn_service_call(cn_service *s, cn_call *c, cn_str method, const msgpack_object *params, cn_buf *out) {
    cn_caller *caller = c->caller, room; /* room: a fresher copy, for the length of the call */
    cn_str tenant = {NULL, 0};
    size_t before = out->n;
    c->began_ns = cn_mono_ns();
    cn_error_forget_file();
    cn_err err = run(s, c, method, params, &room, &tenant, out);
    if (err == CN_NOT_FOUND)
        err = plain_not_found(s, c, method, tenant, params);
    if (err == CN_DAMAGED)
        cn_tell_damage(s, tenant.n ? tenant : caller->key.tenant, cn_obj_str(cn_get(params, "index")));
    err = cn_chain_after(s, c, method, tenant, params, err);
    const cn_method *m = cn_method_find(method);
    err = cn_tell(s, c->caller, m ? m->name : "", err);
    if (err != CN_OK) {
        out->n = before;
        out->failed = false;
    }
    c->caller = caller;
    cn_count(s, caller->kind == CN_CALLER_KEY && caller->key.tenant.n ? caller->key.tenant : err == CN_OK ? tenant : (cn_str){0}, err != CN_OK);
    return err;
}

cn_err cn_service_epoch(cn_service *s, cn_str tenant, uint64_t *ret) {
    CN_AUTO_TENANT cn_tenant *t = NULL;
    CN_TRY(cn_tenant_open(s->data, tenant, &t));
    return cn_epoch(t, ret);
}

cn_cost cn_service_cost(cn_str method, const msgpack_object *params) {
    const cn_method *m = cn_method_find(method);
    if (!m || (m->flags & CN_METHOD_OPEN) || cn_str_is(method, "stats"))
        return CN_COST_CHEAP;
    if (m->flags & CN_METHOD_DEAR)
        return m->flags & CN_METHOD_OWN_TIME ? CN_COST_GATE : CN_COST_LONG;
    if (m->flags & CN_METHOD_CHANGES)
        return CN_COST_CHANGE;
    if (cn_str_is(method, "fetch") || (cn_str_is(method, "query") && !cn_given(params, "text")))
        return CN_COST_SEARCH;
    return CN_COST_DEAR;
}
