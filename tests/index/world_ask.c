/* Questions to the model and to the real tenant, compared hit by hit. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/index/world.h"

#define RARE (W_LARGE ? .999 : 1) /* of few rows none is missed */
const w_mode w_modes[W_MODES] = {{"dense", CN_MODE_DENSE, 0, RARE}, {"exact", CN_MODE_EXACT, 0, 1}, {"lexical", CN_MODE_LEXICAL, 0, 1},
                                 {"hybrid", CN_MODE_HYBRID, 0, 1}, {"cells", CN_MODE_DENSE, .9, W_LARGE ? .9 : 1}, {"cells, most", CN_MODE_DENSE, .98, W_LARGE ? .98 : 1},
                                 {"cells, all", CN_MODE_DENSE, 1, RARE}};

static uint32_t model_hits(const w_world *w, const w_index *ix, uint32_t version, w_who who, const o_filter *f, const float *q, float least, w_hit *all) {
    uint32_t n = 0;
    for (uint32_t doc = 0; doc < W_DOCS; doc++) {
        const w_row *row = ix->v[version].row[doc];
        if (!w_permits(w, ix, version, doc, who) || (f && !o_filter_match(f, &row->d)))
            continue;
        for (uint32_t c = 0; c < row->d.chunks; c++) {
            float score = cn_score(ix->metric, q, row->d.vec[c], W_DIM);
            if (score >= least)
                all[n++] = (w_hit){score, &row->d, c};
        }
    }
    qsort(all, n, sizeof *all, w_by_order);
    return n;
}

static uint32_t at_most(w_world *w, w_hit *all, uint32_t n, const cn_query *q) {
    uint32_t out = 0;
    for (uint32_t i = 0; i < n && out < q->k; i++) {
        uint32_t same = 0;
        bool again = false;
        for (uint32_t j = 0; j < out; j++) {
            same += all[j].d == all[i].d;
            again |= q->distinct && w_same_text(&all[j], &all[i]);
        }
        w->repeated += again;
        if ((!q->per_doc || same < q->per_doc) && !again)
            all[out++] = all[i];
    }
    return out;
}

/* What the model answers, before k, per_doc and distinct cut it. */
typedef struct model {
    w_hit dense[W_HITS], lexical[W_HITS], fused[2 * W_HITS];
    uint32_t n_dense, n_lexical;
} model;

static uint32_t fused(w_world *w, model *m, const cn_query *q, uint32_t permitted) {
    for (uint32_t depth = q->k < 100 ? 100 : q->k;; depth *= 4) {
        uint32_t n = w_fuse(m->dense, m->n_dense, m->lexical, m->n_lexical, depth, m->fused), fit;
        w_hit *copy = malloc((n + 1) * sizeof *copy);
        memcpy(copy, m->fused, n * sizeof *copy);
        fit = at_most(w, copy, n, q);
        if (fit == q->k || !(q->per_doc || q->distinct) || depth >= permitted) {
            memcpy(m->fused, copy, fit * sizeof *copy);
            free(copy);
            return fit;
        }
        free(copy);
    }
}

static bool same_hit(const w_hit *want, const cn_hit *got) {
    cn_doc d;
    return cn_seg_doc_brief(got->seg, got->doc, &d) == CN_OK && cn_str_is(d.source, want->d->source) && cn_str_is(d.id, want->d->id) &&
           got->chunk == want->chunk && got->score == want->score;
}

/* What stands around it: as far as asked for on each side (a section is the whole document here, which has no headings), up
 * to what is said to be given. */
static void look_around(w_world *w, const w_hit *want, const cn_hit *got) {
    char text[W_TEXT];
    cn_chunk chunks[O_CHUNKS_MAX];
    cn_span given = {0}, span;
    cn_widen how = {.section = o_chance(&w->r, 30), .given = &given, .n_given = o_chance(&w->r, 40)};
    how.each = how.section ? o_below(&w->r, 2) : 1 + o_below(&w->r, O_CHUNKS_MAX);
    given.first = given.last = o_below(&w->r, want->d->chunks);
    uint32_t all = want->d->chunks, reach = how.each ? how.each : all, first = want->chunk, last = want->chunk;
    w_text(want->d, text, chunks);
    while (last + 1 < all && last - want->chunk < reach && !(how.n_given && given.first == last + 1))
        last++;
    while (first > 0 && want->chunk - first < reach && !(how.n_given && given.first == first - 1))
        first--;
    cn_err e = cn_hit_widen(got, &how, UINT32_MAX, &span);
    if (e != CN_OK || span.first != first || span.last != last || span.from != chunks[first].from || span.to != chunks[last].to)
        w_wrong(w, "around %s chunk %u: chunks %u to %u, the model says %u to %u", want->d->id, want->chunk, span.first, span.last, first, last);
    w->widened += last - first;
}

/* An answer that need not have each hit. */
static void compare_part(w_world *w, const w_mode *mode, model *m, const cn_query *q, const cn_hit *got, uint32_t n) {
    uint32_t at = 0, n_want;
    memcpy(m->fused, m->dense, m->n_dense * sizeof *m->dense);
    n_want = at_most(w, m->fused, m->n_dense, q);
    if (n != n_want)
        w_wrong(w, "%s: %u hits, the model says %u", mode->name, n, n_want);
    for (uint32_t i = 0; i < n && n == n_want; i++, at++) {
        while (at < m->n_dense && !same_hit(&m->dense[at], &got[i]))
            at++;
        if (at == m->n_dense) {
            w_wrong(w, "%s: hit %u of %u may not be read, has another score or is out of order", mode->name, i, n);
            return;
        }
        w->right[mode - w_modes] += got[i].score >= m->fused[n - 1].score;
    }
    w->wanted[mode - w_modes] += n;
}

static void compare(w_world *w, const w_mode *mode, const w_hit *want, uint32_t n_want, const cn_hit *got, uint32_t n_got) {
    if (n_want != n_got) {
        w_wrong(w, "%s: %u hits, the model says %u", mode->name, n_got, n_want);
        return;
    }
    for (uint32_t i = 0; i < n_got; i++)
        if (!same_hit(&want[i], &got[i])) {
            w_wrong(w, "%s: hit %u of %u is not %s %s chunk %u of %.9g (it has %.9g)", mode->name, i, n_got, want[i].d->source, want[i].d->id, want[i].chunk, (double)want[i].score,
                    (double)got[i].score);
            return;
        }
    for (uint32_t i = 0; i < n_got && i < 2; i++)
        look_around(w, &want[i], &got[i]);
}

static const cn_filter *make_filter(w_world *w, const o_filter *f) {
    const cn_filter *ret = NULL;
    CN_AUTO_BUF cn_buf map;
    CN_AUTO_UNPACKED cn_unpacked u = {0};
    cn_buf_init(&map, 1 << 20);
    if (!f)
        return NULL;
    o_filter_map(f, &map);
    if (cn_unpack(&u, map.p, map.n) != CN_OK || cn_filter_from_map(&u.o, &w->a, &ret) != CN_OK)
        w_wrong(w, "a filter: %s", cn_error_detail());
    return ret;
}

/* Which version to ask, and what opening it must say. */
static cn_err pick_version(w_world *w, const w_index *ix, uint32_t *ret_asked, uint32_t *ret_version) {
    uint32_t asked = o_chance(&w->r, 50) ? 0 : o_below(&w->r, ix->n + 2), version = asked ? asked : ix->active;
    *ret_asked = asked;
    *ret_version = version;
    if (version == 0 || version > ix->n)
        return CN_NOT_FOUND;
    return ix->v[version].marks & (CN_MARK_QUARANTINED | CN_MARK_DROPPED) ? CN_REFUSED : CN_OK;
}

static cn_view *open_view(w_world *w, const w_index *ix, uint32_t *ret_version) {
    uint32_t asked;
    cn_view *v = NULL;
    cn_err want = pick_version(w, ix, &asked, ret_version), got = cn_view_open(w->t, cn_str_of(ix->name), asked, &v);
    if (got != want)
        w_wrong(w, "opening version %u of %s: %s, the model says %s: %s", asked, ix->name, cn_err_name(got), cn_err_name(want), cn_error_detail());
    else if (v && cn_view_version(v)->number != *ret_version)
        w_wrong(w, "version %llu answers, the model says %u", (unsigned long long)cn_view_version(v)->number, *ret_version);
    if (v && want != CN_OK) {
        cn_view_unref(v);
        v = NULL;
    }
    return v;
}

void w_ask(w_world *w) {
    static const uint32_t ks[] = {1, 3, 10, W_LARGE ? 60 : 500};
    const w_index *ix = &w->ix[o_below(&w->r, W_INDEXES)];
    const w_mode *mode = &w_modes[o_below(&w->r, W_MODES)];
    uint32_t version, k = ks[o_below(&w->r, 4)], n = 0;
    w_who who = w_who_random(w);
    model *m = calloc(1, sizeof *m);
    w_asked asked;
    cn_hit got[500];
    o_doc from = {0};
    cn_arena_reset(&w->a);
    cn_view *v = open_view(w, ix, &version);
    if (!v) {
        free(m);
        return;
    }
    w_question(w, &asked);
    o_doc_random(&w->r, W_DIM, &from);
    o_filter *f = o_chance(&w->r, 40) ? o_filter_random(&w->r, 2) : NULL;
    cn_query q = {.who = w_principal(&w->a, who), .vector = from.chunks ? from.vec[0] : (const float[W_DIM]){1, 1}, .k = k, .mode = mode->mode, .text = cn_str_of(asked.text), .operators = asked.operators,
                  .exact = W_LARGE && mode->mode == CN_MODE_HYBRID, .recall = mode->recall, .filter = make_filter(w, f), .min_score = mode->mode <= CN_MODE_EXACT && mode->least == 1 && o_chance(&w->r, 15) ? (float)o_below(&w->r, 4) / 2 : -INFINITY,
                  .per_doc = o_chance(&w->r, 30) ? 1 + o_below(&w->r, 2) : 0, .distinct = o_chance(&w->r, 30)};
    cn_search_stats stats = {0};
    cn_err e = cn_search(v, &q, w->searcher, got, &n, &stats);
    if (e != CN_OK) {
        w_wrong(w, "search: %s", cn_error_detail());
    } else {
        uint32_t permitted = model_hits(w, ix, version, who, f, q.vector, -INFINITY, m->dense);
        m->n_dense = model_hits(w, ix, version, who, f, q.vector, q.min_score, m->dense);
        m->n_lexical = w_lexical(w, ix, version, who, f, &asked, m->lexical);
        if (mode->mode == CN_MODE_HYBRID)
            compare(w, mode, m->fused, fused(w, m, &q, permitted), got, n);
        else if (mode->mode == CN_MODE_LEXICAL)
            compare(w, mode, m->lexical, at_most(w, m->lexical, m->n_lexical, &q), got, n);
        else if (mode->least < 1)
            compare_part(w, mode, m, &q, got, n);
        else
            compare(w, mode, m->dense, at_most(w, m->dense, m->n_dense, &q), got, n);
        if (stats.permitted != permitted)
            w_wrong(w, "%u rows permitted, the model says %u", stats.permitted, permitted);
        w->hits += n;
        w->by_cells += stats.by_cells > 0;
    }
    w->questions++;
    free(m);
    o_filter_free(f);
    cn_view_unref(v);
}

/* ---------- documents ---------- */
typedef struct listing {
    w_world *w;
    const char *source;  /* of the last */
    char last[32];
    uint32_t docs;
    bool seen[W_DOCS];
} listing;

static cn_err list_one(void *ctx, cn_seg *seg, uint32_t doc) {
    listing *l = ctx;
    cn_doc d;
    char id[32];
    CN_TRY(cn_seg_doc_brief(seg, doc, &d));
    uint32_t i = w_number(d.id);
    w_id(i, id);
    int c = l->source ? strcmp(l->source, w_source(i)) : -1;
    if (!cn_str_is(d.id, id) || !cn_str_is(d.source, w_source(i)) || l->seen[i] || c > 0 || (c == 0 && strcmp(l->last, id) >= 0))
        w_wrong(l->w, "the list of documents is out of order at %s", id);
    l->seen[i] = true;
    l->source = w_source(i);
    memcpy(l->last, id, sizeof id);
    l->docs++;
    return CN_OK;
}

static void look_at_lists(w_world *w, cn_view *v, const w_index *ix, uint32_t version, w_who who) {
    listing l = {.w = w};
    uint64_t want_docs = 0;
    cn_principal p = w_principal(&w->a, who);
    uint32_t page = 1 + o_below(&w->r, W_DOCS / 3), before;
    do { /* page by page */
        cn_place_after after = {cn_str_of(l.source ? l.source : ""), cn_str_of(l.last)};
        before = l.docs;
        if (cn_view_docs(v, &p, CN_STR(""), &after, page, 0, list_one, &l) != CN_OK)
            w_wrong(w, "listing: %s", cn_error_detail());
    } while (l.docs == before + page);
    for (uint32_t doc = 0; doc < W_DOCS; doc++) {
        bool may = w_permits(w, ix, version, doc, who);
        want_docs += may;
        if (may != l.seen[doc])
            w_wrong(w, "document %u is %slisted", doc, may ? "not " : "");
    }
    if (l.docs != want_docs)
        w_wrong(w, "%u documents listed, the model says %llu", l.docs, (unsigned long long)want_docs);
}

static bool same_labels(cn_labels got, uint32_t bits) {
    uint32_t n = 0;
    for (int i = 0; i < O_LABELS; i++)
        n += bits >> i & 1;
    for (uint32_t i = 0; i < got.n; i++) {
        bool found = false;
        for (int k = 0; k < O_LABELS; k++)
            found |= (bits >> k & 1) && cn_str_is(got.v[i], o_label_name[k]);
        if (!found)
            return false;
    }
    return got.n == n;
}

/* A forbidden document answers like one that never was: code and text. */
static void look_at_doc(w_world *w, cn_view *v, const w_index *ix, uint32_t version, w_who who) {
    char id[32], absent[256];
    cn_seg *seg;
    uint32_t doc = o_below(&w->r, W_DOCS), number;
    cn_principal p = w_principal(&w->a, who);
    bool may = w_permits(w, ix, version, doc, who);
    cn_err none = cn_view_doc(v, CN_STR("s9"), CN_STR("never"), &p, &seg, &number);
    snprintf(absent, sizeof absent, "%s", cn_error_detail());
    w_id(doc, id);
    cn_err e = cn_view_doc(v, cn_str_of(w_source(doc)), cn_str_of(id), &p, &seg, &number);
    if (e != (may ? CN_OK : none) || (!may && strcmp(absent, cn_error_detail()) != 0))
        w_wrong(w, "document %s: %s \"%s\", the model says %s", id, cn_err_name(e), cn_error_detail(), may ? "OK" : "as if it were not there");
    w->hidden_rows += !may && ix->v[version].row[doc];
}

/* An explanation's verdict is what a question gives, and what it names is what the model has. */
static void look_why(w_world *w, cn_view *v, const w_index *ix, uint32_t version, w_who who) {
    char id[32];
    cn_explained x;
    uint32_t doc = o_below(&w->r, W_DOCS);
    const w_row *row = ix->v[version].row[doc];
    cn_principal p = w_principal(&w->a, who);
    w_id(doc, id);
    if (cn_view_explain(v, cn_str_of(w_source(doc)), cn_str_of(id), &p, &w->a, &x) != CN_OK) {
        w_wrong(w, "explaining %s: %s", id, cn_error_detail());
        return;
    }
    cn_seg *seg;
    uint32_t number;
    bool may = w_permits(w, ix, version, doc, who), shown = cn_view_doc(v, cn_str_of(w_source(doc)), cn_str_of(id), &p, &seg, &number) == CN_OK;
    if ((x.verdict == CN_V_READABLE) != may || shown != may)
        w_wrong(w, "document %s is explained with verdict %d, the model says %s", id, (int)x.verdict, may ? "readable" : "not");
    bool erased = w->erased[doc] || (row && row->stamp < w->dead_before[doc]);
    if ((x.verdict == CN_V_ERASED) != erased || (x.verdict == CN_V_ABSENT) != (!row && !erased) || (x.seg != NULL) != (w_whole(row) != NULL))
        w_wrong(w, "document %s is explained with verdict %d; erased %d, in this version %d", id, (int)x.verdict, erased, row != NULL);
    if (w_whole(row) && (x.said.hidden != w->hidden[doc] || !same_labels(x.row.allow, row->d.allow) || !same_labels(x.row.deny, row->d.deny) ||
                !same_labels(x.row.require, row->d.require)))
        w_wrong(w, "document %s is explained with other labels than its row has", id);
    w->explained[x.verdict]++;
}

void w_look(w_world *w) {
    const w_index *ix = &w->ix[o_below(&w->r, W_INDEXES)];
    uint32_t version;
    w_who who = w_who_random(w);
    cn_arena_reset(&w->a);
    cn_view *v = open_view(w, ix, &version);
    if (!v)
        return;
    for (int i = 0; i < 10; i++)
        look_at_doc(w, v, ix, version, who);
    look_at_lists(w, v, ix, version, who);
    for (int i = 0; i < 10; i++)
        look_why(w, v, ix, version, who);
    cn_view_unref(v);
}
