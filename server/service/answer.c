/* A question's search, and a query's answer built in one buffer from the segments in place. */
#include <math.h>

#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "server/service/asking.h"
#include "server/wire/rpc.h"

static double asked_recall(const cn_question *q) { return q->recall > 0 ? q->recall : CN_CELLS_RECALL; }

static cn_query query_of(const cn_question *q) {
    bool exact = cn_question_is_exact(q);
    return (cn_query){.who = q->reading.who, .vector = q->vector, .text = q->text.text, .k = q->k, .filter = q->filter, .min_score = -INFINITY,
                      .mode = q->how == CN_MODE_DENSE && exact ? CN_MODE_EXACT : q->how, .recall = q->aims_at, .exact = exact, .rrf = q->rrf, .per_doc = q->per_doc, .distinct = q->distinct,
                      .operators = q->operators, .deadline_ns = q->deadline_ns};
}

cn_err cn_question_search(cn_call *c, cn_question *q, uint32_t *ret_n) {
    q->stats = (cn_search_stats){0};
    *ret_n = 0;
    if (!c->hits && !(c->hits = cn_alloc(CN_K_MAX * sizeof *c->hits)))
        return cn_fail_memory();
    if (q->deadline_ns && cn_mono_ns() >= q->deadline_ns)
        return cn_fail(CN_DEADLINE, "the request's time was up before its search began");
    if (q->reading.who.asks.n == 0) /* no label, no document */
        return CN_OK;
    cn_query query = query_of(q);
    return cn_search(q->reading.view, &query, c->searcher, c->hits, ret_n, &q->stats);
}

void cn_question_draw(cn_service *s, const cn_call *c, cn_question *q, uint32_t n) {
    bool again = (q->how == CN_MODE_DENSE || q->how == CN_MODE_HYBRID) && !(q->degraded & CN_DEGRADED(exact_only)) && asked_recall(q) <= CN_DENSE_RECALL;
    cn_query query = query_of(q);
    if (!again || !cn_shadow_draws(s->shadow))
        return;
    cn_again_new(q->reading.view, &query, asked_recall(q), c->hits, n, &q->stats, &q->again); /* without memory for it: not this one */
}

/* What relevance is made of: of the halves that were searched. A hit that only one half found has its cosine all the same. */
cn_grounds cn_question_grounds(const cn_question *q, const cn_hit *hit) {
    bool hybrid = q->how == CN_MODE_HYBRID;
    const cn_search_stats *s = &q->stats;
    cn_grounds g = {.by_vector = q->how != CN_MODE_LEXICAL, .by_words = hybrid || q->how == CN_MODE_LEXICAL};
    if (g.by_vector) {
        bool scored = q->reading.version->recipe.metric == CN_COSINE && (!hybrid || hit->dense.rank);
        g.cosine = !scored ? cn_hit_cosine(hit, q->vector) : hybrid ? hit->dense.score : hit->score;
        g.place = cn_scale_place(&q->scale, g.cosine);
    }
    if (g.by_words && s->lexical_most > 0) {
        g.share = (!hybrid ? hit->score : hit->lexical.rank ? hit->lexical.score : 0) / s->lexical_most;
        g.words = (float)s->terms;
    }
    return g;
}

float cn_question_relevance(const cn_question *q, const cn_hit *hit) {
    cn_grounds g = cn_question_grounds(q, hit);
    return cn_relevance(&g);
}

static void out_headings(cn_buf *out, cn_str lines) {
    cn_pack_cstr(out, "headings");
    size_t at = cn_pack_array_open(out);
    uint32_t n = 0;
    while (lines.n) {
        const char *nl = memchr(lines.p, '\n', lines.n);
        size_t len = nl ? (size_t)(nl - lines.p) : lines.n, step = nl ? len + 1 : len;
        cn_pack_str(out, (cn_str){lines.p, len});
        lines = (cn_str){lines.p + step, lines.n - step};
        n++;
    }
    cn_pack_array_close(out, at, n);
}

void cn_out_passage(cn_buf *out, const cn_chunk *chunk) {
    cn_pack_cstr(out, "bytes");
    cn_pack_array(out, 2);
    cn_pack_uint(out, chunk->from);
    cn_pack_uint(out, chunk->to);
    cn_pack_cstr(out, "page");
    if (chunk->page)
        cn_pack_uint(out, chunk->page);
    else
        cn_pack_nil(out);
    out_headings(out, chunk->headings);
}

void cn_out_meta(cn_buf *out, cn_str meta) {
    cn_pack_cstr(out, "meta");
    if (meta.n)
        cn_buf_add(out, meta.p, meta.n);
    else
        cn_pack_map(out, 0);
}

static void out_half(cn_buf *out, const char *name, const cn_half *half) {
    cn_pack_cstr(out, name);
    if (!half->rank) {
        cn_pack_nil(out);
        return;
    }
    cn_pack_map(out, 2);
    cn_out_uint(out, "rank", half->rank);
    cn_pack_cstr(out, "score");
    cn_pack_f32(out, half->score);
}

static void out_f32(cn_buf *out, const char *key, float value) {
    cn_pack_cstr(out, key);
    cn_pack_f32(out, value);
}

static void out_grounds(cn_buf *out, const cn_passage *p) {
    cn_grounds g = cn_question_grounds(p->q, &p->hit);
    const struct {
        const char *key;
        float value;
        bool there;
    } v[] = {{"cosine", g.cosine, g.by_vector}, {"place", g.place, g.by_vector}, {"share", g.share, g.by_words}, {"words", g.words, g.by_words}};
    cn_pack_cstr(out, "grounds");
    cn_pack_map(out, 2u * g.by_vector + 2u * g.by_words);
    for (size_t i = 0; i < sizeof v / sizeof *v; i++)
        if (v[i].there)
            out_f32(out, v[i].key, v[i].value);
}

static void out_halves(cn_buf *out, const cn_hit *hit) {
    cn_pack_cstr(out, "halves");
    cn_pack_map(out, 2);
    out_half(out, "dense", &hit->dense);
    out_half(out, "lexical", &hit->lexical);
}

static void out_range(cn_buf *out, uint64_t from, uint64_t to) {
    cn_pack_cstr(out, "bytes");
    cn_pack_array(out, 2);
    cn_pack_uint(out, from);
    cn_pack_uint(out, to);
}

/* The passages that stand in a hit's text, the hit's own first. */
static void out_passages(const cn_asking *a, uint32_t i, cn_buf *out) {
    uint32_t n = 0;
    cn_pack_cstr(out, "passages");
    size_t at = cn_pack_array_open(out);
    for (; i != CN_NO_PASSAGE; i = a->v[i].next, n++) {
        const cn_passage *p = &a->v[i];
        cn_pack_map(out, 5);
        cn_out_uint(out, "chunk", p->hit.chunk);
        out_f32(out, "score", p->hit.score);
        out_f32(out, "relevance", p->relevance);
        out_range(out, p->chunk.from, p->chunk.to);
        cn_out_hex(out, "digest", p->digest.b, sizeof p->digest.b);
    }
    cn_pack_array_close(out, at, n);
}

/* Bytes of the text given; nil where the version's analyser is none of this build's, so that nobody can tell. */
static cn_err out_highlights(cn_call *c, const cn_question *q, cn_str text, cn_buf *out) {
    const cn_range *v = NULL;
    uint32_t n = 0;
    if (q->deadline_ns && cn_mono_ns() > q->deadline_ns)
        return cn_fail(CN_DEADLINE, "the request's time was up before the words in its passages were found; ask without `highlight`");
    cn_err err = cn_highlight(q->reading.view, c->searcher, q->text.text, q->operators, text, &v, &n);
    if (err != CN_OK && err != CN_UNAVAILABLE)
        return err;
    cn_pack_cstr(out, "highlights");
    if (err == CN_UNAVAILABLE) {
        cn_pack_nil(out);
        return CN_OK;
    }
    cn_pack_array(out, n);
    for (uint32_t i = 0; i < n; i++) {
        cn_pack_array(out, 2);
        cn_pack_uint(out, v[i].from);
        cn_pack_uint(out, v[i].to);
    }
    return CN_OK;
}

static cn_err out_hit(cn_call *c, const cn_asking *a, uint32_t i, cn_buf *out) {
    cn_passage *p = &a->v[i];
    const cn_doc *doc = &p->doc;
    bool halves = p->q->explain && p->q->how == CN_MODE_HYBRID, widens = cn_asking_widens(a);
    cn_str text = {doc->text.p + p->span.from, p->span.to - p->span.from};
    cn_chunk given = p->chunk; /* with the headings and the page of the passage found */
    given.from = p->span.from;
    given.to = p->span.to;
    p->given = p->span.first == p->span.last ? p->digest : cn_sha256_of(text.p, text.n);
    cn_pack_map(out, 14u + p->q->explain + p->q->highlight + halves + widens + (a->n > 1) + (a->max_tokens > 0));
    if (a->n > 1)
        cn_out_str(out, "index", p->q->from.index);
    cn_out_str(out, "doc", doc->id);
    cn_out_str(out, "source", doc->source);
    cn_out_uint(out, "chunk", p->hit.chunk);
    out_f32(out, "score", p->hit.score);
    out_f32(out, "relevance", p->relevance);
    cn_out_str(out, "text", text);
    if (p->q->highlight)
        CN_TRY(out_highlights(c, p->q, text, out));
    cn_out_str(out, "title", doc->title);
    cn_out_passage(out, &given);
    cn_out_str(out, "uri", doc->uri);
    cn_out_time(out, "modified", doc->modified);
    cn_out_hex(out, "digest", p->given.b, sizeof p->given.b);
    cn_out_meta(out, doc->meta);
    if (a->max_tokens)
        cn_out_uint(out, "tokens", p->tokens);
    if (widens)
        out_passages(a, i, out);
    if (p->q->explain)
        out_grounds(out, p);
    if (halves)
        out_halves(out, &p->hit);
    return cn_seg_sound(p->hit.seg);
}

static uint32_t degraded(const cn_question *q) {
    bool text_cut = q->text.cut || q->stats.words_cut;
    return q->degraded | (text_cut ? CN_DEGRADED(text_cut) : 0) | (q->stats.prefix_cut ? CN_DEGRADED(prefix_cut) : 0);
}

static void out_plan(const cn_question *q, cn_buf *out);

/* plan: with its own plan; of the first one that stands beside made_by. */
static void out_made_by(const cn_question *q, bool plan, cn_buf *out) {
    const cn_version *v = q->reading.version;
    bool exact = cn_question_is_exact(q) || !q->stats.any_coded;
    cn_pack_map(out, 15u + plan);
    cn_out_str(out, "tenant", q->from.tenant);
    cn_out_str(out, "index", q->from.index);
    cn_out_uint(out, "version", v->number);
    cn_out_hex(out, "root", v->root.b, sizeof v->root.b);
    cn_out_str(out, "embedder", v->recipe.embedder);
    if (cn_digest_is_zero(&v->recipe.embedder_digest))
        cn_out_cstr(out, "embedder_digest", NULL);
    else
        cn_out_hex(out, "embedder_digest", v->recipe.embedder_digest.b, sizeof v->recipe.embedder_digest.b);
    cn_out_str(out, "parser", v->recipe.parser);
    cn_out_str(out, "chunker", v->recipe.chunker);
    cn_out_str(out, "analyser", v->recipe.analyser);
    cn_out_uint(out, "policy_epoch", cn_view_epoch(q->reading.view));
    cn_out_str(out, "mode", q->mode);
    cn_out_cstr(out, "search", exact ? "exact" : "approximate");
    cn_out_cstr(out, "trace_id", q->trace_id);
    cn_out_degraded(out, degraded(q));
    cn_out_cstr(out, "build", CAIRN_VERSION);
    if (plan)
        out_plan(q, out);
}

static void out_others(cn_service *s, const cn_call *c, cn_asking *a, cn_buf *out) {
    cn_pack_cstr(out, "also_made_by");
    cn_pack_array(out, a->n - 1);
    for (uint32_t i = 1; i < a->n; i++) {
        const cn_question *q = cn_asking_at(a, i);
        char text[CN_RPC_ERROR_TEXT], room[CN_ERROR_TEXT];
        if (q->failed == CN_OK) {
            out_made_by(q, q->explain, out);
            continue;
        }
        cn_rpc_error_text(q->failed, cn_tell_text(s, c->caller, q->why, room), text);
        cn_pack_map(out, 2);
        cn_out_str(out, "index", q->from.index);
        cn_out_cstr(out, "error", text);
    }
}

static void out_tokens(const cn_asking *a, cn_buf *out) {
    cn_pack_cstr(out, "tokens");
    cn_pack_map(out, 4);
    cn_out_uint(out, "given", a->tokens);
    cn_out_uint(out, "max", a->max_tokens);
    cn_out_str(out, "counted_by", a->counted_by);
    cn_out_uint(out, "left_out", a->left_out);
}

static void out_plan(const cn_question *q, cn_buf *out) {
    const cn_search_stats *stats = &q->stats;
    cn_pack_cstr(out, "plan");
    bool lexical = q->how == CN_MODE_LEXICAL || q->how == CN_MODE_HYBRID;
    bool hybrid = q->how == CN_MODE_HYBRID;
    cn_pack_map(out, 14u + 2u * (q->how != CN_MODE_LEXICAL) + hybrid + 2u * lexical + 4u * (lexical && q->operators));
    if (hybrid)
        cn_out_cstr(out, "fusion", cn_fusion_name(q->rrf));
    cn_out_uint(out, "segments", stats->segments);
    cn_out_uint(out, "permitted", stats->permitted);
    cn_out_uint(out, "scored", stats->scored);
    cn_out_bool(out, "coded", stats->coded);
    cn_out_uint(out, "without_cells", stats->without_cells);
    cn_out_uint(out, "by_cells", stats->by_cells);
    cn_out_uint(out, "without_faiss", stats->without_faiss);
    cn_out_uint(out, "by_faiss", stats->by_faiss);
    cn_out_uint(out, "abandoned", stats->abandoned);
    cn_out_uint(out, "cells_read", stats->cells_read);
    cn_out_uint(out, "rows_expected", stats->rows_expected);
    if (q->how != CN_MODE_LEXICAL) {
        cn_out_f64(out, "recall_asked", asked_recall(q));
        cn_out_f64(out, "recall_aimed_at", q->aims_at);
    }
    cn_out_uint(out, "permit_us", stats->permit_ns / 1000);
    cn_out_uint(out, "embed_us", q->embed_ns / 1000);
    cn_out_uint(out, "search_us", stats->search_ns / 1000);
    if (lexical) {
        cn_out_uint(out, "terms", stats->terms);
        cn_out_uint(out, "terms_known", stats->known);
    }
    if (lexical && q->operators) {
        cn_out_uint(out, "phrases", stats->phrases);
        cn_out_uint(out, "phrase_texts", stats->looked_at);
        cn_out_uint(out, "prefixes", stats->prefixes);
        cn_out_uint(out, "prefix_terms", stats->expanded);
    }
}

static cn_err out_hits(cn_call *c, cn_asking *a, cn_buf *out) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < a->n_found; i++)
        n += a->v[i].in == i;
    cn_pack_cstr(out, "hits");
    cn_pack_array(out, n);
    for (uint32_t i = 0; i < a->n_found; i++)
        if (a->v[i].in == i)
            CN_TRY(out_hit(c, a, i, out));
    return CN_OK;
}

cn_err cn_asking_answer(cn_service *s, cn_call *c, cn_asking *a, cn_buf *out) {
    bool many = a->n > 1, plan = a->first.explain;
    CN_TRY(cn_asking_find(s, c, a));
    uint64_t fetching = cn_mono_ns();
    cn_pack_map(out, 3u + plan + many + (a->max_tokens > 0));
    CN_TRY(out_hits(c, a, out));
    cn_out_cstr(out, "evidence", cn_evidence(a->best, a->found));
    for (uint32_t i = 0; i < a->n; i++)
        cn_asking_at(a, i)->evidence = cn_evidence(a->best, a->found);
    cn_pack_cstr(out, "made_by");
    out_made_by(&a->first, false, out);
    if (many)
        out_others(s, c, a, out);
    if (a->max_tokens)
        out_tokens(a, out);
    if (plan)
        out_plan(&a->first, out);
    a->first.fetch_ns = cn_mono_ns() - fetching;
    return CN_OK;
}

void cn_question_record(cn_service *s, cn_call *c, cn_str tenant, const msgpack_object *own, const msgpack_object *defaults, cn_question *q, cn_err err) {
    const msgpack_object *as = cn_given(own, "as");
    cn_str index = q->from.index.p ? q->from.index : cn_obj_str(cn_get(own, "index"));
    cn_record_end(s, c, &q->record,
                  &(cn_record_facts){.method = "query", .tenant = tenant, .index = index.p ? index : cn_obj_str(cn_get(defaults, "index")),
                                     .as = as ? as : cn_given(defaults, "as"), .reading = &q->reading, .trace_id = q->trace_id, .mode = q->mode,
                                     .k = q->k, .filter = q->filter, .evidence = q->evidence, .degraded = degraded(q),
                                     .permit_ns = q->stats.permit_ns, .embed_ns = q->embed_ns, .search_ns = q->stats.search_ns, .fetch_ns = q->fetch_ns},
                  err);
}
