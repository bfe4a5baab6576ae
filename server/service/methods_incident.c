/* trace.*, incident.*: the first questions of an incident, for holders of the audit scope; each look is audited. */
#include <stdio.h>

#include "index/catalog/history.h"
#include "index/policy/policy.h"
#include "index/search/find.h"
#include "server/service/incident.h"
#include "server/service/methods_inside.h"

#define FOUND_LIMIT 100
#define FOUND_LIMIT_MAX 10000
#define FIND_MS 10000

/* ---------- every look ---------- */
void cn_look_done(cn_look *l) {
    cn_tenant_unref_p(&l->t);
    l->t = NULL;
}

static cn_err audit(cn_call *c, const char *method, const msgpack_object *p, cn_str detail, const cn_look *l) {
    cn_actor who;
    cn_str trace = {NULL, 0}, target = l->doc;
    CN_TRY(cn_arg_actor(c, p, &who));
    CN_TRY(cn_get_str(p, "trace_id", &trace));
    if (l->ix.name.n) {
        char *text = cn_arena_printf(&c->arena, CN_STR_FMT "%s" CN_STR_FMT, CN_STR_ARG(l->index), l->doc.n ? "/" : "", CN_STR_ARG(l->doc));
        if (!text)
            return cn_fail_memory();
        target = cn_str_of(text);
    } else if (trace.n) {
        target = trace;
    }
    return cn_audit_asked(l->t, &who, method, target, detail);
}

cn_err cn_look_open(cn_service *s, cn_call *c, cn_str tenant, const char *method, const msgpack_object *p, cn_str detail, cn_look *ret) {
    CN_AUTO_LOOK cn_look l = {.source = CN_STR("default")};
    CN_TRY(cn_get_str(p, "doc", &l.doc));
    CN_TRY(cn_get_str(p, "source", &l.source));
    CN_TRY(cn_get_str(p, "index", &l.index));
    if (cn_get(p, "doc") && (l.doc.n == 0 || l.doc.n > CN_DOC_ID_MAX))
        return cn_fail(CN_INVALID, "an id of a document has 1 to %d bytes, not %zu", CN_DOC_ID_MAX, l.doc.n);
    if (l.source.n)
        CN_TRY(cn_name_check(l.source, "source"));
    CN_TRY(cn_call_tenant(s, tenant, &l.t));
    if (l.index.n)
        CN_TRY(cn_index_get(l.t, l.index, &c->arena, &l.ix));
    CN_TRY(audit(c, method, p, detail, &l));
    *ret = l;
    l = (cn_look){0};
    return CN_OK;
}

void cn_look_pack_text(cn_buf *out, cn_str text) {
    cn_digest d = cn_sha256_of(text.p, text.n);
    cn_pack_map(out, text.p ? 2 : 0);
    if (!text.p)
        return;
    cn_out_hex(out, "text_digest", d.b, sizeof d.b);
    cn_out_uint(out, "text_bytes", text.n);
}

/* ---------- as whom ---------- */
typedef struct key_search {
    cn_call *c;
    cn_str id;
    bool found;
    cn_labels labels;
    unsigned scopes;
} key_search;

static cn_err key_is(void *ctx, const cn_key_info *k) {
    key_search *f = ctx;
    if (!cn_str_is(f->id, k->id))
        return CN_OK;
    f->found = true;
    f->scopes = k->scopes;
    return cn_labels_make(&f->c->arena, k->labels.v, k->labels.n, &f->labels);
}

/* "key:4f21c0de", as records name it. */
static cn_err try_key(cn_service *s, cn_call *c, cn_look *l, bool *ret_is) {
    cn_str name = l->who.name;
    key_search f = {.c = c};
    *ret_is = false;
    if (name.n != 12 || memcmp(name.p, "key:", 4) != 0)
        return CN_OK;
    f.id = (cn_str){name.p + 4, name.n - 4};
    CN_TRY(cn_key_list(s->data, cn_str_of(cn_tenant_name(l->t)), key_is, &f));
    if (f.found && (f.scopes & CN_SCOPE(act_as)))
        return cn_fail(CN_INVALID, "the key " CN_STR_FMT " asks on behalf of people and has no labels of its own: name the person", CN_STR_ARG(f.id));
    l->who.principal = cn_principal_of(f.labels);
    *ret_is = f.found;
    return CN_OK;
}

static cn_err as_member(cn_call *c, cn_look *l) {
    cn_labels all;
    CN_TRY(cn_principal_trail(l->t, l->who.name, &c->arena, (cn_held **)(uintptr_t)&l->who.held, &l->who.n_held));
    cn_str *v = cn_arena_alloc(&c->arena, (l->who.n_held + 1u) * sizeof *v);
    if (!v)
        return cn_fail_memory();
    for (uint32_t i = 0; i < l->who.n_held; i++)
        v[i] = l->who.held[i].label;
    CN_TRY(cn_labels_make(&c->arena, v, l->who.n_held, &all));
    l->who.principal = cn_principal_of(all);
    return CN_OK;
}

cn_err cn_look_as(cn_service *s, cn_call *c, const msgpack_object *p, cn_look *io) {
    cn_labels labels = cn_labels_public;
    bool is_key;
    CN_TRY(cn_get_str(p, "principal", &io->who.name));
    if (io->who.name.p && cn_given(p, "labels"))
        return cn_fail(CN_INVALID, "give field \"principal\" or field \"labels\", not both");
    if (!io->who.name.p) {
        if (cn_given(p, "labels"))
            CN_TRY(cn_arg_labels(&c->arena, p, "labels", &labels));
        io->who.principal = cn_principal_of(labels);
        return CN_OK;
    }
    CN_TRY(try_key(s, c, io, &is_key));
    return is_key ? CN_OK : as_member(c, io);
}

static const cn_held *held_as(const cn_look_who *who, cn_str label) {
    for (uint32_t i = 0; i < who->n_held; i++)
        if (cn_str_eq(who->held[i].label, label))
            return &who->held[i];
    return NULL;
}

static uint32_t out_chain(cn_buf *out, const cn_look_who *who, cn_str label) {
    const cn_held *h = held_as(who, label);
    uint32_t n = h && h->through.n ? out_chain(out, who, h->through) : 0; /* each was found after what it was found through */
    cn_pack_str(out, label);
    return n + 1;
}

void cn_out_through(cn_buf *out, const cn_look_who *who, cn_str label) {
    cn_pack_cstr(out, "through");
    size_t at = cn_pack_array_open(out);
    cn_pack_array_close(out, at, out_chain(out, who, label));
}

/* ---------- incident.which_versions ---------- */
typedef struct listing {
    cn_service *s;
    cn_call *c;
    const cn_look *l;
    bool part; /* to a key limited to some indexes; the policy is the tenant's */
    cn_buf *out, unreadable;
    uint32_t n, n_unreadable;
    cn_digest leaf; /* of the version told before */
} listing;

static cn_err list_stand(void *ctx, const cn_version *v, const cn_stand *s, cn_err err) {
    listing *x = ctx;
    if (err != CN_OK) {
        char room[CN_ERROR_TEXT];
        x->n_unreadable++;
        cn_pack_map(&x->unreadable, 2);
        cn_out_uint(&x->unreadable, "version", v->number);
        cn_out_cstr(&x->unreadable, "why", cn_tell_text(x->s, x->c->caller, cn_error_detail(), room));
        return CN_OK;
    }
    if (!s)
        return CN_OK;
    cn_buf *out = x->out;
    cn_pack_map(out, 11);
    cn_out_uint(out, "version", v->number);
    cn_out_cstr(out, "state", cn_version_state_name(v, &x->l->ix));
    cn_out_marks(out, v->marks);
    cn_out_bool(out, "changed", x->n && !cn_digest_eq(&x->leaf, &s->leaf));
    cn_out_bool(out, "erased", s->erased);
    cn_out_hex(out, "content", s->content.b, s->erased ? 0 : sizeof s->content.b);
    cn_out_uint(out, "chunks", s->chunks);
    cn_out_triple(out, "labels", &s->labels);
    cn_out_time(out, "made", v->made_us);
    cn_out_str(out, "by", v->made_by);
    cn_out_str(out, "job", v->job);
    x->leaf = s->leaf;
    x->n++;
    return CN_OK;
}

static cn_err list_versions(listing *x) {
    cn_buf *out = x->out;
    cn_pack_map(out, 6);
    cn_out_str(out, "index", x->l->index);
    cn_out_str(out, "source", x->l->source);
    cn_out_str(out, "doc", x->l->doc);
    cn_pack_cstr(out, "versions");
    size_t at = cn_pack_array_open(out);
    CN_TRY(cn_version_history(x->l->t, x->l->index, x->l->source, x->l->doc, list_stand, x));
    cn_pack_array_close(out, at, x->n);
    cn_pack_cstr(out, "unreadable");
    cn_pack_array(out, x->n_unreadable);
    CN_TRY(cn_buf_check(&x->unreadable));
    cn_buf_add(out, x->unreadable.p, x->unreadable.n);
    cn_pack_cstr(out, "policy");
    if (x->part) {
        cn_pack_nil(out);
        return CN_OK;
    }
    cn_policy *policy;
    CN_TRY(cn_policy_load(x->l->t, &policy));
    cn_policy_show(policy, x->l->source, x->l->doc, out);
    cn_policy_unref(policy);
    return CN_OK;
}

static cn_err which_versions(cn_service *s, cn_call *c, cn_str tenant, const msgpack_object *p, cn_buf *out) {
    CN_AUTO_LOOK cn_look l = {0};
    listing x = {.s = s, .c = c, .l = &l, .out = out, .part = cn_call_limited(c)};
    CN_TRY(cn_look_open(s, c, tenant, "incident.which_versions", p, (cn_str){0}, &l));
    cn_buf_init(&x.unreadable, (size_t)16 << 20);
    cn_err e = list_versions(&x);
    cn_buf_done(&x.unreadable);
    return e;
}

/* ---------- incident.find ---------- */
typedef struct finding {
    cn_service *s;
    cn_call *c;
    const cn_look *l;
    cn_policy *policy;
    cn_buf *out, unreadable;
    uint32_t n, n_unreadable;
} finding;

static cn_err state_of(const finding *f, const cn_found *x, const char **ret) {
    static const cn_triple none;
    cn_key key = cn_key_of(x->source, x->id);
    cn_effect effect;
    cn_said said;
    /* As of no version: lists of revocations say nothing of the state, and one that cannot be read is in nobody's way. */
    CN_TRY(cn_policy_explain(f->policy, f->l->ix.id, NULL, &key, x->source, x->id, &none, cn_seg_get_id(x->seg), &f->c->arena, &effect, &said));
    *ret = said.erased || said.row_erased ? "erased" : said.hidden || said.n_patterns ? "hidden" : "live";
    return CN_OK;
}

static cn_err tell_found(void *ctx, const cn_found *x) {
    finding *f = ctx;
    const char *state;
    CN_TRY(state_of(f, x, &state));
    cn_pack_map(f->out, 6);
    cn_out_str(f->out, "source", x->source);
    cn_out_str(f->out, "doc", x->id);
    cn_out_cstr(f->out, "state", state);
    cn_pack_cstr(f->out, "versions");
    cn_pack_array(f->out, x->n_versions);
    for (uint32_t i = 0; i < x->n_versions; i++)
        cn_pack_uint(f->out, x->versions[i]);
    cn_out_uint(f->out, "matches", x->matches);
    cn_pack_cstr(f->out, "places");
    cn_pack_array(f->out, x->n_places);
    for (uint32_t i = 0; i < x->n_places; i++) {
        cn_pack_array(f->out, 2);
        cn_pack_uint(f->out, x->places[i][0]);
        cn_pack_uint(f->out, x->places[i][1]);
    }
    f->n++;
    return cn_buf_check(f->out);
}

static cn_err tell_unread(void *ctx, uint64_t version, const cn_found *x) {
    finding *f = ctx;
    char room[CN_ERROR_TEXT];
    f->n_unreadable++;
    cn_pack_map(&f->unreadable, x ? 4 : 2);
    cn_out_uint(&f->unreadable, "version", version);
    cn_out_cstr(&f->unreadable, "why", cn_tell_text(f->s, f->c->caller, cn_error_detail(), room));
    if (x) {
        cn_out_str(&f->unreadable, "source", x->source);
        cn_out_str(&f->unreadable, "doc", x->id);
    }
    return cn_buf_check(&f->unreadable);
}

/* `after` is what `next` said: SEGMENT-DOCUMENT. */
static cn_err take_place(const msgpack_object *p, cn_find *f) {
    cn_str after = {NULL, 0};
    CN_TRY(cn_get_str(p, "after", &after));
    if (!after.n)
        return CN_OK;
    f->after = true;
    bool right = after.n > 2 * CN_SEG_ID + 1 && after.n < 2 * CN_SEG_ID + 12 && after.p[2 * CN_SEG_ID] == '-' &&
                 cn_unhex((cn_str){after.p, 2 * CN_SEG_ID}, f->segment.b, CN_SEG_ID) == 0;
    uint64_t doc = 0;
    for (size_t i = 2 * CN_SEG_ID + 1; right && i < after.n; i++) {
        right = after.p[i] >= '0' && after.p[i] <= '9';
        doc = 10 * doc + (uint64_t)(after.p[i] - '0');
    }
    if (!right || doc > UINT32_MAX)
        return cn_fail(CN_INVALID, "field \"after\" must be the `next` of the page before");
    f->doc = (uint32_t)doc;
    return CN_OK;
}

static cn_err take_versions(cn_call *c, const cn_look *l, const msgpack_object *p, cn_version **ret, uint32_t *ret_n) {
    uint64_t number = 0;
    bool all = false;
    cn_version *v;
    uint32_t n, kept = 0;
    CN_TRY(cn_get_uint(p, "version", 1, INT64_MAX, &number));
    CN_TRY(cn_get_bool(p, "all_versions", &all));
    if (all && number)
        return cn_fail(CN_INVALID, "give field \"version\" or field \"all_versions\", not both");
    CN_TRY(cn_version_list(l->t, l->index, &c->arena, &v, &n));
    for (uint32_t i = 0; i < n; i++)
        if (!(v[i].marks & CN_MARK_DROPPED) && (all || v[i].number == (number ? number : l->ix.active)))
            v[kept++] = v[i];
    if (kept == 0)
        return number ? cn_fail(CN_NOT_FOUND, "there is no version %llu of " CN_STR_FMT, (unsigned long long)number, CN_STR_ARG(l->index))
                      : cn_fail(CN_NOT_FOUND, "no version of " CN_STR_FMT " is active yet", CN_STR_ARG(l->index));
    *ret = v;
    *ret_n = kept;
    return CN_OK;
}

static void out_rest(finding *f, const cn_find *io) {
    char id[2 * CN_SEG_ID + 1], next[2 * CN_SEG_ID + 16];
    cn_hex(io->segment.b, CN_SEG_ID, id);
    snprintf(next, sizeof next, "%s-%u", id, io->doc);
    cn_out_cstr(f->out, "next", io->more ? next : NULL);
    cn_pack_cstr(f->out, "searched");
    cn_pack_map(f->out, 2);
    cn_out_uint(f->out, "documents", io->docs);
    cn_out_uint(f->out, "bytes", io->bytes);
    cn_pack_cstr(f->out, "unreadable");
    cn_pack_array(f->out, f->n_unreadable);
    cn_buf_add(f->out, f->unreadable.p, f->unreadable.n);
}

static cn_err find_in(finding *f, cn_find *io, const msgpack_object *p) {
    cn_version *v;
    uint32_t n;
    CN_TRY(take_versions(f->c, f->l, p, &v, &n));
    CN_TRY(cn_policy_load(f->l->t, &f->policy));
    cn_pack_map(f->out, 4);
    cn_pack_cstr(f->out, "documents");
    size_t at = cn_pack_array_open(f->out);
    CN_TRY(cn_find_text(f->l->t, v, n, io, tell_found, tell_unread, f));
    cn_pack_array_close(f->out, at, f->n);
    CN_TRY(cn_buf_check(&f->unreadable));
    out_rest(f, io);
    return CN_OK;
}

static cn_err find(cn_service *s, cn_call *c, cn_str tenant, const msgpack_object *p, cn_buf *out) {
    CN_AUTO_LOOK cn_look l = {0};
    CN_AUTO_BUF cn_buf detail;
    finding f = {.s = s, .c = c, .l = &l, .out = out};
    cn_needle needle;
    cn_str text;
    bool fold = false;
    uint64_t limit = FOUND_LIMIT, ms = FIND_MS;
    cn_find io = {.needle = &needle};
    cn_buf_init(&detail, 4096);
    CN_TRY(cn_arg_str(p, "text", &text));
    CN_TRY(cn_get_bool(p, "ignore_case", &fold));
    CN_TRY(cn_get_uint(p, "limit", 1, FOUND_LIMIT_MAX, &limit));
    CN_TRY(cn_get_uint(p, "deadline_ms", 1, 3600000, &ms));
    CN_TRY(cn_get_str(p, "source", &io.source));
    CN_TRY(take_place(p, &io));
    CN_TRY(cn_needle_make(text, fold, &c->arena, &needle));
    io.limit = (uint32_t)limit;
    io.deadline_ns = cn_mono_ns() + ms * 1000000u;
    if (c->deadline_ns && c->deadline_ns < io.deadline_ns)
        io.deadline_ns = c->deadline_ns;
    cn_look_pack_text(&detail, text);
    CN_TRY(cn_look_open(s, c, tenant, "incident.find", p, cn_buf_str(&detail), &l));
    cn_buf_init(&f.unreadable, (size_t)16 << 20);
    cn_err e = find_in(&f, &io, p);
    cn_policy_unref(f.policy);
    cn_buf_done(&f.unreadable);
    return e;
}

#define DOC {"doc", "str", true, "the document's id"}, {"source", "str", false, "the document's source; \"default\""}
#define VERSION {"version", "uint", false, "of this version; else the active one"}
#define AS {"principal", "str", false, "as this member with its groups (user:ana), or as a key of the tenant (key:4f21c0de)"}, \
           {"labels", "list of str", false, "as holder of exactly these labels; without both: public"}
static const cn_param p_trace[] = {{"trace_id", "str", true, "of an answer's made_by"}, REASON, END};
static const cn_param p_exposed[] = {DOC, {"index", "str", false, "only through this index"},
                                     {"since", "str", false, "RFC 3339, or how long ago: 90m, 12h, 7d; else all that is kept"},
                                     {"limit", "uint", false, "at most so many records (1000)"}, {"after", "str", false, "the `next` of the page before"}, REASON, END};
static const cn_param p_which[] = {INDEX, DOC, REASON, END};
static const cn_param p_explain[] = {INDEX, DOC, AS, VERSION, REASON, END};
static const cn_param p_why[] = {INDEX, DOC, {"text", "str", false, "the question; embedded with the version's own model"},
                                 {"vector", "vector", false, "bin of float32 little-endian, or a list of numbers"}, AS, VERSION,
                                 {"k", "uint", false, "how many passages, 1 to 10000; 10"}, {"filter", "map", false, "metadata: {and: [{field: \"lang\", eq: \"en\"}, ...]}"},
                                 {"mode", "str", false, "dense, exact, hybrid or lexical; the index's default"},
                                 {"fusion", "str", false, "of mode hybrid: scores (both halves' weighed) or rrf (reciprocal ranks); the index's default"},
                                 {"operators", "bool", false, "reads \"quoted phrases\" and prefix* in the text: a passage without the phrases is no hit by words"},
                                 {"min_relevance", "float", false, "leaves out passages below it, 0 to 1"},
                                 {"per_doc", "uint", false, "at most so many passages of one document; 0: no limit"},
                                 {"recall", "float", false, "the least recall wanted, taken up to the next of .9, .95, .98, .99 and .999; over .999 nothing is left out. An index of kind flat reaches .999 whatever is asked, one of kind cells .95 where this is not said"}, REASON, END};
static const cn_param p_find[] = {INDEX, {"text", "str", true, "the text to find: in NFC, any run of white space equal to any other"}, VERSION,
                                  {"all_versions", "bool", false, "in every version that is left"}, {"ignore_case", "bool", false, "without regard to case"},
                                  {"source", "str", false, "only of this source"}, {"limit", "uint", false, "at most so many documents (100)"},
                                  {"after", "str", false, "the `next` of the page before"},
                                  {"deadline_ms", "uint", false, "stops after so long (10000), with a `next` to go on from"}, REASON, END};

const cn_method cn_methods_incident[] = {
    {"trace.get", CN_SCOPE(audit), CN_METHOD_PART, "the records of one trace: who was given what, from where, how", p_trace, cn_m_trace_get},
    {"trace.exposed", CN_SCOPE(audit), CN_METHOD_PART | CN_METHOD_DEAR, "who was given a document, when, through which version", p_exposed, cn_m_exposed},
    {"incident.which_versions", CN_SCOPE(audit), CN_METHOD_DEAR, "the versions that hold a document, and with which labels", p_which, which_versions},
    {"incident.why_not", CN_SCOPE(audit), CN_METHOD_DEAR, "why a document is not in the answer to a question", p_why, cn_m_why_not},
    {"incident.explain_access", CN_SCOPE(audit), CN_METHOD_DEAR, "why somebody may read a document or may not", p_explain, cn_m_explain_access},
    {"incident.find", CN_SCOPE(audit), CN_METHOD_DEAR, "documents whose text holds a string", p_find, find},
    {NULL, 0, 0, NULL, NULL, NULL},
};
