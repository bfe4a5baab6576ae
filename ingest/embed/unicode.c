#include "ingest/embed/unicode.h"

#include <utf8proc.h>

bool cn_uni_in(const cn_uni_set *s, uint32_t c) {
    uint32_t lo = 0, hi = s->n;
    while (lo < hi) {
        uint32_t mid = (lo + hi) / 2;
        if (s->v[mid].to < c)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < s->n && s->v[lo].from <= c;
}

bool cn_uni_space(uint32_t c) {
    if (c < 0x80)
        return c == ' ' || c == '\t' || c == '\n' || c == '\r';
    return c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f ||
           c == 0x205f || c == 0x3000;
}

bool cn_uni_cjk(uint32_t c) {
    return (c >= 0x4e00 && c <= 0x9fff) || (c >= 0x3400 && c <= 0x4dbf) || (c >= 0x20000 && c <= 0x2a6df) ||
           (c >= 0x2a700 && c <= 0x2b73f) || (c >= 0x2b740 && c <= 0x2b81f) || (c >= 0x2b920 && c <= 0x2ceaf) ||
           (c >= 0xf900 && c <= 0xfaff) || (c >= 0x2f800 && c <= 0x2fa1f);
}

bool cn_uni_is_punct(uint32_t c) { return cn_uni_in(&cn_uni_punct, c); }
bool cn_uni_is_removed(uint32_t c) { return cn_uni_in(&cn_uni_removed, c); }

uint32_t cn_uni_decompose(uint32_t c, uint32_t out[CN_UNI_MANY]) {
    int boundclass = 0;
    utf8proc_int32_t buf[CN_UNI_MANY];
    out[0] = c;
    if (cn_uni_in(&cn_uni_whole, c))
        return 1;
    utf8proc_ssize_t n = utf8proc_decompose_char((utf8proc_int32_t)c, buf, CN_UNI_MANY, UTF8PROC_STABLE | UTF8PROC_DECOMPOSE, &boundclass);
    if (n < 1 || n > CN_UNI_MANY)
        return 1;
    for (utf8proc_ssize_t i = 0; i < n; i++)
        out[i] = (uint32_t)buf[i];
    return (uint32_t)n;
}

uint32_t cn_uni_class(uint32_t c) {
    uint32_t k = (uint32_t)utf8proc_get_property((utf8proc_int32_t)c)->combining_class;
    return k && cn_uni_in(&cn_uni_unsorted, c) ? 0 : k;
}

uint32_t cn_uni_lower_of(uint32_t c, uint32_t out[2]) {
    out[0] = (uint32_t)utf8proc_tolower((utf8proc_int32_t)c);
    if (c == 0x130) { /* capital I with a dot: the one letter that becomes two */
        out[1] = 0x307;
        return 2;
    }
    for (uint32_t i = 0; c >= cn_uni_lower[0].from && i < cn_uni_lower_n; i++)
        if (c >= cn_uni_lower[i].from && c <= cn_uni_lower[i].to)
            out[0] = (uint32_t)((int64_t)c + cn_uni_lower[i].add);
    return 1;
}
