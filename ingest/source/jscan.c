#include "ingest/source/jscan.h"

#include <locale.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>

#include "engine/base/utf8.h"

cn_err cn_jscan_fail(const cn_jscan *j, const char *what) {
    return cn_fail(CN_INVALID, "not JSON at byte %zu: %s", (size_t)(j->p - j->start) + 1, what);
}

static void skip_space(cn_jscan *j) {
    while (*j->p == ' ' || *j->p == '\t' || *j->p == '\r' || *j->p == '\n')
        j->p++;
}

cn_err cn_jscan_begin(cn_jscan *j, char *p, size_t n) {
    *j = (cn_jscan){.p = p, .start = p, .end = p + n};
    size_t ok = cn_utf8_valid_to((cn_str){p, n});
    if (ok < n)
        return cn_fail(CN_INVALID, "byte %zu (0x%02X) is not UTF-8; convert it: iconv -f WINDOWS-1252 -t UTF-8", ok + 1, (unsigned)(unsigned char)p[ok]);
    return CN_OK;
}

cn_jkind cn_jscan_kind(cn_jscan *j) {
    skip_space(j);
    switch (*j->p) {
    case '"': return CN_J_STRING;
    case '{': return CN_J_OBJECT;
    case '[': return CN_J_ARRAY;
    case 't': return CN_J_TRUE;
    case 'f': return CN_J_FALSE;
    case 'n': return CN_J_NULL;
    default: return *j->p == '-' || (*j->p >= '0' && *j->p <= '9') ? CN_J_NUMBER : CN_J_WRONG;
    }
}

cn_err cn_jscan_end(cn_jscan *j) {
    skip_space(j);
    return j->p == j->end ? CN_OK : cn_jscan_fail(j, "something follows the value");
}

cn_err cn_jscan_open(cn_jscan *j, char c) {
    skip_space(j);
    if (*j->p != c)
        return cn_jscan_fail(j, c == '{' ? "an object { should stand here" : "an array [ should stand here");
    j->p++;
    j->first = true;
    return CN_OK;
}

static cn_err next_in(cn_jscan *j, char close) {
    skip_space(j);
    bool first = j->first;
    j->first = false;
    if (*j->p == close) {
        j->p++;
        return CN_END;
    }
    if (first)
        return CN_OK;
    if (*j->p != ',')
        return cn_jscan_fail(j, j->p >= j->end ? "it ends too early" : "a comma is missing");
    j->p++;
    skip_space(j);
    return *j->p == close ? cn_jscan_fail(j, "a comma before the end") : CN_OK;
}

cn_err cn_jscan_key(cn_jscan *j, cn_str *ret) {
    CN_TRY(next_in(j, '}'));
    if (*j->p != '"')
        return cn_jscan_fail(j, j->p >= j->end ? "it ends too early" : "a field name in quotes should stand here");
    CN_TRY(cn_jscan_string(j, ret));
    skip_space(j);
    if (*j->p != ':')
        return cn_jscan_fail(j, "a colon is missing");
    j->p++;
    return CN_OK;
}

cn_err cn_jscan_element(cn_jscan *j) { return next_in(j, ']'); }

/* --- strings --- */
static int hex4(const char *p) {
    int v = 0;
    for (int i = 0; i < 4; i++) {
        char c = p[i];
        int d = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
        if (d < 0)
            return -1;
        v = v << 4 | d;
    }
    return v;
}

static char *put_char(char *to, int c) {
    if (c < 0x80) {
        *to++ = (char)c;
    } else if (c < 0x800) {
        *to++ = (char)(0xc0 | c >> 6);
        *to++ = (char)(0x80 | (c & 0x3f));
    } else if (c < 0x10000) {
        *to++ = (char)(0xe0 | c >> 12);
        *to++ = (char)(0x80 | (c >> 6 & 0x3f));
        *to++ = (char)(0x80 | (c & 0x3f));
    } else {
        *to++ = (char)(0xf0 | c >> 18);
        *to++ = (char)(0x80 | (c >> 12 & 0x3f));
        *to++ = (char)(0x80 | (c >> 6 & 0x3f));
        *to++ = (char)(0x80 | (c & 0x3f));
    }
    return to;
}

/* j->p stands on the u of \uXXXX. */
static cn_err unicode(cn_jscan *j, char **to) {
    int c = hex4(j->p + 1);
    if (c < 0)
        return cn_jscan_fail(j, "\\u needs four hexadecimal digits");
    j->p += 5;
    if (c >= 0xd800 && c < 0xdc00) {
        int low = j->p[0] == '\\' && j->p[1] == 'u' ? hex4(j->p + 2) : -1;
        if (low < 0xdc00 || low > 0xdfff)
            return cn_jscan_fail(j, "half of a surrogate pair");
        c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
        j->p += 6;
    } else if (c >= 0xdc00 && c < 0xe000) {
        return cn_jscan_fail(j, "half of a surrogate pair");
    }
    *to = put_char(*to, c);
    return CN_OK;
}

static cn_err escape(cn_jscan *j, char **to) {
    static const char from[] = "\"\\/bfnrt", into[] = "\"\\/\b\f\n\r\t";
    j->p++;
    if (*j->p == 'u')
        return unicode(j, to);
    const char *at = *j->p ? strchr(from, *j->p) : NULL;
    if (!at)
        return cn_jscan_fail(j, "an unknown escape");
    *(*to)++ = into[at - from];
    j->p++;
    return CN_OK;
}

/* How many bytes from p on are neither quote, backslash nor control character; the NUL at the end stops it. */
static size_t plain(const char *p, const char *end) {
    const char *from = p;
    const uint64_t ones = 0x0101010101010101u, high = 0x8080808080808080u;
    for (uint64_t v; end - p >= 8; p += 8) {
        memcpy(&v, p, 8);
        uint64_t quote = v ^ (ones * '"'), slash = v ^ (ones * '\\');
        uint64_t hit = ((quote - ones) & ~quote) | ((slash - ones) & ~slash) | ((v - ones * 0x20) & ~v);
        if (hit & high)
            break;
    }
    while (*p != '"' && *p != '\\' && (unsigned char)*p >= 0x20)
        p++;
    return (size_t)(p - from);
}

cn_err cn_jscan_string(cn_jscan *j, cn_str *ret) {
    skip_space(j);
    if (*j->p != '"')
        return cn_jscan_fail(j, "a string should stand here");
    char *from = ++j->p, *to = from;
    for (;;) {
        size_t n = plain(j->p, j->end);
        if (to != j->p)
            memmove(to, j->p, n);
        to += n;
        j->p += n;
        if (*j->p == '"')
            break;
        if (j->p >= j->end)
            return cn_jscan_fail(j, "a string without its end");
        if (*j->p != '\\')
            return cn_jscan_fail(j, "a control character in a string; write it as \\u00XX");
        CN_TRY(escape(j, &to));
    }
    j->p++;
    *ret = (cn_str){from, (size_t)(to - from)};
    return CN_OK;
}

/* --- numbers --- */
static bool digit(char c) { return c >= '0' && c <= '9'; }

cn_err cn_jscan_number(cn_jscan *j, cn_str *ret) {
    skip_space(j);
    char *from = j->p, *p = from;
    p += *p == '-';
    if (!digit(*p) || (*p == '0' && digit(p[1])))
        return cn_jscan_fail(j, "a number should stand here (NaN and Infinity are none)");
    while (digit(*p))
        p++;
    if (*p == '.') {
        p++;
        if (!digit(*p))
            return cn_jscan_fail(j, "a number lacks digits after its point");
        while (digit(*p))
            p++;
    }
    if (*p == 'e' || *p == 'E') {
        p++;
        p += *p == '+' || *p == '-';
        if (!digit(*p))
            return cn_jscan_fail(j, "a number lacks digits in its exponent");
        while (digit(*p))
            p++;
    }
    *ret = (cn_str){from, (size_t)(p - from)};
    j->p = p;
    return CN_OK;
}

static locale_t plain_locale;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static void make_locale(void) { plain_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0); }

double cn_jscan_double(cn_str number) {
    char text[128], *end;
    pthread_once(&once, make_locale);
    if (number.n < sizeof text) {
        memcpy(text, number.p, number.n);
        text[number.n] = 0;
        return strtod_l(text, &end, plain_locale);
    }
    return strtod_l(number.p, &end, plain_locale); /* what follows it in the line ends it */
}

static const double tens[] = {1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11,
                              1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

/* Most numbers of a vector: up to 19 digits and a small power of ten. With m < 2^64 and 10^e exact, the double d made from
 * them is within 3 ulp of the truth; where its neighbours 4 ulp away round to the same float, so does the truth. */
static bool quick_float(cn_str s, float *ret) {
    uint64_t m = 0;
    int exp = 0, digits = 0;
    size_t i = s.p[0] == '-';
    for (bool point = false; i < s.n && (digit(s.p[i]) || s.p[i] == '.'); i++) {
        if (s.p[i] == '.') {
            point = true;
            continue;
        }
        m = m * 10 + (unsigned)(s.p[i] - '0');
        digits += m != 0;
        exp -= point;
    }
    if (i < s.n) {
        bool minus = s.p[++i] == '-';
        i += s.p[i] == '-' || s.p[i] == '+';
        int e = 0;
        for (; i < s.n && e < 1000; i++)
            e = e * 10 + (s.p[i] - '0');
        exp += minus ? -e : e;
    }
    if (digits > 19 || exp > 22 || exp < -22)
        return false;
    double d = exp < 0 ? (double)m / tens[-exp] : (double)m * tens[exp];
    float lo = (float)(d * (1 - 0x1p-50)), hi = (float)(d * (1 + 0x1p-50));
    if (!(lo == hi)) /* NOLINT: equality is the point */
        return false;
    *ret = s.p[0] == '-' ? -lo : lo;
    return true;
}

cn_err cn_jscan_floats(cn_jscan *j, float *out, unsigned max, unsigned *ret_n) {
    unsigned n = 0;
    cn_err e;
    CN_TRY(cn_jscan_open(j, '['));
    while ((e = cn_jscan_element(j)) == CN_OK) {
        cn_str s;
        CN_TRY(cn_jscan_number(j, &s));
        if (n == max)
            return cn_fail(CN_INVALID, "it has more than %u numbers", max);
        if (!quick_float(s, &out[n]))
            out[n] = (float)cn_jscan_double(s);
        n++;
    }
    if (e != CN_END)
        return e;
    *ret_n = n;
    return CN_OK;
}

/* --- the rest --- */
cn_err cn_jscan_word(cn_jscan *j) {
    static const char *const words[] = {"true", "false", "null"};
    skip_space(j);
    for (int i = 0; i < 3; i++)
        if (strncmp(j->p, words[i], strlen(words[i])) == 0) {
            j->p += strlen(words[i]);
            return CN_OK;
        }
    return cn_jscan_fail(j, "a value should stand here");
}

static cn_err skip_scalar(cn_jscan *j) {
    cn_str s;
    cn_jkind kind = cn_jscan_kind(j);
    if (kind == CN_J_STRING)
        return cn_jscan_string(j, &s);
    return kind == CN_J_NUMBER ? cn_jscan_number(j, &s) : cn_jscan_word(j);
}

cn_err cn_jscan_skip(cn_jscan *j) {
    char close[CN_JSCAN_DEPTH];
    unsigned depth = 0;
    do {
        cn_str key;
        cn_err e = depth == 0 ? CN_OK : close[depth - 1] == '}' ? cn_jscan_key(j, &key) : cn_jscan_element(j);
        if (e == CN_END) {
            depth--;
            continue;
        }
        CN_TRY(e);
        cn_jkind kind = cn_jscan_kind(j);
        if (kind != CN_J_ARRAY && kind != CN_J_OBJECT) {
            CN_TRY(skip_scalar(j));
            continue;
        }
        if (depth == CN_JSCAN_DEPTH)
            return cn_jscan_fail(j, "nested too deep");
        close[depth++] = kind == CN_J_OBJECT ? '}' : ']';
        CN_TRY(cn_jscan_open(j, kind == CN_J_OBJECT ? '{' : '['));
    } while (depth);
    return CN_OK;
}
