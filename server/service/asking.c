/* A query's life: its fields, the indexes it reads from, its record. */
#include "server/service/asking.h"

static const msgpack_object *given(const msgpack_object *own, const msgpack_object *also, const char *name) {
    const msgpack_object *o = cn_given(own, name);
    return o ? o : cn_given(also, name);
}

static const msgpack_object *holder(const msgpack_object *own, const msgpack_object *also, const char *name) { return cn_given(own, name) ? own : also; }

/* --- fields --- */
static cn_err read_shape(const msgpack_object *own, const msgpack_object *also, cn_asking *a) {
    uint64_t expand = 0, max_tokens = 0;
    cn_str merge = CN_STR("relevance");
    CN_TRY(cn_get_uint(holder(own, also, "expand"), "expand", 0, CN_EXPAND_MAX, &expand));
    CN_TRY(cn_get_bool(holder(own, also, "section"), "section", &a->section));
    CN_TRY(cn_get_uint(holder(own, also, "max_tokens"), "max_tokens", 1, UINT32_MAX, &max_tokens));
    CN_TRY(cn_get_str(holder(own, also, "merge"), "merge", &merge));
    a->expand = (uint32_t)expand;
    a->max_tokens = (uint32_t)max_tokens;
    a->by_rank = cn_str_is(merge, "rank");
    return a->by_rank || cn_str_is(merge, "relevance") ? CN_OK : cn_fail(CN_INVALID, "field \"merge\" must be relevance or rank");
}

static cn_err check_also(const cn_call *c, const cn_asking *a, const cn_str *names, uint32_t n) {
    if (n > CN_ALSO_MAX)
        return cn_fail(CN_INVALID, "field \"also\" has %u indexes; at most %d are asked besides the first", n, CN_ALSO_MAX);
    if (n && (a->first.from.version || a->first.from.min_version))
        return cn_fail(CN_INVALID, "versions are numbered for each index: field \"%s\" does not go with \"also\"", a->first.from.version ? "version" : "min_version");
    for (uint32_t i = 0; i < n; i++) {
        bool again = cn_str_eq(names[i], a->first.from.index);
        for (uint32_t j = 0; j < i; j++)
            again |= cn_str_eq(names[i], names[j]);
        if (again)
            return cn_fail(CN_INVALID, "field \"also\" names the index \"" CN_STR_FMT "\" again", CN_STR_ARG(names[i]));
        if (!cn_call_reaches(c, names[i]))
            return cn_no_index(names[i]);
    }
    return CN_OK;
}

static cn_err read_also(cn_call *c, const msgpack_object *own, const msgpack_object *also, cn_asking *a) {
    cn_str *names;
    uint32_t n;
    if (!given(own, also, "also"))
        return CN_OK;
    CN_TRY(cn_arg_list(&c->arena, holder(own, also, "also"), "also", &names, &n));
    CN_TRY(check_also(c, a, names, n));
    a->also = cn_arena_zalloc(&c->arena, n + 1u, sizeof *a->also);
    if (!a->also)
        return cn_fail_memory();
    for (uint32_t i = 0; i < n; i++) {
        a->also[i] = a->first;
        a->also[i].from.index = names[i];
    }
    a->n = n + 1;
    return CN_OK;
}

cn_err cn_asking_read(cn_call *c, cn_str tenant, const msgpack_object *own, const msgpack_object *defaults, cn_asking *ret) {
    ret->n = 1;
    CN_TRY(cn_question_read(c, tenant, own, defaults, &ret->first));
    CN_TRY(read_shape(own, defaults, ret));
    CN_TRY(read_also(c, own, defaults, ret));
    bool shaped = ret->n > 1 || cn_asking_widens(ret) || ret->max_tokens;
    return shaped && ret->first.k > CN_SHAPED_K ? cn_fail(CN_INVALID, "with \"also\", \"expand\", \"section\" or \"max_tokens\" k is at most %d", CN_SHAPED_K) : CN_OK;
}

/* --- what it reads from --- */
cn_err cn_asking_without(cn_call *c, cn_asking *a, cn_question *q, cn_err err) {
    bool passing = err == CN_UNAVAILABLE || err == CN_DAMAGED || err == CN_REFUSED;
    if (q == &a->first || q->strict || !passing)
        return q == &a->first || err == CN_NOT_FOUND ? err : cn_wrap(err, "index \"" CN_STR_FMT "\"", CN_STR_ARG(q->from.index));
    a->first.degraded |= CN_DEGRADED(index_unavailable);
    return cn_question_note(c, q, err);
}

cn_err cn_asking_open(cn_service *s, cn_call *c, cn_asking *a) {
    for (uint32_t i = 0; i < a->n; i++) {
        cn_question *q = cn_asking_at(a, i);
        cn_err err = cn_question_open(s, c, q);
        if (err != CN_OK)
            CN_TRY(cn_asking_without(c, a, q, err));
    }
    return CN_OK;
}

cn_err cn_asking_embedded(cn_call *c, cn_asking *a) {
    for (uint32_t i = 0; i < a->n; i++) {
        cn_question *q = cn_asking_at(a, i);
        if (q->failed != CN_OK)
            CN_TRY(cn_asking_without(c, a, q, cn_fail(q->failed, "%s", q->why)));
    }
    return CN_OK;
}

cn_err cn_asking_embed(cn_service *s, cn_call *c, cn_asking *a) {
    cn_question *all[CN_ALSO_MAX + 1];
    for (uint32_t i = 0; i < a->n; i++)
        all[i] = cn_asking_at(a, i);
    CN_TRY(cn_questions_embed(s, c, all, a->n));
    return cn_asking_embedded(c, a);
}

void cn_asking_done(cn_asking *a) {
    for (uint32_t i = 0; i < a->n; i++) {
        cn_again_free(cn_asking_at(a, i)->again);
        cn_reading_done(&cn_asking_at(a, i)->reading);
    }
}

/* --- its records --- */
static void note_given(cn_call *c, const cn_asking *a, cn_question *q) {
    cn_record_begin(c, &q->record);
    for (uint32_t i = 0; i < a->n_found; i++) {
        const cn_passage *p = &a->v[i];
        if (p->q == q && p->in == i)
            cn_record_add(c, &q->record, &(cn_record_hit){p->doc.source, p->doc.id, p->hit.chunk, p->hit.score, p->given, p->span.from, p->span.to});
    }
}

/* Handed on only once it was answered. */
static void search_again(cn_service *s, cn_question *q) {
    if (!q->again)
        return;
    cn_shadow_push(s->shadow, q->reading.t, q->again);
    q->again = NULL;
}

void cn_asking_record(cn_service *s, cn_call *c, cn_str tenant, const msgpack_object *own, const msgpack_object *defaults, cn_asking *a, cn_err err) {
    uint32_t n = a->n ? a->n : 1;
    for (uint32_t i = 0; i < n; i++) {
        cn_question *q = cn_asking_at(a, i);
        cn_err its = err != CN_OK ? err : q->failed;
        if (its == CN_OK)
            note_given(c, a, q);
        else
            cn_record_begin(c, &q->record);
        cn_question_record(s, c, tenant, own, defaults, q, its);
        if (its == CN_OK)
            search_again(s, q);
    }
}
