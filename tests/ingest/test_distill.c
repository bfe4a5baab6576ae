/* Distilling: its parts by themselves, and the whole on the small random model. */
#include <math.h>
#include <stdio.h>
#include <sys/stat.h>

#include "engine/base/buf.h"
#include "engine/base/mem.h"
#include "ingest/distill/components.h"
#include "ingest/distill/distill.h"
#include "ingest/distill/ridge.h"
#include "ingest/distill/sample.h"
#include "ingest/embed/store.h"
#include "ingest/parse/parse.h"
#include "tests/ingest/embed_test.h"
#include "tests/ingest/tiny_model.h"

static char data[64], texts[64];
static cn_embedder *tiny;
static tiny_model model;

static int up(void) {
    char folder[64];
    tiny_folder(data);
    tiny_folder(texts);
    tiny_folder(folder);
    tiny_write(&model, folder, TINY_F32, "");
    CN_ASSERT(cn_model_add(data, CN_STR("tiny"), folder) == CN_OK);
    CN_ASSERT(cn_embedder_open(data, CN_STR("tiny"), CN_STR("fp32"), &tiny) == CN_OK);
    tiny_remove(folder);
    return 0;
}
static int down(void) {
    cn_embedder_unref(tiny);
    tiny_done(&model);
    tiny_remove(data);
    tiny_remove(texts);
    return 0;
}

/* ---------- parts ---------- */
static void a_sample_is_the_same_in_any_order(void) {
    enum { N = 1000, MOST = 50 };
    char text[16];
    cn_sample a, b;
    cn_digest da, db;
    CU_ASSERT_EQUAL_FATAL(cn_sample_init(&a, MOST), CN_OK);
    CU_ASSERT_EQUAL_FATAL(cn_sample_init(&b, MOST), CN_OK);
    for (int i = 0; i < N; i++) {
        CU_ASSERT_EQUAL(cn_sample_add(&a, (cn_str){text, (size_t)snprintf(text, sizeof text, "text %d", i)}), CN_OK);
        for (int twice = 0; twice < 2; twice++)
            CU_ASSERT_EQUAL(cn_sample_add(&b, (cn_str){text, (size_t)snprintf(text, sizeof text, "text %d", N - 1 - i)}), CN_OK);
    }
    cn_sample_close(&a);
    cn_sample_close(&b);
    CU_ASSERT_TRUE(a.n == MOST && b.n == MOST && a.offered == N && b.offered == 2 * N);
    da = cn_sample_digest(&a), db = cn_sample_digest(&b);
    CU_ASSERT_TRUE(cn_digest_eq(&da, &db));
    for (int i = 1; i < MOST; i++)
        CU_ASSERT_TRUE(memcmp(&a.v[i - 1].digest, &a.v[i].digest, sizeof a.v[i].digest) < 0);
    cn_sample_done(&a);
    cn_sample_done(&b);
}

static uint32_t draw(uint32_t *state) { return *state = *state * 1664525u + 1013904223u; }

/* Passages of the small model's words; their texts stand in `room`. */
static void make_passages(cn_str *v, char (*room)[64], uint32_t n) {
    uint32_t s = 7;
    for (uint32_t i = 0; i < n; i++) {
        size_t at = 0;
        for (uint32_t k = 2 + draw(&s) / 65536 % 12; k > 0; k--)
            at += (size_t)snprintf(room[i] + at, sizeof room[i] - at, "%c ", 'a' + (char)(draw(&s) / 65536 % 26));
        v[i] = (cn_str){room[i], at};
    }
}

static void the_fit_finds_the_rows_that_made_the_sums(void) {
    enum { N = 600, D = 9 };
    static char room[N][64];
    static cn_str v[N];
    static float truth[80 * D], w[2][80 * D], y[N * D], back[N * D];
    cn_bags b;
    uint32_t s = 3;
    make_passages(v, room, N);
    CU_ASSERT_EQUAL_FATAL(cn_bags_make(tiny, v, N, 80, &b), CN_OK);
    for (int i = 0; i < 80 * D; i++)
        truth[i] = (float)(draw(&s) >> 8) / (1 << 23) - 1;
    cn_bags_times(&b, truth, D, 2, y);
    for (int k = 0; k < 2; k++)
        CU_ASSERT_EQUAL(cn_ridge(&b, y, D, 1e-6f, 60, k ? 3 : 1, NULL, NULL, w[k]), CN_OK);
    CU_ASSERT_EQUAL(memcmp(w[0], w[1], sizeof w[0]), 0); /* whatever the threads */
    cn_bags_times(&b, w[0], D, 1, back);
    for (int i = 0; i < N * D; i++)
        CU_ASSERT_DOUBLE_EQUAL(back[i], y[i], 2e-3);
    for (int i = 0; i < 80 * D; i++)
        CU_ASSERT_DOUBLE_EQUAL(w[0][i], cn_bags_seen(&b, (uint32_t)(i / D)) ? truth[i] : 0, 2e-2);
    cn_bags_done(&b);
}

static void a_heavy_penalty_keeps_the_prior(void) {
    enum { N = 40, D = 3 };
    static char room[N][64];
    static cn_str v[N];
    static float w[80 * D], y[N * D];
    cn_bags b;
    make_passages(v, room, N);
    CU_ASSERT_EQUAL_FATAL(cn_bags_make(tiny, v, N, 80, &b), CN_OK);
    for (int i = 0; i < 80 * D; i++)
        w[i] = (float)i;
    CU_ASSERT_EQUAL(cn_ridge(&b, y, D, 1e9f, 5, 2, NULL, NULL, w), CN_OK);
    for (int i = 0; i < 80 * D; i++)
        CU_ASSERT_DOUBLE_EQUAL(w[i], i, 1e-3);
    cn_bags_done(&b);
}

static void components_are_the_axes_that_vary_most(void) {
    enum { N = 400, D = 4 };
    static float v[N * D], out[N * 2];
    cn_components c;
    uint32_t s = 5;
    for (int i = 0; i < N; i++) {
        float a = i % 2 ? 3.0f : -3.0f, b = i / 2 % 2 ? 1.0f : -1.0f;
        v[i * D] = 0.6f * a, v[i * D + 1] = -0.8f * a, v[i * D + 2] = b, v[i * D + 3] = (float)(draw(&s) >> 31) * 0.01f;
    }
    CU_ASSERT_EQUAL_FATAL(cn_components_make(v, N, D, 2, &c), CN_OK);
    CU_ASSERT_DOUBLE_EQUAL(c.variance[0], 9, 1e-3);
    CU_ASSERT_DOUBLE_EQUAL(c.variance[1], 1, 1e-3);
    CU_ASSERT_TRUE(c.axes[1] > 0.79f && fabsf(c.axes[0] + 0.6f) < 1e-2f && fabsf(c.axes[D + 2] - 1) < 1e-2f);
    CU_ASSERT_EQUAL(cn_components_project(&c, v, N, out), CN_OK);
    CU_ASSERT_DOUBLE_EQUAL(out[0], 3, 1e-2);
    cn_components_done(&c);
}

/* ---------- the whole ---------- */
static void write_texts(void) {
    static char room[900][64];
    static cn_str v[900];
    CN_AUTO_BUF cn_buf b;
    make_passages(v, room, 900);
    cn_buf_init(&b, 1 << 20);
    for (int i = 0; i < 900; i++)
        cn_buf_printf(&b, "{\"_id\": \"%d\", \"text\": \"%s\"}\n", i, room[i]);
    tiny_file(texts, "rows.jsonl", cn_buf_str(&b));
    tiny_file(texts, "note.md", CN_STR("# hello\n\nsee the world, hello world\n"));
    tiny_file(texts, "broken.pdf", CN_STR("%PDF-1.4 and no more"));
    tiny_file(texts, "picture.png", CN_STR("\x89PNG\r\n\x1a\n"));
}

typedef struct steps {
    char seen[256];
    bool back; /* a count fell, or passed its whole */
    const char *step;
    uint64_t done;
} steps;

static void note_step(void *ctx, const char *step, uint64_t done, uint64_t all) {
    steps *s = ctx;
    if (s->step != step) {
        size_t at = strlen(s->seen);
        snprintf(s->seen + at, sizeof s->seen - at, "%s ", step);
    } else {
        s->back = s->back || done < s->done;
    }
    s->back = s->back || (all && done > all);
    s->step = step;
    s->done = done;
}

static const char *const paths[] = {texts};
static cn_distill_opts asked(const char *name) {
    return (cn_distill_opts){.data_dir = data, .name = cn_str_of(name), .from = CN_STR("tiny"), .texts = paths, .n_texts = 1, .dim = 16, .threads = 2};
}

static void same_texts_same_table(void) {
    cn_distill_report r[2];
    cn_manifest m[2];
    steps s = {0};
    write_texts();
    for (int i = 0; i < 2; i++) {
        cn_distill_opts o = asked(i ? "two" : "one");
        o.threads = i ? 3 : 1;
        o.progress = i ? note_step : NULL;
        o.progress_ctx = &s;
        cn_err err = cn_distill(&o, &r[i]);
        if (err != CN_OK)
            fprintf(stderr, "%s\n", cn_error_detail());
        CU_ASSERT_EQUAL_FATAL(err, CN_OK);
        CU_ASSERT_EQUAL(cn_model_manifest(data, o.name, &m[i]), CN_OK);
    }
    CU_ASSERT_TRUE(cn_digest_eq(&m[0].digest, &m[1].digest));
    CU_ASSERT_TRUE(strcmp(m[0].kind, "static") == 0 && m[0].dim == 16);
    CU_ASSERT_EQUAL(r[0].documents, 901);
    CU_ASSERT_EQUAL(r[0].rejected, 1); /* the PDF; a picture is no document */
    CU_ASSERT_TRUE(r[0].passages > 800 && r[0].passages <= r[0].offered && r[0].words == 80 && r[0].dim == 16);
    CU_ASSERT_TRUE(r[0].fitted >= 27 && r[0].fitted < 80);
    CU_ASSERT_TRUE(isnan(r[0].likeness)); /* too few to leave some out */
    CU_ASSERT_STRING_EQUAL(s.seen, "reading words passages components fitting ");
    CU_ASSERT_FALSE(s.back);
}

/* Random weights look at order more than real ones do, so little is asked; by chance it would be within .1 of 0. */
static void it_is_like_its_teacher(void) {
    enum { N = 60 };
    static char room[N][64];
    static cn_str v[N];
    static float a[N][TINY_HIDDEN], b[N][16];
    cn_embedder *e = NULL;
    double sum = 0, sums[2] = {0}, squares[2] = {0}, n = 0;
    CU_ASSERT_EQUAL_FATAL(cn_embedder_open(data, CN_STR("one"), CN_STR(""), &e), CN_OK);
    make_passages(v, room, N);
    CU_ASSERT_EQUAL(cn_embed(tiny, v, N, 2, a[0], NULL), CN_OK);
    CU_ASSERT_EQUAL(cn_embed(e, v, N, 2, b[0], NULL), CN_OK);
    for (int i = 0; i < N; i++)
        for (int k = 0; k < i; k++) { /* correlation of the two models' cosines over all pairs */
            double x = 0, y = 0;
            for (int d = 0; d < TINY_HIDDEN; d++)
                x += (double)(a[i][d] * a[k][d]);
            for (int d = 0; d < 16; d++)
                y += (double)(b[i][d] * b[k][d]);
            sum += x * y, sums[0] += x, sums[1] += y, squares[0] += x * x, squares[1] += y * y, n++;
        }
    double like = (sum / n - sums[0] * sums[1] / n / n) / sqrt((squares[0] / n - sums[0] * sums[0] / n / n) * (squares[1] / n - sums[1] * sums[1] / n / n));
    CU_ASSERT_TRUE(like > 0.15);
    if (!(like > 0.15))
        fprintf(stderr, "\n  correlation %.3f\n", like);
    cn_embedder_unref(e);
}

static void without_texts_the_vocabulary_is_enough(void) {
    cn_distill_opts o = asked("words");
    cn_distill_report r;
    cn_embedder *e = NULL;
    float v[2][16];
    cn_str two[] = {CN_STR("hello"), CN_STR("world")};
    o.n_texts = 0;
    CU_ASSERT_EQUAL_FATAL(cn_distill(&o, &r), CN_OK);
    CU_ASSERT_TRUE(r.passages == 0 && r.fitted == 0 && isnan(r.likeness));
    CU_ASSERT_EQUAL_FATAL(cn_embedder_open(data, CN_STR("words"), CN_STR(""), &e), CN_OK);
    CU_ASSERT_EQUAL(cn_embed(e, two, 2, 1, v[0], NULL), CN_OK);
    CU_ASSERT_NOT_EQUAL(memcmp(v[0], v[1], sizeof v[0]), 0);
    cn_embedder_unref(e);
}

static void refused(const cn_distill_opts *o, cn_err code, const char *why) {
    cn_distill_report r = {.words = 77};
    cn_manifest m;
    cn_err err = cn_distill(o, &r);
    CU_ASSERT_EQUAL(err, code);
    CU_ASSERT_PTR_NOT_NULL(strstr(cn_error_detail(), why));
    if (err != code || !strstr(cn_error_detail(), why))
        fprintf(stderr, "\n  expected \"%s\" in: %s\n", why, cn_error_detail());
    CU_ASSERT_EQUAL(r.words, 77);
    if (code != CN_CONFLICT)
        CU_ASSERT_NOT_EQUAL(cn_model_manifest(data, o->name, &m), CN_OK);
}

static void bad_wishes_are_refused(void) {
    char empty[64];
    const char *nothing[] = {empty}, *nowhere[] = {"/nowhere/at/all"};
    cn_distill_opts o = asked("bad");
    tiny_folder(empty);
    o.dim = 25;
    refused(&o, CN_INVALID, "8 to 24");
    o.dim = 7;
    refused(&o, CN_INVALID, "8 to 24");
    o = asked("one");
    refused(&o, CN_CONFLICT, "another name");
    o = asked("no/slash");
    refused(&o, CN_INVALID, "model");
    o = asked("bad");
    o.from = CN_STR("one");
    refused(&o, CN_INVALID, "static itself");
    o.from = CN_STR("none-such");
    refused(&o, CN_NOT_FOUND, "none-such");
    o = asked("bad");
    o.passages = CN_DISTILL_PASSAGES_MAX + 1;
    refused(&o, CN_INVALID, "passages");
    o = asked("bad");
    o.texts = nothing;
    refused(&o, CN_INVALID, "no text");
    o.texts = nowhere;
    refused(&o, CN_NOT_FOUND, "/nowhere/at/all");
    tiny_remove(empty);
}

static void of_many_passages_some_are_taken(void) {
    cn_distill_opts o = asked("some");
    cn_distill_report r;
    o.passages = 20;
    CU_ASSERT_EQUAL_FATAL(cn_distill(&o, &r), CN_OK);
    CU_ASSERT_TRUE(r.passages == 20 && r.offered > 800);
}

int main(int argc, char **argv) {
    cn_parse_worker_main(argc, argv);
    if (CU_initialize_registry() != CUE_SUCCESS)
        return 1;
    CU_pSuite s = CU_add_suite("distill", up, down);
    ADD(s, a_sample_is_the_same_in_any_order);
    ADD(s, the_fit_finds_the_rows_that_made_the_sums);
    ADD(s, a_heavy_penalty_keeps_the_prior);
    ADD(s, components_are_the_axes_that_vary_most);
    ADD(s, same_texts_same_table);
    ADD(s, it_is_like_its_teacher);
    ADD(s, without_texts_the_vocabulary_is_enough);
    ADD(s, bad_wishes_are_refused);
    ADD(s, of_many_passages_some_are_taken);
    CU_basic_set_mode(CU_BRM_NORMAL);
    CU_basic_run_tests();
    int bad = CU_get_number_of_failures() > 0 || CU_get_number_of_tests_run() == 0;
    CU_cleanup_registry();
    return bad;
}
