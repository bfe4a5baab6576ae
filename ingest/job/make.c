/* The workers' part: what is new is parsed, chunked and embedded. */
#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "ingest/job/outline.h"
#include "ingest/job/run.h"

#define CN_TOKEN_BLOCK 16u /* bert_ops.h */
#define OUTLINE_MOST ((size_t)16 << 20)

/* ---------- parsing ---------- */
static cn_err parser(cn_run *r, cn_parser **ret) {
    pthread_mutex_lock(&r->parser_lock);
    if (!r->parser && r->parser_err == CN_OK)
        r->parser_err = cn_parser_new(r->threads, &r->parser);
    cn_err err = r->parser_err;
    *ret = r->parser;
    pthread_mutex_unlock(&r->parser_lock);
    return err;
}

static cn_err parse(cn_run *r, const cn_raw *raw, cn_arena *a, cn_parsed *ret) {
    cn_parser *p;
    uint64_t from = cn_thread_cpu_ns();
    cn_err err = parser(r, &p);
    if (err == CN_OK)
        err = cn_parse(p, raw->format, raw->bytes, a, ret);
    cn_spend(r, CN_COST_PARSE, from);
    return err;
}

static cn_err outline(const cn_parsed *p, cn_arena *a, cn_str *ret) {
    CN_AUTO_BUF cn_buf b;
    cn_buf_init(&b, OUTLINE_MOST);
    CN_TRY(cn_outline_pack(p->blocks, p->n_blocks, &b));
    *ret = cn_arena_str(a, cn_buf_str(&b));
    return ret->p ? CN_OK : cn_fail_memory();
}

/* ---------- chunking ---------- */
static cn_err whole(const cn_parsed *p, cn_arena *a, cn_item *it) {
    cn_chunk *c = cn_arena_zalloc(a, 1, sizeof *c);
    if (!c)
        return cn_fail_memory();
    *c = (cn_chunk){.to = p->text.n, .vector = it->raw.vector, .vector_sha = &it->vector};
    it->doc.chunks = c;
    it->doc.n_chunks = 1;
    return CN_OK;
}

static cn_err chunk(cn_run *r, const cn_parsed *p, cn_arena *a, cn_item *it) {
    cn_chunk *v;
    uint32_t n;
    uint64_t from = cn_thread_cpu_ns();
    cn_err err = cn_chunk_document(&r->chunker, r->embedder, p, a, &v, &n);
    cn_spend(r, CN_COST_CHUNK, from);
    CN_TRY(err);
    if (n == 0)
        return cn_fail(CN_INVALID, "no text in it");
    it->doc.chunks = v;
    it->doc.n_chunks = n;
    it->chunks = r->embedder ? v : NULL;
    return CN_OK;
}

static cn_err from_bytes(cn_run *r, cn_arena *a, cn_item *it) {
    const cn_raw *raw = &it->raw;
    cn_parsed p = {0};
    if (raw->bytes.n || !raw->vector) /* a ready vector may come without any text */
        CN_TRY(parse(r, raw, a, &p));
    cn_doc *d = &it->doc;
    d->source = r->o.from.source;
    d->id = raw->id;
    d->title = raw->title.n ? raw->title : (cn_str){p.title.p, p.title.n < CN_TITLE_MAX ? p.title.n : 0};
    p.title = d->title; /* what stands above every passage, and is embedded with it */
    d->uri = raw->uri;
    d->mime = cn_str_of(cn_format_mime(raw->format));
    d->modified = raw->modified;
    d->row = it->row;
    d->labels = raw->labels;
    d->meta = raw->meta;
    d->text = p.text;
    if (p.n_blocks)
        CN_TRY(outline(&p, a, &d->outline));
    return raw->vector ? whole(&p, a, it) : chunk(r, &p, a, it);
}

/* The stored text again, under another chunker or model. Vectors that came with the rows stay. */
static cn_err from_stored(cn_run *r, cn_arena *a, cn_item *it) {
    cn_doc *d = &it->doc;
    bool given = d->n_chunks && d->chunks[0].vector && cn_digest_is_zero(&r->head.recipe.embedder_digest) && cn_str_is(r->head.recipe.embedder, "none");
    if (given && !r->embedder)
        return CN_OK;
    if (d->text.n == 0)
        return cn_fail(CN_INVALID, "document \"" CN_STR_FMT "\" has a vector but no text; a model has nothing to embed", CN_STR_ARG(d->id));
    cn_parsed p = {.text = d->text, .title = d->title};
    CN_TRY(cn_outline_unpack(d->outline, d->text.n, a, &p.blocks, &p.n_blocks));
    return chunk(r, &p, a, it);
}

static cn_err prepare(cn_run *r, cn_arena *a, cn_item *it) {
    CN_TRY(cn_classify(r, a, it));
    if (it->skip || it->how == CN_HOW_KEEP || it->how == CN_HOW_COPY)
        return CN_OK;
    cn_err err = it->how == CN_HOW_PARSE ? from_bytes(r, a, it) : from_stored(r, a, it);
    if (err == CN_OK)
        err = cn_reuse_vectors(r, a, it);
    bool its_own = err == CN_INVALID || err == CN_DEADLINE; /* the document's fault; anything else would be no reason to go on without it */
    if (!its_own || (it->rest && !r->rebuild))
        return err;
    return cn_item_reject(a, it, cn_error_detail());
}

/* ---------- embedding ---------- */
static bool embed_stop(void *line) { return cn_line_stopping(line); }

/* A service elsewhere that refuses costs the job, but nothing of its work; of one that is down the job says so at its end. */
static cn_err embed_failed(const cn_run *r, cn_err err) {
    bool resumes = !r->dry && !cn_str_is(r->row.kind, "put");
    if (err == CN_END || err == CN_UNAVAILABLE || !cn_embedder_is_remote(r->embedder) || !resumes)
        return err;
    return cn_fail(err, "%s; `cairn %s %s/" CN_STR_FMT " --resume %s` goes on with the job", cn_error_detail(), cn_run_verb(r), cn_tenant_name(r->t),
                   CN_STR_ARG(r->row.index), r->row.id);
}

static cn_err embed_call(cn_run *r, cn_line *l, const cn_str *texts, uint32_t n, float *out) {
    cn_embed_cost cost;
    unsigned threads = 1 + cn_line_spare(l);
    cn_embed_wait w = {.stop = embed_stop, .stop_ctx = l};
    cn_err err = cn_embed_told(r->embedder, texts, n, threads < r->threads ? threads : r->threads, &w, out, &cost);
    if (err != CN_OK)
        return embed_failed(r, err);
    atomic_fetch_add(&r->cost[CN_COST_EMBED], cost.cpu_ns);
    atomic_fetch_add(&r->tokens, cost.tokens);
    atomic_fetch_add(&r->embedded, n);
    return cost.cut ? cn_fail(CN_INTERNAL, "%llu passages have more tokens than the model takes", (unsigned long long)cost.cut) : CN_OK;
}

/* What a text costs: tokens with [CLS] and [SEP], in whole blocks as the encoder works on them. */
static cn_err cost_of(const cn_run *r, cn_str text, cn_arena *a, uint64_t *io_tokens) {
    cn_token *v;
    uint32_t n, most = cn_embedder_max_tokens(r->embedder);
    CN_TRY(cn_tokenize(r->embedder, text, a, &v, &n));
    n = n + 2 < most ? n + 2 : most;
    *io_tokens += (n + CN_TOKEN_BLOCK - 1) / CN_TOKEN_BLOCK * CN_TOKEN_BLOCK;
    return CN_OK;
}

static cn_err estimate(const cn_run *r, cn_arena *a, cn_item *it) {
    for (uint32_t i = 0; it->chunks && i < it->doc.n_chunks; i++) {
        if (it->chunks[i].vector)
            continue;
        cn_str text = cn_chunk_embed_text(&it->chunks[i], it->doc.text, a);
        if (!text.p)
            return cn_fail_memory();
        CN_TRY(cost_of(r, text, a, &it->est_tokens));
        it->est_chunks++;
    }
    return CN_OK;
}

/* A dry run embeds a few texts once, to know the speed. */
static cn_err sample(cn_run *r, cn_line *l, cn_arena *a, const cn_str *texts, uint32_t n, float *out) {
    uint64_t tokens = 0;
    n = n < CN_SAMPLE ? n : CN_SAMPLE;
    if (atomic_exchange(&r->sampled, true))
        return CN_OK;
    for (uint32_t i = 0; i < n; i++)
        CN_TRY(cost_of(r, texts[i], a, &tokens));
    cn_embed_cost cost;
    cn_embed_wait w = {.stop = embed_stop, .stop_ctx = l};
    CN_TRY(cn_embed_told(r->embedder, texts, n, 1, &w, out, &cost));
    atomic_store(&r->sample_ns, cost.cpu_ns + cost.wait_ns);
    atomic_store(&r->told_tokens, cost.tokens);
    atomic_store(&r->sample_tokens, tokens);
    return CN_OK;
}

/* Chunks that want a vector, and what is to be embedded for each; chunks NULL: only how many. */
static cn_err gather(cn_batch *b, cn_chunk **chunks, cn_str *texts, uint32_t *ret_n) {
    cn_item *items = b->items;
    uint32_t n = 0;
    for (uint32_t i = 0; i < b->n; i++)
        for (uint32_t c = 0; items[i].chunks && c < items[i].doc.n_chunks; c++) {
            if (items[i].chunks[c].vector)
                continue;
            if (chunks) {
                chunks[n] = &items[i].chunks[c];
                texts[n] = cn_chunk_embed_text(chunks[n], items[i].doc.text, &b->arena);
                if (!texts[n].p)
                    return cn_fail_memory();
            }
            n++;
        }
    *ret_n = n;
    return CN_OK;
}

static cn_err embed(cn_run *r, cn_line *l, cn_batch *b) {
    uint32_t n, dim = r->recipe.dim;
    cn_item *items = b->items;
    for (uint32_t i = 0; i < b->n && r->dry && !cn_line_stopping(l); i++)
        CN_TRY(estimate(r, &b->arena, &items[i]));
    CN_TRY(gather(b, NULL, NULL, &n));
    if (n == 0)
        return CN_OK;
    cn_chunk **chunks = cn_arena_zalloc(&b->arena, n, sizeof *chunks);
    cn_str *texts = cn_arena_zalloc(&b->arena, n, sizeof *texts);
    float *out = cn_arena_alloc(&b->arena, (size_t)(r->dry ? CN_SAMPLE : n) * dim * sizeof *out);
    if (!chunks || !texts || !out)
        return cn_fail_memory();
    CN_TRY(gather(b, chunks, texts, &n));
    if (r->dry)
        return sample(r, l, &b->arena, texts, n, out);
    cn_run_step(r, "embedding");
    for (uint32_t at = 0, many; at < n && !cn_line_stopping(l); at += many) {
        many = n - at < CN_EMBED_CALL ? n - at : CN_EMBED_CALL;
        CN_TRY(embed_call(r, l, texts + at, many, out + (size_t)at * dim));
    }
    for (uint32_t i = 0; i < n; i++)
        chunks[i]->vector = out + (size_t)i * dim;
    return CN_OK;
}

static void make_leaves(const cn_run *r, cn_line *l, cn_batch *b) {
    cn_item *items = b->items;
    for (uint32_t i = 0; i < b->n && !r->dry && !cn_line_stopping(l); i++) {
        if (items[i].fate != CN_FATE_REJECTED && items[i].how != CN_HOW_KEEP && !items[i].skip)
            items[i].leaf = cn_leaf_of(&items[i].doc, r->recipe.dim);
        cn_give_way_at(i);
    }
}

cn_err cn_run_work(void *run, cn_line *l, unsigned worker, cn_batch *b) {
    (void)worker;
    cn_run *r = run;
    cn_item *items = b->items;
    uint64_t from = cn_thread_cpu_ns();
    for (uint32_t i = 0; i < b->n && !cn_line_stopping(l); i++) {
        CN_TRY(prepare(r, &b->arena, &items[i]));
        cn_give_way_at(i);
    }
    cn_spend(r, CN_COST_MATCH, from);
    CN_TRY(cn_line_stopping(l) ? CN_OK : embed(r, l, b));
    from = cn_thread_cpu_ns();
    make_leaves(r, l, b);
    cn_spend(r, CN_COST_MATCH, from);
    return CN_OK;
}
