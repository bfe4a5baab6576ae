#include "index/policy/labels.h"

#include <stdlib.h>
#include <utf8proc.h>

#include "engine/base/pack.h"
#include "engine/base/utf8.h"

#define RIGHT_FORM "a label is \"public\" or kind:name, like group:hr"
#define NAME_CHARS_MAX 200
#define RAW_MAX (4 * CN_LABEL_MAX) /* bytes before NFC makes it shorter */

static const cn_str public_label[] = {{"public", 6}};
const cn_labels cn_labels_public = {public_label, 1};

static bool kind_char(char c, bool first) {
    return (c >= 'a' && c <= 'z') || (!first && ((c >= '0' && c <= '9') || c == '_' || c == '-'));
}

/* White space as Unicode has it, control characters and the comma that separates labels. */
static bool name_char(int32_t c) {
    switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_ZS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_CC:
        return false;
    default:
        return c != ',';
    }
}

static cn_err name_check(cn_str label, cn_str name) {
    size_t chars = 0;
    for (size_t at = 0; at < name.n; chars++) {
        int32_t c;
        utf8proc_ssize_t len = utf8proc_iterate((const uint8_t *)name.p + at, (utf8proc_ssize_t)(name.n - at), &c);
        if (len <= 0)
            return cn_fail(CN_INVALID, "a label is not valid UTF-8 at byte %zu; " RIGHT_FORM, label.n - name.n + at);
        if (!name_char(c))
            return cn_fail(CN_INVALID, "a label has a space, comma or control character at byte %zu; " RIGHT_FORM, label.n - name.n + at);
        at += (size_t)len;
    }
    if (chars == 0 || chars > NAME_CHARS_MAX)
        return cn_fail(CN_INVALID, "a label has a name of %zu characters; it must be 1 to %d", chars, NAME_CHARS_MAX);
    return CN_OK;
}

cn_err cn_label_check(cn_str label) {
    if (label.n > CN_LABEL_MAX)
        return cn_fail(CN_INVALID, "a label of %zu bytes; at most %d are kept", label.n, CN_LABEL_MAX);
    if (!cn_utf8_ok(label))
        return cn_fail(CN_INVALID, "a label is not valid UTF-8 at byte %zu; " RIGHT_FORM, cn_utf8_valid_to(label));
    if (cn_str_eq(label, CN_PUBLIC))
        return CN_OK;
    const char *colon = label.n ? memchr(label.p, ':', label.n) : NULL;
    size_t kind = colon ? (size_t)(colon - label.p) : 0;
    if (kind == 0)
        return cn_fail(CN_INVALID, "a label has no kind; " RIGHT_FORM);
    for (size_t i = 0; i < kind; i++)
        if (!kind_char(label.p[i], i == 0))
            return cn_fail(CN_INVALID, "a label has a kind with other characters than a-z, 0-9, _ and -; " RIGHT_FORM);
    return name_check(label, (cn_str){label.p + kind + 1, label.n - kind - 1});
}

static bool is_ascii(cn_str s) {
    for (size_t i = 0; i < s.n; i++)
        if ((uint8_t)s.p[i] > 127)
            return false;
    return true;
}

cn_err cn_label_make(cn_arena *a, cn_str in, cn_str *ret) {
    int32_t room[2 * RAW_MAX + 1]; /* characters; becomes the text in place, with a NUL */
    cn_str nfc = in;
    if (in.n > RAW_MAX)
        return cn_fail(CN_INVALID, "a label of %zu bytes; at most %d are kept", in.n, CN_LABEL_MAX);
    if (!is_ascii(in)) {
        utf8proc_option_t how = UTF8PROC_STABLE | UTF8PROC_COMPOSE;
        utf8proc_ssize_t n = utf8proc_decompose((const uint8_t *)in.p, (utf8proc_ssize_t)in.n, room, 2 * RAW_MAX, how);
        if (n < 0)
            return cn_fail(CN_INVALID, "a label is not valid UTF-8 at byte %zu; " RIGHT_FORM, cn_utf8_valid_to(in));
        if (n > 2 * RAW_MAX)
            return cn_fail(CN_INVALID, "a label of %zu bytes; at most %d are kept", in.n, CN_LABEL_MAX);
        n = utf8proc_reencode(room, n, how);
        nfc = (cn_str){(const char *)room, n < 0 ? 0 : (size_t)n};
    }
    CN_TRY(cn_label_check(nfc));
    cn_str kept = cn_arena_str(a, nfc);
    if (!kept.p)
        return cn_fail_memory();
    *ret = kept;
    return CN_OK;
}

static int by_bytes(const void *x, const void *y) { return cn_str_cmp(*(const cn_str *)x, *(const cn_str *)y); }

cn_err cn_labels_make(cn_arena *a, const cn_str *v, uint32_t n, cn_labels *ret) {
    if (n > CN_LABELS_MAX)
        return cn_fail(CN_INVALID, "%u labels; a list has at most %d", n, CN_LABELS_MAX);
    cn_str *set = cn_arena_alloc(a, n * sizeof *set);
    if (!set)
        return cn_fail_memory();
    for (uint32_t i = 0; i < n; i++) {
        cn_err err = cn_label_make(a, v[i], &set[i]);
        if (err != CN_OK)
            return err == CN_INVALID && n > 1 ? cn_wrap(err, "number %u of the list", i + 1) : err;
    }
    if (n > 1)
        qsort(set, n, sizeof *set, by_bytes);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < n; i++)
        if (kept == 0 || !cn_str_eq(set[kept - 1], set[i]))
            set[kept++] = set[i];
    *ret = (cn_labels){set, kept};
    return CN_OK;
}

static cn_err empty_label(uint32_t n) { return cn_fail(CN_INVALID, "label %u is empty; labels are separated by single commas", n + 1); }

cn_err cn_labels_parse(cn_arena *a, cn_str commas, cn_labels *ret) {
    cn_str part[CN_LABELS_MAX], rest = cn_str_trim(commas);
    bool open = rest.n && rest.p[rest.n - 1] == ',';
    uint32_t n = 0;
    for (cn_str one; cn_str_next(&rest, ',', &one); n++) {
        if (n == CN_LABELS_MAX)
            return cn_fail(CN_INVALID, "a list of labels has at most %d", CN_LABELS_MAX);
        part[n] = cn_str_trim(one);
        if (part[n].n == 0)
            return empty_label(n);
    }
    return open ? empty_label(n) : cn_labels_make(a, part, n, ret);
}

void cn_labels_text(cn_buf *out, cn_labels set) {
    for (uint32_t i = 0; i < set.n; i++) {
        if (i)
            cn_buf_putc(out, ',');
        cn_buf_add(out, set.v[i].p, set.v[i].n);
    }
}

void cn_labels_pack(cn_buf *out, cn_labels set) {
    cn_pack_array(out, set.n);
    for (uint32_t i = 0; i < set.n; i++)
        cn_pack_str(out, set.v[i]);
}

void cn_labels_pack_field(cn_buf *out, const char *name, cn_labels set) {
    cn_pack_cstr(out, name);
    cn_labels_pack(out, set);
}

cn_err cn_labels_copy(cn_arena *a, cn_labels set, cn_labels *ret) {
    cn_str *v = cn_arena_zalloc(a, set.n + 1u, sizeof *v);
    if (!v)
        return cn_fail_memory();
    for (uint32_t i = 0; i < set.n; i++) {
        v[i] = cn_arena_str(a, set.v[i]);
        if (!v[i].p)
            return cn_fail_memory();
    }
    *ret = (cn_labels){v, set.n};
    return CN_OK;
}

cn_err cn_triple_copy(cn_arena *a, const cn_triple *t, cn_triple *ret) {
    cn_triple copy;
    CN_TRY(cn_labels_copy(a, t->allow, &copy.allow));
    CN_TRY(cn_labels_copy(a, t->deny, &copy.deny));
    CN_TRY(cn_labels_copy(a, t->require, &copy.require));
    *ret = copy;
    return CN_OK;
}

bool cn_labels_has(cn_labels set, cn_str label) {
    uint32_t lo = 0, hi = set.n;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        int c = cn_str_cmp(set.v[mid], label);
        if (c == 0)
            return true;
        if (c < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return false;
}

bool cn_labels_meet(cn_labels a, cn_labels b) {
    cn_labels few = a.n < b.n ? a : b, many = a.n < b.n ? b : a;
    for (uint32_t i = 0; i < few.n; i++)
        if (cn_labels_has(many, few.v[i]))
            return true;
    return false;
}

bool cn_labels_eq(cn_labels a, cn_labels b) {
    bool same = a.n == b.n;
    for (uint32_t i = 0; same && i < a.n; i++)
        same = cn_str_eq(a.v[i], b.v[i]);
    return same;
}

bool cn_labels_within(cn_labels a, cn_labels b) {
    for (uint32_t i = 0; i < a.n; i++)
        if (!cn_labels_has(b, a.v[i]))
            return false;
    return true;
}

cn_err cn_labels_union(cn_arena *arena, cn_labels a, cn_labels b, cn_labels *ret) {
    cn_str *set = cn_arena_alloc(arena, ((size_t)a.n + b.n) * sizeof *set);
    if (!set)
        return cn_fail_memory();
    uint32_t i = 0, j = 0, n = 0;
    while (i < a.n || j < b.n) {
        int c = i == a.n ? 1 : j == b.n ? -1 : cn_str_cmp(a.v[i], b.v[j]);
        set[n++] = c <= 0 ? a.v[i] : b.v[j];
        i += c <= 0;
        j += c >= 0;
    }
    *ret = (cn_labels){set, n};
    return CN_OK;
}

cn_err cn_labels_minus(cn_arena *arena, cn_labels a, cn_labels b, cn_labels *ret) {
    cn_str *set = cn_arena_alloc(arena, a.n * sizeof *set);
    if (!set)
        return cn_fail_memory();
    uint32_t n = 0;
    for (uint32_t i = 0; i < a.n; i++)
        if (!cn_labels_has(b, a.v[i]))
            set[n++] = a.v[i];
    *ret = (cn_labels){set, n};
    return CN_OK;
}

cn_digest cn_labels_digest(cn_labels set) {
    cn_sha256 s;
    cn_sha256_begin(&s);
    cn_sha256_u64(&s, set.n);
    for (uint32_t i = 0; i < set.n; i++)
        cn_sha256_field(&s, set.v[i]);
    cn_digest d = cn_sha256_get(&s);
    cn_sha256_end(&s);
    return d;
}

bool cn_triple_permits(const cn_triple *row, const cn_principal *who) {
    return cn_labels_meet(row->allow, who->asks) && !cn_labels_meet(row->deny, who->holds) && cn_labels_within(row->require, who->asks);
}
