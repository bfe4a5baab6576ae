/* A table of rows as an embedder: its file, its sums, and what is refused. */
#include <math.h>
#include <stdio.h>

#include "engine/base/mem.h"
#include "ingest/embed/static.h"
#include "ingest/embed/store.h"
#include "tests/ingest/embed_test.h"
#include "tests/ingest/tiny_model.h"

enum { WORDS = 7, DIM = 5 };
static const char vocab[] = "[UNK]\n[CLS]\n[SEP]\na\nb\n##b\nc";
static const cn_wordpiece_opts cuts = {true, true, true};

static char data[64];
static int up(void) {
    tiny_folder(data);
    return 0;
}
static int down(void) {
    tiny_remove(data);
    return 0;
}

static const int16_t rows[WORDS * DIM] = {
    [1 * DIM + 1] = -7, /* [CLS] */
    [3 * DIM] = 3, 4, 0, 0, 0, /* a */
    [4 * DIM] = 0, 0, 32767, -32768, 1, /* b */
    [5 * DIM] = -3, -4, 0, 0, 0, /* ##b */
};
static cn_token_table good(void) { return (cn_token_table){.words = WORDS, .dim = DIM, .pieces = cuts, .passages = 9, .rows = rows}; }

/* The file in memory that an int16_t may stand in. */
static cn_str file(const cn_token_table *t, uint8_t room[4096]) {
    size_t n = (size_t)t->words * t->dim * sizeof *t->rows;
    cn_table_head(t, room);
    memcpy(room + CN_TABLE_HEAD, t->rows, n);
    return (cn_str){(char *)room, CN_TABLE_HEAD + n};
}

static void a_table_is_read_as_it_was_written(void) {
    _Alignas(64) uint8_t room[4096];
    cn_token_table t = good(), got;
    t.from.b[3] = 1;
    t.texts.b[31] = 2;
    t.pieces.cjk = false;
    CU_ASSERT_EQUAL_FATAL(cn_table_validate(file(&t, room), &got), CN_OK);
    CU_ASSERT_TRUE(got.words == WORDS && got.dim == DIM && got.passages == 9 && got.pieces.lower && got.pieces.strip_accents && !got.pieces.cjk);
    CU_ASSERT_TRUE(cn_digest_eq(&got.from, &t.from) && cn_digest_eq(&got.texts, &t.texts));
    CU_ASSERT_EQUAL(memcmp(got.rows, rows, sizeof rows), 0);
}

static void every_byte_of_a_table_counts(void) {
    _Alignas(64) uint8_t room[4096];
    cn_token_table t = good(), got = {0};
    cn_str f = file(&t, room);
    for (size_t i = 0; i < f.n; i++) {
        room[i] ^= 0x11;
        CU_ASSERT_EQUAL(cn_table_validate(f, &got), CN_INVALID);
        room[i] ^= 0x11;
    }
    for (size_t n = 0; n < f.n; n++)
        CU_ASSERT_EQUAL(cn_table_validate((cn_str){f.p, n}, &got), CN_INVALID);
    CU_ASSERT_EQUAL(cn_table_validate((cn_str){f.p, f.n + 2}, &got), CN_INVALID);
    CU_ASSERT_EQUAL(got.words, 0);
}

static void sizes_that_wrap_are_refused(void) {
    _Alignas(64) uint8_t room[4096];
    cn_token_table t = good(), got;
    file(&t, room);
    uint32_t absurd[][2] = {{0, DIM}, {WORDS, 0}, {UINT32_MAX, UINT32_MAX}, {1u << 31, 1u << 31}, {CN_TABLE_WORDS_MAX + 1, 1}, {1, CN_TABLE_DIM_MAX + 1}};
    for (size_t i = 0; i < sizeof absurd / sizeof *absurd; i++) {
        memcpy(room + 16, absurd[i], 8);
        CU_ASSERT_EQUAL(cn_table_validate((cn_str){(char *)room, sizeof room}, &got), CN_INVALID);
    }
}

static cn_err add(const char *name, const cn_token_table *t, cn_str words) { return cn_model_add_table(data, cn_str_of(name), t, words); }

static void sums_are_those_of_the_rows(void) {
    cn_token_table t = good();
    cn_embedder *e = NULL;
    cn_str texts[] = {CN_STR("a"), CN_STR("a A a"), CN_STR("ab"), CN_STR(""), CN_STR("c x"), CN_STR("b a"), CN_STR("b")};
    float v[7][DIM];
    uint32_t cut = 9;
    CU_ASSERT_EQUAL_FATAL(add("sums", &t, CN_STR(vocab)), CN_OK);
    CU_ASSERT_EQUAL_FATAL(cn_embedder_open(data, CN_STR("sums"), CN_STR(""), &e), CN_OK);
    CU_ASSERT_EQUAL(cn_embedder_dim(e), DIM);
    CU_ASSERT_EQUAL(cn_embedder_max_tokens(e), CN_TABLE_TOKENS_MAX);
    CU_ASSERT_EQUAL_FATAL(cn_embed(e, texts, 7, 2, v[0], &cut), CN_OK);
    CU_ASSERT_EQUAL(cut, 0);
    CU_ASSERT_TRUE(v[0][0] == 0.6f && v[0][1] == 0.8f && v[0][2] == 0);
    CU_ASSERT_EQUAL(memcmp(v[0], v[1], sizeof v[0]), 0);
    for (int i = 2; i <= 4; i++) /* rows that cancel, no text, and words that are not known: the row of [CLS] */
        CU_ASSERT_TRUE(v[i][0] == 0 && v[i][1] == -1 && v[i][2] == 0);
    double length = sqrt(9.0 + 16 + 32767.0 * 32767 + 32768.0 * 32768 + 1);
    CU_ASSERT_DOUBLE_EQUAL(v[5][0], 3 / length, 1e-9);
    CU_ASSERT_DOUBLE_EQUAL(v[5][3], -32768 / length, 1e-7);
    cn_embedder_unref(e);
}

/* Short rows are summed four at a time, others one by one: the same sums. */
static void short_rows_give_the_same_sums(void) {
    enum { N = 23, W = 40 };
    static int16_t narrow[W * N], wide[W * N];
    static cn_token v[37];
    static int32_t sums[2][32];
    float a[N], b[N];
    uint32_t s = 11;
    for (int i = 0; i < W * N; i++) {
        s = s * 1664525u + 1013904223u;
        narrow[i] = (int16_t)(i % 5 == 0 ? CN_TABLE_SHORT : i % 5 == 1 ? -CN_TABLE_SHORT : (int)(s >> 19) - 4096);
        wide[i] = narrow[i];
    }
    wide[W * N - 1] = CN_TABLE_SHORT + 1; /* of a piece that no text holds */
    cn_token_table t[2] = {{.words = W, .dim = N, .rows = narrow}, {.words = W, .dim = N, .rows = wide}};
    for (int k = 0; k < 2; k++) {
        _Alignas(64) static uint8_t room[4096];
        cn_token_table got;
        CU_ASSERT_EQUAL(cn_table_validate(file(&t[k], room), &got), CN_OK);
        CU_ASSERT_EQUAL(got.is_short, k == 0);
        t[k].is_short = got.is_short;
    }
    for (uint32_t n = 0; n <= 37; n++) {
        for (uint32_t i = 0; i < n; i++)
            v[i].id = (i * n + i) % (W - 1);
        cn_static_run(&t[0], 1, v, n, sums[0], a);
        cn_static_run(&t[1], 1, v, n, sums[1], b);
        CU_ASSERT_EQUAL(memcmp(sums[0], sums[1], N * sizeof(int32_t)), 0);
        CU_ASSERT_EQUAL(memcmp(a, b, sizeof a), 0);
    }
}

/* The longest text of the largest numbers there are. */
static void long_texts_do_not_overflow(void) {
    static char text[2 * (CN_TABLE_TOKENS_MAX + 10)];
    cn_token_table t = good();
    cn_embedder *e = NULL;
    float one[DIM], many[DIM];
    uint32_t cut = 0;
    for (size_t i = 0; i < sizeof text; i += 2)
        memcpy(text + i, "b ", 2);
    CU_ASSERT_EQUAL_FATAL(add("long", &t, CN_STR(vocab)), CN_OK);
    CU_ASSERT_EQUAL_FATAL(cn_embedder_open(data, CN_STR("long"), CN_STR("fp32"), &e), CN_OK);
    CU_ASSERT_EQUAL(cn_embed(e, &CN_STR("b"), 1, 1, one, NULL), CN_OK);
    CU_ASSERT_EQUAL(cn_embed(e, &(cn_str){text, sizeof text}, 1, 1, many, &cut), CN_OK);
    CU_ASSERT_EQUAL(cut, 1);
    for (int i = 0; i < DIM; i++)
        CU_ASSERT_DOUBLE_EQUAL(one[i], many[i], 1e-7);
    cn_embedder_unref(e);
}

static void neither_threads_nor_batches_change_a_bit(void) {
    cn_token_table t = good();
    cn_embedder *e = NULL;
    enum { N = 300 };
    static char text[N][16];
    cn_str texts[N];
    static float all[N][DIM], some[N][DIM];
    for (int i = 0; i < N; i++)
        texts[i] = (cn_str){text[i], (size_t)snprintf(text[i], sizeof text[i], "%s%s%s", i % 2 ? "a " : "", i % 3 ? "b b " : "", i % 5 ? "ab c" : "a")};
    CU_ASSERT_EQUAL_FATAL(add("bits", &t, CN_STR(vocab)), CN_OK);
    CU_ASSERT_EQUAL_FATAL(cn_embedder_open(data, CN_STR("bits"), CN_STR("fp32"), &e), CN_OK);
    CU_ASSERT_EQUAL(cn_embed(e, texts, N, 4, all[0], NULL), CN_OK);
    for (int i = 0; i < N; i++)
        CU_ASSERT_EQUAL(cn_embed(e, &texts[i], 1, 1, some[i], NULL), CN_OK);
    CU_ASSERT_EQUAL(memcmp(all, some, sizeof all), 0);
    cn_embedder_unref(e);
}

static void what_does_not_fit_is_refused(void) {
    cn_token_table t = good();
    cn_embedder *e = NULL;
    cn_manifest m;
    static int16_t none[WORDS * DIM];
    CU_ASSERT_EQUAL(add("few", &t, CN_STR("[UNK]\n[CLS]\n[SEP]")), CN_INVALID);
    CU_ASSERT_PTR_NOT_NULL(strstr(cn_error_detail(), "3 lines, but the table has 7 rows"));
    CU_ASSERT_EQUAL(cn_model_manifest(data, CN_STR("few"), &m), CN_NOT_FOUND);
    t.rows = none;
    CU_ASSERT_EQUAL(add("empty", &t, CN_STR(vocab)), CN_INVALID);
    CU_ASSERT_PTR_NOT_NULL(strstr(cn_error_detail(), "[CLS]"));
    t = good();
    CU_ASSERT_EQUAL(add("kept", &t, CN_STR(vocab)), CN_OK);
    CU_ASSERT_EQUAL(add("kept", &t, CN_STR(vocab)), CN_OK);
    t.passages++;
    CU_ASSERT_EQUAL(add("kept", &t, CN_STR(vocab)), CN_CONFLICT);
    CU_ASSERT_EQUAL(cn_embedder_open(data, CN_STR("kept"), CN_STR("int8"), &e), CN_INVALID);
    CU_ASSERT_PTR_NOT_NULL(strstr(cn_error_detail(), "leave out the precision"));
}

static void a_kept_table_that_changed_is_damaged(void) {
    cn_token_table t = good();
    cn_embedder *e = NULL;
    char folder[128], path[192];
    CU_ASSERT_EQUAL_FATAL(add("hurt", &t, CN_STR(vocab)), CN_OK);
    snprintf(folder, sizeof folder, "%s/models/hurt", data);
    CU_ASSERT_EQUAL(cn_model_verify(data, CN_STR("hurt")), CN_OK);
    cn_str s = tiny_read(folder, "table");
    ((char *)(uintptr_t)s.p)[s.n - 3] ^= 1;
    tiny_file(folder, "table", s);
    CU_ASSERT_EQUAL(cn_model_verify(data, CN_STR("hurt")), CN_DAMAGED);
    CU_ASSERT_EQUAL(cn_embedder_open(data, CN_STR("hurt"), CN_STR("fp32"), &e), CN_DAMAGED);
    tiny_file(folder, "table", (cn_str){s.p, s.n - 10});
    CU_ASSERT_EQUAL(cn_embedder_open(data, CN_STR("hurt"), CN_STR("fp32"), &e), CN_DAMAGED);
    cn_free((void *)(uintptr_t)s.p);
    snprintf(path, sizeof path, "%s/table", folder);
    CU_ASSERT_EQUAL(remove(path), 0);
    CU_ASSERT_EQUAL(cn_embedder_open(data, CN_STR("hurt"), CN_STR("fp32"), &e), CN_DAMAGED);
    CU_ASSERT_PTR_NULL(e);
}

static void memory_failures_end_the_call(void) {
    cn_token_table t = good();
    for (uint64_t nth = 1; nth < 200; nth++) {
        cn_embedder *e = NULL;
        float v[DIM];
        char name[16];
        snprintf(name, sizeof name, "mem%u", (unsigned)nth);
        cn_alloc_fail_at(nth);
        cn_err err = add(name, &t, CN_STR(vocab));
        if (err == CN_OK)
            err = cn_embedder_open(data, cn_str_of(name), CN_STR("fp32"), &e);
        if (err == CN_OK)
            err = cn_embed(e, &CN_STR("a"), 1, 1, v, NULL);
        cn_alloc_fail_at(0);
        cn_embedder_unref(e);
        if (err == CN_OK)
            return;
        CU_ASSERT_EQUAL(err, CN_OVERLOADED);
    }
    CU_FAIL("it never came through");
}

void add_static_tests(void) {
    CU_pSuite s = CU_add_suite("static", up, down);
    ADD(s, a_table_is_read_as_it_was_written);
    ADD(s, every_byte_of_a_table_counts);
    ADD(s, sizes_that_wrap_are_refused);
    ADD(s, sums_are_those_of_the_rows);
    ADD(s, short_rows_give_the_same_sums);
    ADD(s, long_texts_do_not_overflow);
    ADD(s, neither_threads_nor_batches_change_a_bit);
    ADD(s, what_does_not_fit_is_refused);
    ADD(s, a_kept_table_that_changed_is_damaged);
    ADD(s, memory_failures_end_the_call);
}
