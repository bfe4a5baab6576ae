/* asked.h -- the words of a question, once each; with operators also its phrases and prefixes.
 *
 * Without operators every sign is what it is in a text: nothing. With them
 *   "two words"   (also between typographic marks) is a phrase: its words must stand in a row in this order, one behind the
 *                 other, in the title, one heading or the passage. Its stop words count like its others. A mark that has no
 *                 second one is passed over.
 *   confi*        outside of quotes, at the end of a word of CN_PREFIX_CHARS characters at least, is a prefix: each word that
 *                 begins so and is no stop word. What is looked up are terms, which are stems: those that begin so, and the one
 *                 that the prefix would have as a word itself. Elsewhere a star is a sign like others.
 * Every other text is read as without them.
 * Owns:    its words, of the question read last, and that question, so that it is not read again for each text it is looked for in.
 * Thread:  one at a time.
 * Limits:  CN_TERMS_MAX different words, those behind are passed over; CN_PHRASE_WORDS words in quotes and CN_PREFIXES_MAX
 *          prefixes, else CN_INVALID. Warm it takes nothing from the heap. */
#pragma once
#include "engine/base/table.h"
#include "index/text/analyser.h"

#define CN_PHRASE_WORDS 64u
#define CN_PREFIXES_MAX 8u
#define CN_PREFIX_CHARS 2u

typedef struct cn_asked_word {
    uint32_t at, bytes;
    uint32_t times;       /* that it was asked */
    bool stop, in_quotes, alone; /* alone: outside of quotes too */
    bool left_out;        /* a stop word among others that are none */
    uint64_t places;      /* in phrases: see cn_asked */
} cn_asked_word;

typedef struct cn_asked_prefix {
    char folded[CN_TERM_MAX], stem[CN_TERM_MAX];
    uint8_t n_folded, n_stem;
    uint32_t times;
} cn_asked_prefix;

typedef struct cn_asked {
    cn_terms *terms;      /* of the analyser used last */
    cn_table table;       /* of words */
    cn_asked_word *words; /* CN_TERMS_MAX */
    char *bytes;          /* CN_TERMS_MAX x CN_TERM_MAX */
    uint32_t n, n_kept;   /* different words; those that are not left out */
    bool cut;             /* there are more than are looked up */
    /* The words of all phrases, one behind the other, are bits from the lowest on: where a phrase begins, where it ends. */
    uint64_t begins, ends;
    uint32_t n_places, phrases;
    uint8_t length[CN_PHRASE_WORDS]; /* of the phrase that ends there */
    cn_asked_prefix prefix[CN_PREFIXES_MAX];
    uint32_t n_prefixes;
    char *text;           /* the question read last */
    size_t n_text, room_text;
    bool known, operators; /* known: the above is what it says, read so */
} cn_asked;

cn_err cn_asked_read(cn_asked *a, const cn_analyser *analyser, cn_str text, bool operators);
void cn_asked_done(cn_asked *a);
static inline cn_str cn_asked_term(const cn_asked *a, uint32_t i) { return (cn_str){a->bytes + a->words[i].at, a->words[i].bytes}; }
const cn_asked_word *cn_asked_find(const cn_asked *a, cn_str term); /* NULL: it was not asked */
bool cn_prefix_fits(const cn_asked_prefix *p, cn_str term);        /* does the term stand for such words? */

/* ---------- phrases in a text, word by word ---------- */
typedef struct cn_following {
    uint64_t now;         /* words of phrases that the words up to here end with */
    uint64_t found;       /* ends of phrases that stood in what was read */
} cn_following;
/* The next word, one that was asked at these places; returns the phrases that end with it. */
static inline uint64_t cn_follow(const cn_asked *a, cn_following *f, uint64_t places) {
    f->now = (f->now << 1 | a->begins) & places;
    f->found |= f->now & a->ends;
    return f->now & a->ends;
}
/* Follows a whole text. */
cn_err cn_follow_text(const cn_asked *a, cn_following *f, cn_str text);
