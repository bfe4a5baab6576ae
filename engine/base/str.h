/* str.h -- a borrowed run of bytes.
 *
 * Owns:    nothing; whoever handed it out says how long it lives.
 * Thread:  any.
 * Limits:  not NUL-terminated; may hold any byte. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct cn_str {
    const char *p;
    size_t n;
} cn_str;

#define CN_STR(literal) ((cn_str){(literal), sizeof(literal) - 1})
#define CN_STR_FMT "%.*s"
#define CN_STR_ARG(s) (int)(s).n, (s).p ? (s).p : ""

static inline cn_str cn_str_of(const char *z) { return (cn_str){z, z ? strlen(z) : 0}; }
static inline bool cn_str_eq(cn_str a, cn_str b) { return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0); }
static inline bool cn_str_is(cn_str a, const char *z) { return cn_str_eq(a, cn_str_of(z)); }
/* FNV-1a, for tables in memory: what is stored has a digest (digest.h). Strangers can make bytes that collide. */
#define CN_HASH_BEGIN 0x811c9dc5u
static inline uint32_t cn_hash_byte(uint32_t h, uint8_t b) { return (h ^ b) * 0x01000193u; }
static inline uint32_t cn_hash_bytes(uint32_t h, cn_str s) {
    for (size_t i = 0; i < s.n; i++)
        h = cn_hash_byte(h, (uint8_t)s.p[i]);
    return h;
}
/* The next piece of a list whose pieces sep parts, taken off its front; false: there is none left. */
static inline bool cn_str_next(cn_str *rest, char sep, cn_str *ret) {
    if (rest->n == 0)
        return false;
    const char *end = (const char *)memchr(rest->p, sep, rest->n);
    size_t n = end ? (size_t)(end - rest->p) : rest->n, step = n + (end != NULL);
    *ret = (cn_str){rest->p, n};
    *rest = (cn_str){rest->p + step, rest->n - step};
    return true;
}
static inline bool cn_is_blank(char c) { return c == ' ' || c == '\t' || c == '\r'; } /* within a line */
static inline cn_str cn_str_trim(cn_str s) {
    while (s.n && cn_is_blank(*s.p))
        s = (cn_str){s.p + 1, s.n - 1};
    while (s.n && cn_is_blank(s.p[s.n - 1]))
        s.n--;
    return s;
}
/* Order of unsigned bytes, shorter first: the order of every tie and every sorted list in cairn. */
static inline int cn_str_cmp(cn_str a, cn_str b) {
    size_t n = a.n < b.n ? a.n : b.n;
    int c = n ? memcmp(a.p, b.p, n) : 0;
    return c ? c : (a.n > b.n) - (a.n < b.n);
}
