/* Words that say little, by language: sorted by their bytes. Where a language has none here, none are left out. */
#include <stdlib.h>

#include "index/text/inside.h"

#define WORDS(name, ...) static const char *const name[] = {__VA_ARGS__}

WORDS(english, "a", "an", "and", "are", "as", "at", "be", "but", "by", "for", "if", "in", "into", "is", "it", "no", "not", "of", "on", "or", "such",
      "that", "the", "their", "then", "there", "these", "they", "this", "to", "was", "will", "with");
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
