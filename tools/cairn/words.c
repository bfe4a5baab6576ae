/* words.c -- what is said of words that no row has, and a method's error in the words of the command. */
#include "engine/base/buf.h"
#include "tools/cairn/command.h"

/* ---------- the nearest word ---------- */
#define WORD_MAX 40

static unsigned least(unsigned a, unsigned b) { return a < b ? a : b; }

/* Edits (a letter more, less, another, or two swapped) from a to b: optimal string alignment, by three rows. */
static unsigned distance(const char *a, size_t n, const char *b, size_t m) {
    unsigned rows[3][WORD_MAX + 1];
    if (n > WORD_MAX || m > WORD_MAX)
        return WORD_MAX;
    for (unsigned j = 0; j <= m; j++)
        rows[0][j] = j;
    for (unsigned i = 1; i <= n; i++) {
        unsigned *now = rows[i % 3], *up = rows[(i + 2) % 3], *up2 = rows[(i + 1) % 3];
        now[0] = i;
        for (unsigned j = 1; j <= m; j++) {
            now[j] = least(least(up[j], now[j - 1]) + 1, up[j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                now[j] = least(now[j], up2[j - 2] + 1);
        }
    }
    return rows[n % 3][m];
}

typedef struct nearest {
    const char *word, *best;
    size_t word_n, best_n;
    unsigned far;
} nearest;

static nearest nearest_to(const char *word, size_t n) { return (nearest){.word = word, .word_n = n, .far = n < 3 ? 1 : n < 4 ? 2 : 3 + (unsigned)(n > 8)}; }

/* A word that begins with what was typed is as near as one wrong letter. */
static void try_word(nearest *x, const char *word, size_t n) {
    unsigned d = distance(x->word, x->word_n, word, n);
    if (x->word_n >= 3 && n > x->word_n && memcmp(word, x->word, x->word_n) == 0)
        d = 1;
    if (d < x->far) {
        x->far = d;
        x->best = word;
        x->best_n = n;
    }
}

/* before: what stands before the word, "policy " */
static cn_err unknown(const nearest *x, const char *what, const char *before, const char *lists) {
    if (x->best)
        return cn_fail(CN_INVALID, "there is no %s \"%s%.*s\"; did you mean \"%s%.*s\"? `%s` lists all", what, before, (int)x->word_n, x->word, before,
                       (int)x->best_n, x->best, lists);
    return cn_fail(CN_INVALID, "there is no %s \"%s%.*s\"; `%s` lists all", what, before, (int)x->word_n, x->word, lists);
}

/* ---------- commands and options ---------- */
static cn_err unknown_second(const char *first, const char *second) {
    char all[512] = "", lists[64], before[40];
    size_t n = strlen(first), at = 0;
    nearest x = nearest_to(second ? second : "", second ? strlen(second) : 0);
    for (const cmd *c = cmd_table; c->name; c++) {
        if (strncmp(c->name, first, n) != 0 || c->name[n] != ' ')
            continue;
        at += (size_t)snprintf(all + at, sizeof all - at, "%s%s", at ? ", " : "", c->name + n + 1);
        try_word(&x, c->name + n + 1, strlen(c->name + n + 1));
    }
    snprintf(lists, sizeof lists, "cairn %.32s --help", first);
    snprintf(before, sizeof before, "%.32s ", first);
    if (second)
        return unknown(&x, "command", before, lists);
    return cn_fail(CN_INVALID, "`cairn %s` needs one more word: %s; `%s` says what each does", first, all, lists);
}

cn_err cmd_unknown(const char *first, const char *second) {
    nearest x = nearest_to(first, strlen(first));
    if (first[0] == '-') {
        for (const cmd *c = cmd_table; c->name; c++)
            for (const cmd_opt *o = c->opts; o && o->name; o++)
                if (strncmp(o->name, first, strcspn(first, "=")) == 0 && strlen(o->name) == strcspn(first, "="))
                    return cn_fail(CN_INVALID, "%s is an option of a command and stands behind it, as in `cairn %s ... %s`", o->name, c->name, o->name);
        x.word_n = strcspn(first, "=");
        for (const cmd_opt *o = cmd_globals; o->name; o++)
            try_word(&x, o->name, strlen(o->name));
        return unknown(&x, "option", "", "cairn --help");
    }
    for (const cmd *c = cmd_table; c->name; c++) {
        size_t n = strcspn(c->name, " ");
        if (c->name[n] && n == x.word_n && memcmp(c->name, first, n) == 0)
            return unknown_second(first, second);
        try_word(&x, c->name, n);
    }
    return unknown(&x, "command", "", "cairn --help");
}

cn_err cmd_unknown_option(const cmd *c, const char *word) {
    char what[80], lists[80];
    nearest x = nearest_to(word, strcspn(word, "="));
    for (const cmd_opt *o = c->opts; o && o->name; o++)
        try_word(&x, o->name, strlen(o->name));
    for (const cmd_opt *o = cmd_globals; o->name; o++)
        try_word(&x, o->name, strlen(o->name));
    snprintf(what, sizeof what, "option of `cairn %s` called", c->name);
    snprintf(lists, sizeof lists, "cairn %s --help", c->name);
    return unknown(&x, what, "", lists);
}

/* ---------- a method's error ---------- */
static const char *word_of_field(const cmd *c, const char *field, size_t n) {
    for (const cmd_opt *o = c->opts; o && o->name; o++)
        if (o->field && strlen(o->field) == n && memcmp(o->field, field, n) == 0)
            return o->name;
    for (const cmd_pos *p = c->pos; p->name; p++) {
        bool place = (p->type == CMD_INDEX || p->type == CMD_TENANT) && ((n == 6 && memcmp(field, "tenant", 6) == 0) || (n == 5 && memcmp(field, "index", 5) == 0));
        if (place || (p->field && strlen(p->field) == n && memcmp(p->field, field, n) == 0))
            return p->name;
    }
    return NULL;
}

/* `field "k"` or `the field "k"` at p: its word, and how many bytes it replaces. */
static const char *field_at(const cmd *c, const char *p, size_t *ret_n) {
    size_t skip = strncmp(p, "the ", 4) == 0 ? 4 : 0;
    if (strncmp(p + skip, "field \"", 7) != 0)
        return NULL;
    const char *name = p + skip + 7;
    size_t n = strcspn(name, "\"");
    *ret_n = skip + 7 + n + 1;
    return name[n] ? word_of_field(c, name, n) : NULL;
}

void cmd_words_of_error(const cmd *c, const char *text, char *ret, size_t room) {
    CN_AUTO_BUF cn_buf b;
    size_t n = c && c->method ? strlen(c->method) : 0;
    cn_buf_init(&b, room);
    if (n && strncmp(text, c->method, n) == 0 && text[n] == ' ') {
        cn_buf_printf(&b, "`cairn %s`", c->name);
        text += n;
    }
    for (const char *p = text; *p;) {
        const char *word = c ? field_at(c, p, &n) : NULL;
        if (word)
            cn_buf_puts(&b, word);
        else
            cn_buf_putc(&b, *p);
        p += word ? n : 1;
    }
    snprintf(ret, room, CN_STR_FMT, CN_STR_ARG(cn_buf_str(&b)));
}
