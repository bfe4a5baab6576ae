/* highlight.c -- where a question's words stand in a text that is given: the text is analysed as it was for the postings, so the
 * mode that found it does not matter. */
#include "engine/base/mem.h"
#include "index/search/searcher.h"

typedef struct marking {
    const cn_asked *a;
    const char *text;
    cn_range *v;
    uint32_t n;
    cn_following f;
    uint32_t words;                  /* so far */
    size_t begun[CN_PHRASE_WORDS];   /* where the last words begin, by turns */
} marking;

/* A phrase may begin before words that stand alone. */
static void add(marking *m, size_t from, size_t to) {
    while (m->n && m->v[m->n - 1].from >= from)
        m->n--;
    if (m->n && m->v[m->n - 1].to > from)
        m->v[m->n - 1].to = to;
    else if (m->n < CN_HIGHLIGHTS_MAX)
        m->v[m->n++] = (cn_range){from, to};
}

static bool stands_alone(const cn_asked *a, const cn_asked_word *asked, const cn_word *w) {
    if (asked && asked->alone && !asked->left_out)
        return true;
    for (uint32_t i = 0; i < a->n_prefixes; i++)
        if (!w->stop && cn_prefix_fits(&a->prefix[i], w->term))
            return true;
    return false;
}

static uint32_t longest(const cn_asked *a, uint64_t ends) {
    uint32_t most = 0;
    for (; ends; ends &= ends - 1) {
        uint32_t n = a->length[__builtin_ctzll(ends)];
        most = n > most ? n : most;
    }
    return most;
}

static cn_err mark(void *ctx, const cn_word *w) {
    marking *m = ctx;
    const cn_asked_word *asked = cn_asked_find(m->a, w->term);
    size_t from = (size_t)(w->at.p - m->text), to = from + w->at.n;
    m->begun[m->words % CN_PHRASE_WORDS] = from;
    uint32_t phrase = longest(m->a, cn_follow(m->a, &m->f, asked ? asked->places : 0));
    if (phrase)
        add(m, m->begun[(m->words + 1 - phrase) % CN_PHRASE_WORDS], to);
    else if (stands_alone(m->a, asked, w))
        add(m, from, to);
    m->words++;
    return CN_OK;
}

cn_err cn_highlight(cn_view *v, cn_searcher *s, cn_str question, bool operators, cn_str text, const cn_range **ret, uint32_t *ret_n) {
    cn_lexical *l = &s->lexical;
    marking m = {.a = &l->asked, .text = text.p};
    CN_TRY(cn_view_analyses(v));
    if (!l->ranges && !cn_resize(l->ranges, CN_HIGHLIGHTS_MAX))
        return cn_fail_memory();
    CN_TRY(cn_asked_read(&l->asked, &v->analyser, question, operators));
    m.v = l->ranges;
    if (l->asked.n + l->asked.n_prefixes)
        CN_TRY(cn_terms_each(l->asked.terms, text, mark, &m));
    *ret = m.v;
    *ret_n = m.n;
    return CN_OK;
}
