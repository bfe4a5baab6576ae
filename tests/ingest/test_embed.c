#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine/base/mem.h"
#include "ingest/embed/bert_int8.h"
#include "ingest/embed/embed.h"
#include "tests/ingest/embed_test.h"
#include "tests/ingest/tiny_model.h"

static char data[64], folder[64];
static tiny_model tiny;
static cn_embedder *e;

static int up(void) {
    tiny_write(&tiny, tiny_folder(folder), TINY_F32, "");
    tiny_folder(data);
    return cn_model_add(data, CN_STR("tiny"), folder) != CN_OK || cn_embedder_open(data, CN_STR("tiny"), CN_STR("fp32"), &e) != CN_OK;
}

static int down(void) {
    cn_embedder_unref(e);
    tiny_done(&tiny);
    tiny_remove(folder);
    tiny_remove(data);
    return 0;
}

static double cosine(const double *a, const float *b) {
    double dot = 0, aa = 0, bb = 0;
    for (int i = 0; i < TINY_HIDDEN; i++) {
        dot += a[i] * (double)b[i];
        aa += a[i] * a[i];
        bb += (double)b[i] * (double)b[i];
    }
    return dot / sqrt(aa * bb);
}

/* 1 to n words of one token each. */
static char *words(char *text, uint32_t n) {
    char *p = text;
    for (uint32_t i = 0; i < n; i++)
        p += sprintf(p, "%c ", (char)('a' + (i * 7 + n) % 26));
    return text;
}

static uint32_t ids_of(cn_str text, uint32_t ids[TINY_POSITIONS]) {
    cn_arena a;
    cn_token *t = NULL;
    uint32_t n = 0;
    cn_arena_init(&a, 65536, 1 << 20);
    CU_ASSERT_EQUAL_FATAL(cn_tokenize(e, text, &a, &t, &n), CN_OK);
    CU_ASSERT_TRUE_FATAL(n <= TINY_TOKENS - 2);
    ids[0] = 2;
    for (uint32_t i = 0; i < n; i++)
        ids[1 + i] = t[i].id;
    ids[n + 1] = 3;
    cn_arena_done(&a);
    return n + 2;
}

static void vectors_are_those_of_the_reference(void) {
    for (uint32_t n = 0; n <= TINY_TOKENS - 2; n++) {
        char text[128] = "";
        uint32_t ids[TINY_POSITIONS], count, cut = 9;
        double want[TINY_HIDDEN];
        float got[TINY_HIDDEN];
        cn_str s = cn_str_of(words(text, n));
        count = ids_of(s, ids);
        CU_ASSERT_EQUAL(count, n + 2);
        tiny_reference(&tiny, ids, count, want);
        CU_ASSERT_EQUAL(cn_embed(e, &s, 1, 1, got, &cut), CN_OK);
        CU_ASSERT_EQUAL(cut, 0);
        CU_ASSERT_TRUE(cosine(want, got) > 0.999999);
    }
}

#define MANY 70
static void bytes_depend_on_the_text_alone(void) {
    static char text[MANY][128];
    static float one[MANY][TINY_HIDDEN], all[MANY][TINY_HIDDEN];
    cn_str s[MANY], back[MANY];
    for (uint32_t i = 0; i < MANY; i++) {
        s[i] = cn_str_of(words(text[i], i % 31));
        CU_ASSERT_EQUAL(cn_embed(e, &s[i], 1, 1, one[i], NULL), CN_OK);
    }
    CU_ASSERT_EQUAL(cn_embed(e, s, MANY, 1, all[0], NULL), CN_OK);
    CU_ASSERT_EQUAL(memcmp(one, all, sizeof all), 0);
    CU_ASSERT_EQUAL(cn_embed(e, s, MANY, 2, all[0], NULL), CN_OK);
    CU_ASSERT_EQUAL(memcmp(one, all, sizeof all), 0);
    for (uint32_t i = 0; i < MANY; i++)
        back[i] = s[MANY - 1 - i];
    CU_ASSERT_EQUAL(cn_embed(e, back, MANY, 7, all[0], NULL), CN_OK);
    for (uint32_t i = 0; i < MANY; i++)
        CU_ASSERT_EQUAL(memcmp(one[i], all[MANY - 1 - i], sizeof one[i]), 0);
}

static void long_texts_keep_their_first_tokens(void) {
    char text[128];
    cn_str s[2] = {cn_str_of(words(text, TINY_TOKENS - 2)), CN_STR("a b")}, more;
    char longer[200];
    snprintf(longer, sizeof longer, "%s and more", text);
    more = cn_str_of(longer);
    float a[2][TINY_HIDDEN], b[TINY_HIDDEN];
    uint32_t cut = 7;
    CU_ASSERT_EQUAL(cn_embed(e, s, 2, 1, a[0], &cut), CN_OK);
    CU_ASSERT_EQUAL(cut, 0);
    CU_ASSERT_EQUAL(cn_embed(e, &more, 1, 1, b, &cut), CN_OK);
    CU_ASSERT_EQUAL(cut, 1);
    CU_ASSERT_EQUAL(memcmp(a[0], b, sizeof b), 0);
}

static void any_bytes_give_a_vector(void) {
    cn_str s[3] = {{NULL, 0}, CN_STR("\xff\xc0\x80\0\x01"), CN_STR("[CLS][MASK]")};
    float v[3][TINY_HIDDEN];
    CU_ASSERT_EQUAL(cn_embed(e, s, 3, 1, v[0], NULL), CN_OK);
    CU_ASSERT_EQUAL(memcmp(v[0], v[1], sizeof v[0]), 0); /* nothing but [CLS] and [SEP] is left of either */
    CU_ASSERT_NOT_EQUAL(memcmp(v[0], v[2], sizeof v[0]), 0);
    for (int i = 0; i < TINY_HIDDEN; i++)
        CU_ASSERT_TRUE(isfinite(v[2][i]));
    CU_ASSERT_EQUAL(cn_embed(e, s, 0, 1, NULL, NULL), CN_OK);
    CU_ASSERT_EQUAL(cn_embed(e, s, CN_EMBED_BATCH + 1, 1, v[0], NULL), CN_INVALID);
}

/* --- the tables of arithmetic --- */

enum { F = 53, K = 107, B = 5, HEAD = 10, TOKENS = 71, QKV = 3 * HEAD };
typedef struct results {
    float dense[B * F * 16], scores[B * B * 256], context[B * HEAD * 16], gelu[B * F * 16], norm[B * F * 16], mean[F];
} results;

static float *noise(uint32_t seed, size_t n) {
    float *v = malloc((n + 8 * 16) * sizeof *v); /* and what a head's last panel may read */
    for (size_t i = 0; i < n + 8 * 16; i++) {
        seed = seed * 1664525u + 1013904223u;
        v[i] = (float)(seed >> 8) * 0x1p-22f - 2.0f;
    }
    return v;
}

/* Each operation on the same numbers; scores only where there are keys. */
static void run_all(const cn_bert_ops *ops, results *r) {
    float *w = noise(1, F * K), *bias = noise(2, F), *x = noise(3, B * K * 16), *qkv = noise(4, B * QKV * 16), *y = noise(5, B * F * 16);
    float *packed = calloc((size_t)cn_bert_panels(F) * CN_PANEL * K, sizeof *packed);
    cn_bert_pack(w, 20, K, 0, F, packed); /* in two pieces, as query, key and value are */
    cn_bert_pack(w + 20 * K, F - 20, K, 20, F, packed);
    cn_bert_dense d = {ops->packed ? packed : w, bias, F, K};
    ops->dense(&d, x, B, r->dense);
    ops->scores(qkv, qkv + HEAD * 16, QKV * 16, HEAD, TOKENS, r->scores);
    ops->softmax(r->scores, 0.25f, TOKENS);
    ops->context(qkv + 2 * HEAD * 16, QKV * 16, r->scores, HEAD, TOKENS, r->context, HEAD * 16);
    for (int b = 0; b < B; b++)
        memset(r->scores + (b * B * 16 + TOKENS) * 16, 0, (B * 16 - TOKENS) * 16 * sizeof(float));
    memcpy(r->gelu, r->dense, sizeof r->gelu);
    ops->gelu(r->gelu, B * F * 16);
    memcpy(r->norm, r->gelu, sizeof r->norm);
    ops->add_norm(r->norm, y, bias, y, 1e-12f, F, B);
    ops->mean(r->norm, F, TOKENS, r->mean);
    ops->normalise(r->mean, F);
    free(w), free(bias), free(x), free(qkv), free(y), free(packed);
}

static void fused_tables_give_the_same_bits(void) {
#if defined(__x86_64__)
    static results a, b;
    if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("fma"))
        return;
    run_all(&cn_bert_ops_avx2, &a);
    run_all(&cn_bert_ops_avx512, &b);
    CU_ASSERT_EQUAL(memcmp(&a, &b, sizeof a), 0);
#endif
}

static void openblas_is_the_reference(void) {
    static results want, got;
    const cn_bert_ops *ops;
    CU_ASSERT_EQUAL_FATAL(cn_bert_ops_get(&ops), CN_OK);
    run_all(&cn_bert_ops_base, &want);
    run_all(ops, &got);
    const float *a = (const float *)&want, *b = (const float *)&got;
    double most = 0;
    for (size_t i = 0; i < sizeof want / sizeof *a; i++) {
        double off = fabs((double)a[i] - (double)b[i]) / (1 + fabs((double)a[i]));
        most = off > most || isnan(off) ? off : most;
    }
    CU_ASSERT_TRUE(most < 2e-5); /* sums of 107 products of numbers up to 2 */
}

/* Products against sums in double precision, for every number of blocks. */
static void products_are_right_at_every_width(void) {
    static float out[9 * F * 16];
    float *w = noise(6, F * K), *bias = noise(7, F), *x = noise(8, 9 * K * 16);
    float *packed = calloc((size_t)cn_bert_panels(F) * CN_PANEL * K, sizeof *packed);
    const cn_bert_ops *ops;
    CU_ASSERT_EQUAL_FATAL(cn_bert_ops_get(&ops), CN_OK);
    cn_bert_pack(w, F, K, 0, F, packed);
    cn_bert_dense d = {ops->packed ? packed : w, bias, F, K};
    for (uint32_t blocks = 1; blocks <= 9; blocks++) {
        uint32_t wrong = 0;
        ops->dense(&d, x, blocks, out);
        for (uint32_t b = 0; b < blocks; b++)
            for (uint32_t r = 0; r < F; r++)
                for (uint32_t i = 0; i < 16; i++) {
                    double sum = (double)bias[r];
                    for (uint32_t k = 0; k < K; k++)
                        sum += (double)w[r * K + k] * (double)x[(b * K + k) * 16 + i];
                    wrong += !(fabs(sum - (double)out[(b * F + r) * 16 + i]) < 1e-4);
                }
        CU_ASSERT_EQUAL(wrong, 0);
    }
    free(w), free(bias), free(x), free(packed);
}

static void gelu_and_softmax_are_close_to_libm(void) {
    const cn_bert_ops *ops;
    CU_ASSERT_EQUAL_FATAL(cn_bert_ops_get(&ops), CN_OK);
    float x[16];
    for (double v = -12; v < 12; v += 0.37) {
        for (int i = 0; i < 16; i++)
            x[i] = (float)(v + i * 0.02);
        ops->gelu(x, 16);
        for (int i = 0; i < 16; i++) {
            double in = (double)(float)(v + i * 0.02);
            CU_ASSERT_TRUE(fabs((double)x[i] - in / 2 * (1 + erf(in / sqrt(2)))) < 1e-6);
        }
    }
    float s[16 * 16] = {0};
    static const float column[7] = {0, -2, -100, -400, 6, 176, 178};
    for (int i = 0; i < 7; i++)
        s[i * 16 + 9] = column[i];
    s[7 * 16 + 9] = 500; /* the padding is no key */
    ops->softmax(s, 0.5f, 7);
    CU_ASSERT_TRUE(fabs((double)s[6 * 16 + 9] - 1 / (1 + exp(-1))) < 1e-6 && fabs((double)s[5 * 16 + 9] - 1 / (1 + exp(1))) < 1e-6);
    CU_ASSERT_TRUE(s[3 * 16 + 9] >= 0 && s[3 * 16 + 9] < 1e-30f);
    CU_ASSERT_TRUE(fabs((double)s[0] - 1.0 / 7) < 1e-6);
}

/* --- 8-bit integers --- */

static void the_plain_table_gives_the_fused_bits(void) {
#if defined(__x86_64__)
    static results a, b;
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma"))
        return;
    run_all(&cn_bert_ops_avx2, &a);
    run_all(&cn_bert_ops_plain, &b);
    CU_ASSERT_EQUAL(memcmp(&a, &b, sizeof a), 0);
#endif
}

/* out[b][F][16] of the noise's product, by a table. Input 5 is far larger than the rest, as some are. */
static void product8(const cn_bert_int8 *ops, uint32_t k, uint32_t blocks, float *out) {
    float *w = noise(6, F * k), *bias = noise(7, F), *x = noise(8, (size_t)blocks * k * 16), *peaks = calloc(k, sizeof *peaks);
    for (uint32_t b = 0; b < blocks; b++)
        for (int i = 0; i < 16; i++)
            x[((size_t)b * k + 5) * 16 + (size_t)i] *= 40;
    peaks[5] = 80;
    cn_bert_dense8 d = {.n = F, .k = k, .large = cn_int8_large(k)};
    d.w = calloc(cn_int8_weight_words(ops, F, k), sizeof *d.w);
    d.order = calloc(k, sizeof *d.order);
    d.bias = calloc(F, sizeof *d.bias);
    for (int p = 0; p < 2; p++) {
        d.scale[p] = calloc(F, sizeof *d.scale[p]);
        d.sum[p] = calloc(F, sizeof *d.sum[p]);
    }
    cn_bert_int8_order(peaks, &d);
    cn_bert_int8_pack(ops, w, bias, 20, 0, &d); /* in two pieces, as query, key and value are */
    cn_bert_int8_pack(ops, w + (size_t)20 * k, bias + 20, F - 20, 20, &d);
    uint32_t *q = aligned_alloc(64, (blocks * cn_int8_words(ops, k) * sizeof *q + 63) / 64 * 64);
    cn_lanes8 *lanes = calloc((size_t)blocks * 2, sizeof *lanes);
    ops->quantise(&d, x, blocks, q, lanes);
    ops->dense(&d, q, lanes, blocks, out);
    free(q), free(lanes), free(d.w), free(d.order), free(d.bias), free(w), free(bias), free(x), free(peaks);
    for (int p = 0; p < 2; p++)
        free(d.scale[p]), free(d.sum[p]);
}

static double off(uint32_t k, uint32_t blocks, const float *out) { /* the root of the mean squared error, of the outputs' own */
    float *w = noise(6, F * k), *bias = noise(7, F), *x = noise(8, (size_t)blocks * k * 16);
    double error = 0, all = 0;
    for (uint32_t b = 0; b < blocks; b++)
        for (uint32_t r = 0; r < F; r++)
            for (uint32_t i = 0; i < 16; i++) {
                double sum = (double)bias[r];
                for (uint32_t j = 0; j < k; j++)
                    sum += (double)w[r * k + j] * (double)x[((size_t)b * k + j) * 16 + i] * (j == 5 ? 40 : 1);
                double miss = sum - (double)out[((size_t)b * F + r) * 16 + i];
                error += miss * miss;
                all += sum * sum;
            }
    free(w), free(bias), free(x);
    return sqrt(error / all);
}

static void integer_tables_give_the_same_bits(void) {
    static float want[9 * F * 16], got[9 * F * 16];
    const cn_bert_int8 *best;
    const cn_bert_ops *floats;
    cn_bert_int8_get(&best, &floats);
    for (uint32_t k = 6; k < 200; k += 23)
        for (uint32_t blocks = 1; blocks <= 9; blocks += 2) {
            size_t n = (size_t)blocks * F * 16 * sizeof(float);
            product8(&cn_bert_int8_plain, k, blocks, want);
            product8(best, k, blocks, got);
            CU_ASSERT_EQUAL(memcmp(want, got, n), 0);
            CU_ASSERT_TRUE(off(k, blocks, want) < 0.006);
#if defined(__x86_64__)
            if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
                product8(&cn_bert_int8_avx2, k, blocks, got);
                CU_ASSERT_EQUAL(memcmp(want, got, n), 0);
            }
#endif
        }
}

static void integers_are_close_to_floats_and_depend_on_the_text_alone(void) {
    cn_embedder *ints = NULL;
    CU_ASSERT_EQUAL_FATAL(cn_embedder_open(data, CN_STR("tiny"), CN_STR("int8"), &ints), CN_OK);
    cn_digest a = cn_embedder_digest(e), b = cn_embedder_digest(ints);
    CU_ASSERT_PTR_NOT_EQUAL(ints, e);
    CU_ASSERT_FALSE(cn_digest_eq(&a, &b));
    static char text[MANY][128];
    static float one[MANY][TINY_HIDDEN], all[MANY][TINY_HIDDEN], floats[MANY][TINY_HIDDEN];
    cn_str s[MANY];
    for (uint32_t i = 0; i < MANY; i++) {
        s[i] = cn_str_of(words(text[i], i % 31));
        CU_ASSERT_EQUAL(cn_embed(ints, &s[i], 1, 1, one[i], NULL), CN_OK);
    }
    CU_ASSERT_EQUAL(cn_embed(ints, s, MANY, 2, all[0], NULL), CN_OK);
    CU_ASSERT_EQUAL(memcmp(one, all, sizeof all), 0);
    CU_ASSERT_EQUAL(cn_embed(e, s, MANY, 1, floats[0], NULL), CN_OK);
    for (uint32_t i = 0; i < MANY; i++) {
        double want[TINY_HIDDEN];
        for (int k = 0; k < TINY_HIDDEN; k++)
            want[k] = (double)floats[i][k];
        CU_ASSERT_TRUE(cosine(want, one[i]) > 0.998);
    }
    cn_embedder_unref(ints);
}

static void an_embedder_is_shared_and_counted(void) {
    cn_embedder *again = NULL, *other = NULL;
    CU_ASSERT_EQUAL_FATAL(cn_embedder_open(data, CN_STR("tiny"), CN_STR("fp32"), &again), CN_OK);
    CU_ASSERT_PTR_EQUAL(again, e);
    cn_embedder_unref(again);
    CU_ASSERT_EQUAL_FATAL(cn_embedder_open(data, CN_STR("tiny"), CN_STR(""), &again), CN_OK);
    CU_ASSERT_TRUE(cn_str_is(cn_embedder_precision(again), "int8")); /* a kind's own default */
    cn_embedder_unref(again);
    CU_ASSERT_TRUE(cn_str_is(cn_embedder_name(e), "tiny"));
    CU_ASSERT_TRUE(cn_str_is(cn_embedder_precision(e), "fp32"));
    CU_ASSERT_EQUAL(cn_embedder_dim(e), TINY_HIDDEN);
    CU_ASSERT_EQUAL(cn_embedder_max_tokens(e), TINY_TOKENS);
    CU_ASSERT_EQUAL(cn_embedder_open(data, CN_STR("tiny"), CN_STR("int4"), &other), CN_INVALID);
    CU_ASSERT_EQUAL(cn_embedder_open(data, CN_STR("none-such"), CN_STR("fp32"), &other), CN_NOT_FOUND);
    CU_ASSERT_EQUAL(cn_embedder_open(data, CN_STR("../tiny"), CN_STR("fp32"), &other), CN_INVALID);
    CU_ASSERT_PTR_NULL(other);
}

static size_t slurp(const char *path, char *to, size_t room) {
    FILE *f = fopen(path, "rb");
    size_t n = f ? fread(to, 1, room, f) : 0;
    if (f)
        fclose(f);
    return n;
}

static void spill(const char *path, const char *from, size_t n) {
    FILE *f = fopen(path, "r+b"); /* in place: the same file */
    CU_ASSERT_PTR_NOT_NULL_FATAL(f);
    CU_ASSERT_EQUAL(fwrite(from, 1, n, f), n);
    fclose(f);
}

/* What it was opened with it keeps. Whoever opens it next is told. */
static void files_that_change_afterwards_change_no_vector(void) {
    static char bytes[8 << 20], noise[8 << 20];
    cn_str s = CN_STR("hello worlding, see 2 [SEP] a-b");
    float before[2][TINY_HIDDEN], after[TINY_HIDDEN];
    cn_embedder *both[2] = {e, NULL}, *anew;
    char path[160];
    snprintf(path, sizeof path, "%s/models/tiny/model.safetensors", data);
    size_t n = slurp(path, bytes, sizeof bytes);
    CU_ASSERT_FATAL(n > 0 && n < sizeof bytes);
    memset(noise, 0x41, n);
    CU_ASSERT_EQUAL_FATAL(cn_embedder_open(data, CN_STR("tiny"), CN_STR("int8"), &both[1]), CN_OK);
    for (int i = 0; i < 2; i++)
        CU_ASSERT_EQUAL(cn_embed(both[i], &s, 1, 1, before[i], NULL), CN_OK);
    for (int how = 0; how < 3; how++) {
        if (how == 0)
            spill(path, noise, n);
        else
            CU_ASSERT_EQUAL(truncate(path, how == 1 ? 4096 : 0), 0);
        for (int i = 0; i < 2; i++) {
            CU_ASSERT_EQUAL(cn_embed(both[i], &s, 1, 2, after, NULL), CN_OK);
            CU_ASSERT_EQUAL(memcmp(before[i], after, sizeof after), 0);
        }
        CU_ASSERT_EQUAL(cn_model_verify(data, CN_STR("tiny")), CN_DAMAGED);
        CU_ASSERT_PTR_NOT_NULL(strstr(cn_error_file(), "/models/tiny"));
    }
    cn_embedder_unref(both[1]);
    CU_ASSERT_EQUAL(cn_embedder_open(data, CN_STR("tiny"), CN_STR("int8"), &anew), CN_DAMAGED);
    spill(path, bytes, n);
    CU_ASSERT_EQUAL(cn_model_verify(data, CN_STR("tiny")), CN_OK);
}

static void a_warm_call_allocates_nothing(void) {
    cn_str s = CN_STR("hello worlding, see 2 [SEP] a-b");
    float v[TINY_HIDDEN];
    CU_ASSERT_EQUAL(cn_embed(e, &s, 1, 1, v, NULL), CN_OK);
    uint64_t before = cn_alloc_count();
    CU_ASSERT_EQUAL(cn_embed(e, &s, 1, 1, v, NULL), CN_OK);
    CU_ASSERT_EQUAL(cn_alloc_count(), before);
}

void add_embed_tests(void) {
    CU_pSuite s = CU_add_suite("embed", up, down);
    ADD(s, vectors_are_those_of_the_reference);
    ADD(s, bytes_depend_on_the_text_alone);
    ADD(s, long_texts_keep_their_first_tokens);
    ADD(s, any_bytes_give_a_vector);
    ADD(s, fused_tables_give_the_same_bits);
    ADD(s, openblas_is_the_reference);
    ADD(s, products_are_right_at_every_width);
    ADD(s, gelu_and_softmax_are_close_to_libm);
    ADD(s, the_plain_table_gives_the_fused_bits);
    ADD(s, integer_tables_give_the_same_bits);
    ADD(s, integers_are_close_to_floats_and_depend_on_the_text_alone);
    ADD(s, an_embedder_is_shared_and_counted);
    ADD(s, files_that_change_afterwards_change_no_vector);
    ADD(s, a_warm_call_allocates_nothing);
}
