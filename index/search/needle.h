/* needle.h -- a text to be found in extracted texts, however it was wrapped: NFC as all text here, any run of white space
 * equal to any other, and on demand without regard to case (Unicode's full case folding, character by character).
 *
 * Owns:    a needle lives in the arena given.
 * Thread:  any may look with it.
 * Limits:  CN_NEEDLE_MAX bytes; it holds at least one character that is not white space. */
#pragma once
#include "engine/base/arena.h"
#include "engine/base/error.h"

#define CN_NEEDLE_MAX 4096

typedef struct cn_needle {
    const int32_t *chars; /* folded when `fold`; each run of white space is one space */
    uint32_t n;
    cn_str word;          /* the bytes up to the first space, when not `fold`: what every match begins with */
    bool fold;
} cn_needle;

cn_err cn_needle_make(cn_str text, bool fold, cn_arena *a, cn_needle *ret);
/* The first match that begins at `from` or behind it, and before `to`; false: none. text: valid UTF-8, `from` at a character. */
bool cn_needle_find(const cn_needle *n, cn_str text, size_t from, size_t to, size_t *ret_at, size_t *ret_end);
