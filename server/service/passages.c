/* What of a query's hits is given: merged from several indexes, with what stands around them, within a budget of tokens. */
#include "engine/base/mem.h"
#include "server/service/asking.h"

/* --- what was found --- */
static uint32_t take_all(cn_question *q, const cn_hit *hits, uint32_t n, cn_passage *v) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < n; i++) {
        float relevance = cn_question_relevance(q, &hits[i]); /* that of hybrid does not fall with the score */
        if (relevance >= q->min_relevance)
            v[kept++] = (cn_passage){.q = q, .hit = hits[i], .relevance = relevance, .next = CN_NO_PASSAGE};
    }
    return kept;
}

/* v: room for k. */
static cn_err search_one(cn_service *s, cn_call *c, cn_question *q, cn_passage *v, uint32_t *ret_n) {
    uint32_t found;
    if (q->strict && q->text.cut)
        return cn_fail(CN_INVALID, "the text is longer than the model reads; shorten it, or leave out on_degraded");
    CN_TRY(cn_question_search(c, q, &found));
    cn_question_draw(s, c, q, found);
    if (q->strict && q->stats.words_cut)
        return cn_fail(CN_INVALID, "the text has more different words than are looked up; shorten it, or leave out on_degraded");
    if (q->strict && q->stats.prefix_cut)
        return cn_fail(CN_INVALID, "a prefix of the text begins more words than are looked up; give more of its letters, or leave out on_degraded");
    *ret_n = take_all(q, c->hits, found, v);
    return CN_OK;
}

/* Its document, range and digest, in place; checked. */
static cn_err look_at(cn_passage *p) {
    uint32_t doc, chunk;
    CN_TRY(cn_seg_doc(p->hit.seg, p->hit.doc, &p->doc));
    CN_TRY(cn_seg_row(p->hit.seg, p->hit.row, &p->chunk, &doc, &chunk));
    CN_TRY(cn_seg_text_digest(p->hit.seg, p->hit.row, &p->digest));
    if (p->chunk.from > p->chunk.to || p->chunk.to > p->doc.text.n)
        return cn_fail(CN_DAMAGED, "version %llu: a passage of \"" CN_STR_FMT "\" lies outside of its text",
                       (unsigned long long)p->q->reading.version->number, CN_STR_ARG(p->doc.id));
    p->span = (cn_span){p->hit.chunk, p->hit.chunk, p->chunk.from, p->chunk.to};
    return cn_seg_sound(p->hit.seg);
}

/* --- several indexes --- */
typedef struct list {
    cn_passage *v;
    uint32_t n, at;
} list;

/* Each list keeps its order; of their heads goes the most relevant one, or the one of the best rank; else the index named first. */
static list *next_of(const cn_asking *a, list *lists) {
    list *best = NULL;
    for (uint32_t i = 0; i < a->n; i++) {
        list *l = &lists[i];
        if (l->at == l->n)
            continue;
        bool better = best && (a->by_rank ? l->at < best->at : l->v[l->at].relevance > best->v[best->at].relevance);
        if (!best || better)
            best = l;
    }
    return best;
}

/* What per_doc and distinct say of one index holds for all: a document is one by source and id. */
static bool is_left_out(const cn_asking *a, const cn_passage *v, uint32_t n, const cn_passage *p) {
    uint32_t same = 0;
    bool again = false;
    for (uint32_t i = 0; i < n; i++) {
        same += cn_str_eq(v[i].doc.id, p->doc.id) && cn_str_eq(v[i].doc.source, p->doc.source);
        again |= cn_digest_eq(&v[i].digest, &p->digest);
    }
    return (a->first.per_doc && same >= a->first.per_doc) || (a->first.distinct && again);
}

static cn_err merge(cn_asking *a, list *lists) {
    for (list *l; a->n_found < a->first.k && (l = next_of(a, lists));) {
        cn_passage *p = &l->v[l->at++];
        CN_TRY(look_at(p));
        if (!is_left_out(a, a->v, a->n_found, p))
            a->v[a->n_found++] = *p;
    }
    return CN_OK;
}

/* The call's own, used again by its next query: k for the answer, and for several indexes k of each. */
static cn_err make_room(cn_call *c, uint32_t passages) {
    if (passages <= c->passages_room)
        return CN_OK;
    cn_passage *v = cn_realloc(c->passages, passages * sizeof *v);
    if (!v)
        return cn_fail_memory();
    c->passages = v;
    c->passages_room = passages;
    return CN_OK;
}

static cn_err find_all(cn_service *s, cn_call *c, cn_asking *a) {
    list lists[CN_ALSO_MAX + 1] = {{0}};
    uint32_t k = a->first.k;
    CN_TRY(make_room(c, a->n > 1 ? k * (a->n + 1) : k));
    a->v = c->passages;
    for (uint32_t i = 0; i < a->n; i++) {
        cn_question *q = cn_asking_at(a, i);
        lists[i].v = a->v + (a->n > 1 ? k * (i + 1) : 0);
        cn_err err = q->failed == CN_OK ? search_one(s, c, q, lists[i].v, &lists[i].n) : CN_OK;
        if (err != CN_OK)
            CN_TRY(cn_asking_without(c, a, q, err));
    }
    if (a->n > 1)
        return merge(a, lists);
    a->n_found = lists[0].n;
    for (uint32_t i = 0; i < a->n_found; i++)
        CN_TRY(look_at(&a->v[i]));
    return CN_OK;
}

/* --- a budget of tokens --- */
typedef struct counter {
    cn_embedder *e; /* NULL: an estimate */
    uint32_t left;
} counter;

/* The tokens of the first index's model, where it is at hand; a stated guess else. */
static void open_counter(cn_service *s, cn_asking *a, counter *ret) {
    const cn_recipe *r = &a->first.reading.version->recipe;
    *ret = (counter){.left = a->max_tokens};
    bool has = !cn_str_is(r->embedder, "none") && cn_models_get(s->models, r, &ret->e) == CN_OK;
    if (has && cn_embedder_is_remote(ret->e)) { /* its vocabulary is not here */
        cn_embedder_unref(ret->e);
        ret->e = NULL;
    }
    a->counted_by = ret->e ? r->embedder : CN_STR("estimate");
}

static void counter_done(counter *k) { cn_embedder_unref(k->e); }

static cn_err count(const counter *k, const cn_passage *p, const cn_span *span, uint32_t *ret) {
    return cn_count_tokens(k->e, (cn_str){p->doc.text.p + span->from, span->to - span->from}, ret);
}

/* The first so many for which the tokens suffice. */
static cn_err keep_within(cn_asking *a, counter *k) {
    for (uint32_t i = 0; i < a->n_found; i++) {
        cn_passage *p = &a->v[i];
        CN_TRY(count(k, p, &p->span, &p->tokens));
        if (p->tokens > k->left) {
            a->left_out = a->n_found - i;
            a->n_found = i;
            return CN_OK;
        }
        k->left -= p->tokens;
    }
    return CN_OK;
}

/* --- what stands around --- */
static bool same_document(const cn_passage *p, const cn_passage *q) { return p->hit.seg == q->hit.seg && p->hit.doc == q->hit.doc; }

static bool gives_of(const cn_asking *a, uint32_t j, uint32_t i) { return a->v[j].in == j && same_document(&a->v[j], &a->v[i]); }

static cn_err given_before(cn_call *c, const cn_asking *a, uint32_t i, cn_widen *io) {
    uint32_t n = 0;
    for (uint32_t j = 0; j < i; j++)
        n += gives_of(a, j, i);
    cn_span *v = cn_arena_alloc(&c->arena, (n + 1u) * sizeof *v);
    if (!v)
        return cn_fail_memory();
    for (uint32_t j = 0; j < i; j++)
        if (gives_of(a, j, i))
            v[io->n_given++] = a->v[j].span;
    io->given = v;
    return CN_OK;
}

/* As many steps as the tokens left allow; all of them fit, or a search by halves finds how many do. */
static cn_err widen_within(const cn_passage *p, const cn_widen *how, const counter *k, cn_span *io, uint32_t *ret_tokens) {
    uint32_t least = 0, most = io->last - io->first, tokens, budget = k->left + p->tokens;
    cn_span best = p->span, now = *io;
    *ret_tokens = p->tokens;
    for (uint32_t steps = most; least <= most && most > 0;) {
        CN_TRY(cn_hit_widen(&p->hit, how, steps, &now));
        CN_TRY(count(k, p, &now, &tokens));
        if (tokens <= budget) {
            best = now;
            *ret_tokens = tokens;
            least = steps + 1;
        } else {
            most = steps - 1;
        }
        steps = least + (most - least) / 2;
    }
    *io = best;
    return CN_OK;
}

/* Passages further down that stand in its text are told with it. */
static void swallow(cn_asking *a, uint32_t i, counter *k) {
    cn_passage *p = &a->v[i];
    uint32_t tail = i;
    for (uint32_t j = i + 1; j < a->n_found; j++) {
        cn_passage *x = &a->v[j];
        if (x->in != j || !same_document(p, x) || x->hit.chunk < p->span.first || x->hit.chunk > p->span.last)
            continue;
        x->in = i;
        a->v[tail].next = j;
        tail = j;
        k->left += x->tokens;
        x->tokens = 0;
    }
}

static cn_err widen(cn_call *c, cn_asking *a, uint32_t i, counter *k) {
    cn_passage *p = &a->v[i];
    cn_widen how = {.each = a->expand, .section = a->section};
    cn_span span;
    uint32_t tokens = 0;
    CN_TRY(given_before(c, a, i, &how));
    CN_TRY(cn_hit_widen(&p->hit, &how, UINT32_MAX, &span));
    if (span.to > p->doc.text.n)
        return cn_fail(CN_DAMAGED, "a passage of \"" CN_STR_FMT "\" lies outside of its text", CN_STR_ARG(p->doc.id));
    if (a->max_tokens)
        CN_TRY(widen_within(p, &how, k, &span, &tokens));
    k->left -= tokens - p->tokens;
    p->span = span;
    p->tokens = tokens;
    swallow(a, i, k);
    return CN_OK;
}

cn_err cn_asking_find(cn_service *s, cn_call *c, cn_asking *a) {
    CN_CLEANUP(counter_done) counter k = {0};
    CN_TRY(find_all(s, c, a));
    for (uint32_t i = 0; i < a->n_found; i++) {
        a->v[i].in = i;
        a->best = a->v[i].relevance > a->best ? a->v[i].relevance : a->best;
    }
    a->found = a->n_found > 0;
    if (a->max_tokens) {
        open_counter(s, a, &k);
        CN_TRY(keep_within(a, &k));
    }
    for (uint32_t i = 0; cn_asking_widens(a) && i < a->n_found; i++)
        if (a->v[i].in == i)
            CN_TRY(widen(c, a, i, &k));
    a->tokens = a->max_tokens - k.left;
    return CN_OK;
}
