/* Words that say little, by language: sorted by their bytes. Where a language has none here, none are left out. */
#include <stdlib.h>

#include "index/text/inside.h"

#define WORDS(name, ...) static const char *const name[] = {__VA_ARGS__}

WORDS(english, "a", "about", "above", "after", "again", "against", "all", "am", "an", "and", "any", "are", "aren't", "as", "at", "be", "because",
      "been", "before", "being", "below", "between", "both", "but", "by", "can", "can't", "cannot", "could", "couldn't", "did", "didn't", "do",
      "does", "doesn't", "doing", "don't", "down", "during", "each", "few", "for", "from", "further", "had", "hadn't", "has", "hasn't", "have",
      "haven't", "having", "he", "he's", "her", "here", "here's", "hers", "herself", "him", "himself", "his", "how", "how's", "i", "i'd", "i'll",
      "i'm", "i've", "if", "in", "into", "is", "isn't", "it", "it's", "its", "itself", "let's", "me", "more", "most", "my", "myself", "no", "nor",
      "not", "of", "off", "on", "once", "only", "or", "other", "our", "ours", "ourselves", "out", "over", "own", "same", "she", "she's", "should",
      "shouldn't", "so", "some", "such", "than", "that", "that's", "the", "their", "theirs", "them", "themselves", "then", "there", "there's",
      "these", "they", "they'd", "they'll", "they're", "they've", "this", "those", "through", "to", "too", "under", "until", "up", "very", "was",
      "wasn't", "we", "we'd", "we'll", "we're", "we've", "were", "weren't", "what", "what's", "when", "when's", "where", "where's", "which",
      "while", "who", "who's", "whom", "whose", "why", "why's", "will", "with", "won't", "would", "wouldn't", "you", "you'd", "you'll", "you're",
      "you've", "your", "yours", "yourself", "yourselves");
WORDS(german, "aber", "als", "am", "an", "auch", "auf", "aus", "bei", "das", "dass", "dem", "den", "der", "des", "die", "ein", "eine", "einem", "einen",
      "einer", "eines", "er", "es", "für", "hat", "ich", "im", "in", "ist", "mit", "nach", "nicht", "noch", "nur", "oder", "sich", "sie", "sind", "so",
      "um", "und", "von", "vor", "war", "wie", "wird", "zu", "zum", "zur");
WORDS(french, "a", "au", "aux", "avec", "ce", "ces", "dans", "de", "des", "du", "elle", "en", "est", "et", "il", "ils", "je", "la", "le", "les", "leur",
      "mais", "ne", "nous", "on", "ou", "par", "pas", "pour", "qu", "que", "qui", "sa", "se", "ses", "son", "sont", "sur", "un", "une", "vous", "à");
WORDS(spanish, "a", "al", "como", "con", "de", "del", "el", "en", "es", "esta", "este", "la", "las", "lo", "los", "no", "o", "para", "pero", "por", "que",
      "se", "su", "sus", "un", "una", "y");
WORDS(italian, "a", "al", "alla", "che", "con", "da", "dal", "dalla", "dei", "del", "della", "di", "e", "gli", "ha", "i", "il", "in", "la", "le", "lo",
      "ma", "nel", "nella", "non", "o", "per", "si", "sono", "su", "un", "una", "è");
WORDS(dutch, "aan", "als", "bij", "dat", "de", "den", "der", "die", "dit", "een", "en", "er", "het", "hij", "ik", "in", "is", "je", "maar", "met", "naar",
      "niet", "of", "om", "ook", "op", "te", "tot", "uit", "van", "voor", "was", "zij", "zijn");

static const struct {
    const char *language;
    const char *const *words;
    size_t n;
} lists[] = {
#define LIST(name) {#name, name, sizeof name / sizeof *name}
    LIST(english), LIST(german), LIST(french), LIST(spanish), LIST(italian), LIST(dutch),
};

static int by_bytes(const void *a, const void *b) { return cn_str_cmp(*(const cn_str *)a, cn_str_of(*(const char *const *)b)); }

bool cn_word_stops(const char *language, cn_str word) {
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        if (strcmp(lists[i].language, language) == 0)
            return bsearch(&word, lists[i].words, lists[i].n, sizeof *lists[i].words, by_bytes) != NULL;
    return false;
}
