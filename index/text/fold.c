/* Kinds of characters, and words folded, by utf8proc's tables; ASCII without them. */
#include <utf8proc.h>

#include "index/text/inside.h"

static cn_char_kind ascii_kind(unsigned char c) {
    if (c >= '0' && c <= '9')
        return CN_CHAR_DIGIT;
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'))
        return CN_CHAR_LETTER;
    return c == '\'' ? CN_CHAR_APOSTROPHE : c == '.' || c == ',' ? CN_CHAR_POINT : CN_CHAR_OTHER;
}

static bool is_paired(int32_t c) { /* Hiragana, Katakana, ideographs and their extensions */
    return (c >= 0x3041 && c <= 0x30ff && c != 0x30fb) || (c >= 0x31f0 && c <= 0x31ff) || (c >= 0x3400 && c <= 0x4dbf) || (c >= 0x4e00 && c <= 0x9fff) ||
           (c >= 0xf900 && c <= 0xfaff) || (c >= 0xff66 && c <= 0xff9f) || (c >= 0x20000 && c <= 0x3ffff) || c == 0x3005;
}

static cn_char_kind kind_of(int32_t c) {
    if (c == 0x2019 || c == 0xff07)
        return CN_CHAR_APOSTROPHE;
    if (is_paired(c))
        return CN_CHAR_PAIRED;
    switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_ND:
        return CN_CHAR_DIGIT;
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
        return CN_CHAR_LETTER;
    case UTF8PROC_CATEGORY_CF:
        return CN_CHAR_IGNORED;
    default:
        return CN_CHAR_OTHER;
    }
}

cn_char_kind cn_char_kind_of(cn_str text, uint32_t *ret_bytes) {
    unsigned char first = (unsigned char)text.p[0];
    int32_t c;
    *ret_bytes = 1;
    if (first < 0x80)
        return ascii_kind(first);
    utf8proc_ssize_t n = utf8proc_iterate((const uint8_t *)text.p, text.n < 4 ? (utf8proc_ssize_t)text.n : 4, &c);
    *ret_bytes = n > 0 ? (uint32_t)n : 0;
    return n > 0 ? kind_of(c) : CN_CHAR_OTHER;
}

static bool fold_ascii(cn_str word, char *out) {
    for (size_t i = 0; i < word.n; i++) {
        unsigned char c = (unsigned char)word.p[i];
        if (c >= 0x80)
            return false;
        out[i] = (char)(c >= 'A' && c <= 'Z' ? c + 32 : c);
    }
    return true;
}

/* What a typographer writes for an apostrophe is one. */
static size_t plain_apostrophes(int32_t *v, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (v[i] == 0x2019 || v[i] == 0xff07)
            v[i] = '\'';
    return n;
}

size_t cn_word_fold(cn_str word, char *out) {
    int32_t v[CN_WORD_MAX * 4 + 1]; /* NFKC and folding make at most some three characters of a byte, 18 of the rarest sign of 3 bytes */
    const utf8proc_option_t how = UTF8PROC_STABLE | UTF8PROC_COMPAT | UTF8PROC_COMPOSE | UTF8PROC_CASEFOLD | UTF8PROC_IGNORE;
    if (fold_ascii(word, out))
        return word.n;
    utf8proc_ssize_t n = utf8proc_decompose((const uint8_t *)word.p, (utf8proc_ssize_t)word.n, v, CN_WORD_MAX * 4, how);
    if (n <= 0 || n > CN_WORD_MAX * 4)
        return 0;
    n = utf8proc_reencode(v, (utf8proc_ssize_t)plain_apostrophes(v, (size_t)n), how);
    if (n <= 0)
        return 0;
    size_t bytes = (size_t)n < CN_WORD_MAX * 4 ? (size_t)n : CN_WORD_MAX * 4;
    memcpy(out, v, bytes);
    return bytes;
}
