/* inside.h -- the parts of the analyser; for index/text only.
 *
 * Owns:    nothing.
 * Thread:  any.
 * Limits:  CN_WORD_MAX bytes of a raw word; the rest of a longer one is passed over. */
#pragma once
#include "index/text/analyser.h"

#define CN_WORD_MAX 256

typedef enum cn_char_kind { CN_CHAR_OTHER, CN_CHAR_LETTER, CN_CHAR_DIGIT, CN_CHAR_PAIRED, CN_CHAR_IGNORED, CN_CHAR_APOSTROPHE, CN_CHAR_POINT } cn_char_kind;
/* The character at the text's start and how many bytes it has; 0 bytes: no UTF-8. text.n > 0. */
cn_char_kind cn_char_kind_of(cn_str text, uint32_t *ret_bytes);
/* Folds a raw word; out has room for 4 x CN_WORD_MAX bytes. Returns the bytes written; 0: nothing is left. */
size_t cn_word_fold(cn_str word, char *out);
/* Is the folded word a stop word of the language? */
bool cn_word_stops(const char *language, cn_str word);
