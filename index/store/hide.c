/* hide.c -- texts for callers elsewhere: where the data directory lies, and which process does what, are the host's to know. */
#include <ctype.h>
#include <string.h>

#include "index/store/data.h"

static bool in_path(char c) { return isalnum((unsigned char)c) || (c && strchr("_-./", c)); }

/* The length of the data directory's name where it stands at p; 0: it does not. */
static size_t dir_at(const char *dir, const char *text, const char *p) {
    size_t n = strlen(dir);
    while (n > 1 && dir[n - 1] == '/')
        n--;
    bool begins = n && (p == text || !in_path(p[-1])) && strncmp(p, dir, n) == 0;
    bool ends = begins && (p[n] == '/' || (dir[0] == '/' && !in_path(p[n])));
    return ends ? n : 0;
}

/* Of " (pid 12)". */
static size_t pid_at(const char *p) {
    static const char open[] = " (pid ";
    if (strncmp(p, open, sizeof open - 1) != 0)
        return 0;
    size_t n = sizeof open - 1, digits = strspn(p + n, "0123456789");
    return digits && p[n + digits] == ')' ? n + digits + 1 : 0;
}

bool cn_data_hide(const cn_data *d, const char *text, char *out, size_t size) {
    const char *dir = cn_data_dir(d);
    size_t at = 0, n;
    bool hidden = false;
    for (const char *p = text; *p && at + sizeof "DATA" < size;) {
        if ((n = dir_at(dir, text, p))) {
            memcpy(out + at, "DATA", 4);
            at += 4;
        } else if (!(n = pid_at(p))) {
            out[at++] = *p++;
            continue;
        }
        hidden = true;
        p += n;
    }
    out[at] = 0;
    return hidden;
}
