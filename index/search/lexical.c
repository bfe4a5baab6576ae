/* lexical.c -- a question's words, weighed by what the principal may read: BM25's counts are of the permitted set alone. */
#include <math.h>
#include <stdatomic.h>

#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "index/search/searcher.h"

cn_err cn_view_lexical(cn_view *v, uint64_t deadline_ns) {
    cn_postings *p;
    if (!v->analyses)
        return cn_fail(CN_UNAVAILABLE, "version %llu was analysed by \"" CN_STR_FMT "\", which this build does not have", (unsigned long long)v->ver.number,
                       CN_STR_ARG(v->ver.recipe.analyser));
    for (uint32_t i = 0; i < v->n_parts; i++)
        if (cn_seg_rows(v->parts[i].seg))
            CN_TRY(cn_seg_postings(v->parts[i].seg, &v->analyser, deadline_ns, &p));
    return CN_OK;
}

void cn_lexical_done(cn_lexical *l) {
    cn_terms_free(l->terms);
    cn_lookup_scratch_free(l->scratch);
    cn_table_done(&l->table);
    cn_free(l->asked);
    cn_free(l->bytes);
    cn_free(l->wanted);
}

static cn_err make_room(cn_lexical *l, const cn_analyser *a) {
    if (!l->scratch)
        CN_TRY(cn_lookup_scratch_new(&l->scratch));
    if (!l->wanted && (!cn_resize(l->asked, CN_TERMS_MAX) || !cn_resize(l->bytes, (size_t)CN_TERMS_MAX * CN_TERM_MAX) || !cn_resize(l->wanted, CN_TERMS_MAX)))
        return cn_fail_memory();
    if (l->terms && cn_terms_are(l->terms, a))
        return CN_OK;
    cn_terms_free(l->terms);
    l->terms = NULL;
    return cn_terms_new(a, &l->terms);
}

/* ---------- words ---------- */
static cn_str word(const cn_lexical *l, uint32_t i) { return (cn_str){l->bytes + l->asked[i].at, l->asked[i].bytes}; }

typedef struct same {
    const cn_lexical *l;
    cn_str term;
} same;

static bool is_same(void *ctx, uint32_t i) {
    const same *x = ctx;
    return cn_str_eq(word(x->l, i), x->term);
}

static cn_err ask(void *ctx, cn_str term, bool stop) {
    cn_lexical *l = ctx;
    uint32_t hash = cn_crc32c(0, term.p, term.n), at = cn_table_find(&l->table, hash, is_same, &(same){l, term});
    if (at != UINT32_MAX) {
        l->asked[at].times++;
        return CN_OK;
    }
    l->cut |= l->n == CN_TERMS_MAX;
    if (l->cut)
        return CN_OK;
    CN_TRY(cn_table_add(&l->table, hash, l->n));
    l->asked[l->n] = (cn_asked){l->n * CN_TERM_MAX, (uint32_t)term.n, 1, stop};
    memcpy(l->bytes + (size_t)l->n * CN_TERM_MAX, term.p, term.n);
    l->n++;
    return CN_OK;
}

static void drop_stop_words(cn_lexical *l) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < l->n; i++)
        if (!l->asked[i].stop)
            l->asked[kept++] = l->asked[i];
    if (kept)
        l->n = kept;
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

static cn_err counted(cn_view *v, const cn_query *q, const cn_permit *p, cn_word_counts *c, cn_str term, uint64_t *ret) {
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

static cn_err weigh(cn_view *v, const cn_query *q, cn_permit *p, cn_lexical *l) {
    cn_word_counts *c;
    uint64_t rows = 0, tokens, n;
    CN_TRY(counts_of(p, &c));
    for (uint32_t i = 0; i < v->n_parts; i++)
        rows += p->n_rows[i];
    CN_TRY(counted(v, q, p, c, (cn_str){"", 0}, &tokens));
    l->mean = rows && tokens ? (float)((double)tokens / (double)rows) : 1;
    for (uint32_t i = 0; rows && i < l->n; i++) {
        CN_TRY(counted(v, q, p, c, word(l, i), &n));
        float w = weight_of(rows, n, l->asked[i].times);
        l->most += w;
        if (n) {
            l->wanted[l->n_wanted++] = (cn_wanted){word(l, i), w};
            l->known += w;
        }
    }
    return CN_OK;
}

cn_err cn_lexical_prepare(cn_view *v, const cn_query *q, cn_lexical *l) {
    cn_permit *p;
    CN_TRY(cn_view_lexical(v, q->deadline_ns));
    CN_TRY(make_room(l, &v->analyser));
    cn_table_clear(&l->table);
    l->n = l->n_wanted = 0;
    l->most = l->known = 0;
    l->cut = false;
    CN_TRY(cn_terms_each(l->terms, q->text, ask, l));
    drop_stop_words(l);
    CN_TRY(cn_permit_get(v, &q->who, NULL, q->deadline_ns, &p));
    cn_err e = weigh(v, q, p, l);
    cn_permit_unref(p);
    return e;
}
