#include "ingest/embed/words.h"

#include <utf8proc.h>

#include "ingest/embed/unicode.h"

typedef enum kind { GAP, RUN, SIGN } kind;

static kind kind_of(uint32_t c) {
    if (c < 128)
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ? RUN : c <= ' ' || c == 127 ? GAP : SIGN;
    if (cn_uni_space(c) || cn_uni_is_removed(c))
        return GAP;
    if (cn_uni_cjk(c))
        return SIGN;
    utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)c);
    return k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_NO ? RUN : SIGN; /* letters, marks, numbers */
}

cn_err cn_words_run(cn_str text, uint32_t most, cn_tokens *out) {
    if (text.n >= UINT32_MAX)
        return cn_fail(CN_INVALID, "a text of %zu bytes; at most 4 GiB can be tokenized", text.n);
    uint32_t from = 0, at = 0;
    while (at < text.n) {
        uint32_t c, n = cn_uni_next((const uint8_t *)text.p + at, text.n - at, &c);
        kind k = kind_of(c);
        if (from < at && (k != RUN || at + n - from > most)) {
            CN_TRY(cn_tokens_add(out, 0, from, at));
            from = at;
        }
        if (k == SIGN)
            CN_TRY(cn_tokens_add(out, 0, at, at + n));
        at += n;
        if (k != RUN)
            from = at;
    }
    return from < at ? cn_tokens_add(out, 0, from, at) : CN_OK;
}
