#include "engine/base/caret.h"

#include <stdint.h>

#define SHOWN 60 /* bytes of text on each side of the caret */

static bool inside_char(char c) { return ((uint8_t)c & 0xc0) == 0x80; }

static size_t whole_char(cn_str text, size_t at, bool up) {
    while (at > 0 && at < text.n && inside_char(text.p[at]))
        at = up ? at + 1 : at - 1;
    return at;
}

cn_err cn_fail_at(const char *kind, cn_str text, size_t at, const char *what) {
    size_t from = whole_char(text, at > SHOWN ? at - SHOWN : 0, true);
    size_t to = whole_char(text, text.n - at > SHOWN ? at + SHOWN : text.n, false);
    char line[4 * SHOWN], pad[2 * SHOWN];
    size_t n = 0, columns = 0;
    for (size_t i = from; i < to; i++) {
        line[n++] = (uint8_t)text.p[i] < 0x20 ? ' ' : text.p[i];
        if (i < at && !inside_char(text.p[i]))
            pad[columns++] = ' ';
    }
    return cn_fail(CN_INVALID, "%s: %s, at byte %zu\n  %s%.*s%s\n  %s%.*s^", kind, what, at, from ? "..." : "", (int)n, line, to < text.n ? "..." : "",
                   from ? "   " : "", (int)columns, pad);
}
