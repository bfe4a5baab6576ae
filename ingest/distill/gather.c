#include "ingest/distill/gather.h"

#include <stdio.h>

#include "index/catalog/index.h"
#include "index/catalog/live.h"
#include "index/policy/policy.h"
#include "ingest/chunk/chunk.h"
#include "ingest/job/outline.h"
#include "ingest/source/source.h"

#define ARENA_BLOCK ((size_t)1 << 20)
#define ARENA_MOST ((size_t)8 << 30)
#define TELL_EVERY 64 /* documents */

typedef struct gather {
    const cn_distill_opts *o;
    cn_embedder *e;
    cn_chunker chunker;
    cn_sample *s;
    cn_distill_report *told;
} gather;

static cn_err start(gather *g) {
    char text[64];
    uint32_t most = cn_embedder_text_tokens(g->e);
    snprintf(text, sizeof text, "structure tokens=%u overlap=0", most < CN_PASSAGE_TOKENS ? most : CN_PASSAGE_TOKENS);
    return cn_chunker_parse(cn_str_of(text), most, &g->chunker);
}

static void tell(const gather *g, uint64_t done, uint64_t all) {
    if (g->o->progress && g->told->documents % TELL_EVERY == 0)
        g->o->progress(g->o->progress_ctx, "reading", done, all);
}

static cn_err add_document(gather *g, const cn_parsed *p, cn_arena *a) {
    cn_chunk *v;
    uint32_t n;
    CN_TRY(cn_chunk_document(&g->chunker, g->e, p, a, &v, &n));
    for (uint32_t i = 0; i < n; i++) {
        cn_str text = cn_chunk_embed_text(&v[i], p->text, a);
        if (!text.p)
            return cn_fail_memory();
        CN_TRY(cn_sample_add(g->s, text));
    }
    g->told->documents++;
    return CN_OK;
}

/* One document's fault is not the others'. */
static cn_err settle(gather *g, cn_err err) {
    if (err != CN_INVALID && err != CN_DEADLINE)
        return err;
    g->told->rejected++;
    return CN_OK;
}

/* ---------- files ---------- */
static cn_err add_raw(gather *g, cn_parser *parser, const cn_raw *raw, cn_arena *a) {
    cn_parsed p;
    if (raw->err != CN_OK) {
        g->told->rejected += !raw->skipped;
        return CN_OK;
    }
    if (raw->op != CN_OP_PUT || !raw->bytes.n)
        return CN_OK;
    CN_TRY(cn_parse(parser, raw->format, raw->bytes, a, &p));
    if (raw->title.n)
        p.title = raw->title;
    return add_document(g, &p, a);
}

static cn_err read_source(gather *g, cn_source *source, cn_parser *parser, cn_arena *a) {
    cn_raw raw;
    cn_err err;
    while ((err = cn_source_next(source, a, &raw)) == CN_OK) {
        uint64_t done, all, docs;
        CN_TRY(settle(g, add_raw(g, parser, &raw, a)));
        cn_source_progress(source, &done, &all, &docs);
        tell(g, done, all);
        cn_arena_reset(a);
    }
    return err == CN_END ? CN_OK : err;
}

cn_err cn_gather_paths(const cn_distill_opts *o, cn_embedder *e, cn_sample *s, cn_distill_report *io) {
    gather g = {.o = o, .e = e, .s = s, .told = io};
    cn_source_opts from = {.paths = o->texts, .n_paths = o->n_texts, .source = CN_STR("default"), .metric = CN_COSINE};
    cn_source *source;
    cn_parser *parser = NULL;
    cn_arena a;
    CN_TRY(start(&g));
    CN_TRY(cn_source_open(&from, &source));
    cn_arena_init(&a, ARENA_BLOCK, ARENA_MOST);
    cn_err err = cn_parser_new(1, &parser);
    if (err == CN_OK)
        err = read_source(&g, source, parser, &a);
    cn_parser_free(parser);
    cn_source_close(source);
    cn_arena_done(&a);
    return err;
}

/* ---------- an index ---------- */
typedef struct stored { /* what is read */
    cn_policy *policy;
    cn_index_info ix;
    cn_version v;
    cn_living live;
} stored;

/* A model outlives the documents it was fitted to: what is erased, or hidden from everybody, has no part in it. */
static cn_err is_dead(const stored *x, cn_seg *seg, uint32_t doc, cn_arena *a, bool *ret) {
    cn_doc d;
    cn_key key;
    cn_digest leaf;
    cn_triple row;
    cn_effect f;
    CN_TRY(cn_seg_leaf(seg, doc, &key, &leaf));
    CN_TRY(cn_seg_doc_brief(seg, doc, &d));
    CN_TRY(cn_seg_class(seg, cn_seg_doc_class(seg)[doc], &row));
    CN_TRY(cn_policy_effect(x->policy, x->ix.id, &x->v, &key, d.source, d.id, &row, cn_seg_get_id(seg), a, &f));
    *ret = f.dead;
    return CN_OK;
}

static cn_err add_stored(gather *g, const stored *x, cn_seg *seg, uint32_t doc, cn_arena *a) {
    cn_doc d;
    bool dead;
    CN_TRY(is_dead(x, seg, doc, a, &dead));
    if (dead)
        return CN_OK;
    CN_TRY(cn_seg_doc(seg, doc, &d));
    cn_parsed p = {.text = d.text, .title = d.title};
    if (!d.text.n)
        return CN_OK;
    CN_TRY(cn_outline_unpack(d.outline, d.text.n, a, &p.blocks, &p.n_blocks));
    return add_document(g, &p, a);
}

static cn_err read_living(gather *g, const stored *x, cn_arena *a) {
    const cn_living *live = &x->live;
    for (uint32_t i = 0; i < live->n; i++)
        for (uint32_t d = 0; d < cn_seg_docs(live->segs[i]); d++) {
            if (roaring_bitmap_contains(live->dead[i], d))
                continue;
            CN_TRY(settle(g, add_stored(g, x, live->segs[i], d, a)));
            CN_TRY(cn_seg_sound(live->segs[i]));
            tell(g, g->told->documents, x->v.counts.documents);
            cn_arena_reset(a);
        }
    return CN_OK;
}

static cn_err read_version(gather *g, cn_tenant *t, stored *x, cn_arena *names, cn_arena *a) {
    CN_TRY(cn_index_get(t, g->o->index, names, &x->ix));
    CN_TRY(cn_version_get(t, g->o->index, 0, names, &x->v));
    CN_TRY(cn_live_open(t, &x->v, &x->live));
    cn_err err = read_living(g, x, a);
    cn_live_close(&x->live);
    return err;
}

static cn_err read_index(gather *g, cn_tenant *t) {
    cn_arena names, a;
    stored x = {0};
    CN_TRY(cn_policy_load(t, &x.policy));
    cn_arena_init(&names, ARENA_BLOCK, ARENA_MOST);
    cn_arena_init(&a, ARENA_BLOCK, ARENA_MOST);
    cn_err err = read_version(g, t, &x, &names, &a);
    cn_arena_done(&a);
    cn_arena_done(&names);
    cn_policy_unref(x.policy);
    return err;
}

cn_err cn_gather_index(const cn_distill_opts *o, cn_embedder *e, cn_sample *s, cn_distill_report *io) {
    gather g = {.o = o, .e = e, .s = s, .told = io};
    cn_data *data;
    cn_tenant *t;
    CN_TRY(start(&g));
    CN_TRY(cn_data_open(o->data_dir, &data));
    cn_err err = cn_tenant_open(data, o->tenant, &t);
    if (err == CN_OK) {
        err = read_index(&g, t);
        cn_tenant_unref(t);
    }
    cn_data_close(data);
    return err;
}
