/* sentence.h -- where a sentence ends, by simple rules, and where a word begins.
 *
 * Owns:    nothing.
 * Thread:  any.
 * Limits:  looks at most 64 bytes back. */
#pragma once
#include "engine/base/str.h"

/* Does a sentence end at byte `end` (the end of a token), the next token beginning at byte `next`? */
bool cn_sentence_ends(cn_str text, uint64_t end, uint64_t next);
/* May text be cut before byte `at` without cutting a word, or a sign from its word? */
bool cn_word_begins(cn_str text, uint64_t at);
