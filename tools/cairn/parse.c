/* parse.c -- words and options to a method's fields, by the row that describes them. */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/mem.h"
#include "index/search/filter.h"
#include "tools/cairn/command.h"

#define PARAMS_MAX ((size_t)256 << 20)
#define FILE_MAX ((size_t)200 << 20)

const cmd *cmd_find(int argc, char *const *argv, int *ret_words) {
    const cmd *best = NULL;
    for (const cmd *c = cmd_table; c->name; c++) {
        const char *space = strchr(c->name, ' ');
        size_t first = space ? (size_t)(space - c->name) : strlen(c->name);
        if (argc < 1 || strlen(argv[0]) != first || memcmp(argv[0], c->name, first) != 0)
            continue;
        if (!space && !best) {
            best = c;
            *ret_words = 1;
        } else if (space && argc > 1 && strcmp(argv[1], space + 1) == 0) {
            *ret_words = 2;
            return c;
        }
    }
    return best;
}

typedef struct fields {
    cn_buf *b;
    uint32_t n;
} fields;

static cn_err put_uint(fields *f, const char *field, const char *what, const char *text) {
    char *end;
    errno = 0;
    unsigned long long v = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || errno)
        return cn_fail(CN_INVALID, "%s takes a whole number, not \"%s\"", what, text);
    f->n++;
    cn_pack_cstr(f->b, field);
    cn_pack_uint(f->b, v);
    return CN_OK;
}

static cn_err put_float(fields *f, const char *field, const char *what, const char *text) {
    char *end;
    double v = strtod(text, &end);
    if (!*text || *end || !isfinite(v))
        return cn_fail(CN_INVALID, "%s takes a number, not \"%s\"", what, text);
    f->n++;
    cn_pack_cstr(f->b, field);
    cn_pack_f64(f->b, v);
    return CN_OK;
}

static cn_err put_text(fields *f, const char *field, const char *text) {
    f->n++;
    cn_pack_cstr(f->b, field);
    cn_pack_cstr(f->b, text);
    return CN_OK;
}

static cn_err put_filter(fields *f, const char *field, const char *text) {
    f->n++;
    cn_pack_cstr(f->b, field);
    return cn_filter_parse(cn_str_of(text), f->b);
}

static cn_err read_all(int fd, const char *path, cn_buf *out) {
    for (;;) {
        char *room = cn_buf_take(out, 65536);
        if (!room)
            return cn_fail(CN_INVALID, "%s is larger than %zu MiB", path, FILE_MAX >> 20);
        ssize_t n = read(fd, room, 65536);
        if (n < 0)
            return cn_fail_errno(errno, "cannot read %s", path);
        out->n -= 65536 - (size_t)n;
        if (n == 0)
            return CN_OK;
    }
}

static cn_err put_file(fields *f, const char *field, const char *path) {
    CN_AUTO_BUF cn_buf text;
    cn_buf_init(&text, FILE_MAX);
    int fd = strcmp(path, "-") == 0 ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return cn_fail_errno(errno, "cannot open %s", path);
    cn_err err = read_all(fd, path, &text);
    if (fd != STDIN_FILENO)
        close(fd);
    CN_TRY(err);
    f->n++;
    cn_pack_cstr(f->b, field);
    cn_pack_str(f->b, cn_buf_str(&text));
    return CN_OK;
}

/* Both parts of TENANT/INDEX; for CMD_TENANT the second may be missing. */
static cn_err put_place(fields *f, cmd_type type, const char *text) {
    const char *slash = strchr(text, '/');
    if (type == CMD_INDEX && (!slash || slash == text || !slash[1]))
        return cn_fail(CN_INVALID, "\"%s\" names no index; write TENANT/INDEX, like acme/docs", text);
    f->n++;
    cn_pack_cstr(f->b, "tenant");
    cn_pack_str(f->b, (cn_str){text, slash ? (size_t)(slash - text) : strlen(text)});
    return slash ? put_text(f, "index", slash + 1) : CN_OK;
}

static uint32_t put_commas(cn_buf *b, const char *text) {
    uint32_t n = 0;
    while (*text) {
        size_t len = strcspn(text, ",");
        if (len) {
            cn_pack_str(b, (cn_str){text, len});
            n++;
        }
        text += len + (text[len] == ',');
    }
    return n;
}

static cn_err put_value(fields *f, cmd_type type, const char *field, const char *what, const char *text) {
    switch (type) {
    case CMD_UINT: return put_uint(f, field, what, text);
    case CMD_FLOAT: return put_float(f, field, what, text);
    case CMD_FILTER: return put_filter(f, field, text);
    case CMD_FILE: return put_file(f, field, text);
    case CMD_INDEX:
    case CMD_TENANT: return put_place(f, type, text);
    case CMD_FLAG:
    case CMD_NOT:
        f->n++;
        cn_pack_cstr(f->b, field);
        cn_pack_bool(f->b, type == CMD_FLAG);
        return CN_OK;
    case CMD_HOST:
    case CMD_TEXT:
    case CMD_COMMAS:
    case CMD_PAIRS:
    case CMD_REPEAT: break;
    }
    return put_text(f, field, text);
}

/* ---------- options ---------- */
static const cmd_opt *find_opt(const cmd_opt *opts, const char *word, size_t n) {
    for (; opts && opts->name; opts++)
        if (strlen(opts->name) == n && memcmp(opts->name, word, n) == 0)
            return opts;
    return NULL;
}

typedef struct given { /* options as typed: opt, value */
    const cmd_opt *opt;
    const char *value;
} given;

static cn_err take_option(const cmd *c, int argc, char *const *argv, int *i, given *ret) {
    const char *word = argv[*i], *eq = strncmp(word, "--", 2) == 0 ? strchr(word, '=') : NULL;
    const cmd_opt *o = find_opt(c->opts, word, eq ? (size_t)(eq - word) : strlen(word));
    if (!o)
        return cmd_unknown_option(c, word);
    if (!o->arg) {
        if (eq)
            return cn_fail(CN_INVALID, "%s takes no value", o->name);
        *ret = (given){o, ""};
        return CN_OK;
    }
    if (!eq && *i + 1 >= argc)
        return cn_fail(CN_INVALID, "%s needs a value: %s %s", o->name, o->name, o->arg);
    *ret = (given){o, eq ? eq + 1 : argv[++*i]};
    return CN_OK;
}

static cn_err put_list(fields *f, const cmd_opt *o, const given *g, int n) {
    uint32_t count = 0;
    f->n++;
    cn_pack_cstr(f->b, o->field);
    size_t at = cn_pack_array_open(f->b);
    for (int i = 0; i < n; i++) {
        if (g[i].opt != o)
            continue;
        if (o->type == CMD_COMMAS) {
            count += put_commas(f->b, g[i].value);
        } else {
            cn_pack_cstr(f->b, g[i].value);
            count++;
        }
    }
    cn_pack_array_close(f->b, at, count);
    return CN_OK;
}

static bool means_host(const given *g, int n) {
    for (int i = 0; i < n; i++)
        if (g[i].opt->type == CMD_HOST)
            return true;
    return false;
}

static bool seen_before(const given *g, int i) {
    for (int k = 0; k < i; k++)
        if (g[k].opt == g[i].opt)
            return true;
    return false;
}

static cn_err put_options(const cmd *c, fields *f, const given *g, int n, cmd_call *call) {
    for (int i = 0; i < n; i++) {
        const cmd_opt *o = g[i].opt;
        bool list = o->type == CMD_COMMAS || o->type == CMD_REPEAT, again = seen_before(g, i);
        if (again && !list)
            return cn_fail(CN_INVALID, "%s is given twice", o->name);
        if (!o->field)
            call->values[o - c->opts] = g[i].value;
        else if (!list)
            CN_TRY(put_value(f, o->type, o->field, o->name, g[i].value));
        else if (!again)
            CN_TRY(put_list(f, o, g, n));
    }
    return CN_OK;
}

/* ---------- words ---------- */
static cn_err put_pair(fields *pairs, const char *what, const char *word) {
    char name[256];
    size_t n = strcspn(word, "=");
    if (!word[n] || n == 0 || n >= sizeof name)
        return cn_fail(CN_INVALID, "\"%s\" is no %s, like recall@10=0.96", word, what);
    snprintf(name, sizeof name, "%.*s", (int)n, word);
    return put_float(pairs, name, name, word + n + 1);
}

static cn_err put_many(fields *f, const cmd_pos *pos, char **words, int n) {
    fields pairs = {f->b, 0};
    f->n++;
    cn_pack_cstr(f->b, pos->field);
    if (pos->type != CMD_PAIRS) {
        cn_pack_array(f->b, (uint32_t)n);
        for (int i = 0; i < n; i++)
            cn_pack_cstr(f->b, words[i]);
        return CN_OK;
    }
    cn_pack_map(f->b, (uint32_t)n);
    for (int i = 0; i < n; i++)
        CN_TRY(put_pair(&pairs, pos->name, words[i]));
    return CN_OK;
}

static cn_err put_words(const cmd *c, fields *f, char **words, int n, bool host, cmd_call *call) {
    int at = 0;
    for (int p = host; p < CMD_POS_MAX && c->pos[p].name; p++) {
        const cmd_pos *pos = &c->pos[p];
        if (at == n) {
            if (!pos->optional)
                return cn_fail(CN_INVALID, "%s is missing; `cairn %s --help` shows how to write it", pos->name, c->name);
            continue;
        }
        call->words[p] = words[at];
        if (!pos->many) {
            if (pos->field || pos->type == CMD_INDEX || pos->type == CMD_TENANT)
                CN_TRY(put_value(f, pos->type, pos->field, pos->name, words[at]));
            at++;
            continue;
        }
        if (pos->field)
            CN_TRY(put_many(f, pos, words + at, n - at));
        at = n;
    }
    return at == n ? CN_OK : cn_fail(CN_INVALID, "\"%s\" is one word too many for `cairn %s`", words[at], c->name);
}

cn_err cmd_parse(const cmd *c, int argc, char *const *argv, cmd_call *ret) {
    CN_AUTO_FREE char **words = cn_calloc((size_t)argc + 1, sizeof *words);
    CN_AUTO_FREE given *g = cn_calloc((size_t)argc + 1, sizeof *g);
    int n_words = 0, n_given = 0;
    bool only_words = false;
    *ret = (cmd_call){0};
    cn_buf_init(&ret->params, PARAMS_MAX);
    if (!words || !g)
        return cn_fail_memory();
    for (int i = 0; i < argc; i++) {
        if (!only_words && strcmp(argv[i], "--") == 0)
            only_words = true;
        else if (only_words || argv[i][0] != '-' || !argv[i][1])
            words[n_words++] = argv[i];
        else
            CN_TRY(take_option(c, argc, argv, &i, &g[n_given++]));
    }
    fields f = {&ret->params, 0};
    size_t at = cn_pack_map_open(f.b);
    CN_TRY(put_words(c, &f, words, n_words, means_host(g, n_given), ret));
    CN_TRY(put_options(c, &f, g, n_given, ret));
    cn_pack_map_close(f.b, at, f.n);
    return cn_buf_check(f.b);
}

void cmd_call_done(cmd_call *call) { cn_buf_done(&call->params); }

const char *cmd_value(const cmd *c, const cmd_call *call, const char *opt) {
    const cmd_opt *o = find_opt(c->opts, opt, strlen(opt));
    return o ? call->values[o - c->opts] : NULL;
}

cn_err cmd_number(const cmd *c, const cmd_call *call, const char *opt, uint32_t preset, uint32_t least, uint32_t most, uint32_t *ret) {
    const char *text = cmd_value(c, call, opt);
    char *end = NULL;
    unsigned long v = text ? strtoul(text, &end, 10) : preset;
    if (text && (*text < '0' || *text > '9' || *end || v < least || v > most))
        return cn_fail(CN_INVALID, "%s is \"%.40s\"; it must be %u to %u", opt, text, least, most);
    *ret = v > most ? most : (uint32_t)v;
    return CN_OK;
}
