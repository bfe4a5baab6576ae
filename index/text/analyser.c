#include "index/text/analyser.h"

#include <libstemmer.h>
#include <stdio.h>

#include "engine/base/mem.h"
#include "engine/base/utf8.h"
#include "index/text/inside.h"

#define NAME "words/2 language="

#define KNOWN 2048       /* words; a text's are mostly few */
#define KNOWN_BYTES 20

typedef struct known { /* what became of a word; bytes 0: nothing is here */
    uint8_t bytes, folded_bytes, term_bytes;
    bool stop;
    char raw[KNOWN_BYTES], folded[KNOWN_BYTES], term[KNOWN_BYTES];
} known;
_Static_assert(sizeof(known) == 64, "one cache line each");

struct cn_terms {
    char language[CN_LANGUAGE_MAX + 1];
    struct sb_stemmer *stemmer; /* NULL: none */
    char folded[4 * CN_WORD_MAX];
    known known[KNOWN];         /* a word pushes out another of its slot */
};

/* ---------- words ---------- */
static cn_err analyse(cn_terms *t, cn_str raw, cn_word *w) {
    w->folded = (cn_str){t->folded, cn_word_fold(raw, t->folded)};
    w->stop = cn_word_stops(t->language, w->folded);
    w->term = w->folded;
    if (t->stemmer && w->folded.n && !w->stop) {
        const sb_symbol *s = sb_stemmer_stem(t->stemmer, (const sb_symbol *)w->folded.p, (int)w->folded.n);
        if (!s)
            return cn_fail_memory();
        w->term = (cn_str){(const char *)s, (size_t)sb_stemmer_length(t->stemmer)};
    }
    w->term.n = w->term.n > CN_TERM_MAX ? cn_utf8_cut(w->term, CN_TERM_MAX) : w->term.n;
    return CN_OK;
}

static void keep(known *k, cn_str raw, const cn_word *w) {
    if (raw.n > KNOWN_BYTES || w->folded.n > KNOWN_BYTES || w->term.n > KNOWN_BYTES)
        return;
    *k = (known){.bytes = (uint8_t)raw.n, .folded_bytes = (uint8_t)w->folded.n, .term_bytes = (uint8_t)w->term.n, .stop = w->stop};
    memcpy(k->raw, raw.p, raw.n);
    memcpy(k->folded, w->folded.p, w->folded.n);
    memcpy(k->term, w->term.p, w->term.n);
}

/* raw: the bytes of it that count, one at least; at: all of them. */
static cn_err emit(cn_terms *t, cn_str raw, cn_str at, cn_term_fn *fn, void *ctx) {
    uint32_t h = cn_hash_bytes(CN_HASH_BEGIN, raw);
    known *k = &t->known[(h ^ h >> 15) % KNOWN];
    cn_word w = {.folded = {k->folded, k->folded_bytes}, .term = {k->term, k->term_bytes}, .at = at, .stop = k->stop};
    if (k->bytes != raw.n || memcmp(k->raw, raw.p, raw.n) != 0) {
        CN_TRY(analyse(t, raw, &w));
        keep(k, raw, &w);
    }
    return w.term.n ? fn(ctx, &w) : CN_OK;
}

typedef struct scan {
    cn_str left;
    cn_char_kind kind;
    uint32_t bytes;      /* of the character at the front */
} scan;

static bool look(scan *s) {
    s->bytes = 0;
    s->kind = CN_CHAR_OTHER;
    if (s->left.n == 0)
        return false;
    s->kind = cn_char_kind_of(s->left, &s->bytes);
    return true;
}

static void step(scan *s) {
    uint32_t n = s->bytes ? s->bytes : 1;
    s->left = (cn_str){s->left.p + n, s->left.n - n};
}

/* Does what stands behind the character at the front go on with the same kind? */
static bool goes_on(const scan *s, cn_char_kind kind) {
    uint32_t bytes;
    return s->left.n > s->bytes && cn_char_kind_of((cn_str){s->left.p + s->bytes, s->left.n - s->bytes}, &bytes) == kind;
}

static bool in_word(const scan *s, cn_char_kind before) {
    switch (s->kind) {
    case CN_CHAR_LETTER:
    case CN_CHAR_DIGIT:
    case CN_CHAR_IGNORED:
        return true;
    case CN_CHAR_APOSTROPHE:
        return before == CN_CHAR_LETTER && goes_on(s, CN_CHAR_LETTER);
    case CN_CHAR_POINT:
        return before == CN_CHAR_DIGIT && goes_on(s, CN_CHAR_DIGIT);
    case CN_CHAR_PAIRED:
    case CN_CHAR_OTHER:
    default:
        return false;
    }
}

static cn_err take_word(cn_terms *t, scan *s, cn_term_fn *fn, void *ctx) {
    const char *from = s->left.p;
    size_t n = 0;
    for (cn_char_kind before = CN_CHAR_OTHER; look(s) && in_word(s, before); step(s)) {
        if ((size_t)(s->left.p - from) + s->bytes <= CN_WORD_MAX)
            n = (size_t)(s->left.p - from) + s->bytes;
        before = s->kind == CN_CHAR_IGNORED ? before : s->kind;
    }
    return emit(t, (cn_str){from, n}, (cn_str){from, (size_t)(s->left.p - from)}, fn, ctx);
}

/* Each two neighbours; one alone as it is. */
static cn_err take_pairs(cn_terms *t, scan *s, cn_term_fn *fn, void *ctx) {
    const char *one = s->left.p, *two = one + s->bytes;
    uint32_t pairs = 0;
    for (step(s); look(s) && s->kind == CN_CHAR_PAIRED; step(s), pairs++) {
        cn_str pair = {one, (size_t)(two - one) + s->bytes};
        CN_TRY(emit(t, pair, pair, fn, ctx));
        one = two;
        two = one + s->bytes;
    }
    cn_str single = {one, (size_t)(two - one)};
    return pairs ? CN_OK : emit(t, single, single, fn, ctx);
}

cn_err cn_terms_each(cn_terms *t, cn_str text, cn_term_fn *fn, void *ctx) {
    scan s = {.left = text};
    while (look(&s)) {
        if (s.kind == CN_CHAR_LETTER || s.kind == CN_CHAR_DIGIT)
            CN_TRY(take_word(t, &s, fn, ctx));
        else if (s.kind == CN_CHAR_PAIRED)
            CN_TRY(take_pairs(t, &s, fn, ctx));
        else
            step(&s);
    }
    return CN_OK;
}

/* ---------- languages ---------- */
static bool is_known(const char *language) {
    if (strcmp(language, "none") == 0)
        return true;
    for (const char **l = sb_stemmer_list(); *l; l++)
        if (strcmp(*l, language) == 0)
            return true;
    return false;
}

static cn_err unknown(cn_str language) {
    char list[512] = "";
    size_t n = 0;
    for (const char **l = sb_stemmer_list(); *l && n < sizeof list; l++)
        n += (size_t)snprintf(list + n, sizeof list - n, "%s, ", *l);
    return cn_fail(CN_INVALID, "there is no analyser \"" CN_STR_FMT "\"; a language is %snone", CN_STR_ARG(language), list);
}

static bool take_times(cn_str word, cn_str name, uint8_t *io) {
    uint32_t n = 0;
    if (word.n <= name.n || word.n > name.n + 2 || memcmp(word.p, name.p, name.n) != 0)
        return false;
    for (size_t i = name.n; i < word.n; i++) {
        if (word.p[i] < '0' || word.p[i] > '9')
            return false;
        n = 10 * n + (uint32_t)(word.p[i] - '0');
    }
    *io = (uint8_t)n;
    return n <= CN_FIELD_TIMES_MAX;
}

/* What stands behind the language. */
static cn_err take_fields(cn_str words, cn_analyser *a) {
    for (cn_str word; cn_str_next(&words, ' ', &word);)
        if (!take_times(word, CN_STR("title="), &a->title) && !take_times(word, CN_STR("headings="), &a->headings))
            return cn_fail(CN_INVALID, "\"" CN_STR_FMT "\" says nothing of an analyser; behind the language go title=N and headings=N, how often a word there counts, 0 to %d",
                           CN_STR_ARG(word), CN_FIELD_TIMES_MAX);
    return CN_OK;
}

static void write_name(cn_analyser *a) {
    int n = snprintf(a->name, sizeof a->name, NAME "%s", a->language);
    if (a->title != CN_TITLE_TIMES)
        n += snprintf(a->name + n, sizeof a->name - (size_t)n, " title=%u", a->title);
    if (a->headings != CN_HEADINGS_TIMES)
        snprintf(a->name + n, sizeof a->name - (size_t)n, " headings=%u", a->headings);
}

bool cn_terms_are(const cn_terms *t, const cn_analyser *a) { return strcmp(t->language, a->language) == 0; }

bool cn_terms_stop(const cn_terms *t, cn_str term) { return cn_word_stops(t->language, term); }

cn_err cn_terms_new(const cn_analyser *a, cn_terms **ret) {
    cn_terms *t = cn_calloc(1, sizeof *t);
    if (!t)
        return cn_fail_memory();
    memcpy(t->language, a->language, sizeof t->language);
    if (strcmp(t->language, "none") != 0 && !(t->stemmer = sb_stemmer_new(t->language, NULL))) {
        cn_free(t);
        return cn_fail_memory();
    }
    *ret = t;
    return CN_OK;
}

void cn_terms_free(cn_terms *t) {
    if (!t)
        return;
    if (t->stemmer)
        sb_stemmer_delete(t->stemmer);
    cn_free(t);
}

/* ---------- what it does, as a digest ---------- */
static const char samples[] =
    "The running dogs' owners weren't generously relational; organisations, national internationalisation, happily dying skies. "
    "Die Häuser der Städte, größere Straßen; les chevaux généreusement aimés; los niños corrían rápidamente; città possibilità; "
    "ΟΔΥΣΣΕΥΣ Москва городами İstanbul ﬁnancial ﬃ Ⅷ １２３ 3.14 1,400 naïve co\xc2\xad"
    "operate 東京都 カタカナ ﾊﾝｶｸ ไทย 한국어 עברית العربية हिन्दी "
    "don’t 𝐁𝐨𝐥𝐝 x² \xe1\xba\x9e Å Å";

static cn_err add_sample(void *ctx, const cn_word *w) {
    cn_sha256_field(ctx, w->term);
    cn_sha256_u64(ctx, w->stop);
    return CN_OK;
}

static cn_err digest_of(const cn_analyser *a, cn_digest *ret) {
    cn_terms *t;
    cn_sha256 s;
    CN_TRY(cn_terms_new(a, &t));
    cn_sha256_begin(&s);
    cn_sha256_field(&s, cn_str_of(a->name));
    cn_err e = cn_terms_each(t, CN_STR(samples), add_sample, &s);
    *ret = cn_sha256_get(&s);
    cn_sha256_end(&s);
    cn_terms_free(t);
    return e;
}

cn_str cn_analyser_words(cn_str name) {
    const size_t n = sizeof NAME - 1;
    return name.n > n && memcmp(name.p, NAME, n) == 0 ? (cn_str){name.p + n, name.n - n} : name;
}

cn_err cn_analyser_parse(cn_str setting, cn_analyser *ret) {
    cn_analyser a = {.language = "", .title = CN_TITLE_TIMES, .headings = CN_HEADINGS_TIMES};
    cn_str words = setting.n ? cn_analyser_words(setting) : CN_STR(CN_ANALYSER_DEFAULT), language = {"", 0};
    cn_str_next(&words, ' ', &language);
    if (language.n > CN_LANGUAGE_MAX || memchr(language.p, 0, language.n))
        return unknown(language);
    memcpy(a.language, language.p, language.n);
    if (!is_known(a.language))
        return unknown(language);
    CN_TRY(take_fields(words, &a));
    write_name(&a);
    CN_TRY(digest_of(&a, &a.digest));
    *ret = a;
    return CN_OK;
}
