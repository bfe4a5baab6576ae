/* auth, health, api.describe, stats: what cairn says about itself. */
#include "server/service/describe.h"

#include <stdio.h>
#include <unistd.h>

#include "engine/base/os.h"
#include "index/store/env.h"
#include "server/service/operate.h"
#include "server/service/recorder.h"
#include "server/service/upkeep.h"

static uint64_t uptime_s(const cn_service *s) { return (cn_mono_ns() - s->start_ns) / 1000000000u; }

cn_err cn_m_health(cn_service *s, cn_call *c, cn_str tenant, const msgpack_object *p, cn_buf *out) {
    (void)tenant, (void)p;
    cn_pack_map(out, 4);
    CN_TRY(cn_out_health(s, c, out));
    cn_out_cstr(out, "build", CAIRN_VERSION);
    cn_out_uint(out, "uptime_s", uptime_s(s));
    return CN_OK;
}

cn_err cn_m_auth(cn_service *s, cn_call *c, cn_str tenant, const msgpack_object *p, cn_buf *out) {
    (void)tenant;
    cn_str key = {NULL, 0};
    cn_caller who;
    CN_TRY(cn_get_str(p, "key", &key));
    if (!key.p)
        return cn_fail(CN_INVALID, "auth needs the field \"key\": a key of cairn");
    CN_TRY(cn_service_auth(s, key, c->caller->via, &c->arena, &who));
    cn_pack_map(out, 4);
    cn_out_cstr(out, "id", who.key.id);
    cn_out_str(out, "tenant", who.key.tenant);
    cn_out_scopes(out, who.key.scopes);
    cn_out_labels(out, "labels", who.key.labels);
    return CN_OK;
}

/* --- api.describe --- */
static void out_params(cn_buf *out, const cn_param *p) {
    cn_pack_cstr(out, "params");
    size_t at = cn_pack_array_open(out);
    uint32_t n = 0;
    for (; p && p->name; p++, n++) {
        cn_pack_map(out, 4);
        cn_out_cstr(out, "name", p->name);
        cn_out_cstr(out, "type", p->type);
        cn_out_bool(out, "required", p->required);
        cn_out_cstr(out, "help", p->help);
    }
    cn_pack_array_close(out, at, n);
}

static void out_methods(cn_buf *out) {
    cn_pack_cstr(out, "methods");
    size_t at = cn_pack_array_open(out);
    uint32_t n = 0;
    for (const cn_method *const *group = cn_methods; *group; group++)
        for (const cn_method *m = *group; m->name; m++, n++) {
            char scope[128];
            cn_scopes_text(m->scope, scope);
            cn_pack_map(out, 6);
            cn_out_cstr(out, "name", m->name);
            cn_out_cstr(out, "scope", m->scope ? scope : NULL);
            cn_out_bool(out, "open", m->flags & CN_METHOD_OPEN);
            cn_out_bool(out, "host", m->flags & CN_METHOD_HOST);
            cn_out_cstr(out, "help", m->help);
            out_params(out, m->params);
        }
    cn_pack_array_close(out, at, n);
}

static void out_errors(cn_buf *out) {
    cn_pack_cstr(out, "errors");
    cn_pack_array(out, CN_ERR_COUNT - 1);
    for (cn_err e = CN_OK + 1; e < CN_ERR_COUNT; e++) {
        cn_pack_map(out, 3);
        cn_out_cstr(out, "code", cn_err_name(e));
        cn_out_cstr(out, "text", cn_err_text(e));
        cn_out_bool(out, "retry", cn_err_retry(e));
    }
}

cn_err cn_m_describe(cn_service *s, cn_call *c, cn_str tenant, const msgpack_object *p, cn_buf *out) {
    (void)s, (void)c, (void)tenant, (void)p;
    int major = 0, minor = 0, patch = 0;
    sscanf(CAIRN_VERSION, "%d.%d.%d", &major, &minor, &patch);
    cn_pack_map(out, 4);
    cn_pack_cstr(out, "version");
    cn_pack_map(out, 4);
    cn_out_uint(out, "major", (uint64_t)major);
    cn_out_uint(out, "minor", (uint64_t)minor);
    cn_out_uint(out, "patch", (uint64_t)patch);
    cn_out_uint(out, "api_level", CN_API_LEVEL);
    cn_out_cstr(out, "build", CAIRN_VERSION);
    out_methods(out);
    out_errors(out);
    return CN_OK;
}

/* --- stats --- */
static uint64_t rss_bytes(void) {
    unsigned long long pages = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    if (!f)
        return 0;
    if (fscanf(f, "%*u %llu", &pages) != 1)
        pages = 0;
    fclose(f);
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void out_counts_of(cn_buf *out, uint64_t requests, uint64_t errors, uint64_t dropped) {
    cn_out_uint(out, "requests", requests);
    cn_out_uint(out, "errors", errors);
    cn_out_uint(out, "records_dropped", dropped);
}

static void out_tenants(cn_service *s, cn_buf *out) {
    unsigned n = atomic_load(&s->n_counters);
    cn_pack_cstr(out, "tenants");
    cn_pack_array(out, n);
    for (unsigned i = 0; i < n; i++) {
        cn_pack_map(out, 4);
        cn_out_cstr(out, "tenant", s->counters[i].tenant);
        out_counts_of(out, s->counters[i].requests, s->counters[i].errors, s->counters[i].dropped);
    }
}

static void out_scrub(const cn_upkeep_state *u, cn_buf *out) {
    cn_pack_cstr(out, "scrub");
    cn_pack_map(out, 4);
    cn_out_uint(out, "rounds", u->rounds);
    cn_out_uint(out, "bytes", u->bytes);
    cn_out_uint(out, "waited_ms", u->waited_ms);
    cn_out_time(out, "at", u->round_us);
}

cn_err cn_m_stats(cn_service *s, cn_call *c, cn_str tenant, const msgpack_object *p, cn_buf *out) {
    (void)p;
    bool all = c->caller->kind == CN_CALLER_OPERATOR || (c->caller->kind == CN_CALLER_KEY && c->caller->key.tenant.n == 0);
    bool limited = cn_call_limited(c); /* counts of its tenant tell of other indexes */
    bool admin = cn_access_has(c->caller, CN_SCOPE(admin));
    const cn_counter *own = cn_counter_of(s, tenant);
    CN_AUTO_TENANT cn_tenant *t = NULL;
    cn_upkeep_state files;
    if (tenant.n)
        CN_TRY(cn_call_tenant(s, tenant, &t));
    cn_upkeep_look(s->upkeep, &files);
    cn_pack_map(out, (limited ? 3u : all && !tenant.n ? 12u : 6u) + (t || all) + admin);
    cn_out_cstr(out, "build", CAIRN_VERSION);
    cn_out_uint(out, "uptime_s", uptime_s(s));
    if (t)
        CN_TRY(cn_out_modes(c, t, (cn_str){0}, false, out));
    else if (all)
        CN_TRY(cn_out_host_mode(s, c, false, out));
    CN_TRY(cn_out_damaged(s, c, tenant, out));
    if (admin)
        CN_TRY(cn_out_erasures(s, c, tenant, out));
    if (limited)
        return CN_OK;
    if (!all || tenant.n) {
        out_counts_of(out, own ? own->requests : 0, own ? own->errors : 0, own ? own->dropped : 0);
        return CN_OK;
    }
    cn_recorder_counts records = cn_recorder_count(s->recorder);
    out_counts_of(out, s->requests, s->errors, records.dropped);
    out_scrub(&files, out);
    cn_out_uint(out, "records_written", records.written);
    cn_out_uint(out, "pid", (uint64_t)getpid());
    cn_out_uint(out, "rss_bytes", rss_bytes());
    cn_out_uint(out, "environments", cn_env_count());
    out_tenants(s, out);
    return CN_OK;
}
