#include "ingest/job/front.h"

#include "index/policy/labels.h"

static cn_str trim(cn_str s) {
    while (s.n && (*s.p == ' ' || *s.p == '\t'))
        s = (cn_str){s.p + 1, s.n - 1};
    while (s.n && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t' || s.p[s.n - 1] == '\r'))
        s.n--;
    if (s.n >= 2 && (*s.p == '"' || *s.p == '\'') && s.p[s.n - 1] == *s.p)
        s = (cn_str){s.p + 1, s.n - 2};
    return s;
}

/* The next line, without its end; false: no more. */
static bool next_line(cn_str *rest, cn_str *ret) {
    if (rest->n == 0)
        return false;
    const char *end = memchr(rest->p, '\n', rest->n);
    size_t n = end ? (size_t)(end - rest->p) : rest->n;
    *ret = (cn_str){rest->p, n};
    size_t step = n + (end != NULL);
    *rest = (cn_str){rest->p + step, rest->n - step};
    return true;
}

typedef struct found {
    cn_str v[CN_LABELS_MAX];
    uint32_t n;
} found;

static cn_err add(found *f, cn_str label) {
    label = trim(label);
    if (label.n == 0)
        return CN_OK;
    if (f->n == CN_LABELS_MAX)
        return cn_fail(CN_INVALID, "its front matter names over %d labels", CN_LABELS_MAX);
    f->v[f->n++] = label;
    return CN_OK;
}

static cn_err add_inline(found *f, cn_str value) {
    value = trim(value);
    if (value.n >= 2 && value.p[0] == '[' && value.p[value.n - 1] == ']')
        value = (cn_str){value.p + 1, value.n - 2};
    while (value.n) {
        const char *comma = memchr(value.p, ',', value.n);
        size_t n = comma ? (size_t)(comma - value.p) : value.n;
        CN_TRY(add(f, (cn_str){value.p, n}));
        n += comma != NULL;
        value = (cn_str){value.p + n, value.n - n};
    }
    return CN_OK;
}

static cn_err read_key(cn_str rest, cn_str value, cn_arena *a, cn_labels *ret) {
    found *f = cn_arena_zalloc(a, 1, sizeof *f);
    cn_str line;
    if (!f)
        return cn_fail_memory();
    CN_TRY(add_inline(f, value));
    while (trim(value).n == 0 && next_line(&rest, &line)) {
        line = trim(line);
        if (line.n == 0 || line.p[0] != '-')
            break;
        CN_TRY(add(f, (cn_str){line.p + 1, line.n - 1}));
    }
    return cn_labels_make(a, f->v, f->n, ret);
}

cn_err cn_front_labels(cn_str front, cn_arena *a, cn_triple *io) {
    cn_triple t = *io;
    const struct {
        cn_str key;
        cn_labels *set;
    } keys[] = {{CN_STR("labels:"), &t.allow}, {CN_STR("deny:"), &t.deny}, {CN_STR("require:"), &t.require}};
    cn_str line;
    while (next_line(&front, &line))
        for (size_t k = 0; k < sizeof keys / sizeof *keys; k++)
            if (line.n >= keys[k].key.n && memcmp(line.p, keys[k].key.p, keys[k].key.n) == 0)
                CN_TRY(read_key(front, (cn_str){line.p + keys[k].key.n, line.n - keys[k].key.n}, a, keys[k].set));
    *io = t;
    return CN_OK;
}
