/* A question's search, and its answer built in one buffer from the segments in place. */
#include <math.h>

#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "server/service/question.h"

cn_err cn_question_search(cn_call *c, cn_question *q, uint32_t *ret_n) {
    q->stats = (cn_search_stats){0};
    *ret_n = 0;
    if (!c->hits && !(c->hits = cn_alloc(CN_K_MAX * sizeof *c->hits)))
        return cn_fail_memory();
    if (q->deadline_ns && cn_mono_ns() >= q->deadline_ns)
        return cn_fail(CN_DEADLINE, "the request's time was up before its search began");
    if (q->reading.who.asks.n == 0) /* no label, no document */
        return CN_OK;
    bool exact = cn_question_is_exact(q);
    cn_query query = {.who = q->reading.who, .vector = q->vector, .text = q->text.text, .k = q->k, .filter = q->filter, .min_score = -INFINITY,
                      .mode = q->how == CN_MODE_DENSE && exact ? CN_MODE_EXACT : q->how, .exact = exact, .per_doc = q->per_doc, .deadline_ns = q->deadline_ns};
    return cn_search(q->reading.view, &query, c->searcher, c->hits, ret_n, &q->stats);
}

float cn_relevance(cn_metric metric, float score) {
    float r = metric == CN_L2 ? 1.0f / (1.0f + sqrtf(score < 0 ? -score : 0)) : score;
    return r < 0 ? 0 : r > 1 ? 1 : r;
}

static float dense_relevance(const cn_question *q, float score) { return cn_relevance(q->reading.version->recipe.metric, score); }

static float lexical_relevance(const cn_question *q, float score) {
    float r = q->stats.lexical_most > 0 ? score / q->stats.lexical_most : 0;
    return r > 1 ? 1 : r;
}

float cn_question_relevance(const cn_question *q, const cn_hit *hit) {
    if (q->how == CN_MODE_LEXICAL)
        return lexical_relevance(q, hit->score);
    if (q->how != CN_MODE_HYBRID)
        return dense_relevance(q, hit->score);
    float dense = hit->dense.rank ? dense_relevance(q, hit->dense.score) : 0, lexical = hit->lexical.rank ? lexical_relevance(q, hit->lexical.score) : 0;
    return dense > lexical ? dense : lexical;
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

static void out_halves(cn_buf *out, const cn_hit *hit) {
    cn_pack_cstr(out, "halves");
    cn_pack_map(out, 2);
    out_half(out, "dense", &hit->dense);
    out_half(out, "lexical", &hit->lexical);
}

static cn_err out_hit(cn_call *c, cn_question *q, const cn_hit *hit, float relevance, cn_buf *out) {
    cn_doc doc;
    cn_chunk chunk;
    cn_digest digest;
    uint32_t doc_number, chunk_number;
    CN_TRY(cn_seg_doc(hit->seg, hit->doc, &c->arena, &doc));
    CN_TRY(cn_seg_row(hit->seg, hit->row, &chunk, &doc_number, &chunk_number));
    CN_TRY(cn_seg_text_digest(hit->seg, hit->row, &digest));
    if (chunk.from > chunk.to || chunk.to > doc.text.n)
        return cn_fail(CN_DAMAGED, "version %llu: a passage of \"" CN_STR_FMT "\" lies outside of its text",
                       (unsigned long long)q->reading.version->number, CN_STR_ARG(doc.id));
    cn_record_add(c, &q->record, &(cn_record_hit){doc.source, doc.id, hit->chunk, hit->score, digest, chunk.from, chunk.to});
    bool halves = q->explain && q->how == CN_MODE_HYBRID;
    cn_pack_map(out, 14u + halves);
    cn_out_str(out, "doc", doc.id);
    cn_out_str(out, "source", doc.source);
    cn_out_uint(out, "chunk", hit->chunk);
    cn_pack_cstr(out, "score");
    cn_pack_f32(out, hit->score);
    cn_pack_cstr(out, "relevance");
    cn_pack_f32(out, relevance);
    cn_out_str(out, "text", (cn_str){doc.text.p + chunk.from, chunk.to - chunk.from});
    cn_out_str(out, "title", doc.title);
    cn_out_passage(out, &chunk);
    cn_out_str(out, "uri", doc.uri);
    cn_out_time(out, "modified", doc.modified);
    cn_out_hex(out, "digest", digest.b, sizeof digest.b);
    cn_out_meta(out, doc.meta);
    if (halves)
        out_halves(out, hit);
    return cn_seg_sound(hit->seg);
}

static uint32_t degraded(const cn_question *q) { return q->degraded | (q->text.cut || q->stats.words_cut ? CN_DEGRADED(text_cut) : 0); }

static void out_made_by(const cn_question *q, cn_buf *out) {
    const cn_version *v = q->reading.version;
    bool exact = cn_question_is_exact(q) || !q->stats.any_coded;
    cn_pack_cstr(out, "made_by");
    cn_pack_map(out, 15);
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
}

static void out_plan(const cn_question *q, cn_buf *out) {
    const cn_search_stats *stats = &q->stats;
    cn_pack_cstr(out, "plan");
    bool lexical = q->how == CN_MODE_LEXICAL || q->how == CN_MODE_HYBRID;
    cn_pack_map(out, lexical ? 9 : 7);
    cn_out_uint(out, "segments", stats->segments);
    cn_out_uint(out, "permitted", stats->permitted);
    cn_out_uint(out, "scored", stats->scored);
    cn_out_bool(out, "coded", stats->coded);
    cn_out_uint(out, "permit_us", stats->permit_ns / 1000);
    cn_out_uint(out, "embed_us", q->embed_ns / 1000);
    cn_out_uint(out, "search_us", stats->search_ns / 1000);
    if (lexical) {
        cn_out_uint(out, "terms", stats->terms);
        cn_out_uint(out, "terms_known", stats->known);
    }
}

static const char *evidence(float best, uint32_t n) {
    if (n == 0 || best < CN_EVIDENCE_WEAK)
        return "none";
    return best < CN_EVIDENCE_OK ? "weak" : "ok";
}

cn_err cn_question_answer(cn_call *c, cn_question *q, cn_buf *out) {
    uint32_t found, n = 0;
    float best = 0;
    if (q->strict && q->text.cut)
        return cn_fail(CN_INVALID, "the text is longer than the model reads; shorten it, or leave out on_degraded");
    CN_TRY(cn_question_search(c, q, &found));
    if (q->strict && q->stats.words_cut)
        return cn_fail(CN_INVALID, "the text has more different words than are looked up; shorten it, or leave out on_degraded");
    uint64_t fetching = cn_mono_ns();
    for (uint32_t i = 0; i < found; i++) /* relevance of hybrid does not fall with the score */
        if (cn_question_relevance(q, &c->hits[i]) >= q->min_relevance)
            c->hits[n++] = c->hits[i];
    cn_record_begin(c, &q->record);
    cn_pack_map(out, q->explain ? 4 : 3);
    cn_pack_cstr(out, "hits");
    cn_pack_array(out, n);
    for (uint32_t i = 0; i < n; i++) {
        float relevance = cn_question_relevance(q, &c->hits[i]);
        best = relevance > best ? relevance : best;
        CN_TRY(out_hit(c, q, &c->hits[i], relevance, out));
    }
    q->evidence = evidence(best, n);
    cn_out_cstr(out, "evidence", q->evidence);
    out_made_by(q, out);
    if (q->explain)
        out_plan(q, out);
    q->fetch_ns = cn_mono_ns() - fetching;
    return CN_OK;
}

void cn_question_record(cn_service *s, cn_call *c, cn_str tenant, const msgpack_object *own, const msgpack_object *defaults, cn_question *q, cn_err err) {
    const msgpack_object *as = cn_given(own, "as");
    cn_str index = cn_obj_str(cn_get(own, "index"));
    cn_record_end(s, c, &q->record,
                  &(cn_record_facts){.method = "query", .tenant = tenant, .index = index.p ? index : cn_obj_str(cn_get(defaults, "index")),
                                     .as = as ? as : cn_given(defaults, "as"), .reading = &q->reading, .trace_id = q->trace_id, .mode = q->mode,
                                     .k = q->k, .filter = q->filter, .evidence = q->evidence, .degraded = degraded(q),
                                     .permit_ns = q->stats.permit_ns, .embed_ns = q->embed_ns, .search_ns = q->stats.search_ns, .fetch_ns = q->fetch_ns},
                  err);
}
