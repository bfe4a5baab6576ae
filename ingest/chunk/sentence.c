#include "ingest/chunk/sentence.h"

#include <strings.h>

#include "ingest/embed/unicode.h"

#define LOOK_BACK 64

static uint32_t char_at(cn_str t, uint64_t at, uint32_t *ret_n) {
    uint32_t c = 0;
    uint32_t n = at < t.n ? cn_uni_next((const uint8_t *)t.p + at, t.n - at, &c) : 0;
    if (ret_n)
        *ret_n = n;
    return c;
}

/* The character that ends before byte *at, which is moved back to its first byte; 0 at the beginning. */
static uint32_t char_before(cn_str t, uint64_t *at) {
    if (*at == 0)
        return 0;
    uint64_t p = *at - 1;
    for (int i = 0; i < 3 && p > 0 && ((uint8_t)t.p[p] & 0xc0) == 0x80; i++)
        p--;
    *at = p;
    return char_at(t, p, NULL);
}

static bool closes(uint32_t c) {
    return c == '"' || c == '\'' || c == ')' || c == ']' || c == 0x201d || c == 0x2019 || c == 0xbb || c == 0x300d || c == 0x300f || c == 0xff09;
}
static bool wide_stop(uint32_t c) { return c == 0x3002 || c == 0xff01 || c == 0xff1f || c == 0xff61; }

/* A full stop after these, or after one letter, or in "e.g.", ends no sentence. */
static bool abbreviation(cn_str t, uint64_t stop) {
    static const char *const known[] = {"mr", "mrs", "ms", "dr", "prof", "st", "vs", "etc", "fig", "figs", "eq", "no", "nos", "vol", "pp",
                                        "ed", "eds", "al", "inc", "ltd", "co", "corp", "jr", "sr", "cf", "ca", "approx", "dept", "sec", "ch",
                                        "gen", "col", "rev", "hon", "jan", "feb", "mar", "apr", "jun", "jul", "aug", "sep", "sept", "oct", "nov", "dec"};
    uint64_t from = stop;
    while (from > 0 && stop - from < LOOK_BACK && ((t.p[from - 1] | 32) >= 'a' && (t.p[from - 1] | 32) <= 'z'))
        from--;
    size_t n = stop - from;
    if (n == 0)
        return false;
    if (n == 1 || (from > 0 && t.p[from - 1] == '.'))
        return true;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strlen(known[i]) == n && strncasecmp(known[i], t.p + from, n) == 0)
            return true;
    return false;
}

bool cn_sentence_ends(cn_str t, uint64_t end, uint64_t next) {
    uint64_t at = end;
    uint32_t c = char_before(t, &at);
    while (closes(c) && end - at < LOOK_BACK)
        c = char_before(t, &at);
    if (wide_stop(c))
        return !closes(char_at(t, next, NULL)); /* a bracket that closes belongs to the sentence */
    if (next <= end || (c != '.' && c != '!' && c != '?' && c != 0x2026))
        return false;
    uint32_t follows = char_at(t, next, NULL);
    return !(follows >= 'a' && follows <= 'z') && !(c == '.' && abbreviation(t, at));
}

/* Signs that stay with what is before them, and with what follows. */
static bool trails(uint32_t c) {
    return c == '.' || c == ',' || c == ';' || c == ':' || c == '!' || c == '?' || c == '}' || c == '%' || c == 0x2026 || c == 0x3001 || c == 0xff0c || closes(c) || wide_stop(c);
}
static bool leads(uint32_t c) {
    return c == '(' || c == '[' || c == '{' || c == '#' || c == '@' || c == '$' || c == 0xa1 || c == 0xbf || c == 0xab || c == 0x201c || c == 0x2018 || c == 0x300c || c == 0x300e || c == 0xff08;
}

static bool alone(uint32_t c) { return cn_uni_space(c) || cn_uni_cjk(c) || cn_uni_is_punct(c); }

bool cn_word_begins(cn_str t, uint64_t at) {
    uint64_t start = at;
    if (at == 0 || at >= t.n)
        return true;
    uint32_t before = char_before(t, &start), c = char_at(t, at, NULL);
    if (cn_uni_space(before) || cn_uni_space(c))
        return true;
    if (trails(c) || leads(before) || ((before == '.' || before == ',') && c >= '0' && c <= '9'))
        return false;
    return alone(before) || alone(c);
}
