#include <utf8proc.h>

#include "index/policy/glob.h"

#include "engine/base/caret.h"

/* All places of the glob at which the text read so far may have arrived are kept side by side, and each character moves
 * them on: the time is bounded by |glob| * |text|, whatever the stars (Thompson, "Regular expression search algorithm", 1968). */
typedef struct places {
    uint32_t n;
    uint16_t at[CN_GLOB_MAX + 1];
    uint64_t has[CN_GLOB_MAX / 64 + 1];
} places;

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
static bool match_set(cn_str g, size_t last_close, size_t *at, int32_t c, bool *ret_in) {
    size_t i = *at;
    bool negated = i < g.n && (g.p[i] == '!' || g.p[i] == '^'), in = false;
    i += negated;
    for (size_t first = i; i <= last_close && i < g.n && (g.p[i] != ']' || i == first);) {
        int32_t lo = take(g, &i), hi = lo;
        if (i + 1 < g.n && g.p[i] == '-' && g.p[i + 1] != ']') {
            i++;
            hi = take(g, &i);
        }
        in |= lo <= c && c <= hi;
    }
    if (i > last_close || i >= g.n)
        return false;
    *at = i + 1;
    *ret_in = in != negated;
    return true;
}

/* One character of text against what stands at *g, which moves on when it fits. */
static bool step(cn_str glob, size_t last_close, size_t *g, int32_t c) {
    size_t i = *g;
    int32_t want = take(glob, &i);
    bool in = false;
    if (want == '?') {
        in = c != '/';
    } else if (want == '[' && match_set(glob, last_close, &i, c, &in)) {
        in = in && c != '/';
    } else {
        if (want == '\\' && i < glob.n)
            want = take(glob, &i);
        in = c == want;
    }
    if (in)
        *g = i;
    return in;
}

/* The stars at g end at the place returned. *ret_many: `**`; *ret_dirs: written as a whole path part, so that the part and its
 * slash may also be absent. */
static size_t stars(cn_str glob, size_t g, bool *ret_many, bool *ret_dirs) {
    size_t i = g;
    while (i < glob.n && glob.p[i] == '*')
        i++;
    *ret_many = i - g > 1;
    *ret_dirs = *ret_many && i < glob.n && glob.p[i] == '/' && (g == 0 || glob.p[g - 1] == '/');
    return i + *ret_dirs;
}

/* g, and what is behind the stars there: they may stand for nothing. */
static void arrive(places *p, cn_str glob, size_t g) {
    bool many, dirs;
    for (;;) {
        if (p->has[g / 64] >> g % 64 & 1)
            return;
        p->has[g / 64] |= (uint64_t)1 << g % 64;
        p->at[p->n++] = (uint16_t)g;
        if (g >= glob.n || glob.p[g] != '*')
            return;
        g = stars(glob, g, &many, &dirs);
    }
}

/* Stars take the character and stay; whole path parts go on behind a slash. */
static void go_on(places *to, cn_str glob, size_t last_close, size_t g, int32_t c) {
    bool many, dirs;
    if (g >= glob.n)
        return;
    if (glob.p[g] != '*') {
        if (step(glob, last_close, &g, c))
            arrive(to, glob, g);
        return;
    }
    size_t after = stars(glob, g, &many, &dirs);
    if (c == '/' && !many)
        return;
    if (!dirs) {
        arrive(to, glob, g);
        return;
    }
    if (!(to->has[g / 64] >> g % 64 & 1)) {
        to->has[g / 64] |= (uint64_t)1 << g % 64;
        to->at[to->n++] = (uint16_t)g;
    }
    if (c == '/')
        arrive(to, glob, after);
}

static void clear(places *p) {
    for (uint32_t i = 0; i < p->n; i++)
        p->has[p->at[i] / 64] = 0;
    p->n = 0;
}

static size_t last_close_of(cn_str glob) {
    size_t at = 0;
    for (size_t i = 0; i < glob.n; i++)
        at = glob.p[i] == ']' ? i : at;
    return at;
}

cn_err cn_glob_check(cn_str glob) {
    size_t last_close = last_close_of(glob), after;
    bool in;
    for (size_t i = 0; i < glob.n; i = after) {
        after = i + 1;
        if (glob.p[i] == '[' && !match_set(glob, last_close, &after, 0, &in))
            return cn_fail_at("glob", glob, i, "this [ has no ]; for the character itself write \\[");
        if (glob.p[i] == '\\' && after++ == glob.n)
            return cn_fail_at("glob", glob, i, "nothing follows this \\; for the character itself write \\\\");
    }
    return CN_OK;
}

bool cn_glob_match(cn_str glob, cn_str text) {
    __attribute__((uninitialized)) places a, b; /* but for n and has, below */
    places *now = &a, *next = &b;
    size_t last_close = last_close_of(glob);
    if (glob.n > CN_GLOB_MAX)
        return false;
    a.n = b.n = 0;
    memset(a.has, 0, (glob.n / 64 + 1) * sizeof *a.has);
    memset(b.has, 0, (glob.n / 64 + 1) * sizeof *b.has);
    arrive(now, glob, 0);
    for (size_t t = 0; t < text.n && now->n;) {
        int32_t c = take(text, &t);
        for (uint32_t i = 0; i < now->n; i++)
            go_on(next, glob, last_close, now->at[i], c);
        clear(now);
        places *x = now;
        now = next;
        next = x;
    }
    return now->n && now->has[glob.n / 64] >> glob.n % 64 & 1;
}
