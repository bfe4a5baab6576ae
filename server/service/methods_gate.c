/* gate.*: what a version must show before it may become active, and what was measured of it. */
#include <math.h>

#include "engine/base/mem.h"
#include "server/service/gate.h"
#include "server/service/methods_inside.h"
#include "server/service/reading.h"

static const char *word_of(const cn_gate *g, const cn_gate_results *r) { return g->n == 0 ? "none" : cn_gate_met(g, r) ? "met" : "unmet"; }

cn_err cn_gate_word(cn_tenant *t, cn_str index, uint64_t version, const cn_gate *g, const char **ret) {
    CN_CLEANUP(cn_arena_done) cn_arena a; /* many versions may be asked for in one call */
    cn_gate_results r = {0};
    cn_arena_init(&a, CN_CALL_BLOCK / 4, CN_CALL_CAP);
    if (g->n)
        CN_TRY(cn_gate_results_of(t, index, version, &a, &r));
    *ret = word_of(g, &r);
    return CN_OK;
}

static void out_unmet(cn_buf *out, const cn_gate *g, const cn_gate_results *r) {
    cn_pack_cstr(out, "unmet");
    size_t at = cn_pack_array_open(out);
    uint32_t n = 0;
    for (uint32_t i = 0; i < g->n; i++)
        if (!cn_gate_meets(&g->v[i], cn_gate_find(r, g->v[i].name))) {
            cn_pack_str(out, g->v[i].text);
            n++;
        }
    cn_pack_array_close(out, at, n);
}

void cn_gate_out_version(cn_buf *out, uint64_t number, const cn_gate *g, const cn_gate_results *r) {
    cn_out_uint(out, "version", number);
    cn_out_cstr(out, "gate", word_of(g, r));
    out_unmet(out, g, r);
    cn_pack_cstr(out, "results");
    cn_pack_array(out, r->n);
    for (uint32_t i = 0; i < r->n; i++) {
        cn_pack_map(out, 6);
        cn_out_str(out, "name", r->v[i].name);
        cn_pack_cstr(out, "value"), cn_pack_f64(out, r->v[i].value);
        cn_out_str(out, "by", r->v[i].by);
        cn_out_time(out, "at", r->v[i].at_us);
        cn_pack_cstr(out, "against");
        r->v[i].against && r->v[i].against != CN_GATE_NONE ? cn_pack_uint(out, r->v[i].against) : cn_pack_nil(out);
        cn_out_bool(out, "stale", r->v[i].stale);
    }
}

#define GATE_PAIRS 5u
static void out_gate(cn_buf *out, cn_str index, const cn_gate *g) {
    cn_out_str(out, "index", index);
    cn_pack_cstr(out, "requirements");
    cn_pack_array(out, g->n);
    for (uint32_t i = 0; i < g->n; i++)
        cn_pack_str(out, g->v[i].text);
    cn_out_str(out, "by", g->by);
    cn_out_time(out, "at", g->at_us);
    cn_out_str(out, "reason", g->reason);
}

static cn_err out_versions(cn_call *c, cn_tenant *t, cn_str index, const cn_gate *g, uint64_t only, cn_buf *out) {
    cn_index_info ix;
    cn_version *v;
    uint32_t n, shown = 0;
    CN_TRY(cn_index_get(t, index, &c->arena, &ix));
    CN_TRY(cn_version_list(t, index, &c->arena, &v, &n));
    if (only > n)
        return cn_fail(CN_NOT_FOUND, "there is no version %llu; the newest is %u", (unsigned long long)only, n);
    cn_pack_cstr(out, "versions");
    size_t at = cn_pack_array_open(out);
    for (uint32_t i = 0; i < n; i++) {
        cn_gate_results r;
        if ((only && v[i].number != only) || (v[i].marks & CN_MARK_DROPPED))
            continue;
        CN_TRY(cn_gate_results_of(t, index, v[i].number, &c->arena, &r));
        cn_pack_map(out, CN_GATE_VERSION_PAIRS + 1);
        cn_out_cstr(out, "state", cn_version_state_name(&v[i], &ix));
        cn_gate_out_version(out, v[i].number, g, &r);
        shown++;
    }
    cn_pack_array_close(out, at, shown);
    return CN_OK;
}

METHOD(show) {
    CN_AUTO_TENANT cn_tenant *t = NULL;
    cn_str index;
    cn_gate g;
    uint64_t only = 0;
    CN_TRY(cn_arg_str(p, "index", &index));
    CN_TRY(cn_get_uint(p, "version", 1, INT64_MAX, &only));
    CN_TRY(cn_call_tenant(s, tenant, &t));
    CN_TRY(cn_gate_get(t, index, &c->arena, &g));
    cn_pack_map(out, GATE_PAIRS + 1);
    out_gate(out, index, &g);
    return out_versions(c, t, index, &g, only, out);
}

METHOD(set) {
    CN_AUTO_TENANT cn_tenant *t = NULL;
    cn_str index, *texts;
    cn_actor who;
    cn_gate g;
    uint32_t n;
    CN_TRY(cn_arg_str(p, "index", &index));
    CN_TRY(cn_arg_list(&c->arena, p, "requirements", &texts, &n));
    CN_TRY(cn_arg_actor(c, p, &who));
    CN_TRY(cn_call_tenant(s, tenant, &t));
    if (n == 1 && cn_str_is(texts[0], "none"))
        n = 0;
    CN_TRY(cn_gate_require(t, index, texts, n, &who));
    CN_TRY(cn_gate_get(t, index, &c->arena, &g));
    cn_pack_map(out, GATE_PAIRS);
    out_gate(out, index, &g);
    return CN_OK;
}

static double number_of(const msgpack_object *o) {
    switch (o->type) {
    case MSGPACK_OBJECT_POSITIVE_INTEGER: return (double)o->via.u64;
    case MSGPACK_OBJECT_NEGATIVE_INTEGER: return (double)o->via.i64;
    case MSGPACK_OBJECT_FLOAT32:
    case MSGPACK_OBJECT_FLOAT64: return o->via.f64;
    default: return (double)NAN; /* refused with its name */
    }
}

static cn_err take_results(cn_call *c, const msgpack_object *p, cn_gate_result **ret, uint32_t *ret_n) {
    const msgpack_object *m = cn_get(p, "results");
    if (!m || m->type != MSGPACK_OBJECT_MAP)
        return cn_fail(CN_INVALID, "field \"results\" must be a map of names and numbers");
    uint32_t n = m->via.map.size;
    cn_gate_result *v = cn_arena_zalloc(&c->arena, n + 1u, sizeof *v);
    if (!v)
        return cn_fail_memory();
    for (uint32_t i = 0; i < n; i++) {
        v[i].name = cn_obj_str(&m->via.map.ptr[i].key);
        v[i].value = number_of(&m->via.map.ptr[i].val);
    }
    *ret = v;
    *ret_n = n;
    return CN_OK;
}

/* How the version stands by what is stored of it now. */
static cn_err out_stored(cn_call *c, cn_tenant *t, cn_str index, uint64_t number, cn_buf *out) {
    cn_gate g;
    cn_gate_results r;
    CN_TRY(cn_gate_get(t, index, &c->arena, &g));
    CN_TRY(cn_gate_results_of(t, index, number, &c->arena, &r));
    cn_pack_map(out, CN_GATE_VERSION_PAIRS + 1);
    cn_out_str(out, "index", index);
    cn_gate_out_version(out, number, &g, &r);
    return CN_OK;
}

METHOD(submit) {
    CN_AUTO_TENANT cn_tenant *t = NULL;
    cn_str index;
    cn_actor who;
    cn_gate_result *v;
    uint64_t number;
    uint32_t n;
    CN_TRY(cn_arg_str(p, "index", &index));
    CN_TRY(cn_arg_version(p, "version", &number));
    CN_TRY(take_results(c, p, &v, &n));
    CN_TRY(cn_arg_actor(c, p, &who));
    CN_TRY(cn_call_tenant(s, tenant, &t));
    CN_TRY(cn_gate_submit(t, index, number, v, n, &who));
    return out_stored(c, t, index, number, out);
}

METHOD(forget) {
    CN_AUTO_TENANT cn_tenant *t = NULL;
    cn_str index, *names;
    cn_actor who;
    uint64_t number;
    uint32_t n;
    CN_TRY(cn_arg_str(p, "index", &index));
    CN_TRY(cn_arg_version(p, "version", &number));
    CN_TRY(cn_arg_list(&c->arena, p, "names", &names, &n));
    CN_TRY(cn_arg_actor(c, p, &who));
    CN_TRY(cn_call_tenant(s, tenant, &t));
    CN_TRY(cn_gate_forget_results(t, index, number, names, n, &who));
    return out_stored(c, t, index, number, out);
}

static const cn_param p_show[] = {INDEX, {"version", "uint", false, "only of this version"}, END};
static const cn_param p_set[] = {INDEX, {"requirements", "list of str", true, "each a name, >= <= > or <, and a number: recall@10>=0.95; none: nothing is required"}, REASON, END};
static const cn_param p_submit[] = {INDEX, {"version", "uint", true, "of which version"}, {"results", "map", true, "what was measured: names and numbers"}, REASON, END};

static const cn_param p_forget[] = {INDEX, {"version", "uint", true, "of which version"}, {"names", "list of str", true, "of the results"}, REASON, END};
static const cn_param p_freeze[] = {INDEX, {"set", "str", true, "its name, as results bear it: SET/nDCG@10"},
                                    {"queries", "list", true, "maps {id, text or vector, [relevant: {doc: grade}], [must_find: [doc]], [must_not_see: [doc]], [source], [as or labels], [where]}; doc: an id, or {doc, source}; where: of the question, for errors"},
                                    {"k", "uint", false, "documents a question, 1 to 1000; 100"}, {"source", "str", false, "of the documents that are named without one; any, and for must_not_see every one"},
                                    {"as", "str", false, "a principal who asks, like \"user:ana\""}, {"labels", "list of str", false, "else with exactly these; public"}, REASON, END};
static const cn_param p_unfreeze[] = {INDEX, {"set", "str", true, "its name"}, REASON, END};
static const cn_param p_sets[] = {INDEX, END};
static const cn_param p_run[] = {INDEX, {"version", "uint", false, "which; the newest that is good"}, {"sets", "list of str", false, "only these sets; all"}, REASON, END};

const cn_method cn_methods_gate[] = {
    {"gate.show", CN_SCOPE(versions), 0, "what versions must show before they may become active, and what they show", p_show, show},
    {"gate.set", CN_SCOPE(admin), CN_METHOD_CHANGES, "require results of every version that is to become active", p_set, set},
    {"gate.submit", CN_SCOPE(operate), CN_METHOD_CHANGES, "hand in what was measured of a version", p_submit, submit},
    {"gate.forget", CN_SCOPE(operate), CN_METHOD_CHANGES, "take away results of a version", p_forget, forget},
    {"gate.freeze", CN_SCOPE(admin), CN_METHOD_CHANGES, "keep questions with what their answers must show, as a set of that name", p_freeze, cn_m_gate_freeze},
    {"gate.unfreeze", CN_SCOPE(admin), CN_METHOD_CHANGES, "forget a set, and what versions showed of it", p_unfreeze, cn_m_gate_unfreeze},
    {"gate.sets", CN_SCOPE(versions), 0, "the frozen sets of an index, without their questions", p_sets, cn_m_gate_sets},
    {"gate.run", CN_SCOPE(operate), CN_METHOD_DEAR | CN_METHOD_OWN_TIME | CN_METHOD_CHANGES, "measure a version beside the active one, by the frozen sets and by itself, and store the results", p_run, cn_m_gate_run},
    {NULL, 0, 0, NULL, NULL, NULL},
};
