#include "index/types.h"

#include "engine/base/utf8.h"

cn_err cn_name_check(cn_str name, const char *what) {
    if (name.n == 0 || name.n > CN_NAME_MAX)
        return cn_fail(CN_INVALID, "the name of %s %s has 1 to %d characters", *what == 'i' ? "an" : "a", what, CN_NAME_MAX);
    for (size_t i = 0; i < name.n; i++) {
        char c = name.p[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
        if (!plain && (i == 0 || (c != '.' && c != '_' && c != '-')))
            return cn_fail(CN_INVALID, "the name of %s \"" CN_STR_FMT "\" may hold a-z, 0-9 and, after the first, . _ -", what, CN_STR_ARG(name));
    }
    return CN_OK;
}

cn_key cn_key_of(cn_str source, cn_str id) {
    uint8_t head[16];
    uint64_t len[2] = {source.n, id.n};
    for (int i = 0; i < 16; i++)
        head[i] = (uint8_t)(len[i / 8] >> (8 * (i % 8)));
    cn_sha256 s;
    cn_sha256_begin(&s);
    cn_sha256_add(&s, head, sizeof head);
    cn_sha256_add(&s, source.p, source.n);
    cn_sha256_add(&s, id.p, id.n);
    cn_key key = cn_sha256_get(&s);
    cn_sha256_end(&s);
    return key;
}

const char *cn_reason_logged(const cn_actor *who, char text[CN_REASON_LOGGED]) {
    cn_str r = who->reason;
    r.n = r.n < CN_REASON_LOGGED - 3 ? r.n : CN_REASON_LOGGED - 3;
    r.n = cn_utf8_valid_to(r); /* cut: no part of a character */
    for (size_t i = 0; i < r.n; i++)
        text[1 + i] = r.p[i] == '"' ? '\'' : (unsigned char)r.p[i] < ' ' ? ' ' : r.p[i];
    text[0] = text[1 + r.n] = '"';
    text[2 + r.n] = 0;
    return text;
}
