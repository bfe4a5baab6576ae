/* policy.*: what lies over all versions. */
#include "server/service/compactor.h"
#include "server/service/inside.h"
#include "server/service/methods_inside.h"

#include "engine/base/os.h"
#include "index/catalog/holding.h"
#include "index/policy/policy.h"

#define LOOK_NS 1000000000u /* for what a change meets now */
#define MISSING_MAX 100
#define OTHERS_MAX 16

typedef struct changes {
    cn_policy_change *v;
    uint32_t n;
} changes;

static cn_err source_of(const msgpack_object *p, cn_str preset, cn_str *ret) {
    cn_str source = preset;
    CN_TRY(cn_get_str(p, "source", &source));
    if (source.n)
        CN_TRY(cn_name_check(source, "source"));
    *ret = source;
    return CN_OK;
}

static cn_err one_each(cn_call *c, const msgpack_object *p, cn_policy_op op, cn_labels labels, changes *ret) {
    cn_str source, *docs;
    uint32_t n;
    CN_TRY(source_of(p, CN_STR("default"), &source));
    CN_TRY(cn_arg_list(&c->arena, p, "docs", &docs, &n));
    if (n == 0)
        return cn_fail(CN_INVALID, "field \"docs\" names no document");
    cn_policy_change *v = cn_arena_zalloc(&c->arena, n, sizeof *v);
    if (!v)
        return cn_fail_memory();
    for (uint32_t i = 0; i < n; i++)
        v[i] = (cn_policy_change){op, source, docs[i], labels};
    *ret = (changes){v, n};
    return CN_OK;
}

static cn_err one_pattern(cn_call *c, cn_policy_op op, cn_str source, cn_str id, changes *ret) {
    cn_policy_change *v = cn_arena_zalloc(&c->arena, 1, sizeof *v);
    if (!v)
        return cn_fail_memory();
    *v = (cn_policy_change){op, source, id, {0}};
    *ret = (changes){v, 1};
    return CN_OK;
}

/* Exactly one of docs, glob, all_of says what is hidden. */
static cn_err hide_changes(cn_call *c, const msgpack_object *p, bool hide, changes *ret) {
    cn_str glob = {NULL, 0}, all_of = {NULL, 0}, source = {NULL, 0};
    CN_TRY(cn_get_str(p, "glob", &glob));
    CN_TRY(cn_get_str(p, "all_of", &all_of));
    const msgpack_object *named = cn_get(p, "docs");
    bool docs = named && named->type != MSGPACK_OBJECT_NIL;
    if (docs + (glob.p != NULL) + (all_of.p != NULL) != 1)
        return cn_fail(CN_INVALID, "give exactly one of field \"docs\", field \"glob\" and field \"all_of\"");
    if (docs)
        return one_each(c, p, hide ? CN_POLICY_HIDE : CN_POLICY_UNHIDE, (cn_labels){0}, ret);
    if (all_of.p) {
        CN_TRY(cn_get_str(p, "source", &source));
        if (source.p)
            return cn_fail(CN_INVALID, "field \"source\" does not go with field \"all_of\", which names the source");
        CN_TRY(cn_name_check(all_of, "source"));
        return one_pattern(c, hide ? CN_POLICY_HIDE_SOURCE : CN_POLICY_UNHIDE_SOURCE, all_of, CN_STR(""), ret);
    }
    CN_TRY(source_of(p, CN_STR(""), &source));
    return one_pattern(c, hide ? CN_POLICY_HIDE_GLOB : CN_POLICY_UNHIDE_GLOB, source, glob, ret);
}

static bool erases(const changes *ch) {
    for (uint32_t i = 0; i < ch->n; i++)
        if (ch->v[i].op == CN_POLICY_ERASE)
            return true;
    return false;
}

/* ---------- what it meets now ---------- */
static bool is_pattern(cn_policy_op op) {
    return op == CN_POLICY_HIDE_GLOB || op == CN_POLICY_UNHIDE_GLOB || op == CN_POLICY_HIDE_SOURCE || op == CN_POLICY_UNHIDE_SOURCE;
}

static bool is_source(cn_policy_op op) { return op == CN_POLICY_HIDE_SOURCE || op == CN_POLICY_UNHIDE_SOURCE; }

static bool meets(cn_holding *h, const cn_policy_change *c) {
    if (!is_pattern(c->op))
        return cn_holding_doc(h, c->source, c->id);
    return cn_holding_pattern(h, &(cn_pattern){c->source, is_source(c->op) ? (cn_str){NULL, 0} : c->id});
}

static void out_missing(cn_holding *h, const cn_policy_change *c, cn_buf *out) {
    cn_str others[OTHERS_MAX];
    if (is_source(c->op)) {
        cn_pack_map(out, 1);
        cn_out_str(out, "all_of", c->source);
        return;
    }
    cn_pack_map(out, is_pattern(c->op) ? 2 : 3);
    cn_out_str(out, is_pattern(c->op) ? "glob" : "doc", c->id);
    cn_out_str(out, "source", c->source);
    if (is_pattern(c->op))
        return;
    uint32_t n = cn_holding_sources(h, c->source, c->id, others, OTHERS_MAX);
    cn_pack_cstr(out, "others");
    cn_pack_array(out, n);
    for (uint32_t i = 0; i < n; i++)
        cn_pack_str(out, others[i]);
}

static bool meet_now(const changes *ch) { /* a restore meets what is written later alone */
    bool any = false;
    for (uint32_t i = 0; !any && i < ch->n; i++)
        any = ch->v[i].op != CN_POLICY_RESTORE;
    return any;
}

/* What is named and stands in no version, most often by a slip. */
static void out_held(cn_holding *h, const changes *ch, cn_buf *out) {
    uint32_t shown = 0, missing = 0;
    cn_pack_cstr(out, "missing");
    size_t at = cn_pack_array_open(out);
    for (uint32_t i = 0; i < ch->n && !h->over; i++) {
        if (ch->v[i].op == CN_POLICY_RESTORE || meets(h, &ch->v[i]) || h->over)
            continue;
        if (missing++ < MISSING_MAX) {
            out_missing(h, &ch->v[i], out);
            shown++;
        }
    }
    cn_pack_array_close(out, at, shown);
    cn_out_bool(out, "more", missing > shown);
    cn_out_uint(out, "held", cn_holding_count(h));
}

/* After the change, which stands whatever becomes of this look. */
static void out_change(cn_service *s, cn_call *c, cn_tenant *t, const changes *ch, uint64_t epoch, cn_buf *out) {
    char room[CN_ERROR_TEXT];
    uint64_t deadline = cn_mono_ns() + LOOK_NS;
    cn_holding h;
    bool look = meet_now(ch);
    cn_pack_map(out, look ? 6 : 2);
    cn_out_uint(out, "documents", ch->n);
    cn_out_uint(out, "epoch", epoch);
    if (!look)
        return;
    cn_holding_open(t, c->deadline_ns && c->deadline_ns < deadline ? c->deadline_ns : deadline, &h);
    out_held(&h, ch, out);
    cn_out_cstr(out, "unread", h.why[0] ? cn_tell_text(s, c->caller, h.why, room) : NULL);
    cn_holding_done(&h);
}

static cn_err commit(cn_service *s, cn_call *c, cn_str tenant, const msgpack_object *p, const changes *ch, cn_buf *out) {
    CN_AUTO_TENANT cn_tenant *t = NULL;
    cn_actor who;
    uint64_t epoch;
    CN_TRY(cn_arg_actor(c, p, &who));
    CN_TRY(cn_call_tenant(s, tenant, &t));
    CN_TRY(cn_policy_apply(t, ch->v, ch->n, &who, &epoch));
    if (erases(ch))
        cn_compactor_poke(s->compactor);
    out_change(s, c, t, ch, epoch, out);
    return CN_OK;
}

static cn_err labelled(cn_service *s, cn_call *c, cn_str tenant, const msgpack_object *p, cn_policy_op op, cn_buf *out) {
    changes ch = {0};
    cn_labels labels;
    CN_TRY(cn_arg_labels(&c->arena, p, "labels", &labels));
    if (labels.n == 0 && op != CN_POLICY_CLEAR)
        return cn_fail(CN_INVALID, "field \"labels\" names no label");
    CN_TRY(one_each(c, p, op, labels, &ch));
    return commit(s, c, tenant, p, &ch, out);
}

static cn_err plain(cn_service *s, cn_call *c, cn_str tenant, const msgpack_object *p, cn_policy_op op, cn_buf *out) {
    changes ch = {0};
    CN_TRY(one_each(c, p, op, (cn_labels){0}, &ch));
    return commit(s, c, tenant, p, &ch, out);
}

static cn_err hiding(cn_service *s, cn_call *c, cn_str tenant, const msgpack_object *p, bool hide, cn_buf *out) {
    changes ch = {0};
    CN_TRY(hide_changes(c, p, hide, &ch));
    return commit(s, c, tenant, p, &ch, out);
}

METHOD(allow) { return labelled(s, c, tenant, p, CN_POLICY_ALLOW, out); }
METHOD(deny) { return labelled(s, c, tenant, p, CN_POLICY_DENY, out); }
METHOD(clear) { return labelled(s, c, tenant, p, CN_POLICY_CLEAR, out); }
METHOD(hide) { return hiding(s, c, tenant, p, true, out); }
METHOD(unhide) { return hiding(s, c, tenant, p, false, out); }
METHOD(erase) { return plain(s, c, tenant, p, CN_POLICY_ERASE, out); }
METHOD(restore) { return plain(s, c, tenant, p, CN_POLICY_RESTORE, out); }

static cn_err change_of(const msgpack_object *change, cn_call *c, changes *ret) {
    static const char *const labelled[] = {"op", "docs", "source", "labels", NULL}, *const plain[] = {"op", "docs", "source", NULL},
                            *const hiding[] = {"op", "docs", "source", "glob", "all_of", NULL};
    static const struct {
        const char *name;
        cn_policy_op op;
        const char *const *fields;
    } ops[] = {{"allow", CN_POLICY_ALLOW, labelled}, {"deny", CN_POLICY_DENY, labelled}, {"clear", CN_POLICY_CLEAR, labelled}, {"hide", CN_POLICY_HIDE, hiding},
               {"unhide", CN_POLICY_UNHIDE, hiding}, {"erase", CN_POLICY_ERASE, plain}, {"restore", CN_POLICY_RESTORE, plain}};
    cn_str op;
    cn_labels labels;
    size_t i = 0;
    CN_TRY(cn_arg_str(change, "op", &op));
    while (i < sizeof ops / sizeof *ops && !cn_str_is(op, ops[i].name))
        i++;
    if (i == sizeof ops / sizeof *ops)
        return cn_fail(CN_INVALID, "unknown op \"" CN_STR_FMT "\"; one of allow, deny, clear, hide, unhide, erase, restore", CN_STR_ARG(op));
    CN_TRY(cn_only_fields(change, ops[i].fields));
    if (ops[i].fields == hiding)
        return hide_changes(c, change, ops[i].op == CN_POLICY_HIDE, ret);
    CN_TRY(cn_arg_labels(&c->arena, change, "labels", &labels));
    if (labels.n == 0 && (ops[i].op == CN_POLICY_ALLOW || ops[i].op == CN_POLICY_DENY))
        return cn_fail(CN_INVALID, "field \"labels\" names no label");
    return one_each(c, change, ops[i].op, labels, ret);
}

static cn_err append_change(cn_call *c, const msgpack_object *change, changes *all, uint32_t room) {
    changes one;
    CN_TRY(change_of(change, c, &one));
    if (one.n > room - all->n)
        return cn_fail(CN_INVALID, "more than %u documents in one call; split it", room);
    memcpy(all->v + all->n, one.v, one.n * sizeof *one.v);
    all->n += one.n;
    return CN_OK;
}

METHOD(apply) {
    const msgpack_object *list = cn_get(p, "changes");
    if (!list || list->type != MSGPACK_OBJECT_ARRAY || list->via.array.size == 0)
        return cn_fail(CN_INVALID, "field \"changes\" must be a list of maps");
    changes all = {cn_arena_zalloc(&c->arena, CN_ARG_LIST_MAX, sizeof *all.v), 0};
    if (!all.v)
        return cn_fail_memory();
    for (uint32_t i = 0; i < list->via.array.size; i++) {
        cn_err err = append_change(c, &list->via.array.ptr[i], &all, CN_ARG_LIST_MAX);
        if (err != CN_OK)
            return cn_wrap(err, "change %u", i + 1);
    }
    return commit(s, c, tenant, p, &all, out);
}

METHOD(reinstate) {
    CN_AUTO_TENANT cn_tenant *t = NULL;
    cn_actor who;
    cn_str index;
    uint64_t number, epoch;
    CN_TRY(cn_arg_str(p, "index", &index));
    CN_TRY(cn_arg_version(p, "version", &number));
    CN_TRY(cn_arg_actor(c, p, &who));
    if (who.reason.n == 0)
        return cn_fail(CN_INVALID, "field \"reason\" is missing: this gives permissions back, so say why");
    CN_TRY(cn_call_tenant(s, tenant, &t));
    CN_TRY(cn_policy_reinstate(t, index, number, &who, &epoch));
    cn_pack_map(out, 1);
    cn_out_uint(out, "epoch", epoch);
    return CN_OK;
}

METHOD(show) {
    CN_AUTO_TENANT cn_tenant *t = NULL;
    cn_policy *policy;
    cn_str source, *docs;
    uint32_t n;
    CN_TRY(source_of(p, CN_STR("default"), &source));
    CN_TRY(cn_arg_list(&c->arena, p, "docs", &docs, &n));
    CN_TRY(cn_call_tenant(s, tenant, &t));
    CN_TRY(cn_policy_load(t, &policy));
    cn_pack_map(out, 2);
    cn_out_uint(out, "epoch", cn_policy_epoch(policy));
    cn_pack_cstr(out, "documents");
    cn_pack_array(out, n);
    for (uint32_t i = 0; i < n; i++)
        cn_policy_show(policy, source, docs[i], out);
    cn_policy_unref(policy);
    return CN_OK;
}

#define DOCS {"docs", "list of str", true, "ids of documents"}
#define SOURCE {"source", "str", false, "their source (default)"}
static const cn_param p_show[] = {DOCS, SOURCE, END};
static const cn_param p_labels[] = {DOCS, {"labels", "list of str", true, "permission labels"}, SOURCE, REASON, END};
static const cn_param p_clear[] = {DOCS, {"labels", "list of str", false, "which labels; none: all grants and denials"}, SOURCE, REASON, END};
static const cn_param p_docs[] = {DOCS, SOURCE, REASON, END};
static const cn_param p_restore[] = {DOCS, SOURCE, {"reason", "str", true, "why, for the audit trail"}, END};
static const cn_param p_hide[] = {{"docs", "list of str", false, "ids of documents"}, {"glob", "str", false, "every id that fits, later ones too"},
                                  {"all_of", "str", false, "everything of this source"}, SOURCE, REASON, END};
static const cn_param p_apply[] = {{"changes", "list", true, "maps {op, docs or glob or all_of, source, labels}; all or none take effect"}, REASON, END};
static const cn_param p_reinstate[] = {{"index", "str", true, "name of the index"}, {"version", "uint", true, "whose revocations are withdrawn"},
                                       {"reason", "str", true, "why, for the audit trail"}, END};

const cn_method cn_methods_policy[] = {
    {"policy.show", CN_SCOPE(policy), 0, "what the policy says of documents", p_show, show},
    {"policy.allow", CN_SCOPE(policy), CN_METHOD_CHANGES, "grant labels on documents, in every version", p_labels, allow},
    {"policy.deny", CN_SCOPE(policy), CN_METHOD_CHANGES, "refuse holders of labels, in every version", p_labels, deny},
    {"policy.clear", CN_SCOPE(policy), CN_METHOD_CHANGES, "take back grants and denials", p_clear, clear},
    {"policy.hide", CN_SCOPE(policy), CN_METHOD_CHANGES, "hide from everyone, reversibly", p_hide, hide},
    {"policy.unhide", CN_SCOPE(policy), CN_METHOD_CHANGES, "show again", p_hide, unhide},
    {"policy.erase", CN_SCOPE(policy), CN_METHOD_CHANGES, "erase for good, in every index and version", p_docs, erase},
    {"policy.restore", CN_SCOPE(policy), CN_METHOD_CHANGES, "let later versions bring an erased document again", p_restore, restore},
    {"policy.apply", CN_SCOPE(policy), CN_METHOD_CHANGES, "many changes in one transaction", p_apply, apply},
    {"policy.reinstate", CN_SCOPE(policy), CN_METHOD_CHANGES, "withdraw the revocations of a version whose job mangled labels", p_reinstate, reinstate},
    {NULL, 0, 0, NULL, NULL, NULL},
};
