/* eval.*: what versions showed of judged questions. Figures come in as results of the gate (gate.submit, gate.run), under
 * NAME/MEASURE, so that a gate can require them; here they stand together again. */
#include "index/search/judge.h"
#include "server/service/gate.h"
#include "server/service/methods_inside.h"
#include "server/service/reading.h"

static const cn_gate_result *find(cn_call *c, const cn_gate_results *r, cn_str name, const char *what) {
    const char *text = cn_arena_printf(&c->arena, CN_STR_FMT "/%s", CN_STR_ARG(name), what);
    return text ? cn_gate_find(r, cn_str_of(text)) : NULL;
}

static void out_metrics(cn_call *c, const cn_gate_results *r, cn_str name, cn_buf *out) {
    uint32_t n = 0;
    cn_pack_cstr(out, "metrics");
    size_t at = cn_pack_map_open(out);
    for (int m = 0; m < CN_MEASURES; m++) {
        const cn_gate_result *x = find(c, r, name, cn_measure_names[m]);
        if (x)
            cn_pack_cstr(out, cn_measure_names[m]), cn_pack_f64(out, x->value);
        n += x != NULL;
    }
    cn_pack_map_close(out, at, n);
}

static void out_one(cn_call *c, const cn_version *v, const char *state, const cn_gate_results *r, cn_str name, const cn_gate_result *first, cn_buf *out) {
    const cn_gate_result *queries = find(c, r, name, "questions");
    cn_pack_map(out, 7);
    cn_out_str(out, "name", name);
    cn_out_uint(out, "version", v->number);
    cn_out_cstr(out, "state", state);
    cn_pack_cstr(out, "queries");
    bool counts = queries && queries->value >= 0 && queries->value < 0x1p53; /* a client may hand in any number under that name */
    counts ? cn_pack_uint(out, (uint64_t)queries->value) : cn_pack_nil(out);
    out_metrics(c, r, name, out);
    cn_out_str(out, "by", first->by);
    cn_out_time(out, "at", first->at_us);
}

/* Every evaluation has this measure. */
static cn_str name_of(cn_str result) {
    static const char end[] = "/nDCG@10";
    size_t n = sizeof end - 1;
    return result.n > n && memcmp(result.p + result.n - n, end, n) == 0 ? (cn_str){result.p, result.n - n} : (cn_str){NULL, 0};
}

static cn_err out_version(cn_call *c, cn_tenant *t, const cn_index_info *ix, const cn_version *v, cn_str only, cn_buf *out, uint32_t *io_n) {
    cn_gate_results r;
    CN_TRY(cn_gate_results_of(t, ix->name, v->number, &c->arena, &r));
    for (uint32_t i = 0; i < r.n; i++) {
        cn_str name = name_of(r.v[i].name);
        if (!name.n || (only.n && !cn_str_eq(name, only)))
            continue;
        out_one(c, v, cn_version_state_name(v, ix), &r, name, &r.v[i], out);
        ++*io_n;
    }
    return CN_OK;
}

METHOD(list) {
    CN_AUTO_TENANT cn_tenant *t = NULL;
    cn_str index, name = {NULL, 0};
    cn_index_info ix;
    cn_version *v;
    uint64_t only = 0;
    uint32_t n, shown = 0;
    CN_TRY(cn_arg_str(p, "index", &index));
    CN_TRY(cn_get_uint(p, "version", 1, INT64_MAX, &only));
    CN_TRY(cn_get_str(p, "name", &name));
    CN_TRY(cn_call_tenant(s, tenant, &t));
    CN_TRY(cn_index_get(t, index, &c->arena, &ix));
    CN_TRY(cn_version_list(t, index, &c->arena, &v, &n));
    if (only > n)
        return cn_fail(CN_NOT_FOUND, "there is no version %llu; the newest is %u", (unsigned long long)only, n);
    cn_pack_map(out, 2);
    cn_out_str(out, "index", index);
    cn_pack_cstr(out, "evaluations");
    size_t at = cn_pack_array_open(out);
    for (uint32_t i = 0; i < n; i++)
        if ((!only || v[i].number == only) && !(v[i].marks & CN_MARK_DROPPED))
            CN_TRY(out_version(c, t, &ix, &v[i], name, out, &shown));
    cn_pack_array_close(out, at, shown);
    return CN_OK;
}

static const cn_param p_list[] = {INDEX, {"version", "uint", false, "only of this version"}, {"name", "str", false, "only under this name"}, END};

const cn_method cn_methods_eval[] = {
    {"eval.list", CN_SCOPE(versions), 0, "what versions showed of judged questions, by an evaluation or by a frozen set", p_list, list},
    {NULL, 0, 0, NULL, NULL, NULL},
};
