#include "server/net/config.h"

#include <errno.h>
#include <ini.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "index/store/reserve.h"
#include "index/types.h"

#define MIB "MiB"
#define GIB_MAX ((int64_t)1 << 40)
#define DAY_MS 86400000

static const cn_setting table[] = {
    {"data", CN_SET_TEXT, "", 0, 0, "the data directory (cairn init makes one)"},
    {"listen", CN_SET_LIST, "", 0, 0, "where to listen: tcp://127.0.0.1:7700, tcp://[::1]:7700 or unix:PATH; may be given several times"},
    {"insecure", CN_SET_BOOL, "false", 0, 0, "allow plain TCP beyond loopback: keys and texts then cross the network readable"},
    {"unix_mode", CN_SET_TEXT, "0660", 0, 0, "mode of Unix sockets"},
    {"anonymous", CN_SET_LIST, "", 0, 0, "a tenant that answers queries without a key, with the label public alone"},
    {"import_root", CN_SET_LIST, "", 0, 0, "TENANT=PATH: a folder whose files that tenant's keys may name to ingest"},
    {"loops", CN_SET_INT, "1", 1, 64, "event loops; more help only with very many connections"},
    {"workers", CN_SET_INT, "0", 0, 1024, "threads for queries; 0: one for each processor, at least 2"},
    {"long_workers", CN_SET_INT, "3", 1, 64, "threads for what runs long: ingest, gc, diff, gate runs; the last free one is for a tenant of which nothing long runs"},
    {"queue", CN_SET_INT, "1024", 1, 1000000, "requests that may wait for a thread, at most half of them one tenant's; one more is refused as OVERLOADED"},
    {"embed_threads", CN_SET_INT, "0", 0, 1024, "threads to embed a batch of questions; 0: one for each processor"},
    {"max_connections", CN_SET_INT, "10000", 1, 1000000, "connections at a time; one more is closed at once"},
    {"max_pipelined", CN_SET_INT, "128", 1, 65536, "requests of one connection under way; reading waits for the next answer"},
    {"max_frame", CN_SET_BYTES, "64MiB", 1024, GIB_MAX, "largest request; 64 KiB before auth"},
    {"max_response", CN_SET_BYTES, "64MiB", 1024, GIB_MAX, "largest answer; some clients refuse over 100 MiB"},
    {"max_buffered", CN_SET_BYTES, "1GiB", 1 << 20, GIB_MAX, "bytes of large requests and answers held for all connections together; over it OVERLOADED"},
    {"idle_timeout", CN_SET_DURATION_MS, "30m", 0, 30LL * DAY_MS, "closes a connection on which nothing happens; 0: never"},
    {"frame_timeout", CN_SET_DURATION_MS, "30s", 100, DAY_MS, "closes a connection whose request stops half-way"},
    {"write_timeout", CN_SET_DURATION_MS, "30s", 100, DAY_MS, "closes a connection that does not take its answers"},
    {"request_timeout", CN_SET_DURATION_MS, "60s", 100, DAY_MS, "longest a query may take, waiting included"},
    {"gate_timeout", CN_SET_DURATION_MS, "1h", 100, 30LL * DAY_MS, "longest a gate run may take, waiting included"},
    {"drain_timeout", CN_SET_DURATION_MS, "20s", 0, DAY_MS, "on SIGTERM: how long requests under way may go on"},
    {"trace_bytes", CN_SET_BYTES, "256MiB", 0, (int64_t)8 << 30, "request records kept of each tenant: who was given which passages; 0: none"},
    {"trace_keep", CN_SET_DURATION_MS, "30d", 0, 3650LL * DAY_MS, "how long request records are kept"},
    {"reserve", CN_SET_BYTES, "8MiB", 0, CN_RESERVE_MAX, "disk kept so that on a full one denial, hiding, erasure, rollback and the audit trail still go through; 0: none"},
    {"scrub_rate", CN_SET_BYTES, "16MiB", 0, GIB_MAX, "bytes a second at most that are read to find damaged files before they are asked for; 0: none"},
    {"scrub_every", CN_SET_DURATION_MS, "1d", 1000, 3650LL * DAY_MS, "how long after one such reading of all files the next begins"},
    {"compact_after", CN_SET_DURATION_MS, "10m", 0, 365LL * DAY_MS, "how long after an erasure the files that hold the document are compacted; its bytes are gone a minute later; 0: not by itself"},
    {"merge_rate", CN_SET_BYTES, "8MiB", 0, GIB_MAX, "bytes a second at most that are copied to merge small files of an index, in the background; 0: none"},
    {"recall_sample", CN_SET_INT, "10", 0, 1000, "of 1000 questions by vectors so many are searched again exactly, afterwards, to know the recall; 0: none, and no effort is raised"},
    {"recall_cpu", CN_SET_INT, "2", 1, 100, "percent of one processor at most that this takes"},
    {"slow_query", CN_SET_DURATION_MS, "1s", 1, DAY_MS, "requests that take longer are logged"},
    {"log_level", CN_SET_TEXT, "info", 0, 0, "debug, info, warn or error"},
    {"log_format", CN_SET_TEXT, "auto", 0, 0, "auto (logfmt on a terminal, else JSON), logfmt or json"},
};
#define ROWS (sizeof table / sizeof *table)

/* --- the file --- */
typedef struct reader {
    FILE *f;
    cn_settings *s;
    const char *path;
    int line;
    cn_err err;
} reader;

/* inih would take the rest of a long line for another one, and what stands behind a zero byte for nothing: so each line must be
 * whole, and text. A file of zeros, as a power cut leaves it, is no configuration without settings. */
static char *next_line(char *text, int room, void *ctx) {
    reader *r = ctx;
    int n = 0, c = 0;
    while (r->err == CN_OK && n < room - 1 && c != '\n' && (c = getc(r->f)) != EOF) {
        text[n++] = (char)c;
        if (!c)
            r->err = cn_fail(CN_INVALID, "%s:%d: there is a zero byte in it; the file is damaged, or no text", r->path, r->line + 1);
    }
    if (r->err != CN_OK || n == 0)
        return NULL;
    text[n] = 0;
    r->line++;
    if (c != '\n' && c != EOF) {
        r->err = cn_fail(CN_INVALID, "%s:%d: the line is too long for this reader; set it by an option or a variable", r->path, r->line);
        return NULL;
    }
    return text;
}

static int take_pair(void *ctx, const char *section, const char *name, const char *value) {
    reader *r = ctx;
    char where[512];
    if (r->err != CN_OK)
        return 0;
    snprintf(where, sizeof where, "%s:%d", r->path, r->line);
    if (*section && strcmp(section, "cairnd") != 0)
        r->err = cn_fail(CN_INVALID, "%s: there is no section [%s]; settings stand under [cairnd] or under none", where, section);
    else
        r->err = cn_settings_set(r->s, name, value ? value : "", where);
    if (r->err == CN_NOT_FOUND)
        r->err = CN_INVALID;
    return r->err == CN_OK;
}

static cn_err load_file(cn_settings *s, const char *path) {
    reader r = {.s = s, .path = path, .f = fopen(path, "re")};
    if (!r.f)
        return cn_fail_errno(errno, "configuration %s", path);
    int bad = ini_parse_stream(next_line, &r, take_pair, &r);
    bool broken = ferror(r.f);
    fclose(r.f);
    if (r.err != CN_OK)
        return r.err;
    if (broken)
        return cn_fail(CN_UNAVAILABLE, "configuration %s cannot be read to its end", path);
    return bad ? cn_fail(CN_INVALID, "%s:%d: neither a setting (name = value) nor a comment", path, bad) : CN_OK;
}

/* --- options --- */
static const cn_setting *find(const char *name, size_t n) {
    for (size_t i = 0; i < ROWS; i++) {
        size_t at = 0;
        while (at < n && table[i].name[at] && (table[i].name[at] == name[at] || (table[i].name[at] == '_' && name[at] == '-')))
            at++;
        if (at == n && !table[i].name[at])
            return &table[i];
    }
    return NULL;
}

static cn_err set_option(cn_settings *s, const char *option, const char *next, int *ret_used) {
    const char *eq = strchr(option, '=');
    const cn_setting *row = find(option, eq ? (size_t)(eq - option) : strlen(option));
    char where[128];
    if (!row)
        return cn_fail(CN_INVALID, "there is no option --%s; see cairnd --help", option);
    snprintf(where, sizeof where, "--%s", row->name);
    *ret_used = 1;
    if (eq)
        return cn_settings_set(s, row->name, eq + 1, where);
    if (row->type == CN_SET_BOOL)
        return cn_settings_set(s, row->name, "true", where);
    if (!next)
        return cn_fail(CN_INVALID, "%s needs a value", where);
    *ret_used = 2;
    return cn_settings_set(s, row->name, next, where);
}

/* Options that are no settings. */
static bool take_flag(cn_config *c, const char *arg) {
    if (strcmp(arg, "--help") == 0 || strcmp(arg, "-h") == 0)
        return c->help = true;
    if (strcmp(arg, "--version") == 0)
        return c->version = true;
    if (strcmp(arg, "--check-config") == 0)
        return c->check_only = true;
    if (strcmp(arg, "--sample-config") == 0)
        return c->sample = true;
    return false;
}

static cn_err take_options(cn_config *c, int argc, char **argv, bool only_flags) {
    for (int i = 1; i < argc;) {
        int used = 1;
        if (strcmp(argv[i], "--config") == 0) {
            if (i + 1 == argc)
                return cn_fail(CN_INVALID, "--config needs a file");
            c->file = argv[i + 1];
            used = 2;
        } else if (strncmp(argv[i], "--config=", 9) == 0) {
            c->file = argv[i] + 9;
        } else if (!take_flag(c, argv[i]) && !only_flags) {
            if (strncmp(argv[i], "--", 2) != 0)
                return cn_fail(CN_INVALID, "\"%s\" is no option; see cairnd --help", argv[i]);
            CN_TRY(set_option(c->settings, argv[i] + 2, i + 1 < argc ? argv[i + 1] : NULL, &used));
        }
        i += used;
    }
    return CN_OK;
}

/* --- checked values --- */
static cn_err take_mode(const char *text, unsigned *ret) {
    char *end;
    unsigned long mode = strtoul(text, &end, 8);
    if (*end || end == text || mode > 0777)
        return cn_fail(CN_INVALID, "unix_mode = \"%s\"; it must be octal, like 0660", text);
    *ret = (unsigned)mode;
    return CN_OK;
}

static cn_err one_of(const char *name, const char *text, const char *const *allowed) {
    for (const char *const *a = allowed; *a; a++)
        if (strcmp(text, *a) == 0)
            return CN_OK;
    return cn_fail(CN_INVALID, "%s = \"%s\"; see cairnd --help for what it may be", name, text);
}

/* The folder may come later, and so may the tenant. */
static cn_err check_root(const char *text) {
    const char *eq = strchr(text, '=');
    if (!eq || eq[1] != '/')
        return cn_fail(CN_INVALID, "import_root = \"%s\"; it must be TENANT=PATH with a whole path, like acme=/srv/docs", text);
    cn_err err = cn_name_check((cn_str){text, (size_t)(eq - text)}, "tenant");
    return err == CN_OK ? CN_OK : cn_wrap(err, "import_root = \"%s\"", text);
}

void cn_config_away(const cn_config *c, void (*tell)(const char *text)) {
    char text[CN_CONFIG_LINE + 256];
    struct stat st;
    for (size_t i = 0; i < c->n_import_roots; i++) {
        const char *root = c->import_roots[i];
        bool there = stat(strchr(root, '=') + 1, &st) == 0;
        if (there && S_ISDIR(st.st_mode))
            continue;
        snprintf(text, sizeof text, "import_root = \"%s\": %s; nothing below it can be ingested until the folder is there", root, there ? "it is not a folder" : strerror(errno));
        tell(text);
    }
}

static unsigned number(const cn_config *c, const char *name) { return (unsigned)cn_settings_int(c->settings, name); }
static uint64_t amount(const cn_config *c, const char *name) { return (uint64_t)cn_settings_int(c->settings, name); }

static void take_numbers(cn_config *c) {
    c->insecure = number(c, "insecure");
    c->loops = number(c, "loops");
    c->workers = number(c, "workers");
    c->long_workers = number(c, "long_workers");
    c->queue = number(c, "queue");
    c->embed_threads = number(c, "embed_threads");
    c->max_connections = number(c, "max_connections");
    c->max_pipelined = number(c, "max_pipelined");
    c->max_frame = amount(c, "max_frame");
    c->max_response = amount(c, "max_response");
    c->max_buffered = amount(c, "max_buffered");
    c->idle_ms = amount(c, "idle_timeout");
    c->frame_ms = amount(c, "frame_timeout");
    c->write_ms = amount(c, "write_timeout");
    c->request_ms = amount(c, "request_timeout");
    c->gate_ms = amount(c, "gate_timeout");
    c->drain_ms = amount(c, "drain_timeout");
    c->slow_ms = amount(c, "slow_query");
    c->trace_bytes = amount(c, "trace_bytes");
    c->upkeep.reserve = amount(c, "reserve");
    c->upkeep.scrub_rate = amount(c, "scrub_rate");
    c->upkeep.scrub_every_ms = amount(c, "scrub_every");
    c->upkeep.compact_after_ms = amount(c, "compact_after");
    c->upkeep.merge_rate = amount(c, "merge_rate");
    c->upkeep.recall_sample = number(c, "recall_sample");
    c->upkeep.recall_cpu = number(c, "recall_cpu");
    c->trace_keep_us = amount(c, "trace_keep") * 1000;
}

static cn_err take_values(cn_config *c) {
    static const char *const levels[] = {"debug", "info", "warn", "error", NULL}, *const formats[] = {"auto", "logfmt", "json", NULL};
    take_numbers(c);
    c->data = cn_settings_text(c->settings, "data");
    c->log_level = cn_settings_text(c->settings, "log_level");
    c->log_format = cn_settings_text(c->settings, "log_format");
    c->n_listen = cn_settings_list(c->settings, "listen", &c->listen);
    c->n_import_roots = cn_settings_list(c->settings, "import_root", &c->import_roots);
    c->n_anonymous = cn_settings_list(c->settings, "anonymous", &c->anonymous);
    CN_TRY(take_mode(cn_settings_text(c->settings, "unix_mode"), &c->unix_mode));
    CN_TRY(one_of("log_level", c->log_level, levels));
    CN_TRY(one_of("log_format", c->log_format, formats));
    for (size_t i = 0; i < c->n_import_roots; i++)
        CN_TRY(check_root(c->import_roots[i]));
    if (!*c->data)
        return cn_fail(CN_INVALID, "no data directory: give --data DIR (`cairn --data DIR init` makes one)");
    if (c->n_listen == 0)
        return cn_fail(CN_INVALID, "nowhere to listen: give --listen tcp://127.0.0.1:7700 or --listen unix:PATH");
    return CN_OK;
}

static cn_err load(int argc, char **argv, cn_config *c) {
    CN_TRY(cn_settings_new(table, ROWS, &c->settings));
    CN_TRY(take_options(c, argc, argv, true));
    if (c->help || c->version || c->sample)
        return CN_OK;
    if (c->file)
        CN_TRY(load_file(c->settings, c->file));
    CN_TRY(cn_settings_env(c->settings, "CAIRN"));
    CN_TRY(take_options(c, argc, argv, false));
    return take_values(c);
}

cn_err cn_config_load(int argc, char **argv, cn_config *ret) {
    cn_config c = {0};
    cn_err err = load(argc, argv, &c);
    if (err != CN_OK) {
        cn_config_done(&c);
        return err;
    }
    *ret = c;
    return CN_OK;
}

void cn_config_done(cn_config *c) {
    cn_settings_free(c->settings);
    *c = (cn_config){0};
}

static bool differs(const cn_setting *row, const cn_settings *a, const cn_settings *b) {
    const char *const *x, *const *y;
    if (row->type == CN_SET_TEXT)
        return strcmp(cn_settings_text(a, row->name), cn_settings_text(b, row->name)) != 0;
    if (row->type != CN_SET_LIST)
        return cn_settings_int(a, row->name) != cn_settings_int(b, row->name);
    size_t n = cn_settings_list(a, row->name, &x);
    bool same = n == cn_settings_list(b, row->name, &y);
    for (size_t i = 0; same && i < n; i++)
        same = strcmp(x[i], y[i]) == 0;
    return !same;
}

void cn_config_restart(const cn_config *running, const cn_config *fresh, cn_buf *out) {
    static const char *const fixed[] = {"data", "listen", "insecure", "unix_mode", "import_root", "loops", "workers", "long_workers", "queue", "embed_threads"};
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++)
        if (differs(find(fixed[i], strlen(fixed[i])), running->settings, fresh->settings))
            cn_buf_printf(out, "%s%s", out->n ? "," : "", fixed[i]);
}

void cn_config_sample(cn_buf *out) { cn_settings_sample(table, ROWS, out); }

void cn_config_help(cn_buf *out) {
    cn_buf_puts(out, "cairnd -- serves the indexes of one data directory over MessagePack-RPC\n\n"
                     "  cairnd --data DIR --listen ADDRESS [--config FILE] [OPTION VALUE]...\n\n"
                     "  --config FILE       an INI file of the settings below (a line each: name = value)\n"
                     "  --check-config      say whether the settings are right, and stop\n"
                     "  --sample-config     print a file with every setting\n"
                     "  --version, --help\n\n"
                     "Each setting is an option, a variable (CAIRN_NAME) and a line of the file; options win.\n\n");
    for (size_t i = 0; i < ROWS; i++) {
        char option[64];
        int n = snprintf(option, sizeof option, "--%s", table[i].name);
        for (char *p = option + 2; *p; p++)
            if (*p == '_')
                *p = '-';
        cn_buf_printf(out, "  %s%*s%s", option, n < 18 ? 20 - n : 2, "", table[i].help);
        cn_buf_printf(out, *table[i].preset ? " [%s]\n" : "%s\n", table[i].preset);
    }
    cn_buf_puts(out, "\nSIGHUP reads the settings again (limits, timeouts, anonymous, request records, log level) and logs those that need a restart; SIGTERM drains and stops.\n"
                     "Exit status 74: a file was damaged or cut short while it was changed; the log says which (catalog.lost). Restore it, then start again:\n"
                     "a server started before that refuses just that tenant.\n");
}
