/* modes.*: what an index, a tenant or the host may do during an incident. */
#include "server/service/compactor.h"
#include "server/service/methods_inside.h"
#include "server/service/operate.h"
#include "server/service/reading.h"

/* ---------- modes ---------- */
static void add_mode(cn_buf *text, const char *whose, const cn_mode_info *m) {
    if (m->kind != CN_INCIDENT_NORMAL)
        cn_buf_printf(text, "%s%s" CN_STR_FMT, text->n ? ", " : "", whose, CN_STR_ARG(m->name));
}

void cn_out_incident_mode(cn_buf *out, const cn_modes *m) {
    CN_AUTO_BUF cn_buf text = {.cap = 4096};
    add_mode(&text, "host ", &m->host);
    add_mode(&text, "tenant ", &m->tenant);
    add_mode(&text, "", &m->index);
    cn_out_str(out, "incident_mode", text.n ? cn_buf_str(&text) : CN_STR("normal"));
}

static uint32_t out_mode(const cn_mode_info *m, bool host, cn_str index, bool full, cn_buf *out) {
    if (m->kind == CN_INCIDENT_NORMAL)
        return 0;
    cn_pack_map(out, full ? 7 : 3);
    cn_out_bool(out, "host", host);
    if (index.n)
        cn_out_str(out, "index", index);
    else
        cn_out_cstr(out, "index", NULL);
    cn_out_str(out, "mode", m->name);
    if (full) {
        cn_out_str(out, "text", m->text);
        cn_out_str(out, "by", m->by);
        cn_out_time(out, "at", m->at_us);
        cn_out_str(out, "reason", m->reason);
    }
    return 1;
}

/* The host's and the tenant's own hold for each index, so everybody may know of them. */
cn_err cn_out_modes(cn_call *c, cn_tenant *t, cn_str only, bool full, cn_buf *out) {
    cn_index_info *ix;
    cn_modes m;
    uint32_t n, shown = 0;
    CN_TRY(cn_index_list(t, &c->arena, &ix, &n));
    CN_TRY(cn_modes_get(t, (cn_str){0}, &c->arena, &m));
    cn_pack_cstr(out, "modes");
    size_t at = cn_pack_array_open(out);
    shown += out_mode(&m.host, true, (cn_str){0}, full, out);
    shown += out_mode(&m.tenant, false, (cn_str){0}, full, out);
    for (uint32_t i = 0; i < n; i++) {
        if (!cn_call_reaches(c, ix[i].name) || (only.n && !cn_str_eq(only, ix[i].name)))
            continue;
        cn_err err = cn_modes_get(t, ix[i].name, &c->arena, &m);
        if (err != CN_NOT_FOUND) /* dropped meanwhile */
            CN_TRY(err);
        shown += err == CN_OK ? out_mode(&m.index, false, ix[i].name, full, out) : 0;
    }
    cn_pack_array_close(out, at, shown);
    return CN_OK;
}

cn_err cn_out_host_mode(cn_service *s, cn_call *c, bool full, cn_buf *out) {
    cn_mode_info m;
    CN_TRY(cn_host_mode_get(cn_service_data(s), &c->arena, &m));
    cn_pack_cstr(out, "modes");
    size_t at = cn_pack_array_open(out);
    cn_pack_array_close(out, at, out_mode(&m, true, (cn_str){0}, full, out));
    return CN_OK;
}

METHOD(modes_show) {
    CN_AUTO_TENANT cn_tenant *t = NULL;
    cn_str index = {NULL, 0};
    cn_index_info ix;
    CN_TRY(cn_get_str(p, "index", &index));
    if (index.p && !cn_call_reaches(c, index))
        return cn_no_index(index);
    CN_TRY(cn_call_tenant(s, tenant, &t));
    if (index.p)
        CN_TRY(cn_index_get(t, index, &c->arena, &ix));
    cn_pack_map(out, 1);
    return cn_out_modes(c, t, index, true, out);
}

/* A key limited to some indexes names one of them. */
static cn_err take_index(const cn_call *c, const msgpack_object *p, cn_str *ret) {
    cn_str index = {NULL, 0};
    CN_TRY(cn_get_str(p, "index", &index));
    if (index.p && !index.n)
        return cn_fail(CN_INVALID, "field \"index\" is empty; leave it out to set the mode of the whole tenant");
    if (!index.n && cn_call_limited(c))
        return cn_fail(CN_DENIED, "the mode of a whole tenant reaches beyond the indexes that this key is limited to");
    if (index.n && !cn_call_reaches(c, index))
        return cn_no_index(index);
    *ret = index;
    return CN_OK;
}

METHOD(modes_set) {
    CN_AUTO_TENANT cn_tenant *t = NULL;
    cn_str index, mode, text = {NULL, 0};
    cn_actor who;
    cn_modes m;
    uint64_t epoch;
    CN_TRY(take_index(c, p, &index));
    CN_TRY(cn_arg_str(p, "mode", &mode));
    CN_TRY(cn_get_str(p, "text", &text));
    CN_TRY(cn_arg_actor(c, p, &who));
    CN_TRY(cn_call_tenant(s, tenant, &t));
    CN_TRY(cn_mode_set(t, index, mode, text, &who));
    cn_compactor_poke(s->compactor); /* a freeze that ends */
    CN_TRY(cn_modes_get(t, index, &c->arena, &m));
    CN_TRY(cn_epoch(t, &epoch));
    cn_pack_map(out, 2);
    cn_out_incident_mode(out, &m);
    cn_out_uint(out, "epoch", epoch);
    return CN_OK;
}

/* ---------- the host's ---------- */
static cn_err no_tenant(cn_str tenant) {
    return tenant.n ? cn_fail(CN_INVALID, "the host's mode is that of all tenants: leave out `tenant`, or use modes.set and modes.show for this one") : CN_OK;
}

METHOD(modes_show_host) {
    (void)p;
    CN_TRY(no_tenant(tenant));
    cn_pack_map(out, 1);
    return cn_out_host_mode(s, c, true, out);
}

METHOD(modes_set_host) {
    cn_str mode, text = {NULL, 0};
    cn_actor who;
    CN_TRY(no_tenant(tenant));
    CN_TRY(cn_arg_str(p, "mode", &mode));
    CN_TRY(cn_get_str(p, "text", &text));
    CN_TRY(cn_arg_actor(c, p, &who));
    CN_TRY(cn_host_mode_set(cn_service_data(s), mode, text, &who));
    cn_compactor_poke(s->compactor); /* a freeze that ends */
    cn_pack_map(out, 1);
    return cn_out_host_mode(s, c, true, out);
}

#define MODE {"mode", "str", true, "freeze, drain or thaw; exact, lexical, refuse or answer; or normal"}, {"text", "str", false, "of refuse: what every question is answered with"}
static const cn_param p_modes_show[] = {{"index", "str", false, "only of this index, and the tenant's and the host's"}, END};
static const cn_param p_modes_set[] = {{"index", "str", false, "name of the index; else the whole tenant's"}, MODE, REASON, END};
static const cn_param p_modes_show_host[] = {END};
static const cn_param p_modes_set_host[] = {MODE, REASON, END};

const cn_method cn_methods_operate[] = {
    {"modes.set", CN_SCOPE(operate), CN_METHOD_PART | CN_METHOD_CHANGES, "what an index or a tenant may do during an incident, from the next request on", p_modes_set, modes_set},
    {"modes.show", CN_SCOPE(operate), CN_METHOD_PART, "modes that are not normal", p_modes_show, modes_show},
    {"modes.set_host", CN_SCOPE(operate), CN_METHOD_HOST | CN_METHOD_DEAR | CN_METHOD_CHANGES, "what all tenants may do during an incident, those made later too", p_modes_set_host, modes_set_host},
    {"modes.show_host", CN_SCOPE(operate), CN_METHOD_HOST, "the host's mode, if it is not normal", p_modes_show_host, modes_show_host},
    {NULL, 0, 0, NULL, NULL, NULL},
};
