/* Who may call what: the caller's freshness, scopes, tenants, indexes, and the labels a request reads with. */
#include <stdio.h>

#include "engine/base/os.h"
#include "server/service/inside.h"

/* --- the one answer for what is not there and what may not be seen --- */
cn_err cn_no_tenant(cn_str name) { return cn_fail(CN_NOT_FOUND, "there is no tenant \"" CN_STR_FMT "\"; `cairn tenant list` names those there are", CN_STR_ARG(name)); }
cn_err cn_no_index(cn_str name) { return cn_fail(CN_NOT_FOUND, "there is no index \"" CN_STR_FMT "\"; `cairn index list` names those there are", CN_STR_ARG(name)); }
cn_err cn_no_document(cn_str source, cn_str id) {
    return cn_fail(CN_NOT_FOUND, "there is no document \"" CN_STR_FMT "\" of source \"" CN_STR_FMT "\" that may be read here", CN_STR_ARG(id),
                   CN_STR_ARG(source));
}

/* --- callers --- */
static void name_key(cn_caller *c) { snprintf(c->who, sizeof c->who, "key:%s", c->key.id); }

cn_err cn_service_auth(cn_service *s, cn_str key, const char *via, cn_arena *a, cn_caller *ret) {
    cn_caller c = {.kind = CN_CALLER_KEY, .via = via};
    char id[9];
    CN_TRY(cn_key_split(key, id, &c.secret));
    CN_TRY(cn_keys_epoch(s->data, &c.checked_epoch));
    CN_TRY(cn_key_check_secret(s->data, id, &c.secret, a, &c.key));
    name_key(&c);
    *ret = c;
    return CN_OK;
}

cn_err cn_service_renew(cn_service *s, const cn_caller *old, cn_arena *a, cn_caller *ret) {
    cn_caller c = *old;
    CN_TRY(cn_keys_epoch(s->data, &c.checked_epoch));
    CN_TRY(cn_key_check_secret(s->data, old->key.id, &old->secret, a, &c.key));
    *ret = c;
    return CN_OK;
}

cn_err cn_access_refresh(cn_service *s, cn_call *c, cn_caller *room) {
    if (c->caller->kind != CN_CALLER_KEY)
        return CN_OK;
    uint64_t epoch;
    CN_TRY(cn_keys_epoch(s->data, &epoch));
    if (epoch != c->caller->checked_epoch) {
        CN_TRY(cn_service_renew(s, c->caller, &c->arena, room));
        c->caller = room;
    }
    if (cn_key_expired(&c->caller->key))
        return cn_fail(CN_UNAUTHENTICATED, "the key %s has expired", c->caller->key.id);
    return CN_OK;
}

bool cn_access_has(const cn_caller *c, unsigned scope) {
    return c->kind == CN_CALLER_OPERATOR || (c->kind == CN_CALLER_KEY && (c->key.scopes & scope) == scope);
}

static bool of_the_host(const cn_caller *c) {
    return c->kind == CN_CALLER_OPERATOR || (c->kind == CN_CALLER_KEY && c->key.tenant.n == 0);
}

/* --- methods, tenants, indexes --- */
static cn_err check_scope(const cn_caller *c, const cn_method *m) {
    if (cn_access_has(c, m->scope) && (!(m->flags & CN_METHOD_HOST) || of_the_host(c)))
        return CN_OK;
    if (m->flags & CN_METHOD_HOST)
        return cn_fail(CN_DENIED, "%s is for the host's operator and keys of the host", m->name);
    char missing[128];
    cn_scopes_text(m->scope & ~c->key.scopes, missing);
    return cn_fail(CN_DENIED, "%s needs the scope %s, which this key does not have", m->name, missing);
}

static bool is_anonymous(cn_service *s, cn_str tenant) {
    bool found = false;
    pthread_rwlock_rdlock(&s->lock);
    for (uint32_t i = 0; i < s->opts.n_anonymous && !found; i++)
        found = cn_str_is(tenant, s->opts.anonymous[i]);
    pthread_rwlock_unlock(&s->lock);
    return found;
}

static cn_err check_nobody(cn_service *s, const cn_method *m, cn_str tenant) {
    if ((m->flags & CN_METHOD_ANYONE) && tenant.n && is_anonymous(s, tenant))
        return CN_OK;
    return cn_fail(CN_UNAUTHENTICATED, "%s needs a key: call auth {key} first, or send `key` with the request", m->name);
}

static cn_err take_tenant(const cn_caller *c, const cn_method *m, cn_str named, cn_str *ret) {
    if (of_the_host(c)) {
        if (!named.n && !(m->flags & (CN_METHOD_HOST | CN_METHOD_NO_TENANT)))
            return cn_fail(CN_INVALID, "field \"tenant\" is missing");
        *ret = named;
        return CN_OK;
    }
    if (named.n && !cn_str_eq(named, c->key.tenant))
        return cn_no_tenant(named);
    *ret = c->key.tenant;
    return CN_OK;
}

bool cn_call_reaches(const cn_call *c, cn_str index) {
    return c->caller->kind != CN_CALLER_KEY || cn_key_allows_index(&c->caller->key, index);
}

static bool names_an_index(const cn_method *m) {
    for (const cn_param *p = m->params; p && p->name; p++)
        if (strcmp(p->name, "index") == 0)
            return p->required;
    return false;
}

/* A key limited to some indexes works on these alone: what reaches further (the policy, members, keys) is not for it. */
static cn_err check_index(const cn_call *c, const cn_method *m, const msgpack_object *params) {
    cn_str index = {NULL, 0};
    if (!cn_call_limited(c))
        return CN_OK;
    if (!names_an_index(m))
        return m->flags & CN_METHOD_PART ? CN_OK : cn_fail(CN_DENIED, "%s reaches beyond the indexes that this key is limited to", m->name);
    CN_TRY(cn_get_str(params, "index", &index));
    return index.p && !cn_call_reaches(c, index) ? cn_no_index(index) : CN_OK;
}

cn_err cn_access_check(cn_service *s, const cn_call *c, const cn_method *m, const msgpack_object *params, cn_str *ret_tenant) {
    cn_str named = {NULL, 0};
    CN_TRY(cn_get_str(params, "tenant", &named));
    if (m->flags & CN_METHOD_OPEN)
        return CN_OK;
    if (c->caller->kind == CN_CALLER_NOBODY) {
        CN_TRY(check_nobody(s, m, named));
        *ret_tenant = named;
        return CN_OK;
    }
    CN_TRY(check_scope(c->caller, m));
    CN_TRY(take_tenant(c->caller, m, named, ret_tenant));
    return check_index(c, m, params);
}

/* --- principals --- */
static cn_err parse_labels(cn_arena *a, const msgpack_object *o, cn_labels *ret) {
    if (cn_is_str(o))
        return cn_labels_parse(a, cn_obj_str(o), ret);
    if (o->type != MSGPACK_OBJECT_ARRAY || o->via.array.size > CN_LABELS_MAX)
        return cn_fail(CN_INVALID, "field \"labels\" must be a list of at most %d labels", CN_LABELS_MAX);
    uint32_t n = o->via.array.size;
    cn_str *v = cn_arena_alloc(a, (n + 1) * sizeof *v);
    if (!v)
        return cn_fail_memory();
    for (uint32_t i = 0; i < n; i++) {
        if (!cn_is_str(&o->via.array.ptr[i]))
            return cn_fail(CN_INVALID, "field \"labels\" must be a list of strings");
        v[i] = cn_obj_str(&o->via.array.ptr[i]);
    }
    return cn_labels_make(a, v, n, ret);
}

/* What a request says of its own labels can only take away; denials go by all that are held. */
static cn_err narrow(cn_arena *a, cn_labels held, const msgpack_object *said, cn_principal *ret) {
    cn_labels wanted;
    *ret = cn_principal_of(held);
    if (!said)
        return CN_OK;
    CN_TRY(parse_labels(a, said, &wanted));
    cn_str *v = cn_arena_alloc(a, (wanted.n + 1) * sizeof *v);
    uint32_t n = 0;
    if (!v)
        return cn_fail_memory();
    for (uint32_t i = 0; i < wanted.n; i++)
        if (cn_labels_has(held, wanted.v[i]))
            v[n++] = wanted.v[i];
    ret->asks = (cn_labels){v, n};
    return CN_OK;
}

static cn_err act_as(cn_call *c, cn_tenant *t, cn_str principal, cn_labels *ret) {
    CN_TRY(cn_access_may_act_as(c, principal, &principal));
    return cn_principal_expand(t, principal, &c->arena, ret);
}

cn_err cn_access_principal(cn_call *c, cn_tenant *t, const msgpack_object *as, const msgpack_object *labels, cn_principal *ret) {
    const cn_caller *who = c->caller;
    cn_labels held = cn_labels_public;
    if (as) {
        if (!cn_is_str(as))
            return cn_fail(CN_INVALID, "field \"as\" must be a string");
        CN_TRY(act_as(c, t, cn_obj_str(as), &held));
    } else if (who->kind == CN_CALLER_KEY && (who->key.scopes & CN_SCOPE(act_as))) {
        return cn_fail(CN_INVALID, "this key asks on behalf of people: name the one in `as`, like \"user:ana\"");
    } else if (who->kind == CN_CALLER_KEY) {
        held = who->key.labels;
    } else if (who->kind == CN_CALLER_OPERATOR && labels) {
        CN_TRY(parse_labels(&c->arena, labels, &held)); /* who owns the files may look as anyone */
    }
    return narrow(&c->arena, held, labels, ret);
}

cn_err cn_access_may_name(const cn_caller *c, cn_labels labels) {
    bool anyone = c->kind == CN_CALLER_OPERATOR || (c->kind == CN_CALLER_KEY && (c->key.scopes & CN_SCOPE(act_as)) && !c->key.principals.n);
    for (uint32_t i = 0; i < labels.n && !anyone; i++)
        if (c->kind != CN_CALLER_KEY || !cn_labels_has(c->key.labels, labels.v[i]))
            return cn_fail(CN_DENIED, "this key cannot give the label " CN_STR_FMT ", which it does not hold", CN_STR_ARG(labels.v[i]));
    return CN_OK;
}

cn_err cn_access_may_act_as(cn_call *c, cn_str principal, cn_str *ret) {
    const cn_caller *who = c->caller;
    if (who->kind == CN_CALLER_NOBODY || (who->kind == CN_CALLER_KEY && !(who->key.scopes & CN_SCOPE(act_as))))
        return cn_fail(CN_DENIED, "`as` needs a key with the scope act-as");
    CN_TRY(cn_label_make(&c->arena, principal, &principal));
    if (who->kind == CN_CALLER_KEY && !cn_key_allows_principal(&who->key, principal))
        return cn_fail(CN_DENIED, "this key may not act as \"" CN_STR_FMT "\"", CN_STR_ARG(principal));
    *ret = principal;
    return CN_OK;
}
