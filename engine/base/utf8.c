#include "engine/base/utf8.h"

/* Bytes of the valid character at p (RFC 3629, table of section 4), or 0. */
static size_t one(const uint8_t *p, size_t n) {
    uint8_t a = p[0];
    if (a < 0x80)
        return 1;
    if (a < 0xc2 || a > 0xf4)
        return 0;
    size_t len = a < 0xe0 ? 2 : a < 0xf0 ? 3 : 4;
    if (n < len)
        return 0;
    uint8_t lo = a == 0xe0 ? 0xa0 : a == 0xf0 ? 0x90 : 0x80;
    uint8_t hi = a == 0xed ? 0x9f : a == 0xf4 ? 0x8f : 0xbf;
    if (p[1] < lo || p[1] > hi)
        return 0;
    for (size_t i = 2; i < len; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    return len;
}

size_t cn_utf8_valid_to(cn_str s) {
    const uint8_t *p = (const uint8_t *)s.p;
    size_t i = 0;
    while (i < s.n) {
        uint64_t v;
        if (s.n - i >= 8 && (memcpy(&v, p + i, 8), (v & 0x8080808080808080u) == 0)) {
            i += 8;
            continue;
        }
        size_t len = one(p + i, s.n - i);
        if (!len)
            return i;
        i += len;
    }
    return i;
}

void cn_utf8_mend(char *p, size_t n) {
    for (size_t i = cn_utf8_valid_to((cn_str){p, n}); i < n; i += cn_utf8_valid_to((cn_str){p + i, n - i}))
        p[i++] = '?';
}

size_t cn_utf8_cut(cn_str s, size_t at) {
    if (at >= s.n)
        return s.n;
    while (at > 0 && ((uint8_t)s.p[at] & 0xc0) == 0x80)
        at--;
    return at;
}

size_t cn_utf8_plays(const char *text, size_t n) {
    const unsigned char *p = (const unsigned char *)text;
    if (p[0] < 0x20 || p[0] == 0x7f)
        return 1;
    if (n >= 2 && ((p[0] == 0xc2 && p[1] < 0xa0) || (p[0] == 0xd8 && p[1] == 0x9c)))
        return 2;
    bool marks = n >= 3 && p[0] == 0xe2 && p[1] == 0x80 && (p[2] == 0x8e || p[2] == 0x8f || (p[2] >= 0xa8 && p[2] <= 0xae));
    bool isolates = n >= 3 && p[0] == 0xe2 && p[1] == 0x81 && p[2] >= 0xa6 && p[2] <= 0xa9;
    return marks || isolates ? 3 : 0;
}
