/* cairnd: settings, the data directory, the server. */
#include <stdio.h>

#include "engine/base/os.h"
#include "engine/base/log.h"
#include "ingest/parse/parse.h"
#include "server/net/listen.h"
#include "server/net/log_sink.h"
#include "server/net/server.h"

#define USAGE 2

typedef struct command_line {
    int argc;
    char **argv;
} command_line;

static int print(void (*write)(cn_buf *out)) {
    CN_AUTO_BUF cn_buf out = {.cap = 1 << 20};
    write(&out);
    return fwrite(out.p, 1, out.n, stdout) == out.n ? 0 : 1;
}

static cn_err check(const cn_config *c) {
    for (size_t i = 0; i < c->n_listen; i++)
        CN_TRY(cn_listen_check(c->listen[i], c->insecure));
    return CN_OK;
}

static void print_away(const char *text) { fprintf(stderr, "cairnd: warning: %s\n", text); }
static void log_away(const char *text) { cn_log(CN_LOG_WARN, "config.import_root", "%s", text); }

static cn_err read_again(void *ctx, cn_config *ret) {
    command_line *l = ctx;
    CN_TRY(cn_config_load(l->argc, l->argv, ret));
    cn_config_away(ret, log_away);
    return CN_OK;
}

static cn_err serve(cn_config *c, command_line *l) {
    cn_service_opts opts = {.data_dir = c->data, .import_roots = c->import_roots, .n_import_roots = (uint32_t)c->n_import_roots,
                            .anonymous = c->anonymous, .n_anonymous = (uint32_t)c->n_anonymous, .embed_threads = c->embed_threads,
                            .trace = CN_TRACE_ON, .trace_bytes = c->trace_bytes, .trace_keep_us = c->trace_keep_us, .upkeep = &c->upkeep};
    cn_service *s;
    CN_TRY(check(c));
    cn_config_away(c, log_away);
    CN_TRY(cn_service_open(&opts, &s));
    cn_err err = cn_server_run(c, s, read_again, l);
    cn_service_close(s);
    return err;
}

int main(int argc, char **argv) {
    cn_std_files();
    cn_parse_worker_main(argc, argv);
    cn_thread_prompt();
    command_line line = {argc, argv};
    cn_config c;
    if (cn_config_load(argc, argv, &c) != CN_OK) {
        fprintf(stderr, "cairnd: %s\n", cn_error_detail());
        return USAGE;
    }
    int status = 0;
    if (c.help)
        status = print(cn_config_help);
    else if (c.sample)
        status = print(cn_config_sample);
    else if (c.version)
        puts("cairnd " CAIRN_VERSION);
    else if (c.check_only) {
        status = check(&c) == CN_OK ? 0 : USAGE;
        cn_config_away(&c, print_away);
        fprintf(status ? stderr : stdout, "cairnd: %s\n", status ? cn_error_detail() : "the settings are right");
    } else {
        cn_log_sink_set(c.log_format, c.log_level);
        if (serve(&c, &line) != CN_OK) {
            cn_log(CN_LOG_ERROR, "server.failed", "%s", cn_error_detail());
            status = 1;
        }
    }
    cn_config_done(&c);
    return status;
}
