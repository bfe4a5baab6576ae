#include "tests/ingest/tiny_model.h"

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/error.h"
#include "engine/base/mem.h"

static const char config[] = "{\"model_type\": \"bert\", \"hidden_act\": \"gelu\", \"hidden_size\": 24, \"num_hidden_layers\": 2, "
                             "\"num_attention_heads\": 3, \"intermediate_size\": 40, \"vocab_size\": 80, \"max_position_embeddings\": 40, "
                             "\"type_vocab_size\": 2, \"layer_norm_eps\": 1e-12, \"position_embedding_type\": \"absolute\"}";
static const char modules[] = "[{\"idx\": 0, \"name\": \"0\", \"path\": \"\", \"type\": \"sentence_transformers.models.Transformer\"}, "
                              "{\"idx\": 1, \"name\": \"1\", \"path\": \"1_Pooling\", \"type\": \"sentence_transformers.models.Pooling\"}, "
                              "{\"idx\": 2, \"name\": \"2\", \"path\": \"2_Normalize\", \"type\": \"sentence_transformers.models.Normalize\"}]";
static const char pooling[] = "{\"word_embedding_dimension\": 24, \"pooling_mode_cls_token\": false, \"pooling_mode_mean_tokens\": true}";

char *tiny_folder(char path[64]) {
    snprintf(path, 64, "/tmp/cairn-test-XXXXXX");
    CN_ASSERT(mkdtemp(path));
    return path;
}

void tiny_remove(const char *path) {
    char cmd[128];
    CN_ASSERT(strncmp(path, "/tmp/cairn-test-", 16) == 0);
    snprintf(cmd, sizeof cmd, "rm -rf '%s'", path);
    CN_ASSERT(system(cmd) == 0);
}

void tiny_file(const char *folder, const char *name, cn_str bytes) {
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "wb");
    CN_ASSERT(f && fwrite(bytes.p, 1, bytes.n, f) == bytes.n && fclose(f) == 0);
}

cn_str tiny_read(const char *folder, const char *name) {
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "rb");
    CN_ASSERT(f);
    CN_ASSERT(fseek(f, 0, SEEK_END) == 0);
    long n = ftell(f);
    char *p = cn_calloc(1, (size_t)n + 1);
    rewind(f);
    CN_ASSERT(p && fread(p, 1, (size_t)n, f) == (size_t)n);
    fclose(f);
    return (cn_str){p, (size_t)n};
}

void tiny_edit(const char *folder, const char *name, const char *from, const char *to) {
    cn_str s = tiny_read(folder, name);
    const char *at = memmem(s.p, s.n, from, strlen(from));
    CN_ASSERT(at);
    size_t before = (size_t)(at - s.p), rest = s.n - before - strlen(from), n = before + strlen(to) + rest;
    char *p = cn_alloc(n);
    memcpy(p, s.p, before);
    memcpy(p + before, to, strlen(to));
    memcpy(p + before + strlen(to), at + strlen(from), rest);
    tiny_file(folder, name, (cn_str){p, n});
    cn_free(p);
    cn_free((void *)(uintptr_t)s.p);
}

static void write_vocab(tiny_model *m, const char *folder) {
    char text[1024];
    int n = snprintf(text, sizeof text, "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nhello\nworld\n##ing\n.\n,\n!\n-\n[\n]\n#\nsee\n");
    m->words = 16;
    for (char c = 'a'; c <= 'z'; c++, m->words += 2)
        n += snprintf(text + n, sizeof text - (size_t)n, "%c\n##%c\n", c, c);
    for (char c = '0'; c <= '9'; c++, m->words++)
        n += snprintf(text + n, sizeof text - (size_t)n, "%c\n", c);
    n += snprintf(text + n, sizeof text - (size_t)n, "\xe6\xbc\xa2\n##\xc3\x9f\n");
    m->words += 2;
    CN_ASSERT(m->words == 80);
    tiny_file(folder, "vocab.txt", (cn_str){text, (size_t)n});
}

/* Between -0.5 and 0.5, in steps that half precision keeps. */
static float next_random(uint32_t *state) {
    *state = *state * 1664525u + 1013904223u;
    return (float)((int32_t)(*state >> 25) - 64) / 128.0f;
}

static void add(tiny_model *m, uint32_t *seed, float base, const char *name, uint32_t rows, uint32_t cols) {
    tiny_tensor *t = &m->t[m->n++];
    size_t n = (size_t)(rows ? rows : 1) * cols;
    snprintf(t->name, sizeof t->name, "%s", name);
    t->rows = rows;
    t->cols = cols;
    t->v = cn_alloc(n * sizeof(float));
    for (size_t i = 0; i < n; i++)
        t->v[i] = base + next_random(seed);
}

static void make_tensors(tiny_model *m) {
    static const struct {
        const char *name;
        uint32_t rows, cols;
    } in[] = {{"attention.self.query.weight", 24, 24}, {"attention.self.query.bias", 0, 24}, {"attention.self.key.weight", 24, 24},
              {"attention.self.key.bias", 0, 24}, {"attention.self.value.weight", 24, 24}, {"attention.self.value.bias", 0, 24},
              {"attention.output.dense.weight", 24, 24}, {"attention.output.dense.bias", 0, 24}, {"attention.output.LayerNorm.weight", 0, 24},
              {"attention.output.LayerNorm.bias", 0, 24}, {"intermediate.dense.weight", 40, 24}, {"intermediate.dense.bias", 0, 40},
              {"output.dense.weight", 24, 40}, {"output.dense.bias", 0, 24}, {"output.LayerNorm.weight", 0, 24}, {"output.LayerNorm.bias", 0, 24}};
    uint32_t seed = 11;
    char name[96];
    add(m, &seed, 0, "embeddings.word_embeddings.weight", m->words, TINY_HIDDEN);
    add(m, &seed, 0, "embeddings.position_embeddings.weight", TINY_POSITIONS, TINY_HIDDEN);
    add(m, &seed, 0, "embeddings.token_type_embeddings.weight", 2, TINY_HIDDEN);
    add(m, &seed, 1, "embeddings.LayerNorm.weight", 0, TINY_HIDDEN);
    add(m, &seed, 0, "embeddings.LayerNorm.bias", 0, TINY_HIDDEN);
    for (int k = 0; k < TINY_LAYERS; k++)
        for (size_t i = 0; i < sizeof in / sizeof *in; i++) {
            snprintf(name, sizeof name, "encoder.layer.%d.%s", k, in[i].name);
            add(m, &seed, strstr(name, "LayerNorm.weight") ? 1 : 0, name, in[i].rows, in[i].cols);
        }
}

/* Exact for the numbers of next_random(). */
static uint16_t to_half(float f) {
    uint32_t b;
    memcpy(&b, &f, sizeof b);
    return f == 0.0f ? 0 : (uint16_t)(b >> 16 & 0x8000) | (uint16_t)(((b >> 23 & 255) - 112) << 10 | (b >> 13 & 0x3ff));
}

static void write_weights(const tiny_model *m, const char *folder, tiny_type type, const char *prefix) {
    static const char *const names[] = {"F32", "F16", "BF16"};
    size_t each = type == TINY_F32 ? 4 : 2, at = 0, room = 1 << 20;
    char *p = cn_calloc(1, room);
    size_t n = 8 + (size_t)sprintf(p + 8, "{\"__metadata__\": {\"format\": \"pt\"}");
    for (uint32_t i = 0; i < m->n; i++) {
        const tiny_tensor *t = &m->t[i];
        size_t bytes = (size_t)(t->rows ? t->rows : 1) * t->cols * each;
        n += (size_t)sprintf(p + n, ", \"%s%s\": {\"dtype\": \"%s\", \"shape\": [", prefix, t->name, names[type]);
        n += (size_t)(t->rows ? sprintf(p + n, "%u, %u", t->rows, t->cols) : sprintf(p + n, "%u", t->cols));
        n += (size_t)sprintf(p + n, "], \"data_offsets\": [%zu, %zu]}", at, at + bytes);
        at += bytes;
    }
    p[n++] = '}';
    while (n % 8)
        p[n++] = ' ';
    uint64_t head = n - 8;
    memcpy(p, &head, 8);
    for (uint32_t i = 0; i < m->n; i++)
        for (size_t k = 0; k < (size_t)(m->t[i].rows ? m->t[i].rows : 1) * m->t[i].cols; k++, n += each) {
            uint32_t bits;
            memcpy(&bits, &m->t[i].v[k], 4);
            uint16_t small = type == TINY_F16 ? to_half(m->t[i].v[k]) : (uint16_t)(bits >> 16);
            memcpy(p + n, type == TINY_F32 ? (const void *)&bits : (const void *)&small, each);
        }
    CN_ASSERT(n < room);
    tiny_file(folder, "model.safetensors", (cn_str){p, n});
    cn_free(p);
}

void tiny_write(tiny_model *m, const char *folder, tiny_type type, const char *prefix) {
    char path[128];
    *m = (tiny_model){0};
    snprintf(m->folder, sizeof m->folder, "%s", folder);
    snprintf(path, sizeof path, "%s/1_Pooling", folder);
    mkdir(path, 0755);
    tiny_file(folder, "config.json", CN_STR(config));
    tiny_file(folder, "modules.json", CN_STR(modules));
    tiny_file(folder, "1_Pooling/config.json", CN_STR(pooling));
    tiny_file(folder, "sentence_bert_config.json", CN_STR("{\"max_seq_length\": 32, \"do_lower_case\": false}"));
    tiny_file(folder, "tokenizer_config.json", CN_STR("{\"do_lower_case\": true}"));
    write_vocab(m, folder);
    make_tensors(m);
    write_weights(m, folder, type, prefix);
}

void tiny_done(tiny_model *m) {
    for (uint32_t i = 0; i < m->n; i++)
        cn_free(m->t[i].v);
    m->n = 0;
}

/* --- the forward pass, one number at a time --- */

static const float *tensor(const tiny_model *m, int k, const char *name) {
    char full[160];
    if (k < 0)
        snprintf(full, sizeof full, "%s", name);
    else
        snprintf(full, sizeof full, "encoder.layer.%d.%s", k, name);
    for (uint32_t i = 0; i < m->n; i++)
        if (strcmp(m->t[i].name, full) == 0)
            return m->t[i].v;
    CN_ASSERT(!"tensor");
}

#define H TINY_HIDDEN
static void dense(const tiny_model *m, int k, const char *name, const double *x, int in, int out, double *y) {
    char weight[128], bias[128];
    snprintf(weight, sizeof weight, "%s.weight", name);
    snprintf(bias, sizeof bias, "%s.bias", name);
    const float *w = tensor(m, k, weight), *b = tensor(m, k, bias);
    for (int o = 0; o < out; o++) {
        y[o] = (double)b[o];
        for (int i = 0; i < in; i++)
            y[o] += x[i] * (double)w[o * in + i];
    }
}

static void norm(const tiny_model *m, int k, const char *name, double x[H]) {
    char weight[128], bias[128];
    snprintf(weight, sizeof weight, "%s.weight", name);
    snprintf(bias, sizeof bias, "%s.bias", name);
    const float *w = tensor(m, k, weight), *b = tensor(m, k, bias);
    double mean = 0, var = 0;
    for (int i = 0; i < H; i++)
        mean += x[i] / H;
    for (int i = 0; i < H; i++)
        var += (x[i] - mean) * (x[i] - mean) / H;
    for (int i = 0; i < H; i++)
        x[i] = (x[i] - mean) / sqrt(var + 1e-12) * (double)w[i] + (double)b[i];
}

static void attention(const tiny_model *m, int k, double (*x)[H], uint32_t n, double (*c)[H]) {
    static double q[TINY_POSITIONS][H], key[TINY_POSITIONS][H], v[TINY_POSITIONS][H];
    const int d = H / TINY_HEADS;
    for (uint32_t r = 0; r < n; r++) {
        dense(m, k, "attention.self.query", x[r], H, H, q[r]);
        dense(m, k, "attention.self.key", x[r], H, H, key[r]);
        dense(m, k, "attention.self.value", x[r], H, H, v[r]);
    }
    for (uint32_t r = 0; r < n; r++)
        for (int h = 0; h < TINY_HEADS; h++) {
            double p[TINY_POSITIONS], sum = 0;
            for (uint32_t s = 0; s < n; s++) {
                double dot = 0;
                for (int i = h * d; i < (h + 1) * d; i++)
                    dot += q[r][i] * key[s][i];
                sum += p[s] = exp(dot / sqrt(d));
            }
            for (int i = h * d; i < (h + 1) * d; i++) {
                c[r][i] = 0;
                for (uint32_t s = 0; s < n; s++)
                    c[r][i] += p[s] / sum * v[s][i];
            }
        }
}

static void feed(const tiny_model *m, int k, double x[H], const double c[H]) {
    double y[H], up[TINY_INNER];
    dense(m, k, "attention.output.dense", c, H, H, y);
    for (int i = 0; i < H; i++)
        x[i] += y[i];
    norm(m, k, "attention.output.LayerNorm", x);
    dense(m, k, "intermediate.dense", x, H, TINY_INNER, up);
    for (int i = 0; i < TINY_INNER; i++)
        up[i] = up[i] / 2 * (1 + erf(up[i] / sqrt(2)));
    dense(m, k, "output.dense", up, TINY_INNER, H, y);
    for (int i = 0; i < H; i++)
        x[i] += y[i];
    norm(m, k, "output.LayerNorm", x);
}

void tiny_reference(const tiny_model *m, const uint32_t *ids, uint32_t n, double out[H]) {
    static double x[TINY_POSITIONS][H], c[TINY_POSITIONS][H];
    double length = 0;
    for (uint32_t r = 0; r < n; r++) {
        for (uint32_t i = 0; i < H; i++)
            x[r][i] = (double)tensor(m, -1, "embeddings.word_embeddings.weight")[ids[r] * H + i] +
                      (double)tensor(m, -1, "embeddings.position_embeddings.weight")[r * H + i] +
                      (double)tensor(m, -1, "embeddings.token_type_embeddings.weight")[i];
        norm(m, -1, "embeddings.LayerNorm", x[r]);
    }
    for (int k = 0; k < TINY_LAYERS; k++) {
        attention(m, k, x, n, c);
        for (uint32_t r = 0; r < n; r++)
            feed(m, k, x[r], c[r]);
    }
    for (int i = 0; i < H; i++) {
        out[i] = 0;
        for (uint32_t r = 0; r < n; r++)
            out[i] += x[r][i] / n;
        length += out[i] * out[i];
    }
    for (int i = 0; i < H; i++)
        out[i] /= sqrt(length);
}
