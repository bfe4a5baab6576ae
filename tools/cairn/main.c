/* main.c -- the cairn command: options that stand anywhere, the row that the words name, one call, one answer. */
#include <errno.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "engine/base/log.h"
#include "engine/base/os.h"
#include "engine/base/mem.h"
#include "ingest/parse/parse.h"
#include "tools/cairn/local.h"

static const cmd *row; /* what runs */

/* An error may repeat what was typed, or what a file is called. */
static void say_line(const char *before, const char *text) {
    CN_AUTO_BUF cn_buf b;
    cn_buf_init(&b, (size_t)1 << 20);
    cn_str rest = cn_str_of(text);
    for (cn_str line; cn_str_next(&rest, '\n', &line);) { /* some have a line that points at a place */
        if (b.n)
            cn_buf_putc(&b, '\n');
        cmd_put_text(&b, line);
    }
    fprintf(stderr, "cairn: %s" CN_STR_FMT "\n", before, CN_STR_ARG(cn_buf_str(&b)));
}

int cmd_fail(cn_err err) {
    static const int exits[CN_ERR_COUNT] = {[CN_NOT_FOUND] = EXIT_NOT_FOUND, [CN_CONFLICT] = EXIT_REFUSED, [CN_REFUSED] = EXIT_REFUSED};
    char text[CN_ERROR_TEXT * 2], name[32];
    cmd_progress_end();
    cmd_words_of_error(row, cn_error_detail(), text, sizeof text);
    snprintf(name, sizeof name, "%s: ", cn_err_name(err));
    say_line(name, text);
    if (cmd_was_unreachable())
        return EXIT_UNREACHABLE;
    if (cmd_the_env.nowhere)
        return EXIT_USAGE;
    return err < CN_ERR_COUNT && exits[err] ? exits[err] : EXIT_FAILED;
}

int cmd_usage(cn_err err) {
    (void)err;
    say_line("", cn_error_detail());
    return EXIT_USAGE;
}

static cn_err take_out(const char *value) {
    static const char *const names[] = {"table", "json", "tsv"};
    for (int i = 0; i < 3; i++)
        if (strcmp(value, names[i]) == 0) {
            cmd_the_env.out = i == 0 ? OUT_TABLE : i == 1 ? OUT_JSON : OUT_TSV;
            return CN_OK;
        }
    return cn_fail(CN_INVALID, "-o takes table, json or tsv, not \"%s\"", value);
}

static const char **place_of(const char *name) {
    if (strcmp(name, "--data") == 0)
        return &cmd_the_env.data;
    if (strcmp(name, "--server") == 0)
        return &cmd_the_env.server;
    return strcmp(name, "--key") == 0 ? &cmd_the_env.key : strcmp(name, "--key-file") == 0 ? &cmd_the_env.key_file : NULL;
}

/* Takes one global option with its value out of the words; *ret_used: how many words it was (0: none of ours). */
static cn_err take_global(int argc, char **argv, int i, int *ret_used) {
    const char *eq = strchr(argv[i], '=');
    for (const cmd_opt *o = cmd_globals; o->name; o++) {
        size_t n = eq && argv[i][1] == '-' ? (size_t)(eq - argv[i]) : strlen(argv[i]);
        if (!o->arg || strlen(o->name) != n || memcmp(o->name, argv[i], n) != 0)
            continue;
        if (n == strlen(argv[i]) && i + 1 >= argc)
            return cn_fail(CN_INVALID, "%s needs a value: %s %s", o->name, o->name, o->arg);
        const char *value = argv[i][n] ? argv[i] + n + 1 : argv[i + 1];
        *ret_used = argv[i][n] ? 1 : 2;
        const char **place = place_of(o->name);
        if (!place)
            return take_out(value);
        *place = value;
        return *value ? CN_OK : cn_fail(CN_INVALID, "the value of %s is empty; it takes %s", o->name, o->arg);
    }
    *ret_used = 0;
    return CN_OK;
}

typedef struct line { /* the words that are left for the subcommand */
    char **words;
    int n;
    bool help;
} line;

static cn_err take_globals(int argc, char **argv, line *ret) {
    bool plain = false;
    for (int i = 1; i < argc;) {
        int used = 0;
        plain |= strcmp(argv[i], "--") == 0;
        if (!plain)
            CN_TRY(take_global(argc, argv, i, &used));
        if (!plain && !used && (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0))
            ret->help = true;
        else if (!plain && !used && strcmp(argv[i], "--quiet") == 0)
            cmd_the_env.quiet = true;
        else if (!used)
            ret->words[ret->n++] = argv[i];
        i += used ? used : 1;
    }
    return CN_OK;
}

static const char *variable(const char *name) { /* one that is empty is not set */
    const char *value = getenv(name);
    return value && *value ? value : NULL;
}

/* What was typed wins over the environment; there a server wins over a directory. */
static cn_err take_environment(void) {
    if (cmd_the_env.data && cmd_the_env.server)
        return cn_fail(CN_INVALID, "--data works on files and --server through a server: give one of them");
    if (!cmd_the_env.data && !cmd_the_env.server)
        cmd_the_env.server = variable("CAIRN_SERVER");
    if (!cmd_the_env.data)
        cmd_the_env.data = variable("CAIRN_DATA");
    if (!cmd_the_env.key && !cmd_the_env.key_file)
        cmd_the_env.key = variable("CAIRN_KEY");
    return CN_OK;
}

static int call_method(const cmd *c, cmd_call *call) {
    CN_AUTO_BUF cn_buf out = {0};
    cn_err err = cmd_call_method(c->method, cn_buf_str(&call->params), &out);
    return err == CN_OK ? cmd_print(c, cn_buf_str(&out)) : cmd_fail(err);
}

static int run(const line *l) {
    int words = 0;
    const cmd *c = cmd_find(l->n, l->words, &words);
    if (!c && l->help && cmd_help_group(stdout, l->words[0]))
        return 0;
    if (!c)
        return cmd_usage(cmd_unknown(l->words[0], l->n > 1 ? l->words[1] : NULL));
    row = c;
    if (l->help) {
        cmd_help_one(stdout, c);
        return 0;
    }
    cmd_call call;
    cn_err err = cmd_parse(c, l->n - words, l->words + words, &call);
    int code = err == CN_INVALID ? cmd_usage(err) : err != CN_OK ? cmd_fail(err) : c->run ? c->run(c, &call) : call_method(c, &call);
    cmd_call_done(&call);
    return code;
}

static int run_line(const line *l) {
    if (l->n == 1 && strcmp(l->words[0], "--version") == 0) {
        puts("cairn " CAIRN_VERSION);
        return 0;
    }
    if (l->n == 0) {
        cmd_help_all(l->help ? stdout : stderr);
        return l->help ? 0 : EXIT_USAGE;
    }
    return run(l);
}

/* Of what the libraries tell, a person who waits wants to know for whom, and that the last space of the disk is used. */
static void say(void *ctx, cn_log_level level, const char *event, const char *text) {
    (void)ctx, (void)level;
    if (strcmp(event, "writer.wait") == 0)
        say_line("waiting: ", text);
    if (strcmp(event, "reserve.given_up") == 0)
        say_line("", text);
}

/* A version's segments are open files. */
static void raise_files(void) {
    struct rlimit r;
    if (getrlimit(RLIMIT_NOFILE, &r) != 0)
        return;
    r.rlim_cur = r.rlim_max;
    setrlimit(RLIMIT_NOFILE, &r); /* where it fails, what meets the limit says so */
}

int main(int argc, char **argv) {
    cn_std_files();
    cn_parse_worker_main(argc, argv);
    raise_files();
    cn_log_set(say, NULL, CN_LOG_WARN);
    CN_AUTO_FREE char **words = cn_calloc((size_t)argc + 1, sizeof *words);
    line l = {.words = words};
    if (!words || take_globals(argc, argv, &l) != CN_OK || take_environment() != CN_OK)
        return cmd_usage(CN_INVALID);
    int code = run_line(&l);
    cmd_close();
    if (fflush(stdout) == 0 && !ferror(stdout))
        return code;
    if (errno == EBADF)
        return cmd_fail(cn_fail(CN_UNAVAILABLE, "standard output is closed, so the answer is lost"));
    cn_fail_errno(errno, "cannot write to standard output");
    return cmd_fail(CN_UNAVAILABLE);
}
