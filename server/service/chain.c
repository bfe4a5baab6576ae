/* chain.c -- what every changing call leaves beside its own audit record: refusals for want of a scope in the chain, and the
 * chain's head in the log. */
#include <stdio.h>

#include "engine/base/log.h"
#include "engine/base/utf8.h"
#include "index/control/audit.h"
#include "server/service/inside.h"

/* What a method does is in the chain under the action's own name, in whatever way it ends. */
static const char *action_of(const char *method) {
    static const char *const named[][2] = {
        {"versions.activate", "version.activate"}, {"versions.rollback", "version.rollback"}, {"versions.release", "version.release"},
        {"versions.pin", "version.pin"}, {"versions.unpin", "version.unpin"}, {"versions.quarantine", "version.quarantine"},
        {"versions.unquarantine", "version.unquarantine"}, {"versions.drop", "version.drop"}, {"versions.gc", "version.gc"},
        {"versions.compact", "version.compact"}, {"members.add", "member.add"}, {"members.set", "member.set"},
        {"members.remove", "member.remove"}, {"members.sync", "member.sync"}, {"modes.set", "mode.set"}, {"modes.set_host", "mode.host"},
        {"admin.index_create", "index.create"}, {"admin.index_set", "index.set"}, {"admin.index_drop", "index.drop"},
        {"admin.key_add", "key.add"}, {"admin.key_revoke", "key.revoke"}, {"admin.tenant_add", "tenant.add"},
        {"admin.tenant_drop", "tenant.drop"}, {"ingest.start", "index.ingest"}, {"ingest.rebuild", "index.ingest"},
        {"documents.put", "index.ingest"}, {"documents.delete", "index.ingest"}, {"ingest.cancel", "job.cancel"}};
    for (size_t i = 0; i < sizeof named / sizeof *named; i++)
        if (strcmp(method, named[i][0]) == 0)
            return named[i][1];
    return method;
}

/* The fields were not looked at yet: what is no reason or name is left out. */
static bool note_denied(cn_call *c, cn_tenant *t, const char *method, const msgpack_object *params, const char *why) {
    cn_str index = cn_obj_str(cn_get(params, "index")), none = {NULL, 0};
    cn_actor who;
    if (cn_arg_actor(c, params, &who) != CN_OK || !cn_utf8_ok(who.reason))
        who = (cn_actor){cn_str_of(c->caller->who), cn_str_of(c->caller->via), none};
    return cn_audit_refused(t, &who, action_of(method), cn_name_check(index, "index") == CN_OK ? index : none, why) == CN_OK;
}

/* Whoever can write the chain's file could make the whole chain anew, but not the log. */
static void log_head(cn_tenant *t) {
    cn_audit_head head;
    char hex[CN_HEX_TEXT];
    if (cn_audit_newest(t, &head) != CN_OK)
        return;
    cn_hex(head.digest.b, sizeof head.digest.b, hex);
    cn_log(CN_LOG_INFO, "audit.head", "tenant=%s seq=%llu digest=%s", cn_tenant_name(t), (unsigned long long)head.seq, hex);
}

/* Nothing is changed by it. A field that the method does not know is no such word. */
static bool is_dry(const cn_method *m, const msgpack_object *params) {
    const msgpack_object *dry = cn_get(params, "dry_run");
    for (const cn_param *p = m->params; p && p->name; p++)
        if (strcmp(p->name, "dry_run") == 0)
            return dry && dry->type == MSGPACK_OBJECT_BOOLEAN && dry->via.boolean;
    return false;
}

cn_err cn_chain_after(cn_service *s, cn_call *c, cn_str method, cn_str tenant, const msgpack_object *params, cn_err err) {
    const cn_method *m = cn_method_find(method);
    const cn_caller *who = c->caller;
    if (!m || is_dry(m, params) || !(m->flags & CN_METHOD_CHANGES) || who->kind == CN_CALLER_NOBODY || (err != CN_OK && err != CN_DENIED && err != CN_REFUSED && err != CN_CONFLICT))
        return err;
    char why[CN_ERROR_TEXT];
    snprintf(why, sizeof why, "%s", err == CN_OK ? "" : cn_error_detail());
    CN_AUTO_TENANT cn_tenant *t = NULL;
    cn_str own = who->kind == CN_CALLER_KEY && who->key.tenant.n ? who->key.tenant : cn_obj_str(cn_get(params, "tenant"));
    bool noted = true, open = cn_call_tenant(s, tenant.n ? tenant : own, &t) == CN_OK;
    if (open && err == CN_DENIED)
        noted = note_denied(c, t, m->name, params, why);
    if (open)
        log_head(t);
    return err == CN_OK ? CN_OK : cn_fail(err, noted ? "%s" : "%.900s (this attempt could not be recorded in the audit chain)", why);
}
