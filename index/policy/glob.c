#include <utf8proc.h>

#include "index/policy/glob.h"

/* Two places to go back to are enough: the last `*` and the last `**`. Taking the leftmost match after either leaves the
 * most text to the stars that follow, so earlier stars never need a second try, and the time is bounded by
 * |glob| * |text|^2 with no recursion. */
typedef struct star {
    bool set, dirs;  /* dirs: written as a whole path part, so that the part and its slash may also be absent */
    size_t text, glob;
} star;

/* One character at `at`, or one byte where the text is not UTF-8. */
static int32_t take(cn_str s, size_t *at) {
    int32_t c;
    utf8proc_ssize_t n = utf8proc_iterate((const uint8_t *)s.p + *at, (utf8proc_ssize_t)(s.n - *at), &c);
    if (n <= 0) {
        c = -(int32_t)(uint8_t)s.p[*at]; /* never equal to a character */
        n = 1;
    }
    *at += (size_t)n;
    return c;
}

/* `*at` stands after '['. False when there is no ']': then '[' means itself. */
static bool match_set(cn_str g, size_t *at, int32_t c, bool *ret_in) {
    size_t i = *at;
    bool negated = i < g.n && (g.p[i] == '!' || g.p[i] == '^'), in = false;
    i += negated;
    for (size_t first = i; i < g.n && (g.p[i] != ']' || i == first);) {
        int32_t lo = take(g, &i), hi = lo;
        if (i + 1 < g.n && g.p[i] == '-' && g.p[i + 1] != ']') {
            i++;
            hi = take(g, &i);
        }
        in |= lo <= c && c <= hi;
    }
    if (i >= g.n)
        return false;
    *at = i + 1;
    *ret_in = in != negated;
    return true;
}

/* One character of text against what stands at *g. Both move on when they fit. */
static bool step(cn_str glob, size_t *g, cn_str text, size_t *t) {
    if (*g >= glob.n)
        return false;
    size_t gi = *g, ti = *t;
    int32_t c = take(text, &ti), want = take(glob, &gi);
    bool in = false;
    if (want == '?') {
        in = c != '/';
    } else if (want == '[' && match_set(glob, &gi, c, &in)) {
        in = in && c != '/';
    } else {
        if (want == '\\' && gi < glob.n)
            want = take(glob, &gi);
        in = c == want;
    }
    if (in) {
        *g = gi;
        *t = ti;
    }
    return in;
}

/* Where the text goes on after `s` has taken one piece more; false when it cannot. */
static bool take_more(star *s, cn_str text, bool across) {
    if (!s->set || s->text >= text.n || (!across && text.p[s->text] == '/'))
        return false;
    if (!s->dirs) {
        take(text, &s->text);
        return true;
    }
    const char *slash = memchr(text.p + s->text, '/', text.n - s->text);
    if (!slash)
        return false;
    s->text = (size_t)(slash - text.p) + 1;
    return true;
}

/* Reads the `*` or `**` at *g and notes it. */
static void note_star(cn_str glob, size_t *g, size_t t, star *one, star *two) {
    size_t i = *g, from = i;
    while (i < glob.n && glob.p[i] == '*')
        i++;
    star *s = i - from > 1 ? two : one;
    bool dirs = s == two && i < glob.n && glob.p[i] == '/' && (from == 0 || glob.p[from - 1] == '/');
    *one = (star){0};
    *g = i + dirs;
    *s = (star){.set = true, .dirs = dirs, .text = t, .glob = *g};
}

bool cn_glob_match(cn_str glob, cn_str text) {
    size_t g = 0, t = 0;
    star one = {0}, two = {0};
    for (;;) {
        if (g < glob.n && glob.p[g] == '*') {
            note_star(glob, &g, t, &one, &two);
        } else if (t == text.n) {
            return g == glob.n;
        } else if (!step(glob, &g, text, &t)) {
            star *back = take_more(&one, text, false) ? &one : take_more(&two, text, true) ? &two : NULL;
            if (!back)
                return false;
            if (back == &two)
                one = (star){0};
            g = back->glob;
            t = back->text;
        }
    }
}
