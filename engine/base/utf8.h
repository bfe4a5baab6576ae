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
/* The largest cut <= at that splits no character; `s` must be valid. */
size_t cn_utf8_cut(cn_str s, size_t at);
