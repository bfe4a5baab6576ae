/* lexical.c -- a question's words, weighed by what the principal may read: BM25's counts are of the permitted set alone. */
#include <math.h>
#include <stdatomic.h>

#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "index/search/searcher.h"

cn_err cn_view_analyses(const cn_view *v) {
    if (v->analyses)
        return CN_OK;
    return cn_fail(CN_UNAVAILABLE, "version %llu was analysed by \"" CN_STR_FMT "\", which this build does not have", (unsigned long long)v->ver.number,
                   CN_STR_ARG(v->ver.recipe.analyser));
}

cn_err cn_view_lexical(cn_view *v, uint64_t deadline_ns) {
    cn_postings *p;
    CN_TRY(cn_view_analyses(v));
    for (uint32_t i = 0; i < v->n_parts; i++)
        if (cn_seg_rows(v->parts[i].seg))
            CN_TRY(cn_seg_postings(v->parts[i].seg, &v->analyser, deadline_ns, &p));
    return CN_OK;
}

void cn_lexical_done(cn_lexical *l) {
    cn_asked_done(&l->asked);
    cn_lookup_scratch_free(l->scratch);
    cn_table_done(&l->begun_at);
    cn_free(l->begun);
    cn_free(l->expanded);
    cn_free(l->wanted);
    cn_free(l->ranges);
}

static cn_err make_room(cn_lexical *l) {
    if (!l->scratch)
        CN_TRY(cn_lookup_scratch_new(&l->scratch));
    return l->wanted || cn_resize(l->wanted, CN_TERMS_MAX) ? CN_OK : cn_fail_memory();
}

/* ---------- counts ---------- */
static cn_err counts_of(cn_permit *p, cn_word_counts **ret) {
    cn_word_counts *none = NULL, *c = atomic_load(&p->counts);
    if (!c) {
        CN_TRY(cn_word_counts_new(&c));
        if (!atomic_compare_exchange_strong(&p->counts, &none, c)) {
            cn_word_counts_free(c);
            c = none;
        }
    }
    *ret = c;
    return CN_OK;
}

typedef struct counting {
    cn_str term; /* empty: the lengths */
    cn_row_set rows;
    uint64_t n;
} counting;

static cn_err count_in(void *ctx, const cn_postings *p) {
    counting *c = ctx;
    uint32_t n = 0;
    if (c->term.n)
        CN_TRY(cn_postings_count(p, c->term, c->rows, &n));
    c->n = c->term.n ? n : cn_postings_tokens(p, c->rows);
    return CN_OK;
}

/* Over all segments. term empty: the sum of the lengths. A question may have a thousand words, each with long lists. */
static cn_err count(cn_view *v, const cn_query *q, const cn_permit *p, cn_str term, uint64_t *ret) {
    uint64_t sum = 0;
    for (uint32_t i = 0; i < v->n_parts; i++) {
        counting c = {term, {p->rows[i], p->n_rows[i]}, 0};
        if (c.rows.n == 0)
            continue;
        if (q->deadline_ns && cn_mono_ns() > q->deadline_ns)
            return cn_fail(CN_DEADLINE, "the time was over before the question's words were counted");
        CN_TRY(cn_seg_use_postings(v->parts[i].seg, &v->analyser, q->deadline_ns, count_in, &c));
        sum += c.n;
        CN_TRY(cn_seg_sound(v->parts[i].seg));
    }
    *ret = sum;
    return CN_OK;
}

cn_err cn_lexical_counted(cn_view *v, const cn_query *q, cn_permit *p, cn_str term, uint64_t *ret) {
    cn_word_counts *c;
    CN_TRY(counts_of(p, &c));
    if (cn_word_counts_get(c, term, ret))
        return CN_OK;
    CN_TRY(count(v, q, p, term, ret));
    cn_word_counts_put(c, term, *ret);
    return CN_OK;
}

/* Lucene's form of Robertson's weight, which is never negative: ln(1 + (N - n + 0.5) / (n + 0.5)), times how often the word
 * was asked, times k1 + 1. */
static float weight_of(uint64_t rows, uint64_t n, uint32_t times) {
    double idf = log1p(((double)rows - (double)n + 0.5) / ((double)n + 0.5));
    return (float)(idf * times * ((double)CN_BM25_K1 + 1));
}

/* What a term may add to a score. */
static float add_weight(cn_lexical *l, uint64_t rows, uint64_t n, uint32_t times) {
    float w = weight_of(rows, n, times);
    l->most += w;
    l->known += n ? w : 0;
    l->terms_known += n > 0;
    return w;
}

static cn_err weigh_words(cn_view *v, const cn_query *q, cn_permit *p, uint64_t rows, cn_lexical *l) {
    for (uint32_t i = 0; i < l->asked.n; i++) {
        const cn_asked_word *x = &l->asked.words[i];
        cn_str term = cn_asked_term(&l->asked, i);
        uint64_t n;
        if (x->left_out)
            continue;
        CN_TRY(cn_lexical_counted(v, q, p, term, &n));
        float w = add_weight(l, rows, n, x->times);
        if (n || x->in_quotes)
            l->wanted[l->n_wanted++] = (cn_wanted){.term = term, .weight = w, .must = x->in_quotes};
    }
    return CN_OK;
}

/* A prefix weighs as the one of its terms that the most rows hold. */
static cn_err weigh_prefixes(cn_view *v, const cn_query *q, cn_permit *p, uint64_t rows, cn_lexical *l) {
    for (uint32_t i = 0; i < l->asked.n_prefixes; i++) {
        uint32_t first = l->n_wanted, n;
        uint64_t most_rows;
        CN_TRY(cn_expand(v, q, p, &l->asked.prefix[i], l, &n, &most_rows));
        float w = add_weight(l, rows, most_rows, l->asked.prefix[i].times);
        for (uint32_t j = first; j < first + n; j++) {
            l->wanted[j].weight = w;
            l->wanted[j].joins = j > first;
        }
    }
    return CN_OK;
}

static cn_err weigh(cn_view *v, const cn_query *q, cn_permit *p, cn_lexical *l) {
    uint64_t rows = 0, tokens;
    for (uint32_t i = 0; i < v->n_parts; i++)
        rows += p->n_rows[i];
    CN_TRY(cn_lexical_counted(v, q, p, (cn_str){"", 0}, &tokens));
    l->mean = rows && tokens ? (float)((double)tokens / (double)rows) : 1;
    if (rows == 0)
        return CN_OK;
    CN_TRY(weigh_words(v, q, p, rows, l));
    return weigh_prefixes(v, q, p, rows, l);
}

cn_err cn_lexical_prepare(cn_view *v, const cn_query *q, cn_lexical *l) {
    cn_permit *p;
    CN_TRY(cn_view_lexical(v, q->deadline_ns));
    CN_TRY(make_room(l));
    l->n_wanted = l->n_expanded = l->terms_known = l->looked_at = 0;
    l->most = l->known = 0;
    l->prefix_cut = false;
    CN_TRY(cn_asked_read(&l->asked, &v->analyser, q->text, q->operators));
    l->terms = l->asked.n_kept + l->asked.n_prefixes;
    CN_TRY(cn_permit_get(v, &q->who, NULL, q->deadline_ns, &p));
    cn_err e = weigh(v, q, p, l);
    cn_permit_unref(p);
    return e;
}
