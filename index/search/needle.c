#include "index/search/needle.h"

#include <stdlib.h>
#include <utf8proc.h>

#include "engine/base/utf8.h"

#define FOLDED_MAX 8 /* characters that one becomes: three at most in Unicode, with room */

static int32_t char_at(cn_str s, size_t at, size_t *ret_next) {
    int32_t c;
    utf8proc_ssize_t n = utf8proc_iterate((const uint8_t *)s.p + at, (utf8proc_ssize_t)(s.n - at), &c);
    *ret_next = at + (n > 0 ? (size_t)n : 1);
    return n > 0 ? c : 0xfffd;
}

static bool is_space(int32_t c) {
    return c == ' ' || (c >= '\t' && c <= '\r') || (c > 127 && utf8proc_category(c) == UTF8PROC_CATEGORY_ZS);
}

static bool is_dropped(int32_t c) { return c == 0xad || c == 0xfeff; } /* as in all text that is kept */

static int fold_char(int32_t c, bool fold, int32_t ret[FOLDED_MAX]) {
    int class = 0;
    if (!fold || (c < 128 && (c < 'A' || c > 'Z'))) {
        ret[0] = c;
        return 1;
    }
    if (c < 128) {
        ret[0] = c + 'a' - 'A';
        return 1;
    }
    utf8proc_ssize_t n = utf8proc_decompose_char(c, ret, FOLDED_MAX, UTF8PROC_CASEFOLD, &class);
    if (n < 1 || n > FOLDED_MAX) {
        ret[0] = c;
        return 1;
    }
    return (int)n;
}

/* ---------- making ---------- */
static cn_err compose(cn_str text, cn_arena *a, cn_str *ret) {
    size_t room = 4 * text.n + 16;
    int32_t *chars = cn_arena_alloc(a, room * sizeof *chars); /* becomes the text in place, with a NUL */
    utf8proc_option_t how = UTF8PROC_STABLE | UTF8PROC_COMPOSE;
    if (!chars)
        return cn_fail_memory();
    utf8proc_ssize_t n = utf8proc_decompose((const uint8_t *)text.p, (utf8proc_ssize_t)text.n, chars, (utf8proc_ssize_t)room - 1, how);
    if (n < 0 || n >= (utf8proc_ssize_t)room)
        return cn_fail(CN_INVALID, "the text to find cannot be brought into NFC");
    n = utf8proc_reencode(chars, n, how);
    *ret = (cn_str){(const char *)chars, n < 0 ? 0 : (size_t)n};
    return CN_OK;
}

static void take_chars(cn_str nfc, bool fold, int32_t *chars, cn_needle *ret) {
    bool space = false;
    for (size_t at = 0; at < nfc.n;) {
        int32_t folded[FOLDED_MAX], c = char_at(nfc, at, &at);
        if (is_dropped(c))
            continue;
        if (is_space(c)) {
            space = ret->n > 0;
            continue;
        }
        if (space)
            chars[ret->n++] = ' ';
        space = false;
        for (int i = 0, n = fold_char(c, fold, folded); i < n; i++)
            chars[ret->n++] = folded[i];
    }
}

static cn_err first_word(cn_needle *n, cn_arena *a) {
    char *word = cn_arena_alloc(a, 4 * (size_t)n->n + 1);
    size_t bytes = 0;
    if (!word)
        return cn_fail_memory();
    for (uint32_t i = 0; i < n->n && n->chars[i] != ' '; i++)
        bytes += (size_t)utf8proc_encode_char(n->chars[i], (uint8_t *)word + bytes);
    n->word = (cn_str){word, bytes};
    return CN_OK;
}

cn_err cn_needle_make(cn_str text, bool fold, cn_arena *a, cn_needle *ret) {
    cn_needle n = {.fold = fold};
    cn_str nfc = {NULL, 0};
    if (text.n > CN_NEEDLE_MAX)
        return cn_fail(CN_INVALID, "the text to find has %zu bytes; at most %d", text.n, CN_NEEDLE_MAX);
    if (!cn_utf8_ok(text))
        return cn_fail(CN_INVALID, "the text to find is not valid UTF-8 at byte %zu", cn_utf8_valid_to(text));
    CN_TRY(compose(text, a, &nfc));
    int32_t *chars = cn_arena_alloc(a, (FOLDED_MAX * nfc.n + 1) * sizeof *chars);
    if (!chars)
        return cn_fail_memory();
    take_chars(nfc, fold, chars, &n);
    n.chars = chars;
    if (n.n == 0)
        return cn_fail(CN_INVALID, "the text to find holds nothing but white space");
    CN_TRY(first_word(&n, a));
    *ret = n;
    return CN_OK;
}

/* ---------- finding ---------- */
static size_t over_space(cn_str text, size_t at) {
    while (at < text.n) {
        size_t next;
        if (!is_space(char_at(text, at, &next)))
            break;
        at = next;
    }
    return at;
}

static bool matches(const cn_needle *n, cn_str text, size_t at, size_t *ret_end) {
    for (uint32_t i = 0; i < n->n;) {
        int32_t folded[FOLDED_MAX];
        if (n->chars[i] == ' ') {
            size_t after = over_space(text, at);
            if (after == at)
                return false;
            at = after;
            i++;
            continue;
        }
        if (at >= text.n)
            return false;
        int count = fold_char(char_at(text, at, &at), n->fold, folded);
        for (int k = 0; k < count; k++, i++)
            if (i >= n->n || n->chars[i] != folded[k])
                return false;
    }
    *ret_end = at;
    return true;
}

static bool find_folded(const cn_needle *n, cn_str text, size_t from, size_t to, size_t *ret_at, size_t *ret_end) {
    for (size_t at = from, next; at < to && at < text.n; at = next) {
        unsigned char b = (unsigned char)text.p[at];
        next = at + 1;
        if (b < 128 && n->chars[0] != (b >= 'A' && b <= 'Z' ? b + 'a' - 'A' : b))
            continue;
        if (b >= 128)
            (void)char_at(text, at, &next);
        if (matches(n, text, at, ret_end)) {
            *ret_at = at;
            return true;
        }
    }
    return false;
}

bool cn_needle_find(const cn_needle *n, cn_str text, size_t from, size_t to, size_t *ret_at, size_t *ret_end) {
    if (n->fold)
        return find_folded(n, text, from, to, ret_at, ret_end);
    to = to < text.n ? to : text.n;
    for (size_t at = from; at < to;) {
        size_t room = text.n - at < to - at + n->word.n - 1 ? text.n - at : to - at + n->word.n - 1; /* a match begins before `to` */
        const char *hit = memmem(text.p + at, room, n->word.p, n->word.n);
        if (!hit)
            return false;
        at = (size_t)(hit - text.p);
        if (matches(n, text, at, ret_end)) {
            *ret_at = at;
            return true;
        }
        at++;
    }
    return false;
}
