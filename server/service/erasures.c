/* stats: what was erased and still lies in files, for administrators: ids are not told, but that and how much was erased is. */
#include <stdio.h>

#include "index/catalog/compact.h"
#include "index/catalog/mode.h"
#include "server/service/compactor.h"
#include "server/service/describe.h"

typedef struct listing {
    cn_service *s;
    cn_call *c;
    cn_str tenant;  /* empty: of the host, each with its tenant */
    cn_erasing *v;
    uint32_t n, room;
    int64_t looked_us;
} listing;

/* ---------- on files: nobody else has looked ---------- */
static cn_err add(listing *l, cn_str tenant, cn_str index, const cn_erased *is, const char *problem) {
    if (!cn_arena_grow(&l->c->arena, l->v, l->n, l->room))
        return cn_fail_memory();
    cn_erasing *e = &l->v[l->n++];
    *e = (cn_erasing){.is = *is, .due_us = CN_NO_TIME};
    snprintf(e->tenant, sizeof e->tenant, CN_STR_FMT, CN_STR_ARG(tenant));
    snprintf(e->index, sizeof e->index, CN_STR_FMT, CN_STR_ARG(index));
    snprintf(e->problem, sizeof e->problem, "%s", problem);
    return CN_OK;
}

static cn_err look_at(listing *l, cn_tenant *t, cn_str index) {
    cn_erased is = {.since_us = CN_NO_TIME};
    cn_err err = cn_erased_look(t, index, &is);
    if (err == CN_NOT_FOUND || (err == CN_OK && !is.documents && !is.leaving)) /* dropped meanwhile, or clean */
        return CN_OK;
    return add(l, cn_str_of(cn_tenant_name(t)), index, &is, err == CN_OK ? "" : cn_error_detail());
}

static cn_err look(listing *l, cn_tenant *t) {
    cn_index_info *ix;
    uint32_t n;
    CN_TRY(cn_index_list(t, &l->c->arena, &ix, &n));
    for (uint32_t i = 0; i < n; i++)
        CN_TRY(look_at(l, t, ix[i].name));
    return n ? CN_OK : look_at(l, t, CN_STR("")); /* what its dropped ones left */
}

static cn_err look_at_tenant(void *ctx, cn_str name, int64_t made_us) {
    listing *l = ctx;
    cn_tenant *t;
    (void)made_us;
    if (l->tenant.n && !cn_str_eq(l->tenant, name))
        return CN_OK;
    cn_err err = cn_tenant_open(l->s->data, name, &t);
    if (err == CN_OK) {
        err = look(l, t);
        cn_tenant_unref(t);
    }
    if (err == CN_OK || err == CN_NOT_FOUND) /* dropped meanwhile */
        return CN_OK;
    const cn_erased is = {.since_us = CN_NO_TIME}; /* one tenant's fault is not the others' */
    return add(l, name, (cn_str){NULL, 0}, &is, cn_error_detail());
}

static cn_err look_on_files(listing *l) {
    l->looked_us = cn_wall_us();
    return cn_tenant_list(l->s->data, look_at_tenant, l);
}

/* ---------- what is told ---------- */
static bool may_see(const listing *l, const cn_erasing *e) {
    bool limited = cn_call_limited(l->c);
    return l->tenant.n ? cn_str_is(l->tenant, e->tenant) && cn_call_reaches(l->c, cn_str_of(e->index)) : !limited;
}

/* By a mode that is in force now, whether or not the compactor has met it; the text says which. */
static bool is_frozen(const listing *l, const cn_erasing *e) {
    CN_AUTO_TENANT cn_tenant *t = NULL;
    return cn_tenant_open(l->s->data, cn_str_of(e->tenant), &t) == CN_OK && cn_modes_let_write(t, cn_str_of(e->index)) == CN_REFUSED;
}

/* An entry without an index: the tenant has none any more, or its catalog could not be read. */
static const char *whatever_comes(const listing *l, const cn_erasing *e) {
    if (*e->problem)
        return "it is tried again";
    if (e->is.documents == 0)
        return "compacted; the old files go after gone_after";
    if (!l->s->compactor)
        return "a running server compacts it (compact_after)";
    return e->due_us == CN_NO_TIME ? "compact_after is 0, so nothing compacts it by itself" : "this server compacts it when it is due";
}

static void out_next(const listing *l, const cn_erasing *e, cn_buf *out) {
    char text[512];
    if (!*e->index && *e->problem) {
        cn_out_cstr(out, "next", "`cairn scrub` says what is damaged in the tenant's catalog");
        return;
    }
    if (is_frozen(l, e)) {
        snprintf(text, sizeof text, "nothing before that ends: %s; then it is compacted as before", cn_error_detail());
        cn_out_cstr(out, "next", text);
        return;
    }
    if (*e->index)
        snprintf(text, sizeof text, "%s; `cairn compact %s/%s --wait` does it now", whatever_comes(l, e), e->tenant, e->index);
    else
        snprintf(text, sizeof text, "files of dropped indexes: %s; `cairn tenant drop %s` does it now, with all that is the tenant's", whatever_comes(l, e), e->tenant);
    cn_out_cstr(out, "next", text);
}

static void out_one(const listing *l, const cn_erasing *e, cn_buf *out) {
    cn_pack_map(out, 9u + (l->tenant.n == 0));
    if (!l->tenant.n)
        cn_out_cstr(out, "tenant", e->tenant);
    cn_out_cstr(out, "index", e->index);
    cn_out_uint(out, "documents", e->is.documents);
    cn_out_uint(out, "files", e->is.files);
    cn_out_time(out, "since", e->is.since_us);
    cn_out_time(out, "due", e->due_us);
    cn_out_uint(out, "leaving", e->is.leaving);
    cn_out_time(out, "gone_after", e->is.leaving ? e->is.gone_us : CN_NO_TIME);
    char room[CN_ERROR_TEXT];
    cn_out_cstr(out, "problem", cn_tell_text(l->s, l->c->caller, e->problem, room));
    out_next(l, e, out);
}

cn_err cn_out_erasures(cn_service *s, cn_call *c, cn_str tenant, cn_buf *out) {
    listing l = {.s = s, .c = c, .tenant = tenant};
    uint32_t shown = 0;
    CN_TRY(s->compactor ? cn_compactor_list(s->compactor, &c->arena, &l.v, &l.n, &l.looked_us) : look_on_files(&l));
    cn_pack_cstr(out, "erased");
    cn_pack_map(out, 2);
    cn_out_time(out, "looked", l.looked_us);
    cn_pack_cstr(out, "indexes");
    size_t at = cn_pack_array_open(out);
    for (uint32_t i = 0; i < l.n; i++)
        if (may_see(&l, &l.v[i])) {
            out_one(&l, &l.v[i], out);
            shown++;
        }
    cn_pack_array_close(out, at, shown);
    return CN_OK;
}
