/* help.c -- --help and the man page, from the table. */
#include <ctype.h>

#include "index/store/env.h"
#include "tools/cairn/local.h"

static size_t first_word(const char *name) { return strcspn(name, " "); }

static void usage_words(FILE *out, const cmd *c) {
    fprintf(out, "cairn %s", c->name);
    for (const cmd_pos *p = c->pos; p->name; p++)
        fprintf(out, p->optional ? " [%s%s]" : " %s%s", p->name, p->many ? "..." : "");
}

#define USAGE_WIDTH 100
static void usage_line(FILE *out, const cmd *c) { /* wrapped under its first option */
    size_t at = strlen("usage: cairn ") + strlen(c->name);
    usage_words(out, c);
    for (const cmd_pos *p = c->pos; p->name; p++)
        at += strlen(p->name) + 6;
    for (const cmd_opt *o = c->opts; o && o->name; o++) {
        size_t n = strlen(o->name) + (o->arg ? strlen(o->arg) + 1 : 0) + 3;
        if (at + n > USAGE_WIDTH) {
            fputs("\n         ", out);
            at = 9;
        }
        fprintf(out, o->arg ? " [%s %s]" : " [%s]", o->name, o->arg);
        at += n;
    }
}

static void option_rows(FILE *out, const cmd_opt *opts) {
    for (const cmd_opt *o = opts; o && o->name; o++) {
        char left[64];
        snprintf(left, sizeof left, "%s%s%s", o->name, o->arg ? " " : "", o->arg ? o->arg : "");
        fprintf(out, "  %-26s %s%s\n", left, strlen(left) >= 26 ? " " : "", o->help); /* two spaces always part them */
    }
}

static const char *const exits[] = {
    "done", "failed: the message says what, and what to do", "wrong usage: the words, an option, or no place to work on",
    "not found: a tenant, index, version, document, file", "no server answers at that address",
    "refused: another changed it first (--expect), a guard, a hold, or a rule such as \"the active version is kept\"",
    "done, but with --strict-input some documents could not be read"};
static const char exit_lost[] = "a file was damaged or cut short while it was changed: the message says which, and what to do";

void cmd_help_all(FILE *out) {
    fputs("cairn: a retrieval engine with versions and permissions\n\n"
          "usage: cairn [--data DIR | --server ADDR --key-file FILE] COMMAND ...\n\n"
          "  cairn --data ./demo init                                     make a data directory\n"
          "  cairn --data ./demo tenant add acme                          a partition of its own\n"
          "  cairn --data ./demo model get minilm                         the embedder\n"
          "  cairn --data ./demo index create acme/docs --embedder minilm\n"
          "  cairn --data ./demo ingest acme/docs ./handbook --label public --activate\n"
          "  cairn --data ./demo query acme/docs 'how do I ...?'\n\ncommands (cairn COMMAND --help says more):\n", out);
    for (const cmd *c = cmd_table; c->name; c++)
        fprintf(out, "  %-20s %s\n", c->name, c->help);
    fputs("\noptions, anywhere on the line:\n", out);
    option_rows(out, cmd_globals);
    fputs("\nexit codes:\n", out);
    for (size_t i = 0; i < sizeof exits / sizeof *exits; i++)
        fprintf(out, "  %zu  %s\n", i, exits[i]);
    fprintf(out, "  %d %s\n", CN_EXIT_LOST, exit_lost);
    fputs("\nThe server is `cairnd`; `cairnd --help` tells its options. `cairn man | man -l -` shows all of this as a page.\n", out);
}

bool cmd_help_group(FILE *out, const char *word) {
    bool any = false;
    for (const cmd *c = cmd_table; c->name; c++) {
        if (strlen(word) != first_word(c->name) || strncmp(c->name, word, strlen(word)) != 0)
            continue;
        if (!any)
            fprintf(out, "usage: cairn %s COMMAND ...\n\ncommands (cairn %s COMMAND --help says more):\n", word, word);
        fprintf(out, "  cairn %-22s %s\n", c->name, c->help);
        any = true;
    }
    return any;
}

void cmd_help_one(FILE *out, const cmd *c) {
    fputs("usage: ", out);
    usage_line(out, c);
    fprintf(out, "\n\n%c%s.\n", toupper((unsigned char)c->help[0]), c->help + 1);
    if (c->opts) {
        fputs("\noptions:\n", out);
        option_rows(out, c->opts);
    }
    if (c->more)
        fprintf(out, "\n%s\n", c->more);
    fputs("\n`cairn --help` tells the options that stand anywhere (--data, --server, -o, ...) and the exit codes.\n", out);
    if (c->method)
        fprintf(out, "The same over RPC: method \"%s\".\n", c->method);
}

/* ---------- man ---------- */
/* roff's own signs in running text: a backslash, a dot or quote that begins a line, a plain minus. */
static void roff(FILE *out, const char *text) {
    bool start = true;
    for (; *text; text++) {
        if (start && (*text == '.' || *text == '\''))
            fputs("\\&", out);
        if (*text == '\\')
            fputs("\\e", out);
        else if (*text == '-')
            fputs("\\-", out);
        else
            fputc(*text, out);
        start = *text == '\n';
    }
}

static void man_options(FILE *out, const cmd_opt *opts) {
    for (const cmd_opt *o = opts; o && o->name; o++) {
        fputs(".TP\n.B ", out);
        roff(out, o->name);
        fputs(o->arg ? " \\fI" : "", out);
        roff(out, o->arg ? o->arg : "");
        fputs(o->arg ? "\\fR\n" : "\n", out);
        roff(out, o->help);
        fputc('\n', out);
    }
}

static void man_command(FILE *out, const cmd *c) {
    fputs(".SS ", out);
    usage_words(out, c);
    fputc('\n', out);
    fputc(toupper((unsigned char)c->help[0]), out);
    roff(out, c->help + 1);
    fputs(".\n", out);
    man_options(out, c->opts);
    if (c->more) {
        fputs(".PP\n.nf\n", out);
        roff(out, c->more);
        fputs("\n.fi\n", out);
    }
}

void cmd_man(FILE *out) {
    fputs(".TH CAIRN 1 \"\" \"cairn " CAIRN_VERSION "\" \"User Commands\"\n"
          ".SH NAME\ncairn \\- ask, fill and look after a retrieval index with versions and permissions\n"
          ".SH SYNOPSIS\n.B cairn\n[\\fIOPTIONS\\fR] \\fICOMMAND\\fR ...\n"
          ".SH DESCRIPTION\nWorks on the files of a data directory, or through a server, with the same output.\n"
          ".SH OPTIONS\n", out);
    man_options(out, cmd_globals);
    fputs(".SH COMMANDS\n", out);
    for (const cmd *c = cmd_table; c->name; c++)
        man_command(out, c);
    fputs(".SH EXIT STATUS\n", out);
    for (size_t i = 0; i < sizeof exits / sizeof *exits; i++)
        fprintf(out, ".TP\n.B %zu\n%s\n", i, exits[i]);
    fprintf(out, ".TP\n.B %d\n%s\n", CN_EXIT_LOST, exit_lost);
    fputs(".SH ENVIRONMENT\n.TP\n.B CAIRN_DATA\nthe data directory, where neither \\-\\-data nor \\-\\-server is given\n"
          ".TP\n.B CAIRN_SERVER\nthe server; it wins over CAIRN_DATA\n.TP\n.B CAIRN_KEY\nthe API key\n"
          ".TP\n.B CAIRN_ISA\nscalar, avx2 or avx512: which kernels compute (the best that the processor has)\n"
          ".TP\n.B CAIRN_MAPSIZE_MIB\naddress space for each file that is written (in MiB)\n"
          ".TP\n.B NO_COLOR\nno bold print\n"
          ".SH SEE ALSO\n\\fBcairnd \\-\\-help\\fR, \\fBcairn completion\\fR\n", out);
}

int run_man(const cmd *c, cmd_call *call) {
    (void)c, (void)call;
    cmd_man(stdout);
    return 0;
}
