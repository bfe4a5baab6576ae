/* gate_frozen.c -- gate.freeze, gate.unfreeze, gate.sets: questions by which versions are measured. */
#include "index/catalog/answers.h"
#include "index/catalog/frozen.h"
#include "index/vector.h"
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

/* ---------- what could not be asked ---------- */
typedef struct asked { /* the index as it would be asked now */
    cn_index_info ix;
    cn_version head;       /* number 0: it has none yet, and nothing is known of its vectors and words */
    cn_terms *terms;       /* NULL: texts are not looked up by their words alone */
} asked;

static cn_err open_asked(cn_call *c, cn_tenant *t, cn_str index, asked *ret) {
    asked x = {.terms = NULL};
    cn_analyser words;
    CN_TRY(cn_index_get(t, index, &c->arena, &x.ix));
    cn_err err = cn_version_head(t, index, &c->arena, &x.head);
    if (err == CN_NOT_FOUND)
        x.head.number = 0;
    else
        CN_TRY(err == CN_OK ? cn_answers_of(&x.head, &x.ix.set) : err);
    bool by_words = cn_str_is(x.ix.set.mode, "lexical") || cn_str_is(x.head.recipe.embedder, "none");
    if (x.head.number && by_words && cn_analyser_parse(x.head.recipe.analyser, &words) == CN_OK)
        CN_TRY(cn_terms_new(&words, &x.terms));
    *ret = x;
    return CN_OK;
}

static cn_err count_term(void *ctx, const cn_word *w) {
    (void)w;
    ++*(uint64_t *)ctx;
    return CN_OK;
}

static cn_err check_text(const asked *x, const cn_frozen_question *q) {
    uint64_t words = 0;
    CN_TRY(cn_models_check_text(q->text));
    if (!x->terms || q->n_grades + q->n_find == 0)
        return CN_OK;
    CN_TRY(cn_terms_each(x->terms, q->text, count_term, &words));
    return words ? CN_OK : cn_fail(CN_INVALID, "its text has no word that could be looked up, so nothing would be found");
}

static cn_err check_vector(const asked *x, const cn_frozen_question *q) {
    const cn_recipe *r = &x->head.recipe;
    if (cn_str_is(x->ix.set.mode, "lexical"))
        return cn_fail(CN_INVALID, "the index answers in mode lexical, which looks up words: give `text`, not `vector`");
    if (!x->head.number)
        return CN_OK;
    if (r->dim == 0)
        return cn_fail(CN_INVALID, "the index has no vectors: give `text`, not `vector`");
    if (q->dim != r->dim)
        return cn_fail(CN_INVALID, "the vector has %u numbers; this index has vectors of %u", q->dim, r->dim);
    return cn_vec_check(q->vector, q->dim, r->metric);
}

static cn_err check_asked(cn_call *c, cn_tenant *t, cn_str index, const cn_frozen_set *set) {
    asked x;
    cn_err err = CN_OK;
    CN_TRY(open_asked(c, t, index, &x));
    for (uint32_t i = 0; err == CN_OK && i < set->n; i++) {
        err = set->v[i].text.p ? check_text(&x, &set->v[i]) : check_vector(&x, &set->v[i]);
        if (err != CN_OK)
            err = cn_frozen_blame(err, i + 1, &set->v[i]);
    }
    cn_terms_free(x.terms);
    return err;
}

/* ---------- answers ---------- */
static void out_asker(const cn_frozen_question *q, cn_buf *out) {
    if (q->as.n)
        cn_buf_printf(out, "principal " CN_STR_FMT, CN_STR_ARG(q->as));
    else
        cn_labels_text(out, q->labels);
}

typedef struct askers {
    cn_str v[ASKERS_MAX];
    uint32_t n;
} askers;

/* As whom it asks; of a long list the first. */
static cn_err askers_of(cn_call *c, const cn_frozen_set *set, askers *ret) {
    ret->n = 0;
    for (uint32_t i = 0; i < set->n && ret->n < ASKERS_MAX; i++) {
        CN_AUTO_BUF cn_buf b;
        cn_buf_init(&b, CN_LABELS_MAX * (CN_LABEL_MAX + 1) + 64);
        out_asker(&set->v[i], &b);
        CN_TRY(cn_buf_check(&b));
        bool known = false;
        for (uint32_t k = 0; k < ret->n; k++)
            known |= cn_str_eq(ret->v[k], cn_buf_str(&b));
        if (known)
            continue;
        ret->v[ret->n] = cn_arena_str(&c->arena, cn_buf_str(&b));
        if (!ret->v[ret->n++].p)
            return cn_fail_memory();
    }
    return CN_OK;
}

static void out_set(const cn_frozen_set *set, const askers *as, cn_buf *out) {
    cn_pack_map(out, 11);
    cn_out_str(out, "set", set->name);
    cn_out_hex(out, "digest", set->digest.b, sizeof set->digest.b);
    cn_out_uint(out, "questions", set->n);
    cn_out_uint(out, "graded", set->n_graded);
    cn_out_uint(out, "must_find", set->n_find);
    cn_out_uint(out, "must_not_see", set->n_unseen);
    cn_out_uint(out, "k", set->k);
    cn_pack_cstr(out, "asks_as");
    cn_pack_array(out, as->n);
    for (uint32_t i = 0; i < as->n; i++)
        cn_pack_str(out, as->v[i]);
    cn_out_str(out, "by", set->by);
    cn_out_time(out, "at", set->at_us);
    cn_out_str(out, "reason", set->reason);
}

METHOD(cn_m_gate_freeze) {
    CN_AUTO_TENANT cn_tenant *t = NULL;
    cn_str index, name;
    cn_frozen_set set;
    cn_actor who;
    askers as;
    CN_TRY(cn_arg_str(p, "index", &index));
    CN_TRY(cn_arg_str(p, "set", &name));
    CN_TRY(cn_frozen_set_read(p, &c->arena, &set));
    CN_TRY(may_ask(c, &set));
    CN_TRY(cn_arg_actor(c, p, &who));
    CN_TRY(cn_call_tenant(s, tenant, &t));
    CN_TRY(check_asked(c, t, index, &set));
    set.name = name;
    set.by = who.who;
    set.reason = who.reason;
    set.at_us = cn_wall_us();
    CN_TRY(askers_of(c, &set, &as)); /* before it is kept: what takes memory may fail */
    CN_TRY(cn_frozen_set_put(t, index, &set, &who, &set.digest));
    out_set(&set, &as, out);
    return CN_OK;
}

METHOD(cn_m_gate_unfreeze) {
    CN_AUTO_TENANT cn_tenant *t = NULL;
    cn_str index, name;
    cn_actor who;
    CN_TRY(cn_arg_str(p, "index", &index));
    CN_TRY(cn_arg_str(p, "set", &name));
    CN_TRY(cn_arg_actor(c, p, &who));
    CN_TRY(cn_call_tenant(s, tenant, &t));
    CN_TRY(cn_frozen_set_drop(t, index, name, &who));
    cn_pack_map(out, 2);
    cn_out_str(out, "index", index);
    cn_out_str(out, "set", name);
    return CN_OK;
}

METHOD(cn_m_gate_sets) {
    CN_AUTO_TENANT cn_tenant *t = NULL;
    cn_str index;
    cn_frozen_set *v;
    askers as;
    uint32_t n;
    CN_TRY(cn_arg_str(p, "index", &index));
    CN_TRY(cn_call_tenant(s, tenant, &t));
    CN_TRY(cn_frozen_sets(t, index, &c->arena, &v, &n));
    cn_pack_map(out, 2);
    cn_out_str(out, "index", index);
    cn_pack_cstr(out, "sets");
    cn_pack_array(out, n);
    for (uint32_t i = 0; i < n; i++) {
        CN_TRY(askers_of(c, &v[i], &as));
        out_set(&v[i], &as, out);
    }
    return CN_OK;
}
