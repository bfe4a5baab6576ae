#include <cblas.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/mem.h"
#include "ingest/embed/bert_ops.h"
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

static void instruction_sets_give_the_same_bits(void) {
    enum { ROWS = 3, N = 53, LD = 64 };
    const cn_bert_ops *sets[3] = {&cn_bert_ops_base, NULL, NULL};
    static float x[3][ROWS * LD], y[ROWS * LD], bias[LD], gamma[LD];
#if defined(__x86_64__)
    sets[1] = __builtin_cpu_supports("avx2") ? &cn_bert_ops_avx2 : NULL;
    sets[2] = __builtin_cpu_supports("avx512f") ? &cn_bert_ops_avx512 : NULL;
#endif
    for (int k = 0; k < 3; k++) {
        if (!sets[k])
            continue;
        srand(5);
        for (int i = 0; i < ROWS * LD; i++) {
            x[k][i] = (float)(rand() % 20001 - 10000) / 997.0f;
            y[i] = (float)(rand() % 20001 - 10000) / 3001.0f;
            bias[i % LD] = y[i] / 3;
            gamma[i % LD] = y[i] / 2;
        }
        sets[k]->gelu(x[k], bias, ROWS, N);
        sets[k]->add_norm(x[k], y, (const float *const[3]){bias, gamma, bias}, 1e-12f, ROWS, N);
        sets[k]->add_norm(x[k], NULL, (const float *const[3]){NULL, gamma, bias}, 1e-12f, ROWS, N);
        sets[k]->add_bias(x[k], bias, ROWS, N);
        sets[k]->softmax(x[k], ROWS, N, LD);
        sets[k]->mean(x[k], ROWS, LD, x[k]);
        sets[k]->normalise(x[k], N);
        CU_ASSERT_EQUAL(memcmp(x[0], x[k], sizeof x[0]), 0);
    }
}

static void gelu_and_softmax_are_close_to_libm(void) {
    const cn_bert_ops *ops = cn_bert_ops_get();
    float x[17], zero[17] = {0};
    for (double v = -12; v < 12; v += 0.37) {
        for (int i = 0; i < 17; i++)
            x[i] = (float)(v + i * 0.02);
        ops->gelu(x, zero, 1, 17);
        for (int i = 0; i < 17; i++) {
            double in = (double)(float)(v + i * 0.02);
            CU_ASSERT_TRUE(fabs((double)x[i] - in / 2 * (1 + erf(in / sqrt(2)))) < 1e-6);
        }
    }
    float s[32] = {0, -1, -50, -200, 3, 88, 89};
    ops->softmax(s, 1, 7, 32);
    CU_ASSERT_TRUE(fabs((double)s[6] - 1 / (1 + exp(-1))) < 1e-6 && fabs((double)s[5] - 1 / (1 + exp(1))) < 1e-6);
    CU_ASSERT_TRUE(s[3] >= 0 && s[3] < 1e-30f && s[7] == 0 && s[31] == 0);
}

static void an_embedder_is_shared_and_counted(void) {
    cn_embedder *again = NULL, *other = NULL;
    CU_ASSERT_EQUAL(cn_embedder_open(data, CN_STR("tiny"), CN_STR(""), &again), CN_OK);
    CU_ASSERT_PTR_EQUAL(again, e);
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
    ADD(s, instruction_sets_give_the_same_bits);
    ADD(s, gelu_and_softmax_are_close_to_libm);
    ADD(s, an_embedder_is_shared_and_counted);
    ADD(s, a_warm_call_allocates_nothing);
}
