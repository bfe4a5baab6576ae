/* gate.freeze, gate.unfreeze, gate.sets: questions by which versions are measured. */
#include "index/catalog/gate_set.h"
#include "server/service/gate.h"

#define METHOD(name) cn_err name(cn_service *s, cn_call *c, cn_str tenant, const msgpack_object *p, cn_buf *out)
#define ASKERS_MAX 16

/* A set is run by others, and so hands on the right to read as whom it names. */
static cn_err may_ask(cn_call *c, const cn_frozen_set *set) {
    cn_str name;
    for (uint32_t i = 0; i < set->n; i++) {
        if (set->v[i].as.n)
            CN_TRY(cn_access_may_act_as(c, set->v[i].as, &name));
        CN_TRY(cn_access_may_name(c->caller, set->v[i].labels));
    }
    return CN_OK;
}

static void out_asker(const cn_gate_question *q, cn_buf *out) {
    if (q->as.n)
        cn_buf_printf(out, "principal " CN_STR_FMT, CN_STR_ARG(q->as));
    else
        cn_labels_text(out, q->labels);
}

/* As whom it asks; of a long list the first. */
static cn_err out_askers(cn_call *c, const cn_frozen_set *set, cn_buf *out) {
    cn_str seen[ASKERS_MAX];
    uint32_t n = 0;
    cn_pack_cstr(out, "asks_as");
    size_t at = cn_pack_array_open(out);
    for (uint32_t i = 0; i < set->n && n < ASKERS_MAX; i++) {
        CN_AUTO_BUF cn_buf b;
        cn_buf_init(&b, CN_LABELS_MAX * (CN_LABEL_MAX + 1) + 64);
        out_asker(&set->v[i], &b);
        CN_TRY(cn_buf_check(&b));
        bool known = false;
        for (uint32_t k = 0; k < n; k++)
            known |= cn_str_eq(seen[k], cn_buf_str(&b));
        if (known)
            continue;
        seen[n] = cn_arena_str(&c->arena, cn_buf_str(&b));
        if (!seen[n].p)
            return cn_fail_memory();
        cn_pack_str(out, seen[n++]);
    }
    cn_pack_array_close(out, at, n);
    return CN_OK;
}

static cn_err out_set(cn_call *c, const cn_frozen_set *set, cn_buf *out) {
    cn_pack_map(out, 12);
    cn_out_str(out, "set", set->name);
    cn_out_hex(out, "digest", set->digest.b, sizeof set->digest.b);
    cn_out_uint(out, "questions", set->n);
    cn_out_uint(out, "graded", set->n_graded);
    cn_out_uint(out, "must_find", set->n_find);
    cn_out_uint(out, "must_not_see", set->n_unseen);
    cn_out_uint(out, "k", set->k);
    cn_out_str(out, "source", set->source);
    CN_TRY(out_askers(c, set, out));
    cn_out_str(out, "by", set->by);
    cn_out_time(out, "at", set->at_us);
    cn_out_str(out, "reason", set->reason);
    return CN_OK;
}

METHOD(cn_m_gate_freeze) {
    CN_AUTO_TENANT cn_tenant *t = NULL;
    cn_str index, name;
    cn_frozen_set set;
    cn_actor who;
    CN_TRY(cn_arg_str(p, "index", &index));
    CN_TRY(cn_arg_str(p, "set", &name));
    CN_TRY(cn_gate_set_read(p, &c->arena, &set));
    CN_TRY(may_ask(c, &set));
    CN_TRY(cn_arg_actor(c, p, &who));
    CN_TRY(cn_call_tenant(s, tenant, &t));
    set.name = name;
    set.by = who.who;
    set.reason = who.reason;
    set.at_us = cn_wall_us();
    CN_TRY(cn_gate_set_freeze(t, index, &set, &who, &set.digest));
    return out_set(c, &set, out);
}

METHOD(cn_m_gate_unfreeze) {
    CN_AUTO_TENANT cn_tenant *t = NULL;
    cn_str index, name;
    cn_actor who;
    CN_TRY(cn_arg_str(p, "index", &index));
    CN_TRY(cn_arg_str(p, "set", &name));
    CN_TRY(cn_arg_actor(c, p, &who));
    CN_TRY(cn_call_tenant(s, tenant, &t));
    CN_TRY(cn_gate_set_drop(t, index, name, &who));
    cn_pack_map(out, 2);
    cn_out_str(out, "index", index);
    cn_out_str(out, "set", name);
    return CN_OK;
}

METHOD(cn_m_gate_sets) {
    CN_AUTO_TENANT cn_tenant *t = NULL;
    cn_str index;
    cn_frozen_set *v;
    uint32_t n;
    CN_TRY(cn_arg_str(p, "index", &index));
    CN_TRY(cn_call_tenant(s, tenant, &t));
    CN_TRY(cn_gate_sets(t, index, &c->arena, &v, &n));
    cn_pack_map(out, 2);
    cn_out_str(out, "index", index);
    cn_pack_cstr(out, "sets");
    cn_pack_array(out, n);
    for (uint32_t i = 0; i < n; i++)
        CN_TRY(out_set(c, &v[i], out));
    return CN_OK;
}
