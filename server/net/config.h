/* config.h -- cairnd's settings: one table, from which the options, CAIRN_ variables, the file and --help come.
 *
 * Precedence: presets, the file, CAIRN_ variables, options; lists grow by each.
 * Owns:    cn_config owns the values it points into.
 * Thread:  one at a time.
 * Limits:  a line of the file has at most CN_CONFIG_LINE bytes. */
#pragma once
#include "engine/base/settings.h"
#include "server/service/service.h"

#define CN_CONFIG_LINE 4096

typedef struct cn_config {
    cn_settings *settings;
    const char *data, *const *listen, *const *import_roots, *const *anonymous, *file, *log_level, *log_format;
    size_t n_listen, n_import_roots, n_anonymous;
    bool insecure, check_only, help, version, sample;
    unsigned loops, workers, long_workers, queue, embed_threads, unix_mode;
    /* these follow SIGHUP, and `anonymous`; the others need a restart (cn_config_restart) */
    unsigned max_connections, max_pipelined;
    uint64_t max_frame, max_response, max_buffered;
    uint64_t idle_ms, frame_ms, write_ms, request_ms, gate_ms, drain_ms, slow_ms;
    uint64_t trace_bytes, trace_keep_us;
    cn_upkeep_opts upkeep;
} cn_config;

/* CN_INVALID naming option, variable or file:line. */
cn_err cn_config_load(int argc, char **argv, cn_config *ret);
void cn_config_done(cn_config *c);
/* Tells of each import root that is no folder now: a warning, since it may come later, with a mount. */
void cn_config_away(const cn_config *c, void (*tell)(const char *text));
/* Names, by commas, of the settings in which the two differ and that a running server does not take over. */
void cn_config_restart(const cn_config *running, const cn_config *fresh, cn_buf *out);
void cn_config_help(cn_buf *out);
void cn_config_sample(cn_buf *out);
