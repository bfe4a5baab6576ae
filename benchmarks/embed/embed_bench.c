/* embed_bench.c -- measures one thing for each word on standard input, and answers each with one line of JSON.
 *
 *   embed_bench FOLDER NAME CHUNKS TEXT [PRECISION]     CHUNKS: one text a line to embed; TEXT: a file to tokenize
 *   sgemm     GFLOP/s of OpenBLAS at one thread, 1024 x 1024 x 1024, mean of 8 calls: the peak
 *   embed     chunks/s and tokens/s of cn_embed() at one thread, and the GFLOP/s of its matrix products
 *   both      chunks/s of cn_embed() at two threads, by the wall's clock
 *   query     milliseconds of cn_embed() for a question of ten tokens: mean of CPU time, median of the wall's clock
 *   tokens    MB/s of cn_tokenize()
 * Owns:    its process.
 * Thread:  one.
 * Limits:  what fits memory. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "engine/base/mem.h"
#include "engine/base/blas.h"
#include "ingest/embed/embed.h"
#include "ingest/embed/store.h"

#define CHUNKS_MAX 64

typedef struct bench {
    cn_embedder *e;
    cn_bert_config c;
    cn_str chunks[CHUNKS_MAX], text;
    uint32_t n;
    float *out;
} bench;

static void fail(const char *what) {
    fprintf(stderr, "%s: %s\n", what, cn_error_detail());
    exit(1);
}

static cn_str read_file(const char *path) {
    FILE *f = fopen(path, "rb");
    if (!f || fseek(f, 0, SEEK_END) != 0)
        fail(path);
    long n = ftell(f);
    rewind(f);
    char *p = cn_alloc((size_t)n);
    if (!p || fread(p, 1, (size_t)n, f) != (size_t)n)
        fail(path);
    fclose(f);
    return (cn_str){p, (size_t)n};
}

static void read_chunks(bench *b, cn_str s) {
    while (s.n && b->n < CHUNKS_MAX) {
        const char *nl = memchr(s.p, '\n', s.n);
        size_t n = nl ? (size_t)(nl - s.p) : s.n;
        b->chunks[b->n++] = (cn_str){s.p, n};
        s.p += n + (nl != NULL);
        s.n -= n + (nl != NULL);
    }
}

/* CPU time of this thread, so that a busy machine tells the same. */
static uint64_t cpu_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}
static double seconds(uint64_t from) { return (double)(cpu_ns() - from) * 1e-9; }

static void sgemm(void) {
    enum { N = 1024 };
    float *a = cn_alloc_aligned(64, sizeof(float) * N * N), *b = cn_alloc_aligned(64, sizeof(float) * N * N), *c = cn_alloc_aligned(64, sizeof(float) * N * N);
    double total = 0;
    const cn_blas *blas;
    if (cn_blas_get(&blas) != CN_OK)
        fail("cn_blas_get");
    for (int i = 0; i < N * N; i++)
        a[i] = b[i] = (float)(i % 17) * 0.1f;
    for (int i = 0; i < 8; i++) {
        uint64_t t = cpu_ns();
        blas->sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, N, N, N, 1.0f, a, N, b, N, 0.0f, c, N);
        total += seconds(t);
    }
    printf("{\"gflops\": %.2f, \"core\": \"%s\"}\n", 8 * 2.0 * N * N * N / total * 1e-9, blas->core);
    cn_free(a);
    cn_free(b);
    cn_free(c);
}

/* Operations of the matrix products for a text of t tokens. */
static double operations(const cn_bert_config *c, double t) {
    double h = c->hidden;
    return c->layers * (2 * t * (4 * h * h + 2 * h * c->inner) + 4 * t * t * h);
}

static void embed(bench *b) {
    cn_arena a;
    double tokens = 0, ops = 0;
    cn_arena_init(&a, 1 << 16, 1 << 24);
    for (uint32_t i = 0; i < b->n; i++) {
        cn_token *t;
        uint32_t n = 0;
        if (cn_tokenize(b->e, b->chunks[i], &a, &t, &n) != CN_OK)
            fail("cn_tokenize");
        tokens += n + 2;
        ops += operations(&b->c, n + 2);
    }
    cn_arena_done(&a);
    uint64_t t = cpu_ns();
    if (cn_embed(b->e, b->chunks, b->n, 1, b->out, NULL) != CN_OK)
        fail("cn_embed");
    double s = seconds(t);
    printf("{\"chunks_per_s\": %.2f, \"tokens_per_s\": %.1f, \"gflops\": %.2f, \"tokens_per_chunk\": %.1f}\n", b->n / s, tokens / s, ops / s * 1e-9, tokens / b->n);
}

static double wall_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static int by_value(const void *a, const void *b) {
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static void both(const bench *b) {
    double from = wall_us();
    if (cn_embed(b->e, b->chunks, b->n, 2, b->out, NULL) != CN_OK)
        fail("cn_embed");
    printf("{\"chunks_per_s\": %.2f}\n", b->n / (wall_us() - from) * 1e6);
}

static void query(const bench *b) {
    enum { TIMES = 51 };
    double us[TIMES];
    cn_str text = CN_STR("how do i return to an earlier version"); /* 8 words, [CLS] and [SEP] */
    uint64_t t = cpu_ns();
    for (int i = 0; i < TIMES; i++) {
        us[i] = wall_us();
        if (cn_embed(b->e, &text, 1, 1, b->out, NULL) != CN_OK)
            fail("cn_embed");
        us[i] = wall_us() - us[i];
    }
    double mean = seconds(t) * 1000 / TIMES;
    qsort(us, TIMES, sizeof *us, by_value);
    printf("{\"ms\": %.3f, \"p50_ms\": %.3f}\n", mean, us[TIMES / 2] / 1000);
}

static void tokens(const bench *b) {
    cn_arena a;
    cn_arena_init(&a, 1 << 20, (size_t)1 << 32);
    cn_token *v;
    uint32_t n = 0;
    uint64_t t = cpu_ns();
    if (cn_tokenize(b->e, b->text, &a, &v, &n) != CN_OK)
        fail("cn_tokenize");
    double s = seconds(t);
    printf("{\"mb_per_s\": %.2f, \"tokens\": %u}\n", (double)b->text.n / s * 1e-6, n);
    cn_arena_done(&a);
}

int main(int argc, char **argv) {
    static bench b;
    cn_manifest m;
    cn_model_dir d;
    char word[32];
    if (argc != 5 && argc != 6) {
        fprintf(stderr, "usage: embed_bench FOLDER NAME CHUNKS TEXT [PRECISION]\n");
        return 2;
    }
    if (cn_embedder_open(argv[1], cn_str_of(argv[2]), cn_str_of(argc == 6 ? argv[5] : "fp32"), &b.e) != CN_OK || cn_model_open(argv[1], cn_str_of(argv[2]), &m, &d) != CN_OK)
        fail(argv[2]);
    b.c.hidden = m.dim; /* all that a static one has */
    if (strcmp(m.kind, "bert") == 0 && cn_model_config(&d, &b.c) != CN_OK)
        fail(argv[2]);
    read_chunks(&b, read_file(argv[3]));
    b.text = read_file(argv[4]);
    b.out = cn_alloc((size_t)b.n * b.c.hidden * sizeof(float));
    while (scanf("%31s", word) == 1) {
        if (strcmp(word, "sgemm") == 0)
            sgemm();
        else if (strcmp(word, "embed") == 0)
            embed(&b);
        else if (strcmp(word, "both") == 0)
            both(&b);
        else if (strcmp(word, "query") == 0)
            query(&b);
        else
            tokens(&b);
        fflush(stdout);
    }
    return 0;
}
