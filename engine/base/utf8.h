/* utf8.h -- checks and small steps on UTF-8; what needs Unicode tables is utf8proc's.
 *
 * Owns:    nothing.
 * Thread:  any.
 * Limits:  none. */
#pragma once
#include "engine/base/str.h"

/* The byte at which `s` stops being valid UTF-8 (no surrogates, no overlong forms); s.n when all of it is. */
size_t cn_utf8_valid_to(cn_str s);
static inline bool cn_utf8_ok(cn_str s) { return cn_utf8_valid_to(s) == s.n; }
/* Puts '?' for each byte that belongs to no valid character. */
void cn_utf8_mend(char *p, size_t n);
/* Bytes of a character that starts at p (of n that are valid) and moves the line or turns its order on a terminal: controls,
 * U+061C, U+200E, U+200F, U+2028 to U+202E, U+2066 to U+2069; 0: another. */
size_t cn_utf8_plays(const char *p, size_t n);
/* The largest cut <= at that splits no character; `s` must be valid. */
size_t cn_utf8_cut(cn_str s, size_t at);
