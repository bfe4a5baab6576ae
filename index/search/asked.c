#include "index/search/asked.h"

#include "engine/base/mem.h"
#include "engine/base/utf8.h"

void cn_asked_done(cn_asked *a) {
    cn_terms_free(a->terms);
    cn_table_done(&a->table);
    cn_free(a->words);
    cn_free(a->bytes);
    cn_free(a->text);
}

static cn_err make_room(cn_asked *a, const cn_analyser *analyser) {
    if (!a->bytes && (!cn_resize(a->words, CN_TERMS_MAX) || !cn_resize(a->bytes, (size_t)CN_TERMS_MAX * CN_TERM_MAX)))
        return cn_fail_memory();
    if (a->terms && cn_terms_are(a->terms, analyser))
        return CN_OK;
    cn_terms_free(a->terms);
    a->terms = NULL;
    return cn_terms_new(analyser, &a->terms);
}

/* ---------- words ---------- */
typedef struct same {
    const cn_asked *a;
    cn_str term;
} same;

static bool is_same(void *ctx, uint32_t i) {
    const same *x = ctx;
    return cn_str_eq(cn_asked_term(x->a, i), x->term);
}

static uint32_t hash_of(cn_str term) { return cn_crc32c(0, term.p, term.n); }

static uint32_t find(const cn_asked *a, uint32_t hash, cn_str term) { return cn_table_find(&a->table, hash, is_same, &(same){a, term}); }

const cn_asked_word *cn_asked_find(const cn_asked *a, cn_str term) {
    uint32_t i = find(a, hash_of(term), term);
    return i == UINT32_MAX ? NULL : &a->words[i];
}

/* *ret NULL: there are too many. */
static cn_err take_word(cn_asked *a, const cn_word *w, cn_asked_word **ret) {
    uint32_t hash = hash_of(w->term), i = find(a, hash, w->term);
    *ret = NULL;
    if (i == UINT32_MAX) {
        a->cut |= a->n == CN_TERMS_MAX;
        if (a->cut)
            return CN_OK;
        i = a->n;
        CN_TRY(cn_table_add(&a->table, hash, i));
        a->words[i] = (cn_asked_word){.at = i * CN_TERM_MAX, .bytes = (uint32_t)w->term.n, .stop = w->stop};
        memcpy(a->bytes + (size_t)i * CN_TERM_MAX, w->term.p, w->term.n);
        a->n++;
    }
    a->words[i].times++;
    *ret = &a->words[i];
    return CN_OK;
}

/* ---------- operators ---------- */
typedef struct reading {
    cn_asked *a;
    cn_str left;          /* of the text, from the last word on */
    bool operators, quoted;
    uint32_t first;       /* place of the phrase's first word */
} reading;

/* Bytes of the quotation mark at the front; 0: it is none. */
static size_t quote_at(cn_str s) {
    if (s.n && s.p[0] == '"')
        return 1;
    bool typographic = s.n >= 3 && memcmp(s.p, "\xe2\x80", 2) == 0 && (unsigned char)s.p[2] >= 0x9c && (unsigned char)s.p[2] <= 0x9e; /* U+201C to U+201E */
    return typographic ? 3 : 0;
}

static bool any_quote(cn_str s) {
    for (; s.n; s = (cn_str){s.p + 1, s.n - 1})
        if (quote_at(s))
            return true;
    return false;
}

static void end_phrase(reading *r) {
    cn_asked *a = r->a;
    uint32_t n = a->n_places - r->first;
    if (n == 0)
        return;
    a->ends |= (uint64_t)1 << (a->n_places - 1);
    a->length[a->n_places - 1] = (uint8_t)n;
    a->phrases++;
}

/* Passes what lies before `to`. */
static void pass(reading *r, const char *to) {
    while (r->left.p < to) {
        size_t quote = quote_at(r->left), step = quote ? quote : 1;
        r->left = (cn_str){r->left.p + step, r->left.n - step};
        if (!quote || (!r->quoted && !any_quote(r->left)))
            continue;
        if (r->quoted)
            end_phrase(r);
        r->quoted = !r->quoted;
        r->first = r->a->n_places;
    }
}

static cn_err place(reading *r, cn_asked_word *w) {
    cn_asked *a = r->a;
    if (!w)
        return cn_fail(CN_INVALID, "the question has more than %d different words before the end of a phrase in quotes; shorten it", CN_TERMS_MAX);
    if (a->n_places == CN_PHRASE_WORDS)
        return cn_fail(CN_INVALID, "the question has more than %u words in quotes; shorten its phrases", CN_PHRASE_WORDS);
    uint64_t bit = (uint64_t)1 << a->n_places;
    a->begins |= a->n_places == r->first ? bit : 0;
    w->places |= bit;
    w->in_quotes = true;
    a->n_places++;
    return CN_OK;
}

static uint32_t chars_of(cn_str s) {
    uint32_t n = 0;
    for (size_t i = 0; i < s.n; i++)
        n += ((unsigned char)s.p[i] & 0xc0) != 0x80;
    return n;
}

/* A star right behind the word, and no word or star behind that. */
static bool is_prefix(const reading *r, const cn_word *w) {
    const char *star = w->at.p + w->at.n, *end = r->left.p + r->left.n;
    if (r->quoted || star == end || *star != '*' || chars_of(w->folded) < CN_PREFIX_CHARS)
        return false;
    unsigned char next = star + 1 < end ? (unsigned char)star[1] : ' ';
    return next < 0x80 && next != '*' && !(next >= '0' && next <= '9') && !((next | 0x20) >= 'a' && (next | 0x20) <= 'z');
}

static cn_err take_prefix(cn_asked *a, const cn_word *w) {
    size_t n = w->folded.n > CN_TERM_MAX ? cn_utf8_cut(w->folded, CN_TERM_MAX) : w->folded.n;
    for (uint32_t i = 0; i < a->n_prefixes; i++)
        if (cn_str_eq((cn_str){w->folded.p, n}, (cn_str){a->prefix[i].folded, a->prefix[i].n_folded})) {
            a->prefix[i].times++;
            return CN_OK;
        }
    if (a->n_prefixes == CN_PREFIXES_MAX)
        return cn_fail(CN_INVALID, "the question has more than %u prefixes (word*); at most so many are looked up", CN_PREFIXES_MAX);
    cn_asked_prefix *p = &a->prefix[a->n_prefixes++];
    *p = (cn_asked_prefix){.n_folded = (uint8_t)n, .n_stem = (uint8_t)w->term.n, .times = 1};
    memcpy(p->folded, w->folded.p, n);
    memcpy(p->stem, w->term.p, w->term.n);
    return CN_OK;
}

static cn_err ask(void *ctx, const cn_word *w) {
    reading *r = ctx;
    cn_asked_word *word;
    if (r->operators)
        pass(r, w->at.p);
    if (r->operators && is_prefix(r, w))
        return take_prefix(r->a, w);
    CN_TRY(take_word(r->a, w, &word));
    if (r->quoted)
        return place(r, word);
    if (word)
        word->alone = true;
    return CN_OK;
}

/* Unless the question has nothing else. What stands in quotes counts. */
static void leave_out_stop_words(cn_asked *a) {
    bool others = a->n_prefixes > 0;
    a->n_kept = 0;
    for (uint32_t i = 0; i < a->n; i++)
        others |= !a->words[i].stop || a->words[i].in_quotes;
    for (uint32_t i = 0; i < a->n; i++) {
        a->words[i].left_out = others && a->words[i].stop && !a->words[i].in_quotes;
        a->n_kept += !a->words[i].left_out;
    }
}

static bool is_known(const cn_asked *a, const cn_analyser *analyser, cn_str text, bool operators) {
    return a->known && a->operators == operators && cn_str_eq((cn_str){a->text, a->n_text}, text) && cn_terms_are(a->terms, analyser);
}

static cn_err keep_text(cn_asked *a, cn_str text, bool operators) {
    if (text.n > a->room_text) {
        if (!cn_resize(a->text, text.n))
            return cn_fail_memory();
        a->room_text = text.n;
    }
    if (text.n)
        memcpy(a->text, text.p, text.n);
    a->n_text = text.n;
    a->operators = operators;
    a->known = true;
    return CN_OK;
}

cn_err cn_asked_read(cn_asked *a, const cn_analyser *analyser, cn_str text, bool operators) {
    reading r = {.a = a, .left = text, .operators = operators};
    if (is_known(a, analyser, text, operators))
        return CN_OK;
    a->known = false;
    CN_TRY(make_room(a, analyser));
    cn_table_clear(&a->table);
    a->n = a->n_places = a->phrases = a->n_prefixes = 0;
    a->begins = a->ends = 0;
    a->cut = false;
    CN_TRY(cn_terms_each(a->terms, text, ask, &r));
    if (r.quoted)
        end_phrase(&r);
    leave_out_stop_words(a);
    return keep_text(a, text, operators);
}

bool cn_prefix_fits(const cn_asked_prefix *p, cn_str term) {
    return (term.n >= p->n_folded && memcmp(term.p, p->folded, p->n_folded) == 0) || cn_str_eq(term, (cn_str){p->stem, p->n_stem});
}

/* ---------- phrases in a text ---------- */
typedef struct walk {
    const cn_asked *a;
    cn_following *f;
} walk;

static cn_err walk_on(void *ctx, const cn_word *w) {
    const walk *x = ctx;
    const cn_asked_word *word = x->f->found == x->a->ends ? NULL : cn_asked_find(x->a, w->term);
    cn_follow(x->a, x->f, word ? word->places : 0);
    return CN_OK;
}

cn_err cn_follow_text(const cn_asked *a, cn_following *f, cn_str text) {
    f->now = 0;
    return cn_terms_each(a->terms, text, walk_on, &(walk){a, f});
}
