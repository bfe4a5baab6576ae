#include "ingest/parse/charset.h"

#include <errno.h>
#include <iconv.h>
#include <pthread.h>
#include <strings.h>
#include <uchardet.h>

#include "engine/base/utf8.h"

#define LOOK ((size_t)1 << 16)      /* bytes searched for control characters */
#define DETECT ((size_t)1 << 20)    /* bytes shown to uchardet */

/* --- converters: opened once, kept for the life of the process (a locked-in worker cannot open others) --- */
/* The names that uchardet and HTML pages use; glibc's iconv loads a module for each. */
static const char *const charsets[] = {
    "UTF-16LE", "UTF-16BE", "UTF-32LE", "UTF-32BE", "WINDOWS-1250", "WINDOWS-1251", "WINDOWS-1252", "WINDOWS-1253",
    "WINDOWS-1254", "WINDOWS-1255", "WINDOWS-1256", "WINDOWS-1257", "WINDOWS-1258", "ISO-8859-1", "ISO-8859-2",
    "ISO-8859-3", "ISO-8859-4", "ISO-8859-5", "ISO-8859-6", "ISO-8859-7", "ISO-8859-8", "ISO-8859-9", "ISO-8859-10",
    "ISO-8859-11", "ISO-8859-13", "ISO-8859-15", "ISO-8859-16", "SHIFT_JIS", "EUC-JP", "ISO-2022-JP", "EUC-KR", "UHC",
    "ISO-2022-KR", "GB18030", "GBK", "GB2312", "BIG5", "EUC-TW", "KOI8-R", "KOI8-U", "TIS-620", "VISCII",
    "MACCYRILLIC", "MACINTOSH", "IBM852", "IBM855", "IBM865", "IBM866"};
#define CHARSETS (sizeof charsets / sizeof *charsets)

static iconv_t opened[CHARSETS];
static bool tried[CHARSETS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static iconv_t converter(size_t i) { /* under the lock */
    if (!tried[i]) {
        opened[i] = iconv_open("UTF-8", charsets[i]);
        tried[i] = true;
    }
    return opened[i];
}

void cn_charset_prepare(void) {
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < CHARSETS; i++)
        converter(i);
    pthread_mutex_unlock(&lock);
}

static int find(cn_str name) {
    static const char *const alias[][2] = {{"latin1", "WINDOWS-1252"}, {"iso8859-1", "WINDOWS-1252"}, {"iso-8859-1", "WINDOWS-1252"},
        {"ascii", "WINDOWS-1252"}, {"us-ascii", "WINDOWS-1252"}, {"cp1251", "WINDOWS-1251"}, {"cp1252", "WINDOWS-1252"}, {"x-sjis", "SHIFT_JIS"},
        {"sjis", "SHIFT_JIS"}, {"windows-31j", "SHIFT_JIS"}, {"ks_c_5601-1987", "UHC"}, {"euc-kr", "UHC"}, {"gb2312", "GB18030"},
        {"gbk", "GB18030"}, {"hz-gb-2312", "GB18030"}, {"big5-hkscs", "BIG5"}, {"mac-cyrillic", "MACCYRILLIC"}, {"utf-16", "UTF-16LE"}};
    for (size_t i = 0; i < sizeof alias / sizeof *alias; i++)
        if (strlen(alias[i][0]) == name.n && strncasecmp(alias[i][0], name.p, name.n) == 0)
            name = cn_str_of(alias[i][1]);
    for (size_t i = 0; i < CHARSETS; i++)
        if (strlen(charsets[i]) == name.n && strncasecmp(charsets[i], name.p, name.n) == 0)
            return (int)i;
    return -1;
}

/* True when every byte was converted; `out` is as before otherwise. */
static bool convert_with(iconv_t cd, cn_str in, cn_buf *out) {
    union { const char *in; char *p; } from = {.in = in.p}; /* iconv's prototype lacks a const */
    size_t left = in.n, start = out->n;
    iconv(cd, NULL, NULL, NULL, NULL);
    while (left) {
        char part[8192], *to = part;
        size_t room = sizeof part;
        size_t got = iconv(cd, &from.p, &left, &to, &room);
        cn_buf_add(out, part, sizeof part - room);
        if (out->failed || (got == (size_t)-1 && errno != E2BIG)) {
            if (!out->failed)
                out->n = start;
            return false;
        }
    }
    return true;
}

static bool convert(cn_str name, cn_str in, cn_buf *out) {
    int i = find(name);
    if (i < 0)
        return false;
    pthread_mutex_lock(&lock);
    iconv_t cd = converter((size_t)i);
    union { iconv_t cd; intptr_t v; } bad = {.cd = cd};
    bool ok = bad.v != -1 && convert_with(cd, in, out);
    pthread_mutex_unlock(&lock);
    return ok;
}

/* --- the last resort --- */
static void put_utf8(cn_buf *out, unsigned c) {
    if (c < 0x80) {
        cn_buf_putc(out, (char)c);
    } else if (c < 0x800) {
        cn_buf_putc(out, (char)(0xc0 | c >> 6));
        cn_buf_putc(out, (char)(0x80 | (c & 0x3f)));
    } else {
        cn_buf_putc(out, (char)(0xe0 | c >> 12));
        cn_buf_putc(out, (char)(0x80 | (c >> 6 & 0x3f)));
        cn_buf_putc(out, (char)(0x80 | (c & 0x3f)));
    }
}

static void from_windows_1252(cn_str in, cn_buf *out) {
    static const uint16_t high[32] = {0x20ac, 0x81, 0x201a, 0x192, 0x201e, 0x2026, 0x2020, 0x2021, 0x2c6, 0x2030, 0x160,
        0x2039, 0x152, 0x8d, 0x17d, 0x8f, 0x90, 0x2018, 0x2019, 0x201c, 0x201d, 0x2022, 0x2013, 0x2014, 0x2dc, 0x2122,
        0x161, 0x203a, 0x153, 0x9d, 0x17e, 0x178};
    for (size_t i = 0; i < in.n && !out->failed; i++) {
        uint8_t c = (uint8_t)in.p[i];
        put_utf8(out, c >= 0x80 && c < 0xa0 ? high[c - 0x80] : c);
    }
}

/* --- is it text at all? --- */
static cn_err check_controls(cn_str s) {
    size_t n = s.n < LOOK ? s.n : LOOK, bad = 0, first = 0;
    for (size_t i = 0; i < n; i++) {
        uint8_t c = (uint8_t)s.p[i];
        if (c < 0x20 && !(c >= '\a' && c <= '\r') && c != 0x1b && !bad++)
            first = i;
    }
    if (bad > 3 && bad > n / 20)
        return cn_fail(CN_INVALID, "not text but a binary file: %zu of its first %zu bytes are control characters, the first at byte %zu (0x%02X)",
                       bad, n, first, (unsigned)(uint8_t)s.p[first]);
    return CN_OK;
}

/* UTF-16 without a byte order mark: zeros at one parity only, and many. NULL: it is not. */
static const char *utf16_by_zeros(cn_str s) {
    size_t n = s.n < 4096 ? s.n : 4096, zeros[2] = {0, 0};
    for (size_t i = 0; i < n; i++)
        zeros[i & 1] += s.p[i] == 0;
    if (3 * (zeros[0] + zeros[1]) < n || n < 4)
        return NULL;
    return zeros[0] == 0 ? "UTF-16LE" : zeros[1] == 0 ? "UTF-16BE" : NULL;
}

static const char *by_mark(cn_str s, size_t *ret_mark) {
    static const struct { const char *mark; size_t n; const char *name; } marks[] = {
        {"\xef\xbb\xbf", 3, "UTF-8"}, {"\xff\xfe\0\0", 4, "UTF-32LE"}, {"\0\0\xfe\xff", 4, "UTF-32BE"},
        {"\xff\xfe", 2, "UTF-16LE"}, {"\xfe\xff", 2, "UTF-16BE"}};
    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++)
        if (s.n >= marks[i].n && memcmp(s.p, marks[i].mark, marks[i].n) == 0) {
            *ret_mark = marks[i].n;
            return marks[i].name;
        }
    return NULL;
}

/* Is it UTF-8 but for a few bytes? Then another charset would only garble it: *ret_at names the first wrong byte. */
static bool nearly_utf8(cn_str s, size_t *ret_at) {
    size_t good = 0, wrong = 0, i = 0, n = s.n < DETECT ? s.n : DETECT;
    while (i < n) {
        size_t to = i + cn_utf8_valid_to((cn_str){s.p + i, n - i});
        for (; i < to; i++)
            good += (uint8_t)s.p[i] >= 0xc2;
        if (to == n)
            break;
        wrong++;
        i = to + 1;
    }
    *ret_at = cn_utf8_valid_to(s);
    return good >= 4 && good > 4 * wrong;
}

static bool by_guess(cn_str s, cn_buf *out) {
    uchardet_t u = uchardet_new();
    bool ok = u && uchardet_handle_data(u, s.p, s.n < DETECT ? s.n : DETECT) == 0;
    if (ok) {
        uchardet_data_end(u);
        ok = convert(cn_str_of(uchardet_get_charset(u)), s, out);
    }
    if (u)
        uchardet_delete(u);
    return ok;
}

static cn_err hold_result(cn_buf *hold, cn_str *ret) {
    CN_TRY(cn_buf_check(hold));
    *ret = hold->n ? cn_buf_str(hold) : CN_STR(""); /* an empty text has a place too: parsers compute with it */
    return check_controls(*ret);
}

static cn_err from_wide(cn_str bytes, const char *name, size_t mark, cn_buf *hold, cn_str *ret) {
    cn_str body = {bytes.p + mark, bytes.n - mark};
    if (!convert(cn_str_of(name), body, hold)) {
        CN_TRY(cn_buf_check(hold));
        return cn_fail(CN_INVALID, "starts as %s but is broken %s text", name, name);
    }
    if (hold->n && memchr(hold->p, 0, hold->n))
        return cn_fail(CN_INVALID, "not text but a binary file: a zero character in what starts as %s", name);
    return hold_result(hold, ret);
}

cn_err cn_charset_utf8(cn_str bytes, cn_str named, cn_buf *hold, cn_str *ret) {
    size_t mark = 0, at;
    cn_buf_reset(hold);
    bytes = bytes.n ? bytes : CN_STR("");
    const char *wide = by_mark(bytes, &mark);
    if (wide && mark != 3)
        return from_wide(bytes, wide, mark, hold, ret);
    bytes.p += mark;
    bytes.n -= mark;
    const char *nul = bytes.n ? memchr(bytes.p, 0, bytes.n) : NULL;
    if (nul && (wide = utf16_by_zeros(bytes)))
        return from_wide(bytes, wide, 0, hold, ret);
    if (nul)
        return cn_fail(CN_INVALID, "not text but a binary file: byte %zu is zero", (size_t)(nul - bytes.p) + mark);
    CN_TRY(check_controls(bytes));
    if (cn_utf8_ok(bytes)) {
        *ret = bytes;
        return CN_OK;
    }
    if (nearly_utf8(bytes, &at) || mark == 3)
        return cn_fail(CN_INVALID, "byte %zu (0x%02X) breaks its UTF-8; repair the file (iconv -c -f UTF-8 -t UTF-8 drops such bytes)",
                       at + mark, (unsigned)(uint8_t)bytes.p[at]);
    if (!(named.n && convert(named, bytes, hold)) && !hold->failed && !by_guess(bytes, hold) && !hold->failed)
        from_windows_1252(bytes, hold);
    return hold_result(hold, ret);
}

/* --- what an HTML page says of itself --- */
static bool name_byte(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == ':' || c == '.';
}

cn_str cn_charset_of_html(cn_str bytes) {
    size_t n = bytes.n < 4096 ? bytes.n : 4096;
    for (size_t i = 0; i + 8 < n; i++) {
        if (strncasecmp(bytes.p + i, "charset", 7) != 0)
            continue;
        size_t j = i + 7;
        while (j < n && (bytes.p[j] == ' ' || bytes.p[j] == '=' || bytes.p[j] == '"' || bytes.p[j] == '\''))
            j++;
        size_t from = j;
        while (j < n && name_byte(bytes.p[j]))
            j++;
        return (cn_str){bytes.p + from, j - from};
    }
    return (cn_str){"", 0};
}
