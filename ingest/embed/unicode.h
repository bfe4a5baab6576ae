/* unicode.h -- the character classes of BERT's tokenizer, as Hugging Face's `tokenizers` has them.
 *
 * The tables are written by unicode_tables.py; decompositions and lower case come from utf8proc.
 * Owns:    nothing.
 * Thread:  any.
 * Limits:  none. */
#pragma once
#include "engine/base/str.h"

typedef struct cn_uni_range {
    uint32_t from, to;
} cn_uni_range;
typedef struct cn_uni_set { /* sorted, not overlapping */
    const cn_uni_range *v;
    uint32_t n;
} cn_uni_set;
typedef struct cn_uni_shift {
    uint32_t from, to;
    int32_t add;
} cn_uni_shift;

extern const cn_uni_set cn_uni_removed, cn_uni_accent, cn_uni_punct, cn_uni_unsorted, cn_uni_whole;
extern const cn_uni_shift cn_uni_lower[];
extern const uint32_t cn_uni_lower_n;

bool cn_uni_in(const cn_uni_set *s, uint32_t c);
bool cn_uni_space(uint32_t c);
bool cn_uni_cjk(uint32_t c); /* an ideograph: a word of its own */
bool cn_uni_is_punct(uint32_t c);
bool cn_uni_is_removed(uint32_t c);

#define CN_UNI_MANY 8
/* Canonical decomposition; returns how many, at least 1. */
uint32_t cn_uni_decompose(uint32_t c, uint32_t out[CN_UNI_MANY]);
/* Canonical combining class: marks of a run are sorted by it; 0 ends a run. */
uint32_t cn_uni_class(uint32_t c);
uint32_t cn_uni_lower_of(uint32_t c, uint32_t out[2]); /* returns 1 or 2 */

/* The character at p and its bytes (1 to 4); a byte that starts none is U+FFFD of one byte. n > 0. */
static inline uint32_t cn_uni_next(const uint8_t *p, size_t n, uint32_t *ret) {
    uint32_t a = p[0], c;
    if (a < 0x80) {
        *ret = a;
        return 1;
    }
    uint32_t len = a < 0xc2 ? 0 : a < 0xe0 ? 2 : a < 0xf0 ? 3 : a < 0xf5 ? 4 : 0;
    *ret = 0xfffd;
    if (!len || n < len)
        return 1;
    c = a & (0x7fu >> len);
    for (uint32_t i = 1; i < len; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 1;
        c = c << 6 | (p[i] & 0x3fu);
    }
    static const uint32_t least[5] = {0, 0, 0x80, 0x800, 0x10000};
    if (c < least[len] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
        return 1;
    *ret = c;
    return len;
}
/* Writes c as UTF-8; returns its bytes. */
static inline uint32_t cn_uni_put(uint32_t c, uint8_t out[4]) {
    if (c < 0x80) {
        out[0] = (uint8_t)c;
        return 1;
    }
    uint32_t len = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (uint32_t i = len - 1; i > 0; i--, c >>= 6)
        out[i] = (uint8_t)(0x80 | (c & 0x3f));
    static const uint8_t lead[5] = {0, 0, 0xc0, 0xe0, 0xf0};
    out[0] = (uint8_t)(lead[len] | c);
    return len;
}
