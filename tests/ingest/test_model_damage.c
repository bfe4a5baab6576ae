/* Bytes of a kept model's files changed, its files cut, emptied, swapped and gone: a bert, a table and the description of a
 * service. Each is then refused as damaged, by the name of its folder, or gives the vectors that it gave; never others.
 * What an operator may edit (http.json) is refused or describes the same service. */
#include <ftw.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/mem.h"
#include "ingest/embed/http_config.h"
#include "ingest/embed/static.h"
#include "ingest/embed/store.h"
#include "tests/count.h"
#include "tests/ingest/embed_test.h"
#include "tests/ingest/tiny_model.h"

#define FILES 16
#define SMALL 4096 /* of such a file every byte is tried */
#define TEXTS 3

static char data[64], from[64];
static tiny_model tiny;
static unsigned long refused, same;

/* ---------- files of a model ---------- */
typedef struct file {
    char path[256], name[64];
    cn_str bytes;
} file;
static file files[FILES];
static uint32_t n_files;
static char folder[128];

static int take(const char *path, const struct stat *st, int type, struct FTW *at) {
    (void)st, (void)at;
    if (type != FTW_F)
        return 0;
    CU_ASSERT_FATAL(n_files < FILES); /* none is left out */
    file *f = &files[n_files++];
    snprintf(f->path, sizeof f->path, "%s", path);
    snprintf(f->name, sizeof f->name, "%s", path + strlen(folder) + 1);
    f->bytes = tiny_read(folder, f->name);
    return 0;
}

static void take_all(const char *model) {
    n_files = 0;
    snprintf(folder, sizeof folder, "%s/models/%s", data, model);
    CU_ASSERT_EQUAL_FATAL(nftw(folder, take, 8, FTW_PHYS), 0);
}

static void let_go(void) {
    while (n_files)
        cn_free((void *)(uintptr_t)files[--n_files].bytes.p);
}

static void put_back(const file *f) {
    rmdir(f->path); /* where a folder stood in its place */
    tiny_file(folder, f->name, f->bytes);
}

static void change_byte(const file *f, size_t at, int bit) {
    FILE *o = fopen(f->path, "r+b");
    char c = (char)(f->bytes.p[at] ^ 1 << bit);
    CU_ASSERT_FATAL(o && fseek(o, (long)at, SEEK_SET) == 0 && fwrite(&c, 1, 1, o) == 1 && fclose(o) == 0);
}

/* ---------- what it gives then ---------- */
static const cn_str texts[TEXTS] = {{"hello world, see", 16}, {"a b c 1 2 3", 11}, {"", 0}};
typedef float vectors[TEXTS * TINY_HIDDEN];

static cn_err embed(const char *model, const char *precision, vectors ret) {
    cn_embedder *e;
    CN_TRY(cn_embedder_open(data, cn_str_of(model), cn_str_of(precision), &e));
    cn_err err = cn_embed(e, texts, TEXTS, 1, ret, NULL);
    cn_embedder_unref(e);
    return err;
}

typedef struct kind {
    const char *model, *precisions[3];
    vectors want[2];
} kind;

static void told(const file *f, const char *how, size_t at, const char *what) {
    printf("\n  %s, %s at %zu: %s", f->name, how, at, what);
    CU_FAIL("a damaged model");
}

/* All that reads it refuses it, and says which it is. A folder in the manifest's place is the system's error. */
static void is_refused(const kind *k, const file *f, const char *how, size_t at) {
    vectors v;
    bool by_system = strcmp(how, "a folder") == 0 && strcmp(f->name, CN_MANIFEST_FILE) == 0;
    for (int i = 0; k->precisions[i]; i++) {
        cn_err err = embed(k->model, k->precisions[i], v);
        if (err == CN_OK || (err != CN_DAMAGED && !by_system))
            told(f, how, at, err == CN_OK ? memcmp(v, k->want[i], sizeof v) ? "another vector" : "the same vector" : cn_error_detail());
        else if (!strstr(cn_error_detail(), folder))
            told(f, how, at, cn_error_detail());
    }
    cn_err err = cn_model_verify(data, cn_str_of(k->model));
    if (err == CN_OK || (err != CN_DAMAGED && !by_system))
        told(f, how, at, "verified");
    refused++;
    put_back(f);
}

static void every_file(const kind *k) {
    for (uint32_t i = 0; i < n_files; i++) {
        const file *f = &files[i], *other = &files[(i + 1) % n_files];
        size_t step = f->bytes.n <= SMALL ? 1 : test_count(149, 7);
        for (size_t at = 0; at < f->bytes.n; at += step) {
            change_byte(f, at, (int)(at * 5 % 8));
            is_refused(k, f, "a bit", at);
            tiny_file(folder, f->name, (cn_str){f->bytes.p, at});
            is_refused(k, f, "cut", at);
        }
        for (int bit = 0; bit < 8; bit++) {
            change_byte(f, f->bytes.n - 1, bit);
            is_refused(k, f, "the last byte", (size_t)bit);
        }
        char *more = cn_calloc(1, f->bytes.n + 1);
        tiny_file(folder, f->name, (cn_str){more, f->bytes.n});
        is_refused(k, f, "zeros", 0);
        memcpy(more, f->bytes.p, f->bytes.n);
        tiny_file(folder, f->name, (cn_str){more, f->bytes.n + 1});
        is_refused(k, f, "a byte more", f->bytes.n);
        cn_free(more);
        tiny_file(folder, f->name, other->bytes);
        is_refused(k, f, "another file's bytes", 0);
        CU_ASSERT_EQUAL(unlink(f->path), 0);
        is_refused(k, f, "gone", 0);
        CU_ASSERT(unlink(f->path) == 0 && mkdir(f->path, 0755) == 0);
        is_refused(k, f, "a folder", 0);
    }
}

static void try_kind(kind *k, uint32_t at_least) {
    vectors v;
    unsigned long before = refused;
    take_all(k->model);
    CU_ASSERT_EQUAL_FATAL(n_files, at_least);
    for (int i = 0; k->precisions[i]; i++)
        CU_ASSERT_EQUAL_FATAL(embed(k->model, k->precisions[i], k->want[i]), CN_OK);
    every_file(k);
    for (int i = 0; k->precisions[i]; i++) {
        CU_ASSERT_EQUAL_FATAL(embed(k->model, k->precisions[i], v), CN_OK);
        CU_ASSERT_EQUAL(memcmp(v, k->want[i], sizeof v), 0);
    }
    printf("\n  %s: %u files, %lu refused ", k->model, n_files, refused - before);
    let_go();
}

/* ---------- kinds ---------- */
static void a_bert(void) {
    static kind k = {.model = "bert", .precisions = {"fp32", "int8"}};
    try_kind(&k, 8);
}

/* A file that may be there, and was not when the model was added. */
static void a_bert_with_one_more(void) {
    static const char name[] = "config_sentence_transformers.json";
    char path[256];
    vectors v;
    snprintf(folder, sizeof folder, "%s/models/bert", data);
    tiny_file(folder, name, CN_STR("{}"));
    CU_ASSERT_EQUAL(embed("bert", "fp32", v), CN_DAMAGED);
    snprintf(path, sizeof path, "%s/%s", folder, name);
    CU_ASSERT_EQUAL(unlink(path), 0);
    CU_ASSERT_EQUAL(embed("bert", "fp32", v), CN_OK);
}

static void a_table(void) {
    static int16_t rows[80 * TINY_HIDDEN];
    static kind k = {.model = "table", .precisions = {"fp32"}};
    for (int i = 0; i < 80 * TINY_HIDDEN; i++)
        rows[i] = (int16_t)(i * 7919 % 2003 - 1000);
    cn_str vocab = tiny_read(from, "vocab.txt");
    cn_token_table t = {.words = 80, .dim = TINY_HIDDEN, .pieces = {true, true, true}, .passages = 9, .rows = rows};
    CU_ASSERT_EQUAL_FATAL(cn_model_add_table(data, CN_STR("table"), &t, vocab), CN_OK);
    cn_free((void *)(uintptr_t)vocab.p);
    try_kind(&k, 3);
}

/* Whoever opened it before has read it whole. */
static void one_that_is_open(void) {
    cn_embedder *e;
    vectors before, v;
    take_all("bert");
    CU_ASSERT_EQUAL_FATAL(cn_embedder_open(data, CN_STR("bert"), CN_STR("fp32"), &e), CN_OK);
    CU_ASSERT_EQUAL(cn_embed(e, texts, TEXTS, 1, before, NULL), CN_OK);
    for (uint32_t i = 0; i < n_files; i++) {
        char *none = cn_calloc(1, files[i].bytes.n);
        tiny_file(folder, files[i].name, (cn_str){none, i % 2 ? files[i].bytes.n : 0});
        cn_free(none);
    }
    CU_ASSERT_EQUAL(cn_embed(e, texts, TEXTS, 1, v, NULL), CN_OK);
    CU_ASSERT_EQUAL(memcmp(v, before, sizeof v), 0);
    cn_embedder_unref(e);
    CU_ASSERT_EQUAL(embed("bert", "fp32", v), CN_DAMAGED);
    for (uint32_t i = 0; i < n_files; i++)
        put_back(&files[i]);
    CU_ASSERT_EQUAL(embed("bert", "fp32", v), CN_OK);
    CU_ASSERT_EQUAL(memcmp(v, before, sizeof v), 0);
    let_go();
}

/* ---------- the description of a service ---------- */
static bool is_service(const cn_http_config *a, const cn_http_config *b) {
    return strcmp(a->url, b->url) == 0 && strcmp(a->model, b->model) == 0 && a->dim == b->dim && a->send_dim == b->send_dim;
}

static void is_service_or_refused(const cn_http_config *want, const file *f, const char *how, size_t at) {
    cn_http_config got;
    cn_embedder *e = NULL;
    cn_err err = cn_model_open_http(data, CN_STR("http"), &got), opened = cn_embedder_open(data, CN_STR("http"), CN_STR(""), &e);
    cn_embedder_unref(e);
    if (err != opened)
        told(f, how, at, "one reader takes it");
    else if (err == CN_OK && !is_service(&got, want))
        told(f, how, at, "another service");
    else if (err != CN_OK && (err != CN_DAMAGED || !strstr(cn_error_detail(), folder)))
        told(f, how, at, cn_error_detail());
    err == CN_OK ? same++ : refused++;
    put_back(f);
}

static void a_service(void) {
    cn_http_config c, want;
    cn_http_config_default(&c);
    snprintf(c.url, sizeof c.url, "https://embed.example/v1");
    snprintf(c.model, sizeof c.model, "some-model");
    snprintf(c.key_env, sizeof c.key_env, "SOME_KEY");
    c.dim = 24;
    CU_ASSERT_EQUAL_FATAL(cn_model_add_http(data, CN_STR("http"), &c), CN_OK);
    CU_ASSERT_EQUAL_FATAL(cn_model_open_http(data, CN_STR("http"), &want), CN_OK);
    take_all("http");
    CU_ASSERT_EQUAL_FATAL(n_files, 2);
    unsigned long before = refused;
    for (uint32_t i = 0; i < n_files; i++)
        for (size_t at = 0; at < files[i].bytes.n; at++) {
            for (int bit = 0; bit < 8; bit++) {
                change_byte(&files[i], at, bit);
                is_service_or_refused(&want, &files[i], "a bit", 8 * at + (size_t)bit);
            }
            tiny_file(folder, files[i].name, (cn_str){files[i].bytes.p, at});
            is_service_or_refused(&want, &files[i], "cut", at);
        }
    printf("\n  http: %lu refused, %lu as it was but for what may be edited ", refused - before, same);
    CU_ASSERT(refused > before && same > 0);
    let_go();
}

int main(void) {
    if (CU_initialize_registry() != CUE_SUCCESS)
        return 1;
    tiny_folder(data);
    tiny_folder(from);
    tiny_write(&tiny, from, TINY_F16, "");
    CN_ASSERT(cn_model_add(data, CN_STR("bert"), from) == CN_OK);
    CU_pSuite s = CU_add_suite("model damage", NULL, NULL);
    ADD(s, a_bert);
    ADD(s, a_bert_with_one_more);
    ADD(s, a_table);
    ADD(s, one_that_is_open);
    ADD(s, a_service);
    CU_basic_set_mode(CU_BRM_VERBOSE);
    CU_basic_run_tests();
    int bad = CU_get_number_of_failures() > 0 || CU_get_number_of_tests_run() == 0;
    CU_cleanup_registry();
    tiny_done(&tiny);
    tiny_remove(data);
    tiny_remove(from);
    return bad;
}
