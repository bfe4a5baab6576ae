#include "ingest/parse/normal.h"

#include <stdlib.h>
#include <utf8proc.h>

#define SPAN_MAX ((size_t)1 << 16) /* bytes handed to utf8proc at once, far past UAX #15's stream-safe 30 marks */

static bool plain_byte(uint8_t c) { return (c >= 0x20 && c < 0x7f) || c == '\n' || c == '\t'; }

/* How many bytes from i on are ASCII that needs no change. */
static size_t plain_run(const uint8_t *p, size_t i, size_t n) {
    size_t from = i;
    for (; n - i >= 32; i += 32) {
        unsigned bad = 0;
        for (size_t j = 0; j < 32; j++) {
            uint8_t c = p[i + j];
            bad |= (unsigned)((c < 0x20) & (c != '\n') & (c != '\t')) | (unsigned)(c >= 0x7f);
        }
        if (bad)
            break;
    }
    while (i < n && plain_byte(p[i]))
        i++;
    return i - from;
}

static size_t decode(const uint8_t *p, int32_t *ret) {
    if (p[0] < 0x80) {
        *ret = p[0];
        return 1;
    }
    if (p[0] < 0xe0) {
        *ret = (p[0] & 0x1f) << 6 | (p[1] & 0x3f);
        return 2;
    }
    if (p[0] < 0xf0) {
        *ret = (p[0] & 0x0f) << 12 | (p[1] & 0x3f) << 6 | (p[2] & 0x3f);
        return 3;
    }
    *ret = (p[0] & 0x07) << 18 | (p[1] & 0x3f) << 12 | (p[2] & 0x3f) << 6 | (p[3] & 0x3f);
    return 4;
}

/* NFC_Quick_Check is Yes, and the character never joins the one before it (UAX #15, section 9). */
static bool stable(int32_t c) {
    if (c < 0x300 || (c >= 0x2010 && c <= 0x2027) || (c >= 0x400 && c <= 0x482) ||
        (c >= 0x1e00 && c <= 0x1eff) || (c >= 0x3041 && c <= 0x3096) || (c >= 0x30a1 && c <= 0x30fa) || (c >= 0x4e00 && c <= 0x9fff) ||
        (c >= 0xac00 && c <= 0xd7a3))
        return true;
    if (c >= 0x1160 && c <= 0x11ff) /* Hangul vowels and finals */
        return false;
    const utf8proc_property_t *p = utf8proc_get_property(c);
    bool decomposes = p->decomp_type == 0 && p->decomp_seqindex != UINT16_MAX; /* some of these are not their own NFC */
    return p->combining_class == 0 && !decomposes && !p->comp_exclusion && p->category != UTF8PROC_CATEGORY_MN &&
           p->category != UTF8PROC_CATEGORY_MC && p->category != UTF8PROC_CATEGORY_ME;
}

/* What a character that is not kept becomes: NULL when it is kept. */
static const char *instead(int32_t c) {
    if (c < 0x20)
        return c == '\n' || c == '\t' ? NULL : c == '\r' || c == '\v' || c == '\f' ? "\n" : "";
    if (c < 0x7f)
        return NULL;
    if (c == 0xa0)
        return " ";
    if (c == 0x85 || c == 0x2028 || c == 0x2029)
        return "\n";
    return c <= 0x9f || c == 0xad || c == 0xfeff ? "" : NULL;
}

bool cn_normal_is(cn_str s) {
    const uint8_t *p = (const uint8_t *)s.p;
    for (size_t i = 0; i < s.n;) {
        i += plain_run(p, i, s.n);
        if (i == s.n)
            break;
        int32_t c;
        i += decode(p + i, &c);
        if (!stable(c) || instead(c))
            return false;
    }
    return true;
}

/* Composes out[from..] in place; it begins with a stable character and the next one will be stable too. */
static void compose_tail(cn_buf *out, size_t from) {
    utf8proc_uint8_t *made = NULL;
    utf8proc_ssize_t n = utf8proc_map((const utf8proc_uint8_t *)out->p + from, (utf8proc_ssize_t)(out->n - from), &made,
                                      UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    if (n < 0) {
        out->failed = true;
        return;
    }
    out->n = from;
    cn_buf_add(out, made, (size_t)n);
    free(made); /* utf8proc's own heap */
}

void cn_normal_add(cn_buf *out, cn_str s) {
    const uint8_t *p = (const uint8_t *)s.p;
    size_t span = out->n;   /* where in out the last stable character stands */
    bool dirty = false;     /* something after it is not stable */
    for (size_t i = 0; i < s.n && !out->failed;) {
        size_t run = plain_run(p, i, s.n);
        if (run) {
            if (dirty)
                compose_tail(out, span);
            dirty = false;
            cn_buf_add(out, p + i, run);
            span = out->n - 1;
            i += run;
            continue;
        }
        int32_t c;
        size_t len = decode(p + i, &c);
        const char *other = instead(c);
        bool keep = stable(c);
        if (keep && dirty && (!other || *other)) {
            compose_tail(out, span);
            dirty = false;
        }
        if (keep && (!other || *other))
            span = out->n;
        if (!keep && out->n - span >= SPAN_MAX) {
            compose_tail(out, span);
            span = out->n;
        }
        dirty = dirty || !keep;
        if (!other)
            cn_buf_add(out, p + i, len);
        else if (!(c == '\r' && i + 1 < s.n && p[i + 1] == '\n'))
            cn_buf_puts(out, other);
        i += len;
    }
    if (dirty && !out->failed)
        compose_tail(out, span);
}

void cn_normal_line(cn_buf *out, cn_str s) {
    size_t from = out->n;
    cn_normal_add(out, s);
    if (out->failed)
        return;
    size_t to = from;
    for (size_t i = from; i < out->n; i++) {
        char c = out->p[i];
        bool space = c == ' ' || c == '\n' || c == '\t';
        if (!space)
            out->p[to++] = c;
        else if (to > from && out->p[to - 1] != ' ')
            out->p[to++] = ' ';
    }
    out->n = to > from && out->p[to - 1] == ' ' ? to - 1 : to;
}
