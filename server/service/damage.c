/* What requests meet of damage is kept, whatever their callers do with the error: stats and health tell of it from then on. */
#include <stdio.h>

#include "engine/base/log.h"
#include "server/service/describe.h"
#include "server/service/upkeep.h"

void cn_tell_damage(cn_service *s, cn_str tenant, cn_str index) {
    char text[CN_ERROR_TEXT];
    cn_damaged x = cn_damaged_of(s->data, tenant, index);
    if (s->upkeep) {
        cn_upkeep_met(s->upkeep, &x);
        return;
    }
    snprintf(text, sizeof text, "%s", cn_error_detail());
    if (cn_damaged_put(s->data, &x) != CN_OK)
        cn_log(CN_LOG_WARN, "damage.unsaved", "that %s of tenant %s is damaged is not noted: %s", x.file, x.tenant, cn_error_detail());
    cn_fail(CN_DAMAGED, "%s", text);
}

/* ---------- who may know ---------- */
typedef struct view {
    const cn_call *c;
    cn_str tenant;          /* empty: of the host, each with its tenant */
    const cn_damaged *v;
    uint32_t n;
} view;

/* As of now; on files, as it was noted. */
static cn_err look(cn_service *s, cn_call *c, cn_str tenant, view *ret) {
    cn_upkeep_state *u;
    cn_damaged *v = NULL;
    uint32_t n = 0;
    if (!s->upkeep) {
        CN_TRY(cn_damaged_list(s->data, &c->arena, &v, &n));
    } else if (cn_upkeep_found_damage(s->upkeep)) {
        if (!(u = cn_arena_alloc(&c->arena, sizeof *u)))
            return cn_fail_memory();
        cn_upkeep_look(s->upkeep, u);
        v = u->damaged;
        n = u->n_damaged;
    }
    *ret = (view){c, tenant, v, n};
    return CN_OK;
}

/* Of a tenant what the caller's key reaches; of the host all, but nothing for a key of some indexes: who the tenants are is not
 * for it. */
static bool may_see(const view *w, const cn_damaged *d) {
    const cn_caller *who = w->c->caller;
    if (who->kind == CN_CALLER_NOBODY)
        return false;
    if (!w->tenant.n)
        return !(who->kind == CN_CALLER_KEY && who->key.index.n);
    return cn_str_is(w->tenant, d->tenant) && (!*d->index || cn_call_reaches(w->c, cn_str_of(d->index)));
}

static void out_one(const cn_damaged *d, bool with_tenant, cn_buf *out) {
    cn_pack_map(out, 4u + with_tenant);
    if (with_tenant)
        cn_out_cstr(out, "tenant", *d->tenant ? d->tenant : NULL);
    cn_out_cstr(out, "index", *d->index ? d->index : NULL);
    if (d->version)
        cn_out_uint(out, "version", d->version);
    else
        cn_out_cstr(out, "version", NULL);
    cn_out_cstr(out, "file", d->file);
    cn_out_time(out, "at", d->at_us);
}

static void out_list(const view *w, cn_buf *out) {
    uint32_t shown = 0;
    cn_pack_cstr(out, "damaged");
    size_t at = cn_pack_array_open(out);
    for (uint32_t i = 0; i < w->n; i++)
        if (may_see(w, &w->v[i])) {
            out_one(&w->v[i], !w->tenant.n, out);
            shown++;
        }
    cn_pack_array_close(out, at, shown);
}

cn_err cn_out_damaged(cn_service *s, cn_call *c, cn_str tenant, cn_buf *out) {
    view w;
    CN_TRY(look(s, c, tenant, &w));
    out_list(&w, out);
    return CN_OK;
}

/* Without a key, and with one of a tenant: the host's own files are everybody's business, another tenant's are not. */
cn_err cn_out_health(cn_service *s, cn_call *c, cn_buf *out) {
    const cn_caller *who = c->caller;
    bool damaged = false;
    view w = {0};
    CN_TRY(look(s, c, who->kind == CN_CALLER_KEY ? who->key.tenant : (cn_str){NULL, 0}, &w));
    for (uint32_t i = 0; i < w.n; i++)
        damaged |= !*w.v[i].tenant || may_see(&w, &w.v[i]);
    cn_out_cstr(out, "status", damaged ? "damaged" : "ok");
    out_list(&w, out);
    return CN_OK;
}
