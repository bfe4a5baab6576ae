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
    cn_query query = {.who = q->reading.who, .vector = q->vector, .k = q->k, .filter = q->filter, .min_score = -INFINITY,
                      .mode = cn_question_is_exact(q) ? CN_MODE_EXACT : CN_MODE_DENSE, .per_doc = q->per_doc, .deadline_ns = q->deadline_ns};
    return cn_search(q->reading.view, &query, c->searcher, c->hits, ret_n, &q->stats);
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
    cn_pack_map(out, 14);
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
    return cn_seg_sound(hit->seg);
}

static void out_made_by(const cn_question *q, cn_buf *out) {
    const cn_version *v = q->reading.version;
    bool exact = cn_question_is_exact(q) || !q->stats.any_coded;
    cn_pack_cstr(out, "made_by");
    cn_pack_map(out, 14);
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
    cn_out_uint(out, "policy_epoch", cn_view_epoch(q->reading.view));
    cn_out_str(out, "mode", q->mode);
    cn_out_cstr(out, "search", exact ? "exact" : "approximate");
    cn_out_cstr(out, "trace_id", q->trace_id);
    cn_pack_cstr(out, "degraded");
    cn_pack_array(out, (uint32_t)q->text.cut + q->half + q->exact_only);
    if (q->text.cut)
        cn_pack_cstr(out, "text_cut"); /* the model reads less than the text given */
    if (q->half)
        cn_pack_cstr(out, "no_postings"); /* hybrid was asked for */
    if (q->exact_only)
        cn_pack_cstr(out, "exact_only"); /* another mode was asked for */
    cn_out_cstr(out, "build", CAIRN_VERSION);
}

static void out_plan(const cn_question *q, cn_buf *out) {
    const cn_search_stats *stats = &q->stats;
    cn_pack_cstr(out, "plan");
    cn_pack_map(out, 7);
    cn_out_uint(out, "segments", stats->segments);
    cn_out_uint(out, "permitted", stats->permitted);
    cn_out_uint(out, "scored", stats->scored);
    cn_out_bool(out, "coded", stats->coded);
    cn_out_uint(out, "permit_us", stats->permit_ns / 1000);
    cn_out_uint(out, "embed_us", q->embed_ns / 1000);
    cn_out_uint(out, "search_us", stats->search_ns / 1000);
}

static const char *evidence(float best, uint32_t n) {
    if (n == 0 || best < CN_EVIDENCE_WEAK)
        return "none";
    return best < CN_EVIDENCE_OK ? "weak" : "ok";
}

cn_err cn_question_answer(cn_call *c, cn_question *q, cn_buf *out) {
    uint32_t found, n = 0;
    cn_metric metric = q->reading.version->recipe.metric;
    if (q->strict && q->text.cut)
        return cn_fail(CN_INVALID, "the text is longer than the model reads; shorten it, or leave out on_degraded");
    CN_TRY(cn_question_search(c, q, &found));
    uint64_t fetching = cn_mono_ns();
    while (n < found && cn_relevance(metric, c->hits[n].score) >= q->min_relevance)
        n++; /* best first, and relevance never grows as the score falls */
    cn_record_begin(c, &q->record);
    cn_pack_map(out, q->explain ? 4 : 3);
    cn_pack_cstr(out, "hits");
    cn_pack_array(out, n);
    for (uint32_t i = 0; i < n; i++)
        CN_TRY(out_hit(c, q, &c->hits[i], cn_relevance(metric, c->hits[i].score), out));
    q->evidence = evidence(n ? cn_relevance(metric, c->hits[0].score) : 0, n);
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
                                     .k = q->k, .filter = q->filter, .evidence = q->evidence, .text_cut = q->text.cut, .exact_only = q->exact_only,
                                     .permit_ns = q->stats.permit_ns, .embed_ns = q->embed_ns, .search_ns = q->stats.search_ns, .fetch_ns = q->fetch_ns},
                  err);
}
