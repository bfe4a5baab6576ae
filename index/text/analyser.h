/* analyser.h -- text to the terms that lexical search finds it by.
 *
 * 1. Words: runs of letters, marks and digits (Unicode categories L, M, N). An apostrophe between two letters, and a full stop
 *    or comma between two digits, belong to the word; what is default-ignorable (a soft hyphen) is passed over. Han,
 *    Hiragana and Katakana are written without spaces: a run of them gives each two neighbours, a single one itself.
 *    Other scripts without spaces (Thai, Khmer) are not cut into words.
 * 2. Each word: NFKC and case folding (utf8proc), the apostrophe always U+0027, then the stemmer of the language (Snowball,
 *    libstemmer). A term is cut at CN_TERM_MAX bytes.
 * 3. Stop words are terms like others, but told apart: they do not count in a row's length, and a question leaves them out
 *    unless it has nothing else.
 * A language is one that libstemmer knows, or "none": no stemmer, no stop words.
 * A row is found by the words of its title, its headings and its text. How much one of the title or the headings counts, beside
 * one of the text, is the analyser's too: as so many; 0: that field is not looked up.
 * Owns:    a cn_terms owns its stemmer, and 128 KiB of words that it knows; a cn_analyser is a plain value.
 * Thread:  a cn_terms belongs to one at a time.
 * Limits:  bytes that are no UTF-8 end a word; CN_FIELD_TIMES_MAX. */
#pragma once
#include "engine/base/digest.h"
#include "engine/postings/postings.h"

#define CN_LANGUAGE_MAX 31
#define CN_ANALYSER_DEFAULT "english"

/* It says what the whole document is about, and stands once while the text has many words. */
#define CN_TITLE_TIMES 2
#define CN_HEADINGS_TIMES 1
#define CN_FIELD_TIMES_MAX 20

typedef struct cn_analyser {
    char language[CN_LANGUAGE_MAX + 1];
    uint8_t title, headings; /* times that their words count */
    char name[96];    /* for recipes: "words/2 language=english"; with other times than these " title=3 headings=0" behind it */
    cn_digest digest; /* of the name and of what it does with a page of samples: another libstemmer or Unicode shows */
} cn_analyser;

/* setting: a language as a user writes it ("english", "none"), with title=N and headings=N behind it or without, or the name of
 * a recipe; empty: the default. CN_INVALID lists what there is. */
cn_err cn_analyser_parse(cn_str setting, cn_analyser *ret);
/* A recipe's name as a user writes it; what an earlier build named stays as it is. */
cn_str cn_analyser_words(cn_str name);

typedef struct cn_terms cn_terms;
cn_err cn_terms_new(const cn_analyser *a, cn_terms **ret);
void cn_terms_free(cn_terms *t); /* NULL is fine */
bool cn_terms_are(const cn_terms *t, const cn_analyser *a); /* made for this one? */
bool cn_terms_stop(const cn_terms *t, cn_str term);         /* is the term a stop word? */

typedef struct cn_word {
    cn_str term;
    cn_str folded;    /* what the stemmer was given */
    cn_str at;        /* where it stands in the text; the pairs of a run overlap */
    bool stop;        /* it is a stop word */
} cn_word;
/* Calls fn for each word of the text in its order; its strings are fn's only during the call. What fn returns other than CN_OK
 * ends it. Takes nothing from the heap once its buffers have grown to the longest word. */
typedef cn_err cn_term_fn(void *ctx, const cn_word *w);
cn_err cn_terms_each(cn_terms *t, cn_str text, cn_term_fn *fn, void *ctx);
