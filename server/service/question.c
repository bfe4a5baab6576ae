#include "server/service/question.h"

#include <stdio.h>

#include "engine/base/log.h"
#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "index/catalog/recall.h"
#include "index/vector.h"

/* --- fields --- */
static const msgpack_object *from(const msgpack_object *own, const msgpack_object *defaults, const char *name) {
    return cn_given(own, name) ? own : defaults;
}

static cn_err read_numbers(const msgpack_object *own, const msgpack_object *also, const cn_call *c, cn_question *q) {
    uint64_t k = CN_K_DEFAULT, per_doc = 0, deadline_ms = 0;
    double min = 0, recall = 0;
    bool has_recall = cn_given(from(own, also, "recall"), "recall");
    CN_TRY(cn_get_uint(from(own, also, "k"), "k", 1, CN_K_MAX, &k));
    CN_TRY(cn_get_uint(from(own, also, "per_doc"), "per_doc", 0, CN_K_MAX, &per_doc));
    CN_TRY(cn_get_uint(from(own, also, "deadline_ms"), "deadline_ms", 1, 3600000, &deadline_ms));
    CN_TRY(cn_get_uint(from(own, also, "version"), "version", 1, INT64_MAX, &q->from.version));
    CN_TRY(cn_get_uint(from(own, also, "min_version"), "min_version", 0, INT64_MAX, &q->from.min_version));
    CN_TRY(cn_get_f64(from(own, also, "min_relevance"), "min_relevance", &min));
    CN_TRY(cn_get_f64(from(own, also, "recall"), "recall", &recall));
    if (!(min >= 0 && min <= 1))
        return cn_fail(CN_INVALID, "field \"min_relevance\" must be from 0 to 1");
    if (has_recall && !(recall > 0 && recall <= 1))
        return cn_fail(CN_INVALID, "field \"recall\" must be over 0 and at most 1");
    q->k = (uint32_t)k;
    q->per_doc = (uint32_t)per_doc;
    q->recall = recall > 0 && recall <= CN_DENSE_RECALL ? cn_recall_aims[cn_recall_aim(recall)] : recall; /* it is searched, measured and judged as one of these */
    q->min_relevance = (float)min;
    q->deadline_ns = c->deadline_ns;
    if (deadline_ms) {
        uint64_t own_end = (c->start_ns ? c->start_ns : cn_mono_ns()) + deadline_ms * 1000000u;
        if (!q->deadline_ns || own_end < q->deadline_ns)
            q->deadline_ns = own_end;
    }
    return CN_OK;
}

static cn_err check_tags(const msgpack_object *tags) {
    uint32_t n = tags ? tags->via.map.size : 0;
    if (n > CN_TAGS_MAX)
        return cn_fail(CN_INVALID, "field \"tags\" has %u entries; at most %d", n, CN_TAGS_MAX);
    for (uint32_t i = 0; i < n; i++)
        if (!cn_is_str(&tags->via.map.ptr[i].key) || !cn_is_str(&tags->via.map.ptr[i].val))
            return cn_fail(CN_INVALID, "field \"tags\" maps strings to strings");
    return CN_OK;
}

/* W3C trace context: 00-<32 hex digits>-<16>-<2>; anything else starts a trace of its own, as that page asks. */
static void take_trace(cn_str parent, char text[33]) {
    cn_trace_id id;
    uint8_t any = 0;
    if (parent.n >= 55 && memcmp(parent.p, "00-", 3) == 0 && parent.p[35] == '-' && cn_unhex((cn_str){parent.p + 3, 32}, id.b, sizeof id.b) == 0)
        for (size_t i = 0; i < sizeof id.b; i++)
            any |= id.b[i];
    if (!any)
        cn_trace_id_make(&id);
    cn_hex(id.b, sizeof id.b, text);
}

static cn_err read_words(const msgpack_object *own, const msgpack_object *also, cn_question *q) {
    cn_str on_degraded = CN_STR("answer"), parent = {NULL, 0};
    CN_TRY(cn_get_str(from(own, also, "mode"), "mode", &q->mode));
    CN_TRY(cn_get_str(from(own, also, "fusion"), "fusion", &q->fusion));
    CN_TRY(cn_get_bool(from(own, also, "explain"), "explain", &q->explain));
    CN_TRY(cn_get_bool(from(own, also, "distinct"), "distinct", &q->distinct));
    CN_TRY(cn_get_bool(from(own, also, "operators"), "operators", &q->operators));
    CN_TRY(cn_get_bool(from(own, also, "highlight"), "highlight", &q->highlight));
    CN_TRY(cn_get_str(from(own, also, "on_degraded"), "on_degraded", &on_degraded));
    CN_TRY(cn_get_str(from(own, also, "traceparent"), "traceparent", &parent));
    CN_TRY(check_tags(cn_given(from(own, also, "tags"), "tags")));
    q->strict = cn_str_is(on_degraded, "error");
    if (!q->strict && !cn_str_is(on_degraded, "answer"))
        return cn_fail(CN_INVALID, "field \"on_degraded\" must be answer or error");
    take_trace(parent, q->trace_id);
    return CN_OK;
}

static cn_err read_asked(cn_call *c, const msgpack_object *own, cn_question *q) {
    const msgpack_object *vector = cn_given(own, "vector");
    const float *v;
    CN_TRY(cn_get_str(own, "text", &q->text.text));
    if (q->text.text.p && vector)
        return cn_fail(CN_INVALID, "give `text` or `vector`, not both");
    if (q->text.text.p)
        return cn_models_check_text(q->text.text);
    if (!vector)
        return cn_fail(CN_INVALID, "a query needs `text` or `vector`");
    CN_TRY(cn_vector_read(&c->arena, vector, &v, &q->dim));
    memcpy(&q->vector, &v, sizeof v); /* the arena's, ours to write */
    return CN_OK;
}

cn_err cn_question_read(cn_call *c, cn_str tenant, const msgpack_object *own, const msgpack_object *defaults, cn_question *ret) {
    cn_question q = {.from = {.tenant = tenant}};
    CN_TRY(cn_get_str(from(own, defaults, "index"), "index", &q.from.index));
    CN_TRY(read_numbers(own, defaults, c, &q));
    CN_TRY(read_words(own, defaults, &q));
    CN_TRY(read_asked(c, own, &q));
    const msgpack_object *filter = cn_given(from(own, defaults, "filter"), "filter");
    if (filter)
        CN_TRY(cn_filter_from_map(filter, &c->arena, &q.filter));
    q.from.as = cn_given(from(own, defaults, "as"), "as");
    q.from.labels = cn_given(from(own, defaults, "labels"), "labels");
    if (q.explain && !cn_access_has(c->caller, CN_SCOPE(audit)))
        return cn_fail(CN_DENIED, "field \"explain\" needs the scope audit");
    *ret = q;
    return CN_OK;
}

/* --- against the version --- */
static const char *const modes[] = {[CN_MODE_DENSE] = "dense", [CN_MODE_EXACT] = "exact", [CN_MODE_LEXICAL] = "lexical", [CN_MODE_HYBRID] = "hybrid"};
#define MODES (sizeof modes / sizeof *modes)

void cn_question_set(cn_question *q, cn_mode how) {
    q->how = how;
    q->mode = cn_str_of(modes[how]);
}

static bool asks_text(const cn_question *q) { return q->text.text.p != NULL; }
static bool embeds(const cn_question *q) { return !cn_str_is(q->reading.version->recipe.embedder, "none"); }

/* The default of an index without a model, for a text, is the one mode that can answer it. */
static cn_err read_mode(cn_question *q) {
    bool named = q->mode.n > 0;
    size_t m = 0;
    if (!named)
        q->mode = q->reading.index->set.mode;
    while (m < MODES && !cn_str_is(q->mode, modes[m]))
        m++;
    if (m == MODES)
        return cn_fail(CN_INVALID, "there is no mode \"" CN_STR_FMT "\"; modes are dense, exact, hybrid and lexical", CN_STR_ARG(q->mode));
    bool only_words = asks_text(q) && !embeds(q);
    cn_question_set(q, !named && only_words && m != CN_MODE_HYBRID ? CN_MODE_LEXICAL : (cn_mode)m);
    return CN_OK;
}

/* What a responder has set stands over what is asked for. */
static cn_err obey_incident(cn_question *q) {
    const cn_modes *m = cn_view_modes(q->reading.view);
    bool lexical = cn_modes_are(m, CN_INCIDENT_LEXICAL) && q->how != CN_MODE_LEXICAL;
    bool exact = !lexical && cn_modes_are(m, CN_INCIDENT_EXACT) && q->how != CN_MODE_EXACT && q->how != CN_MODE_LEXICAL;
    if (lexical && (q->strict || !asks_text(q)))
        return cn_fail(CN_UNAVAILABLE, q->strict ? "this index is in mode lexical for now; ask in mode lexical, or leave out on_degraded"
                                                 : "this index is in mode lexical for now; give `text` instead of `vector`");
    if (exact && q->strict)
        return cn_fail(CN_UNAVAILABLE, "this index is in mode exact for now; ask in mode exact, or leave out on_degraded");
    if (lexical)
        cn_question_set(q, CN_MODE_LEXICAL);
    q->degraded |= (lexical ? CN_DEGRADED(lexical_only) : 0) | (exact ? CN_DEGRADED(exact_only) : 0);
    return CN_OK;
}

/* Hybrid with one half: that half's mode, and why. */
static cn_err halve(cn_question *q, cn_mode half, uint32_t why, const char *text) {
    if (q->strict)
        return cn_fail(CN_INVALID, "%s, so mode hybrid would be %s alone; ask in that mode, or leave out on_degraded", text, modes[half]);
    cn_question_set(q, half);
    q->degraded |= why;
    return CN_OK;
}

/* What the question asked for is its own mistake; how an index was set is not, and others may be asked all the same. */
static cn_err no_words(bool named) {
    return named ? cn_fail(CN_INVALID, "mode lexical looks up words: give `text`, not `vector`")
                 : cn_fail(CN_REFUSED, "this index is set to mode lexical, which looks up words: give `text` instead of `vector`, or another `mode`");
}

static cn_err settle_halves(cn_question *q, bool named) {
    if (q->how == CN_MODE_LEXICAL && !asks_text(q))
        return no_words(named);
    if (q->how == CN_MODE_HYBRID && !asks_text(q))
        return halve(q, CN_MODE_DENSE, CN_DEGRADED(no_text), "the question has no text");
    if (q->how == CN_MODE_HYBRID && !embeds(q))
        CN_TRY(halve(q, CN_MODE_LEXICAL, CN_DEGRADED(no_embedder), "this index has no embedder"));
    if (q->how != CN_MODE_LEXICAL && q->how != CN_MODE_HYBRID)
        return CN_OK;
    cn_err err = cn_view_lexical(q->reading.view, q->deadline_ns);
    if (err == CN_UNAVAILABLE && q->how == CN_MODE_HYBRID)
        return halve(q, CN_MODE_DENSE, CN_DEGRADED(no_postings), "this index has no postings for now");
    return err;
}

static cn_err settle_mode(cn_question *q) {
    bool named = q->mode.n > 0;
    CN_TRY(read_mode(q));
    q->rrf = q->reading.index->set.rrf;
    CN_TRY(cn_fusion_parse(q->fusion, &q->rrf));
    CN_TRY(obey_incident(q));
    return settle_halves(q, named);
}

static cn_err check_vector(cn_question *q) {
    const cn_recipe *r = &q->reading.version->recipe;
    if (r->dim == 0)
        return cn_fail(CN_INVALID, "version %llu has no vectors yet", (unsigned long long)q->reading.version->number);
    if (q->dim != r->dim)
        return cn_fail(CN_INVALID, "the vector has %u numbers; this index has vectors of %u", q->dim, r->dim);
    return cn_vec_check(q->vector, q->dim, r->metric);
}

cn_err cn_question_open(cn_service *s, cn_call *c, cn_question *q) {
    CN_TRY(cn_reading_open(s, c, &q->from, &q->reading));
    CN_TRY(settle_mode(q));
    q->aims_at = cn_shadow_aim(s->shadow, q->reading.t, q->reading.index->id, q->reading.version->number, q->recall > 0 ? q->recall : CN_CELLS_RECALL);
    q->scale = CN_SCALE_USUAL;
    if (!q->text.text.p)
        return check_vector(q);
    q->dim = q->reading.version->recipe.dim;
    q->text.vector = q->vector = cn_arena_alloc(&c->arena, (q->dim + 16) * sizeof(float));
    return q->vector ? CN_OK : cn_fail_memory();
}

bool cn_question_is_exact(const cn_question *q) {
    return q->degraded & CN_DEGRADED(exact_only) || q->how == CN_MODE_EXACT || q->how == CN_MODE_LEXICAL || q->aims_at > CN_DENSE_RECALL;
}

bool cn_question_needs_vector(const cn_question *q) { return asks_text(q) && q->how != CN_MODE_LEXICAL; }

/* The embedder failed with err: lexical instead, CN_OK; or err, where that cannot be or is not wanted. The text of the failure
 * stays what the caller is told where there is nothing instead. */
static cn_err answer_instead(cn_question *q, cn_err err) {
    char text[CN_ERROR_TEXT];
    bool in_time = !q->deadline_ns || cn_mono_ns() < q->deadline_ns;
    if (q->strict || (err != CN_UNAVAILABLE && err != CN_DAMAGED && !(err == CN_DEADLINE && in_time)))
        return err;
    snprintf(text, sizeof text, "%s", cn_error_detail());
    if (cn_view_lexical(q->reading.view, q->deadline_ns) != CN_OK)
        return cn_fail(err, "%s", text);
    cn_question_set(q, CN_MODE_LEXICAL);
    q->degraded |= CN_DEGRADED(embedder_unavailable);
    cn_log(CN_LOG_WARN, "query.embedder_unavailable", "tenant=" CN_STR_FMT " index=" CN_STR_FMT " answered lexically: %s", CN_STR_ARG(q->from.tenant), CN_STR_ARG(q->from.index), text);
    return CN_OK;
}

/* --- texts to vectors --- */
static bool same_model(const cn_question *p, const cn_question *q) {
    const cn_recipe *a = &p->reading.version->recipe, *b = &q->reading.version->recipe;
    return cn_str_eq(a->embedder, b->embedder) && cn_str_eq(a->precision, b->precision) && cn_digest_eq(&a->embedder_digest, &b->embedder_digest) &&
           a->dim == b->dim;
}

static cn_err may_leave(const cn_embedder *e, cn_question **q, uint32_t n) {
    for (uint32_t i = 0; i < n; i++)
        if (q[i]->reading.index->set.local_only)
            CN_TRY(cn_embedder_local_only(e));
    return CN_OK;
}

/* One that has less time than the others does not take theirs: it fails by itself, afterwards. 0: one of them has none. */
static uint64_t last_deadline(cn_question **q, uint32_t n) {
    uint64_t last = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (!q[i]->deadline_ns)
            return 0;
        if (q[i]->deadline_ns > last)
            last = q[i]->deadline_ns;
    }
    return last;
}

static cn_err embed_texts(cn_service *s, cn_call *c, cn_question **q, uint32_t n) {
    CN_CLEANUP(cn_embedder_unref_p) cn_embedder *e = NULL;
    uint64_t start = cn_mono_ns();
    const cn_recipe *r = &q[0]->reading.version->recipe;
    cn_question_text *texts = cn_arena_alloc(&c->arena, n * sizeof *texts);
    if (!texts)
        return cn_fail_memory();
    for (uint32_t i = 0; i < n; i++)
        texts[i] = q[i]->text;
    CN_TRY(cn_models_get(s->models, r, &e));
    CN_TRY(may_leave(e, q, n));
    cn_embed_wait w = {.hurry = true, .until_ns = last_deadline(q, n)};
    CN_TRY(cn_models_embed(s->models, cn_str_of(cn_tenant_name(q[0]->reading.t)), e, texts, n, s->opts.embed_threads, &w, &c->arena));
    cn_scale scale = cn_models_scale(s->models, e, s->opts.embed_threads);
    for (uint32_t i = 0; i < n; i++) {
        q[i]->text = texts[i];
        q[i]->scale = scale;
        q[i]->embed_ns = cn_mono_ns() - start;
    }
    return CN_OK;
}

/* What comes instead is an answer, so that nobody else would tell of a damaged model. */
static cn_err embed_group(cn_service *s, cn_call *c, cn_question **q, uint32_t n) {
    cn_err err = embed_texts(s, c, q, n);
    if (err == CN_DAMAGED)
        cn_tell_damage(s, q[0]->from.tenant, q[0]->from.index);
    return err;
}

cn_err cn_question_embed(cn_service *s, cn_call *c, cn_question *q) { return embed_group(s, c, &q, 1); }

cn_err cn_question_note(cn_call *c, cn_question *q, cn_err err) {
    q->failed = err;
    q->why = cn_arena_str(&c->arena, cn_str_of(cn_error_detail())).p;
    return q->why ? CN_OK : cn_fail_memory();
}

/* The group could not be embedded: each of it is answered lexically, or has the error. */
static cn_err instead_of_all(cn_call *c, cn_question **q, uint32_t n, cn_err err) {
    char text[CN_ERROR_TEXT];
    snprintf(text, sizeof text, "%s", cn_error_detail());
    for (uint32_t i = 0; i < n; i++) {
        cn_fail(err, "%s", text);
        if (answer_instead(q[i], err) != CN_OK)
            CN_TRY(cn_question_note(c, q[i], err));
    }
    return CN_OK;
}

static bool waits(const cn_question *q) { return q->failed == CN_OK && cn_question_needs_vector(q) && !q->embed_ns; }

cn_err cn_questions_embed(cn_service *s, cn_call *c, cn_question **q, uint32_t n) {
    cn_question **group = cn_arena_alloc(&c->arena, (n + 1u) * sizeof *group);
    if (!group)
        return cn_fail_memory();
    for (uint32_t i = 0; i < n; i++) {
        uint32_t same = 0;
        if (!waits(q[i]))
            continue;
        for (uint32_t j = i; j < n; j++)
            if (waits(q[j]) && same_model(q[i], q[j]))
                group[same++] = q[j];
        cn_err err = embed_group(s, c, group, same);
        if (err != CN_OK)
            CN_TRY(instead_of_all(c, group, same, err));
    }
    return CN_OK;
}
