/* complete.c -- completion for bash, from the table: commands, options, the values of an option that has a few, indexes. */
#include "tools/cairn/local.h"

/* Each distinct first word once; a command of two words stands with others that begin alike. */
static bool begins_anew(const cmd *c) {
    size_t n = strcspn(c->name, " ");
    return c == cmd_table || strcspn(c[-1].name, " ") != n || memcmp(c[-1].name, c->name, n) != 0;
}

static void each_value(FILE *out, const char *arg) { /* "dense|exact" as words */
    for (; *arg; arg++)
        fputc(*arg == '|' ? ' ' : *arg, out);
}

/* What may stand behind the word before: the values of an option that has a few, else whatever the shell offers (files). */
static void values(FILE *out, const cmd_opt *opts) {
    for (const cmd_opt *o = opts; o && o->name; o++) {
        if (!o->arg)
            continue;
        fprintf(out, "      %s) words='", o->name);
        if (strchr(o->arg, '|'))
            each_value(out, o->arg);
        fputs("'; places= ;;\n", out);
    }
}

static void one_case(FILE *out, const cmd *c) {
    fprintf(out, "    '%s') words='", c->name);
    for (const cmd_opt *o = c->opts; o && o->name; o++)
        fprintf(out, "%s ", o->name);
    fprintf(out, "--help'; places=%s\n", c->pos[0].name && c->pos[0].type == CMD_INDEX ? "index" : c->pos[0].name && c->pos[0].type == CMD_TENANT ? "tenant" : "");
    fprintf(out, "      head=%d\n", strchr(c->name, ' ') ? 3 : 2);
    if (c->opts) {
        fputs("      case $prev in\n", out);
        values(out, c->opts);
        fputs("      esac\n", out);
    }
    fputs("      ;;\n", out);
}

static void group_case(FILE *out, const cmd *first) {
    size_t n = strcspn(first->name, " ");
    fprintf(out, "    '%.*s ') words='", (int)n, first->name);
    for (const cmd *c = first; c->name; c++)
        if (strncmp(c->name, first->name, n) == 0 && c->name[n] == ' ')
            fprintf(out, "%s ", c->name + n + 1);
    fputs("' ;;\n", out);
}

/* Words of the line without those of options that stand anywhere; bash breaks words at : and =, and they are put back. */
static void put_head(FILE *out) {
    fputs("# completion of cairn for bash, made by `cairn completion`\n"
          "_cairn_names() { # only what can be a name: bash would expand `$(...)` in a word list, and a server may say anything\n"
          "  \"${place[@]}\" \"$@\" -o tsv 2>/dev/null | tail -n +2 | cut -f1 | LC_ALL=C grep -xE '[a-z0-9][a-z0-9._-]*'\n"
          "}\n"
          "_cairn_places() { # tenants, or the indexes of all of them, that the options of this line reach\n"
          "  local t\n"
          "  for t in $(_cairn_names tenant list); do\n"
          "    if [[ $1 == tenant ]]; then echo \"$t\"; else _cairn_names index list \"$t\" | sed \"s|^|$t/|\"; fi\n"
          "  done\n}\n"
          "_cairn() {\n"
          "  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} words='' places='' head=0 line=() place=(\"${COMP_WORDS[0]}\") i w glue=''\n"
          "  COMPREPLY=()\n"
          "  [[ $cur == = ]] && cur=''\n"
          "  [[ $prev == : || $cur == : ]] && return\n"
          "  [[ $prev == = ]] && prev=${COMP_WORDS[COMP_CWORD-2]}\n"
          "  for ((i = 1; i < COMP_CWORD; i++)); do # `unix:/a` comes as three words\n"
          "    w=${COMP_WORDS[i]}\n"
          "    if [[ $w == : || $w == = || -n $glue ]] && ((${#line[@]})); then line[-1]+=$w; else line+=(\"$w\"); fi\n"
          "    [[ $w == : || $w == = ]] && glue=1 || glue=''\n"
          "  done\n"
          "  set -- \"${line[@]}\"; line=()\n"
          "  while (($#)); do\n"
          "    case $1 in\n"
          "    --data|--server|--key|--key-file) place+=(\"$1\" \"${2-}\"); shift ;;\n"
          "    --data=*|--server=*|--key=*|--key-file=*) place+=(\"$1\") ;;\n"
          "    -o) shift ;;\n"
          "    -*) ((${#line[@]})) && line+=(\"$1\") ;;\n"
          "    *) line+=(\"$1\") ;;\n"
          "    esac\n"
          "    shift\n"
          "  done\n"
          "  set -- \"${line[@]}\"\n", out);
}

void cmd_completion(FILE *out) {
    put_head(out);
    fputs("  if (($# == 0)); then words='", out);
    for (const cmd *c = cmd_table; c->name; c++)
        if (begins_anew(c))
            fprintf(out, "%.*s ", (int)strcspn(c->name, " "), c->name);
    for (const cmd_opt *o = cmd_globals; o->name; o++)
        fprintf(out, "%s ", o->name);
    fputs("'\n  else\n    case \"$1 ${2-}\" in\n", out);
    for (const cmd *c = cmd_table; c->name; c++)
        if (strchr(c->name, ' '))
            one_case(out, c);
    for (const cmd *c = cmd_table; c->name; c++)
        if (begins_anew(c) && strchr(c->name, ' '))
            group_case(out, c);
    fputs("    *) case $1 in\n", out);
    for (const cmd *c = cmd_table; c->name; c++)
        if (!strchr(c->name, ' '))
            one_case(out, c);
    fputs("    esac ;;\n    esac\n  fi\n  case $prev in\n", out);
    values(out, cmd_globals);
    fputs("  esac\n"
          "  [[ -n $places && $# -lt $head && $cur != -* ]] && words=$(_cairn_places \"$places\")\n"
          "  [[ -n $places && $# -ge $head && $cur != -* ]] && return # a file, or a text of one's own\n"
          "  COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n}\n"
          "complete -o default -F _cairn cairn\n", out);
}

int run_completion(const cmd *c, cmd_call *call) {
    (void)c, (void)call;
    cmd_completion(stdout);
    return 0;
}
