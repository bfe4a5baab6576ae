/* local.h -- what the subcommands' own functions share: the way to the data, printing, exit codes.
 *
 * Owns:    one way to the data: a service on files, or a connection to a server for each thread, opened at first use.
 * Thread:  one, but for cmd_call_method() once it has been called, and cmd_remote_close().
 * Limits:  none. */
#pragma once
#include "tools/cairn/command.h"

enum { EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_NOT_FOUND = 3, EXIT_UNREACHABLE = 4, EXIT_REFUSED = 5, EXIT_REJECTED = 6 };

typedef struct cmd_env {
    const char *data, *server, *key, *key_file;
    enum { OUT_TABLE, OUT_JSON, OUT_TSV } out;
    bool quiet;
    bool no_trace; /* questions of a benchmark would push the records of real ones out */
    bool nowhere; /* a data directory was asked for and none was named */
} cmd_env;
extern cmd_env cmd_the_env;

/* Calls a method on files or through the server, as the options say. out gets the result map. */
cn_err cmd_call_method(const char *method, cn_str params, cn_buf *out);
void cmd_close(void);
/* The n results of a query_batch, one a question. */
cn_err cmd_results(const msgpack_object *answer, uint32_t n, const msgpack_object **ret);
/* The hits of one of them; the error that stands in its place, with its own code. */
cn_err cmd_hits(const msgpack_object *result, const msgpack_object **ret);
cn_err cmd_error_named(cn_str name); /* "NOT_FOUND" -> CN_NOT_FOUND; CN_OK: no error has this name */
/* The answer to a question whose text could not be embedded, and which was answered by its words alone. */
bool cmd_fell_back(const msgpack_object *answer);
/* CN_UNAVAILABLE for such an answer. */
cn_err cmd_as_asked(const msgpack_object *answer);
bool cmd_is_remote(void);           /* --server, or CAIRN_SERVER without --data */
bool cmd_was_unreachable(void);     /* the last error: no server answered */
cn_err cmd_call_remote(const char *method, cn_str params, cn_buf *out);
void cmd_remote_close(void);
const char *cmd_data_dir(void); /* NULL with an error text when none was named */

/* Prints the last error with its code and returns the exit code that belongs to it. */
int cmd_fail(cn_err err);
int cmd_usage(cn_err err); /* the same for words that were typed wrong */
int cmd_print(const cmd *c, cn_str result); /* the result map in the form asked for */

void cmd_put_text(cn_buf *b, cn_str s); /* for one line of a terminal: what would play with it becomes a space */
int cmd_print_one(const cmd *c, const char *key, const char *value); /* a map of one text */

/* What doctor and scrub find: a line each as it is found, or one map {bad, findings: [{grade, what, detail}]} at the end. */
typedef enum cmd_grade { CMD_OK, CMD_NOTE, CMD_BAD } cmd_grade;
typedef struct cmd_findings {
    cn_buf list;
    uint32_t n, bad;
} cmd_findings;
void cmd_findings_init(cmd_findings *f);
void cmd_finding(cmd_findings *f, cmd_grade grade, const char *what, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
int cmd_findings_end(const cmd *c, cmd_findings *f); /* frees them; the exit code: 1 when one is bad */

/* A line on standard error that is written over at each step; nothing unless it is a terminal. */
bool cmd_progress_wanted(void);
void cmd_progress(void *ctx, cn_str packed_map); /* a job as it is told while it runs */
/* The same for what is no job: `done` of `all` in a step of some name. */
void cmd_progress_step(void *ctx, const char *step, uint64_t done, uint64_t all);
void cmd_progress_done(cn_str result);           /* the last line, at 100%, which stays */
void cmd_progress_end(void);                     /* takes the line away */

/* Ctrl-C between the two tells how to go on with the job, and ends the process by the signal. */
void cmd_interrupt_begin(const char *method, const msgpack_object *params);
void cmd_interrupt_job(cn_str job); /* its id is known now */
void cmd_interrupt_end(void);
/* A job run to its end, and the exit code that says what became of its version. */
cn_err cmd_call_job(const char *method, cn_str params, cn_buf *out);
int cmd_code_of_job(const cmd_call *call, cn_str result);
bool cmd_is_job(const char *method); /* one that may run long: ingest.start, ingest.rebuild */

int run_init(const cmd *c, cmd_call *call);
int run_doctor(const cmd *c, cmd_call *call);
int run_scrub(const cmd *c, cmd_call *call);
int run_model_add(const cmd *c, cmd_call *call);
int run_model_distill(const cmd *c, cmd_call *call);
int run_model_get(const cmd *c, cmd_call *call);
int run_model_remove(const cmd *c, cmd_call *call);
int run_model_bench(const cmd *c, cmd_call *call);
int run_embed(const cmd *c, cmd_call *call);
int run_index_set(const cmd *c, cmd_call *call);
int run_ingest(const cmd *c, cmd_call *call);
int run_rebuild(const cmd *c, cmd_call *call);
int run_query(const cmd *c, cmd_call *call);
int run_bench(const cmd *c, cmd_call *call);
int run_diff(const cmd *c, cmd_call *call);
int run_eval(const cmd *c, cmd_call *call);
int run_eval_score(const cmd *c, cmd_call *call);
int run_gate_freeze(const cmd *c, cmd_call *call);
int run_gate_run(const cmd *c, cmd_call *call);
int run_mode(const cmd *c, cmd_call *call);
int run_policy(const cmd *c, cmd_call *call);
int run_policy_apply(const cmd *c, cmd_call *call);
int run_man(const cmd *c, cmd_call *call);
int run_completion(const cmd *c, cmd_call *call);
