/* help.c -- --help, the man page and completion, all from the table. */
#include <ctype.h>

#include "tools/cairn/local.h"

static size_t first_word(const char *name) { return strcspn(name, " "); }

static void usage_line(FILE *out, const cmd *c) {
    fprintf(out, "cairn %s", c->name);
    for (const cmd_pos *p = c->pos; p->name; p++)
        fprintf(out, p->optional ? " [%s%s]" : " %s%s", p->name, p->many ? "..." : "");
    for (const cmd_opt *o = c->opts; o && o->name; o++)
        fprintf(out, o->arg ? " [%s %s]" : " [%s]", o->name, o->arg);
}

static void option_rows(FILE *out, const cmd_opt *opts) {
    for (const cmd_opt *o = opts; o && o->name; o++) {
        char left[64];
        snprintf(left, sizeof left, "%s%s%s", o->name, o->arg ? " " : "", o->arg ? o->arg : "");
        fprintf(out, "  %-26s %s\n", left, o->help);
    }
}

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
    fputs("\nexit codes: 0 done, 1 failed, 2 wrong usage, 3 not found, 4 server unreachable, 5 refused, 6 done with rejected documents\n"
          "The server is `cairnd`; `cairnd --help` tells its options.\n", out);
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
    fprintf(out, "\n\n%s.\n", c->help);
    if (c->opts) {
        fputs("\noptions:\n", out);
        option_rows(out, c->opts);
    }
    if (c->more)
        fprintf(out, "\n%s\n", c->more);
    if (c->method)
        fprintf(out, "\nThe same over RPC: method \"%s\".\n", c->method);
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
    fputs(".SS cairn ", out);
    roff(out, c->name);
    for (const cmd_pos *p = c->pos; p->name; p++)
        fprintf(out, p->optional ? " [%s%s]" : " %s%s", p->name, p->many ? "..." : "");
    fputc('\n', out);
    roff(out, c->help);
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
    fputs(".SH EXIT STATUS\n0 done, 1 failed, 2 wrong usage, 3 not found, 4 server unreachable, 5 refused, 6 done with rejected documents.\n"
          ".SH SEE ALSO\n.BR cairnd (1)\n", out);
}

/* ---------- completion ---------- */
static void second_words(FILE *out, const char *first, size_t n) {
    for (const cmd *c = cmd_table; c->name; c++)
        if (strncmp(c->name, first, n) == 0 && c->name[n] == ' ')
            fprintf(out, " %s", c->name + n + 1);
}

static void completion_case(FILE *out, const cmd *c) {
    fprintf(out, "    '%s') words='", c->name);
    for (const cmd_opt *o = c->opts; o && o->name; o++)
        fprintf(out, "%s ", o->name);
    fputs("--help' ;;\n", out);
}

void cmd_completion(FILE *out) {
    fputs("# completion of cairn for bash, made by `cairn completion`\n_cairn() {\n"
          "  local cur=${COMP_WORDS[COMP_CWORD]} words='' one='' two='' i w\n"
          "  for ((i = 1; i < COMP_CWORD; i++)); do\n"
          "    w=${COMP_WORDS[i]}\n"
          "    case $w in --data|--server|--key|--key-file|-o) ((i++)) ;; -*) ;; *) if [[ -z $one ]]; then one=$w; elif [[ -z $two ]]; then two=$w; fi ;; esac\n"
          "  done\n  if [[ -z $one ]]; then words='", out);
    const char *last = "";
    for (const cmd *c = cmd_table; c->name; c++) {
        size_t n = first_word(c->name);
        if (strncmp(last, c->name, n) != 0 || first_word(last) != n)
            fprintf(out, "%.*s ", (int)n, c->name);
        last = c->name;
    }
    for (const cmd_opt *o = cmd_globals; o->name; o++)
        fprintf(out, "%s ", o->name);
    fputs("'\n  else case \"$one $two\" in\n", out);
    for (const cmd *c = cmd_table; c->name; c++)
        if (strchr(c->name, ' '))
            completion_case(out, c);
    fputs("    *) case $one in\n", out);
    last = "";
    for (const cmd *c = cmd_table; c->name; c++) {
        size_t n = first_word(c->name);
        if (!strchr(c->name, ' ')) {
            completion_case(out, c);
        } else if (strncmp(last, c->name, n) != 0 || first_word(last) != n) {
            fprintf(out, "    %.*s) words='", (int)n, c->name);
            second_words(out, c->name, n);
            fputs("' ;;\n", out);
        }
        last = c->name;
    }
    fputs("    esac ;;\n  esac; fi\n  COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n  [[ ${#COMPREPLY[@]} -gt 0 ]] || COMPREPLY=($(compgen -f -- \"$cur\"))\n}\n"
          "complete -F _cairn cairn\n", out);
}

int run_man(const cmd *c, cmd_call *call) {
    (void)c, (void)call;
    cmd_man(stdout);
    return 0;
}

int run_completion(const cmd *c, cmd_call *call) {
    (void)c, (void)call;
    cmd_completion(stdout);
    return 0;
}
