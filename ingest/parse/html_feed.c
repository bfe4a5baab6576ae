#include "ingest/parse/html_feed.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "engine/base/buf.h"

#define PIECE ((size_t)1 << 22)
#define REF_MIN 2
#define REF_MAX 6

typedef struct legacy {
    char name[REF_MAX + 1];
    uint8_t code;
} legacy;

static const legacy references[] = { /* sorted */
    {"AElig", 198}, {"AMP", 38}, {"Aacute", 193}, {"Acirc", 194}, {"Agrave", 192}, {"Aring", 197}, {"Atilde", 195}, {"Auml", 196},
    {"COPY", 169}, {"Ccedil", 199}, {"ETH", 208}, {"Eacute", 201}, {"Ecirc", 202}, {"Egrave", 200}, {"Euml", 203}, {"GT", 62},
    {"Iacute", 205}, {"Icirc", 206}, {"Igrave", 204}, {"Iuml", 207}, {"LT", 60}, {"Ntilde", 209}, {"Oacute", 211}, {"Ocirc", 212},
    {"Ograve", 210}, {"Oslash", 216}, {"Otilde", 213}, {"Ouml", 214}, {"QUOT", 34}, {"REG", 174}, {"THORN", 222}, {"Uacute", 218},
    {"Ucirc", 219}, {"Ugrave", 217}, {"Uuml", 220}, {"Yacute", 221}, {"aacute", 225}, {"acirc", 226}, {"acute", 180}, {"aelig", 230},
    {"agrave", 224}, {"amp", 38}, {"aring", 229}, {"atilde", 227}, {"auml", 228}, {"brvbar", 166}, {"ccedil", 231}, {"cedil", 184},
    {"cent", 162}, {"copy", 169}, {"curren", 164}, {"deg", 176}, {"divide", 247}, {"eacute", 233}, {"ecirc", 234}, {"egrave", 232},
    {"eth", 240}, {"euml", 235}, {"frac12", 189}, {"frac14", 188}, {"frac34", 190}, {"gt", 62}, {"iacute", 237}, {"icirc", 238},
    {"iexcl", 161}, {"igrave", 236}, {"iquest", 191}, {"iuml", 239}, {"laquo", 171}, {"lt", 60}, {"macr", 175}, {"micro", 181},
    {"middot", 183}, {"nbsp", 160}, {"not", 172}, {"ntilde", 241}, {"oacute", 243}, {"ocirc", 244}, {"ograve", 242}, {"ordf", 170},
    {"ordm", 186}, {"oslash", 248}, {"otilde", 245}, {"ouml", 246}, {"para", 182}, {"plusmn", 177}, {"pound", 163}, {"quot", 34},
    {"raquo", 187}, {"reg", 174}, {"sect", 167}, {"shy", 173}, {"sup1", 185}, {"sup2", 178}, {"sup3", 179}, {"szlig", 223},
    {"thorn", 254}, {"times", 215}, {"uacute", 250}, {"ucirc", 251}, {"ugrave", 249}, {"uml", 168}, {"uuml", 252}, {"yacute", 253},
    {"yen", 165}, {"yuml", 255}};

typedef enum inside { RAW, RCDATA, NOTHING } inside;
static const struct { const char *name; inside how; } special[] = {
    {"script", RAW}, {"style", RAW}, {"textarea", RCDATA}, {"title", RCDATA}, {"noscript", NOTHING}};
#define SPECIALS (sizeof special / sizeof *special)

typedef struct feed {
    const char *p, *end;    /* what is read next */
    const char *from;       /* what was not given on yet */
    cn_buf piece;
    cn_html_sink *sink;
    void *ctx;
    bool unclosed[SPECIALS], no_comment_end; /* none is closed any more: looked for once */
} feed;

/* --- giving on --- */
static void flush(feed *f) {
    if (f->piece.failed) /* it stays so, for the end to tell */
        return;
    if (f->piece.n)
        f->sink(f->ctx, cn_buf_str(&f->piece));
    cn_buf_reset(&f->piece);
}

static void put(feed *f, const char *p, size_t n) {
    while (n && !f->piece.failed) {
        size_t room = PIECE - f->piece.n, k = n < room ? n : room;
        while (k && k < n && ((uint8_t)p[k] & 0xc0) == 0x80)
            k--;
        cn_buf_add(&f->piece, p, k);
        p += k;
        n -= k;
        if (n)
            flush(f);
    }
}

/* Gives on all up to p, with `text` in place of the n bytes there. */
static void replace(feed *f, size_t n, const char *text) {
    put(f, f->from, (size_t)(f->p - f->from));
    put(f, text, strlen(text));
    f->from = f->p += n;
}

/* --- references --- */
static int by_name(const void *a, const void *b) { return strcmp(((const legacy *)a)->name, ((const legacy *)b)->name); }

static const legacy *find(const char *name, size_t n) {
    legacy want = {.code = 0};
    if (n < REF_MIN || n > REF_MAX)
        return NULL;
    memcpy(want.name, name, n);
    return bsearch(&want, references, sizeof references / sizeof *references, sizeof *references, by_name);
}

static bool letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

static void reference(feed *f) {
    const char *name = f->p + 1;
    const legacy *found = NULL;
    char text[16];
    size_t n = 0;
    while (name + n < f->end && (letter(name[n]) || (name[n] >= '0' && name[n] <= '9')))
        n++;
    bool closed = name + n < f->end && name[n] == ';';
    size_t k = closed || n < REF_MAX ? n : REF_MAX;
    found = find(name, k);
    while (!found && !closed && k > REF_MIN)
        found = find(name, --k);
    if (!found) {
        f->p = name + n;
        return;
    }
    snprintf(text, sizeof text, "&#%u;", (unsigned)found->code);
    replace(f, 1 + k + closed, text);
}

/* --- tags --- */
/* The length of "</html>" or "</body>" at p, or 0. */
static size_t page_end(const char *p, const char *end) {
    if (end - p < 7 || (strncasecmp(p + 2, "html", 4) != 0 && strncasecmp(p + 2, "body", 4) != 0))
        return 0;
    const char *q = p + 6;
    while (q < end && (*q == ' ' || *q == '\n' || *q == '\r' || *q == '\t'))
        q++;
    return q < end && *q == '>' ? (size_t)(q - p) + 1 : 0;
}

static bool space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

/* Behind the '>' of the tag at p; a value in quotes may hold one. */
static const char *tag_end(const char *p, const char *end) {
    for (; p < end && *p != '>'; p++) {
        if (*p != '=')
            continue;
        while (p + 1 < end && space(p[1]))
            p++;
        const char *q = p + 1 < end && (p[1] == '"' || p[1] == '\'') ? memchr(p + 2, p[1], (size_t)(end - p - 2)) : NULL;
        p = q ? q : p;
    }
    return p < end ? p + 1 : end;
}

/* Is there the name, in any case, and does it end there? */
static bool named(const char *p, const char *end, const char *name) {
    size_t n = strlen(name);
    return (size_t)(end - p) > n && strncasecmp(p, name, n) == 0 && (space(p[n]) || p[n] == '>' || p[n] == '/');
}

static const char *closing(const char *p, const char *end, const char *name) {
    while ((p = memmem(p, (size_t)(end - p), "</", 2)) && !named(p + 2, end, name))
        p += 2;
    return p;
}

/* The inside of an element that is text, to its end. */
static void rcdata(feed *f, const char *close) {
    while (f->p < close) {
        if (*f->p == '<')
            replace(f, 1, "&lt;");
        else if (*f->p == '&')
            reference(f);
        else
            f->p++;
    }
}

static void start_tag(feed *f) {
    const char *after = tag_end(f->p, f->end), *close = NULL;
    size_t i = 0;
    while (i < SPECIALS && !named(f->p + 1, f->end, special[i].name))
        i++;
    if (i < SPECIALS && !f->unclosed[i] && !(after[-1] == '>' && after[-2] == '/')) {
        close = closing(after, f->end, special[i].name);
        f->unclosed[i] = !close;
    }
    f->p = after;
    if (!close)
        return;
    if (special[i].how == RCDATA)
        rcdata(f, close);
    else if (special[i].how == NOTHING)
        replace(f, (size_t)(close - after), "");
    f->p = close;
}

static void comment(feed *f) {
    const char *to = f->no_comment_end ? NULL : memmem(f->p + 2, (size_t)(f->end - f->p - 2), "-->", 3);
    f->no_comment_end = !to;
    f->p = to ? to + 3 : f->p + 4;
}

static void markup(feed *f) {
    size_t left = (size_t)(f->end - f->p), n = left > 1 && f->p[1] == '/' ? page_end(f->p, f->end) : 0;
    if (n)
        replace(f, n, "");
    else if (left > 3 && memcmp(f->p, "<!--", 4) == 0)
        comment(f);
    else if (left > 1 && letter(f->p[1]))
        start_tag(f);
    else
        f->p++;
}

cn_err cn_html_feed(cn_str utf8, cn_html_sink *sink, void *ctx) {
    feed f = {.p = utf8.p, .end = utf8.p + utf8.n, .from = utf8.p, .sink = sink, .ctx = ctx};
    cn_buf_init(&f.piece, PIECE + 1);
    while (f.p < f.end) {
        if (*f.p == '<')
            markup(&f);
        else if (*f.p == '&')
            reference(&f);
        else
            f.p++;
    }
    put(&f, f.from, (size_t)(f.end - f.from));
    flush(&f);
    cn_err e = cn_buf_check(&f.piece);
    cn_buf_done(&f.piece);
    return e;
}
