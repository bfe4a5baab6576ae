/* version.c -- what there is, and marks on it. */
#include "index/catalog/version.h"

#include <stdio.h>

#include "engine/base/os.h"
#include "index/catalog/control.h"

#define ARENA ((size_t)256 << 20)
#define AUTO_ARENA __attribute__((cleanup(cn_arena_done)))

cn_err cn_version_get(cn_tenant *t, cn_str index, uint64_t number, cn_arena *a, cn_version *ret) {
    CN_AUTO_CONTROL cn_control c;
    cn_index_info ix;
    CN_TRY(cn_control_read(t, &c));
    CN_TRY(cn_index_read(&c, index, a, &ix));
    if (number == 0 && ix.active == 0)
        return cn_fail(CN_NOT_FOUND, "index " CN_STR_FMT " has no active version yet; ingest with --activate, or activate one", CN_STR_ARG(index));
    return cn_version_read(&c, &ix, number ? number : ix.active, a, ret);
}

cn_err cn_version_list(cn_tenant *t, cn_str index, cn_arena *a, cn_version **ret, uint32_t *ret_n) {
    CN_AUTO_CONTROL cn_control c;
    cn_index_info ix;
    CN_TRY(cn_control_read(t, &c));
    CN_TRY(cn_index_read(&c, index, a, &ix));
    return cn_versions_of(&c, ix.id, a, ret, ret_n);
}

cn_err cn_version_head(cn_tenant *t, cn_str index, cn_arena *a, cn_version *ret) {
    cn_version *v;
    uint32_t n;
    CN_TRY(cn_version_list(t, index, a, &v, &n));
    while (n-- > 0)
        if (!(v[n].marks & (CN_MARK_SUSPECT | CN_MARK_QUARANTINED | CN_MARK_DROPPED))) {
            *ret = v[n];
            return CN_OK;
        }
    return cn_fail(CN_NOT_FOUND, "index " CN_STR_FMT " has no version to build on", CN_STR_ARG(index));
}

static const char *mark_action(unsigned set, unsigned clear) {
    if ((set | clear) & CN_MARK_QUARANTINED)
        return set ? "version.quarantine" : "version.unquarantine";
    return set & CN_MARK_DROPPED ? "version.drop" : set ? "version.pin" : "version.unpin";
}

static cn_err may_mark(const cn_index_info *ix, const cn_version *v, unsigned set) {
    unsigned long long n = v->number;
    if (v->marks & CN_MARK_DROPPED)
        return cn_fail(CN_REFUSED, "version %llu was dropped", n);
    if (set & (CN_MARK_DROPPED | CN_MARK_QUARANTINED) && ix->active == v->number)
        return cn_fail(CN_REFUSED, "version %llu is active; activate another or roll back first", n);
    if (set & CN_MARK_DROPPED && v->marks & CN_MARK_PINNED)
        return cn_fail(CN_REFUSED, "version %llu is pinned; unpin it first", n);
    return CN_OK;
}

static cn_err mark_in(cn_control *c, cn_str index, uint64_t number, unsigned set, unsigned clear, const cn_actor *who) {
    cn_arena a AUTO_ARENA;
    cn_index_info ix;
    cn_version v;
    char target[128];
    cn_arena_init(&a, 65536, ARENA);
    CN_TRY(cn_index_read(c, index, &a, &ix));
    CN_TRY(cn_version_read(c, &ix, number, &a, &v));
    CN_TRY(may_mark(&ix, &v, set));
    v.marks = (v.marks | set) & ~clear;
    CN_TRY(cn_version_write(c, ix.id, &v));
    CN_TRY(cn_epoch_raise(c->t, c->txn, NULL));
    return cn_audit_add(c->t, c->txn, who, mark_action(set, clear), cn_target(target, index, number), "done", (cn_str){NULL, 0});
}

cn_err cn_version_mark(cn_tenant *t, cn_str index, uint64_t number, unsigned set, unsigned clear, const cn_actor *who) {
    CN_AUTO_CONTROL cn_control c;
    CN_TRY(cn_control_write(t, &c));
    cn_err e = mark_in(&c, index, number, set, clear, who);
    if (e == CN_OK)
        return cn_control_commit(&c);
    cn_control_end(&c);
    if (e == CN_REFUSED)
        cn_refusal(t, who, mark_action(set, clear), index, number);
    return e;
}

cn_err cn_version_drop(cn_tenant *t, cn_str index, uint64_t number, const cn_actor *who) {
    return cn_version_mark(t, index, number, CN_MARK_DROPPED, 0, who);
}

/* The refusal's text is the caller's answer: recording it must not replace it. */
void cn_refusal(cn_tenant *t, const cn_actor *who, const char *action, cn_str index, uint64_t number) {
    char why[CN_ERROR_TEXT], target[128];
    snprintf(why, sizeof why, "%s", cn_error_detail());
    cn_audit_refused(t, who, action, cn_target(target, index, number), why);
    cn_fail(CN_REFUSED, "%s", why);
}
