/* command.h -- the table of the command's subcommands: from it come parsing, --help, the man page and completion.
 *
 * A row names a method and says how words and options become its fields; only what has no method (init, doctor, model,
 * embed, ...) has a function of its own. What a row does not say cannot be typed.
 * Owns:    constant data.
 * Thread:  one.
 * Limits:  CMD_POS_MAX words, as many options as the row lists. */
#pragma once
#include <stdio.h>

#include "engine/base/pack.h"

#define CMD_POS_MAX 4

typedef enum cmd_type {
    CMD_TEXT, CMD_UINT, CMD_FLOAT, CMD_FLAG,
    CMD_NOT,      /* a flag that says no: field -> false */
    CMD_HOST,     /* a flag that stands for the first word, TENANT: the whole host is meant */
    CMD_COMMAS,   /* a,b,c -> list; may be repeated */
    CMD_REPEAT,   /* may be repeated -> list */
    CMD_PAIRS,    /* NAME=NUMBER, many words -> map */
    CMD_FILTER,   /* an expression -> map */
    CMD_FILE,     /* a file's content -> text */
    CMD_INDEX,    /* TENANT/INDEX -> tenant, index */
    CMD_TENANT,   /* TENANT, or TENANT/INDEX where the index may be left out */
} cmd_type;

typedef struct cmd_opt {
    const char *name, *arg; /* "--labels", "L,..." ; arg NULL: a flag */
    const char *field;      /* of the method; NULL: for the row's own function */
    cmd_type type;
    const char *help;
} cmd_opt;

typedef struct cmd_pos {
    const char *name;       /* "TENANT/INDEX", "DOC" */
    const char *field;
    cmd_type type;
    bool optional, many;
} cmd_pos;

typedef struct cmd_call {   /* what the words became */
    cn_buf params;          /* one map */
    const char *values[32]; /* of options with no field, by their place in the row's list; "" for a flag given */
    const char *words[CMD_POS_MAX]; /* the first of each position */
} cmd_call;

typedef struct cmd cmd;
typedef int cmd_run(const cmd *c, cmd_call *call);

struct cmd {
    const char *name;       /* "policy allow" */
    const char *method;     /* "policy.allow" */
    const char *help;       /* one line */
    cmd_pos pos[CMD_POS_MAX + 1];
    const cmd_opt *opts;    /* ended by a NULL name; NULL: none */
    const char *more;       /* examples and explanations for --help */
    cmd_run *run;           /* NULL: call the method and print its map */
    const char *view;       /* "LIST: column column ..." of the table form; NULL: key and value, a line each */
};

extern const cmd cmd_table[];       /* ended by a NULL name */
extern const cmd_opt cmd_globals[]; /* --data, --server, ... */

/* The row that the words begin with; *ret_words of them. NULL: none. */
const cmd *cmd_find(int argc, char *const *argv, int *ret_words);
/* CN_INVALID: what is wrong with the words, in plain terms. */
cn_err cmd_parse(const cmd *c, int argc, char *const *argv, cmd_call *ret);
void cmd_call_done(cmd_call *call);
const char *cmd_value(const cmd *c, const cmd_call *call, const char *opt); /* NULL: not given */
/* An option with no field as a number; preset where it is not given. CN_INVALID. */
cn_err cmd_number(const cmd *c, const cmd_call *call, const char *opt, uint32_t preset, uint32_t least, uint32_t most, uint32_t *ret);

/* What is said of words that no row has; CN_INVALID, with the nearest of what there is. second: NULL or the next word. */
cn_err cmd_unknown(const char *first, const char *second);
cn_err cmd_unknown_option(const cmd *c, const char *word);
/* A method's error in the words of the command: field "max_deleted" -> --max-deleted, ingest.start -> cairn ingest. */
void cmd_words_of_error(const cmd *c, const char *text, char *ret, size_t room);

void cmd_help_all(FILE *out);
bool cmd_help_group(FILE *out, const char *word);  /* "policy": its rows; false: no row begins with it */
void cmd_help_one(FILE *out, const cmd *c);
void cmd_man(FILE *out);
void cmd_completion(FILE *out);
