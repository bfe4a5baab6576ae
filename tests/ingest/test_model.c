#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/mem.h"
#include "ingest/embed/embed.h"
#include "tests/ingest/embed_test.h"
#include "tests/ingest/tiny_model.h"

static char data[64], folder[64];
static tiny_model tiny;

static int up(void) {
    tiny_folder(data);
    tiny_folder(folder);
    return 0;
}
static int down(void) {
    tiny_remove(data);
    tiny_remove(folder);
    return 0;
}

static void fresh(tiny_type type, const char *prefix) {
    tiny_done(&tiny);
    tiny_write(&tiny, folder, type, prefix);
}

/* Nothing of a refused model stays. */
static void refused(const char *why) {
    char path[128];
    struct stat st;
    CU_ASSERT_EQUAL(cn_model_add(data, CN_STR("bad"), folder), CN_INVALID);
    CU_ASSERT_PTR_NOT_NULL(strstr(cn_error_detail(), why));
    if (!strstr(cn_error_detail(), why))
        fprintf(stderr, "\n  expected \"%s\" in: %s\n", why, cn_error_detail());
    snprintf(path, sizeof path, "%s/models/bad", data);
    CU_ASSERT_NOT_EQUAL(stat(path, &st), 0);
}

static void bad(const char *name, const char *from, const char *to, const char *why) {
    fresh(TINY_F32, "");
    tiny_edit(folder, name, from, to);
    refused(why);
}

static void missing(const char *name) {
    char path[256];
    fresh(TINY_F32, "");
    snprintf(path, sizeof path, "%s/%s", folder, name);
    unlink(path);
    refused(name);
}

static cn_err open_blocked(void) {
    cn_embedder *e;
    cn_err err = cn_embedder_open(data, CN_STR("blocked"), CN_STR("fp32"), &e);
    if (err == CN_OK)
        cn_embedder_unref(e);
    return err;
}

static void *open_in_thread(void *arg) {
    *(cn_err *)arg = open_blocked();
    return NULL;
}

/* One that cannot be read on, for its manifest is a pipe into which nobody writes yet. */
static void others_open_while_one_is_read(void) {
    char models[128], path[160];
    cn_err first = CN_OK, second = CN_OK;
    pthread_t one, two;
    cn_embedder *e;
    fresh(TINY_F32, "");
    CU_ASSERT_EQUAL_FATAL(cn_model_add(data, CN_STR("free"), folder), CN_OK);
    snprintf(models, sizeof models, "%s/models/blocked", data);
    snprintf(path, sizeof path, "%s/manifest", models);
    CU_ASSERT_FATAL(mkdir(models, 0755) == 0 && mkfifo(path, 0644) == 0);
    pthread_create(&one, NULL, open_in_thread, &first);
    int fd = open(path, O_WRONLY); /* it reads now */
    pthread_create(&two, NULL, open_in_thread, &second);
    alarm(60);                     /* instead of a wait without end */
    CU_ASSERT_EQUAL_FATAL(cn_embedder_open(data, CN_STR("free"), CN_STR("fp32"), &e), CN_OK);
    cn_embedder_unref(e);
    unlink(path);
    close(fd);
    pthread_join(one, NULL);
    pthread_join(two, NULL);
    alarm(0);
    CU_ASSERT(first != CN_OK && second != CN_OK);
    rmdir(models);
}

static void wrong_settings_are_refused_by_name(void) {
    bad("config.json", "\"bert\"", "\"roberta\"", "model_type");
    bad("config.json", "\"gelu\"", "\"relu\"", "hidden_act");
    bad("config.json", "\"hidden_size\": 24", "\"hidden_size\": 25", "shared by num_attention_heads");
    bad("config.json", "\"intermediate_size\": 40", "\"intermediate_size\": 48", "must have the shape [48, 24]");
    bad("config.json", "\"hidden_size\": 24", "\"hidden_size\": -24", "hidden_size");
    bad("config.json", "\"hidden_size\": 24", "\"hidden_size\": \"x\"", "hidden_size");
    bad("config.json", "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3", "encoder.layer.2");
    bad("config.json", "\"vocab_size\": 80", "\"vocab_size\": 79", "vocab.txt has 80 lines");
    bad("config.json", "1e-12", "0", "layer_norm_eps");
    bad("config.json", "1e-12", "1e-52", "layer_norm_eps");
    bad("config.json", "\"absolute\"", "\"relative_key\"", "position_embedding_type");
    bad("config.json", "{", "{{", "config.json, line 1");
    bad("modules.json", "models.Normalize", "models.Dense", "Dense");
    bad("modules.json", "1_Pooling\"", "../../etc\"", "plain name");
    bad("modules.json", "\"path\": \"\"", "\"path\": \"0_Transformer\"", "folder itself");
    bad("1_Pooling/config.json", "false", "true", "either mean or cls");
    bad("1_Pooling/config.json", "\"word_embedding_dimension\": 24", "\"word_embedding_dimension\": 48", "word_embedding_dimension");
    bad("sentence_bert_config.json", "32", "41", "max_seq_length");
    bad("vocab.txt", "[UNK]\n", "[OOPS]\n", "[UNK]");
    missing("config.json");
    missing("vocab.txt");
    missing("modules.json");
    missing("1_Pooling/config.json");
    missing("model.safetensors");
}

static void wrong_weights_are_refused(void) {
    fresh(TINY_F32, "");
    cn_str s = tiny_read(folder, "model.safetensors");
    char *p = (char *)(uintptr_t)s.p;
    tiny_file(folder, "model.safetensors", (cn_str){p, s.n - 4});
    refused("outside the file");
    memcpy(p + s.n - 4, "\x00\x00\xc0\x7f", 4);
    tiny_file(folder, "model.safetensors", s);
    refused("NaN");
    tiny_file(folder, "model.safetensors", CN_STR("version https://git-lfs.github.com/spec/v1\n"));
    refused("no safetensors file");
    cn_free(p);
    bad("model.safetensors", "encoder.layer.1.output.dense.bias", "encoder.layer.1.output.dense.bius", "encoder.layer.1.output.dense.bias");
    bad("config.json", "\"max_position_embeddings\": 40", "\"max_position_embeddings\": 4000000", "max_position_embeddings");
}

static void other_types_and_prefixes_give_the_same_vectors(void) {
    float v[4][TINY_HIDDEN];
    cn_str s = CN_STR("hello world, see");
    for (int i = 0; i < 4; i++) {
        static const char *const names[] = {"f32", "f16", "bf16", "prefix"};
        cn_embedder *e = NULL;
        fresh(i == 1 ? TINY_F16 : i == 2 ? TINY_BF16 : TINY_F32, i == 3 ? "bert." : "");
        CU_ASSERT_EQUAL_FATAL(cn_model_add(data, cn_str_of(names[i]), folder), CN_OK);
        CU_ASSERT_EQUAL_FATAL(cn_embedder_open(data, cn_str_of(names[i]), CN_STR("fp32"), &e), CN_OK);
        CU_ASSERT_EQUAL(cn_embed(e, &s, 1, 1, v[i], NULL), CN_OK);
        CU_ASSERT_EQUAL(memcmp(v[0], v[i], sizeof v[0]), 0); /* the weights are chosen to fit all three types */
        cn_embedder_unref(e);
    }
}

static void cls_pooling_and_no_length(void) {
    cn_embedder *e = NULL;
    float v[TINY_HIDDEN];
    double length = 0;
    cn_str s = CN_STR("hello");
    fresh(TINY_F32, "");
    tiny_edit(folder, "1_Pooling/config.json", "false", "xxx");
    tiny_edit(folder, "1_Pooling/config.json", "true", "false");
    tiny_edit(folder, "1_Pooling/config.json", "xxx", "true");
    tiny_file(folder, "modules.json", CN_STR("[{\"path\": \"\", \"type\": \"x.Transformer\"}, {\"path\": \"1_Pooling\", \"type\": \"x.Pooling\"}]"));
    CU_ASSERT_EQUAL_FATAL(cn_model_add(data, CN_STR("cls"), folder), CN_OK);
    CU_ASSERT_EQUAL_FATAL(cn_embedder_open(data, CN_STR("cls"), CN_STR("fp32"), &e), CN_OK);
    CU_ASSERT_EQUAL(cn_embed(e, &s, 1, 1, v, NULL), CN_OK);
    for (int i = 0; i < TINY_HIDDEN; i++)
        length += (double)(v[i] * v[i]);
    CU_ASSERT_TRUE(length > 1.5); /* as the last normalisation leaves it */
    cn_embedder_unref(e);
}

typedef struct seen {
    char names[256];
    uint32_t n;
} seen;
static cn_err note(void *ctx, cn_str name, cn_str kind, uint32_t dim, uint32_t max_tokens, const cn_digest *digest) {
    seen *s = ctx;
    CU_ASSERT_TRUE(cn_str_is(kind, "bert") && dim == TINY_HIDDEN && max_tokens == TINY_TOKENS && !cn_digest_is_zero(digest));
    size_t at = strlen(s->names);
    snprintf(s->names + at, sizeof s->names - at, CN_STR_FMT " ", CN_STR_ARG(name));
    s->n++;
    return CN_OK;
}

static void the_same_name_keeps_its_model(void) {
    char other[64];
    seen s = {0};
    tiny_folder(other);
    CU_ASSERT_EQUAL(cn_model_list(other, note, &s), CN_OK);
    CU_ASSERT_EQUAL(s.n, 0);
    fresh(TINY_F32, "");
    CU_ASSERT_EQUAL(cn_model_add(other, CN_STR("b"), folder), CN_OK);
    CU_ASSERT_EQUAL(cn_model_add(other, CN_STR("b"), folder), CN_OK);
    CU_ASSERT_EQUAL(cn_model_add(other, CN_STR("a"), folder), CN_OK);
    tiny_edit(folder, "vocab.txt", "hello", "howdy");
    CU_ASSERT_EQUAL(cn_model_add(other, CN_STR("b"), folder), CN_CONFLICT);
    CU_ASSERT_EQUAL(cn_model_list(other, note, &s), CN_OK);
    CU_ASSERT_STRING_EQUAL(s.names, "a b ");
    tiny_remove(other);
}

static void a_kept_copy_that_changed_is_damaged(void) {
    char other[64], path[192], kept[128];
    cn_embedder *e = NULL;
    tiny_folder(other);
    fresh(TINY_F32, "");
    CU_ASSERT_EQUAL(cn_model_add(other, CN_STR("m"), folder), CN_OK);
    snprintf(kept, sizeof kept, "%s/models/m", other);
    tiny_edit(kept, "vocab.txt", "hello", "hello2");
    CU_ASSERT_EQUAL(cn_embedder_open(other, CN_STR("m"), CN_STR("fp32"), &e), CN_DAMAGED);
    tiny_edit(kept, "vocab.txt", "hello2", "hello");
    CU_ASSERT_EQUAL(cn_model_verify(other, CN_STR("m")), CN_OK);
    tiny_edit(kept, "vocab.txt", "hello", "hollo");
    CU_ASSERT_EQUAL(cn_model_verify(other, CN_STR("m")), CN_DAMAGED);
    snprintf(path, sizeof path, "%s/manifest", kept);
    cn_str s = tiny_read(kept, "manifest");
    ((char *)(uintptr_t)s.p)[20] ^= 1;
    tiny_file(kept, "manifest", s);
    cn_free((void *)(uintptr_t)s.p);
    CU_ASSERT_EQUAL(cn_embedder_open(other, CN_STR("m"), CN_STR("fp32"), &e), CN_DAMAGED);
    unlink(path);
    CU_ASSERT_EQUAL(cn_embedder_open(other, CN_STR("m"), CN_STR("fp32"), &e), CN_DAMAGED);
    CU_ASSERT_PTR_NULL(e);
    tiny_remove(other);
}

static void memory_failures_leave_nothing(void) {
    fresh(TINY_F32, "");
    uint64_t before = cn_alloc_count();
    CU_ASSERT_EQUAL(cn_model_add(data, CN_STR("all"), folder), CN_OK);
    uint64_t all = cn_alloc_count() - before;
    for (uint64_t nth = 1; nth <= all; nth++) {
        cn_alloc_fail_at(nth);
        CU_ASSERT_EQUAL(cn_model_add(data, CN_STR("oom"), folder), CN_OVERLOADED);
    }
    cn_alloc_fail_at(0);
    CU_ASSERT_EQUAL(cn_model_add(data, CN_STR("oom"), folder), CN_OK);
    tiny_done(&tiny);
}

void add_model_tests(void) {
    CU_pSuite s = CU_add_suite("model", up, down);
    ADD(s, others_open_while_one_is_read);
    ADD(s, wrong_settings_are_refused_by_name);
    ADD(s, wrong_weights_are_refused);
    ADD(s, other_types_and_prefixes_give_the_same_vectors);
    ADD(s, cls_pooling_and_no_length);
    ADD(s, the_same_name_keeps_its_model);
    ADD(s, a_kept_copy_that_changed_is_damaged);
    ADD(s, memory_failures_leave_nothing);
}
