#include "server/service/reading.h"

#include "index/control/epoch.h"

#define PINS 100

const msgpack_object *cn_given(const msgpack_object *map, const char *name) {
    const msgpack_object *o = cn_get(map, name);
    return o && o->type != MSGPACK_OBJECT_NIL ? o : NULL;
}

void cn_reading_done(cn_reading *r) {
    if (r->view)
        cn_view_unref(r->view);
    if (r->t)
        cn_tenant_unref(r->t);
    *r = (cn_reading){0};
}

/* Another version than the active one is looked at only by those who work on versions. */
static cn_err open_view(cn_call *c, const cn_reading_opts *o, cn_reading *r) {
    bool may = o->who || cn_access_has(c->caller, CN_SCOPE(versions));
    uint64_t wanted = may ? o->version : 0;
    CN_TRY(cn_view_open(r->t, o->index, wanted, &r->view));
    r->version = cn_view_version(r->view);
    r->index = cn_view_index(r->view);
    c->epoch = cn_view_epoch(r->view);
    if (!o->who) /* who looks into an incident looks in every mode */
        CN_TRY(cn_modes_may_answer(cn_view_modes(r->view)));
    if (!may && o->version && o->version != r->version->number && !o->else_active)
        return cn_fail(CN_DENIED, "another version than the active one needs the scope versions");
    if ((r->version->marks & CN_MARK_SUSPECT) && r->version->number != r->index->active && !cn_access_has(c->caller, CN_SCOPE(audit)))
        return cn_fail(CN_DENIED, "version %llu is suspect: to look at it needs the scope audit", (unsigned long long)r->version->number);
    if (o->min_version > r->version->number)
        return cn_fail(CN_UNAVAILABLE, "version %llu is not active yet, %llu is", (unsigned long long)o->min_version,
                       (unsigned long long)r->version->number);
    return CN_OK;
}

/* A member's labels, policy and version of one epoch: labels read before a change and documents after it would be a state that
 * never was, which might show what nobody was ever allowed to see. */
static cn_err open_as_asked(cn_call *c, const cn_reading_opts *o, cn_reading *r) {
    for (int tries = 0; tries < PINS; tries++) {
        uint64_t epoch;
        CN_TRY(cn_epoch(r->t, &epoch));
        CN_TRY(cn_access_principal(c, r->t, o->as, o->labels, &r->who));
        CN_TRY(open_view(c, o, r));
        if (!o->as || c->epoch == epoch)
            return CN_OK;
        cn_view_unref(r->view);
        r->view = NULL;
    }
    return cn_fail(CN_OVERLOADED, "the catalog changed each time that it was read");
}

cn_err cn_reading_open(cn_service *s, cn_call *c, const cn_reading_opts *o, cn_reading *ret) {
    CN_AUTO_READING cn_reading r = {0};
    CN_TRY(cn_call_tenant(s, o->tenant, &r.t));
    if (o->who) {
        r.who = *o->who;
        CN_TRY(open_view(c, o, &r));
    } else {
        CN_TRY(open_as_asked(c, o, &r));
    }
    *ret = r;
    r = (cn_reading){0};
    return CN_OK;
}
