/* members.*: the tenant's directory of members. */
#include "index/policy/principal.h"
#include "server/service/methods_inside.h"

/* A key that may act as some principals only changes those alone, and gives them no other labels: else it would give one of them
 * any label, and ask as that one. */
static cn_err may_change(cn_call *c, cn_str member, cn_labels labels) {
    const cn_caller *who = c->caller;
    if (who->kind != CN_CALLER_KEY || !who->key.principals.n)
        return CN_OK;
    CN_TRY(cn_label_make(&c->arena, member, &member));
    if (!cn_key_allows_principal(&who->key, member))
        return cn_fail(CN_DENIED, "this key acts as some principals only; \"" CN_STR_FMT "\" is none of them", CN_STR_ARG(member));
    for (uint32_t i = 0; i < labels.n; i++)
        if (!cn_key_allows_principal(&who->key, labels.v[i]))
            return cn_fail(CN_DENIED, "this key acts as some principals only, so it cannot give the label " CN_STR_FMT ", which is none of them", CN_STR_ARG(labels.v[i]));
    return CN_OK;
}

static cn_err member_change(cn_service *s, cn_call *c, cn_str tenant, const msgpack_object *p, bool replace, cn_buf *out) {
    CN_AUTO_TENANT cn_tenant *t = NULL;
    cn_actor who;
    cn_str member;
    cn_labels labels;
    CN_TRY(cn_arg_str(p, "member", &member));
    CN_TRY(cn_arg_labels(&c->arena, p, "labels", &labels));
    CN_TRY(may_change(c, member, labels));
    CN_TRY(cn_arg_actor(c, p, &who));
    CN_TRY(cn_call_tenant(s, tenant, &t));
    CN_TRY(replace ? cn_member_set(t, member, labels, &who) : cn_member_add(t, member, labels, &who));
    cn_pack_map(out, 2);
    cn_out_str(out, "member", member);
    cn_out_labels(out, "labels", labels);
    return CN_OK;
}
METHOD(member_add) { return member_change(s, c, tenant, p, false, out); }
METHOD(member_set) { return member_change(s, c, tenant, p, true, out); }

METHOD(member_remove) {
    CN_AUTO_TENANT cn_tenant *t = NULL;
    cn_actor who;
    cn_str member;
    CN_TRY(cn_arg_str(p, "member", &member));
    CN_TRY(may_change(c, member, (cn_labels){0}));
    CN_TRY(cn_arg_actor(c, p, &who));
    CN_TRY(cn_call_tenant(s, tenant, &t));
    CN_TRY(cn_member_remove(t, member, &who));
    cn_pack_map(out, 1);
    cn_out_str(out, "member", member);
    return CN_OK;
}

typedef struct list_sink {
    cn_buf *out;
    uint32_t n;
} list_sink;

static cn_err member_one(void *ctx, cn_str principal, cn_labels labels) {
    list_sink *l = ctx;
    l->n++;
    cn_pack_map(l->out, 2);
    cn_out_str(l->out, "member", principal);
    cn_out_labels(l->out, "labels", labels);
    return CN_OK;
}

METHOD(member_list) {
    (void)c, (void)p;
    CN_AUTO_TENANT cn_tenant *t = NULL;
    list_sink l = {out, 0};
    CN_TRY(cn_call_tenant(s, tenant, &t));
    cn_pack_map(out, 1);
    cn_pack_cstr(out, "members");
    size_t at = cn_pack_array_open(out);
    CN_TRY(cn_member_list(t, member_one, &l));
    cn_pack_array_close(out, at, l.n);
    return CN_OK;
}

METHOD(member_sync) {
    CN_AUTO_TENANT cn_tenant *t = NULL;
    cn_actor who;
    cn_str text;
    uint32_t n;
    CN_TRY(cn_arg_str(p, "text", &text));
    if (c->caller->kind == CN_CALLER_KEY && c->caller->key.principals.n)
        return cn_fail(CN_DENIED, "this key acts as some principals only, so it cannot replace the whole directory; use members.set for each of them");
    CN_TRY(cn_arg_actor(c, p, &who));
    CN_TRY(cn_call_tenant(s, tenant, &t));
    CN_TRY(cn_member_sync(t, text, &who, &n));
    cn_pack_map(out, 1);
    cn_out_uint(out, "members", n);
    return CN_OK;
}

static const cn_param p_member[] = {{"member", "str", true, "user:ana, group:hr"}, {"labels", "list of str", true, "what it holds; groups may hold groups"}, REASON, END};
static const cn_param p_member_remove[] = {{"member", "str", true, "whom"}, REASON, END};
static const cn_param p_member_sync[] = {{"text", "str", true, "one member a line: NAME LABEL[,LABEL]"}, REASON, END};
static const cn_param p_none[] = {END};

const cn_method cn_methods_member[] = {
    {"members.add", CN_SCOPE(admin), CN_METHOD_CHANGES, "give a member labels", p_member, member_add},
    {"members.set", CN_SCOPE(admin), CN_METHOD_CHANGES, "replace a member's labels", p_member, member_set},
    {"members.remove", CN_SCOPE(admin), CN_METHOD_CHANGES, "forget a member", p_member_remove, member_remove},
    {"members.list", CN_SCOPE(admin), 0, "the tenant's directory of members", p_none, member_list},
    {"members.sync", CN_SCOPE(admin), CN_METHOD_CHANGES, "replace the whole directory", p_member_sync, member_sync},
    {NULL, 0, 0, NULL, NULL, NULL},
};
