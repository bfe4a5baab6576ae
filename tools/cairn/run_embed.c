/* run_embed.c -- what a model computes, without a tenant: model bench; embed. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "ingest/embed/embed.h"
#include "tools/cairn/local.h"

static void unref_p(cn_embedder **e) { cn_embedder_unref(*e); }

static cn_err open_model(const cmd *c, const cmd_call *call, cn_embedder **ret) {
    const char *dir = cmd_data_dir(), *precision = cmd_value(c, call, "--precision");
    return dir ? cn_embedder_open(dir, cn_str_of(call->words[0]), cn_str_of(precision ? precision : ""), ret) : CN_INVALID;
}

/* ---------- model bench ---------- */
#define BENCH_SECONDS 5.0
#define BENCH_TOKENS 128u /* of the longest, where no length is said */
#define THREADS_MAX 256

/* Words as people write them; some are rare, and one token of a model is not one of another. */
static const char prose[] =
    "A cairn is a heap of stones that somebody left to mark a path. Walkers who come over the moor in fog look for the next one before they leave the last. "
    "Nobody owns them, and whoever passes adds a stone. In the north they stand on ridges and fords, on old boundaries and above graves; some are older than any map. "
    "Surveyors measured 417 of them between 1861 and 1874, and wrote down height, bearing and the condition of each. Where frost had thrown one over, the entry reads \"ruinous\". "
    "The farmers' association pays for repairs, provided that an application is made in writing by the end of March. It keeps the receipts for ten years. "
    "How high should a new one be? Three feet will do, wide at the foot and built without mortar, so that the wind goes through it and the snow does not lie. ";
#define PROSE_WORDS 100 /* it has more, and a word is a token at least */
#define SENTENCES 10    /* of it, that texts begin with */

/* n texts of so many tokens with [CLS] and [SEP]; 0: of several lengths, as passages have. */
static cn_err make_texts(cn_embedder *e, uint32_t tokens, uint32_t n, cn_arena *a, cn_str *ret) {
    uint32_t most = tokens ? tokens : cn_embedder_max_tokens(e) < BENCH_TOKENS ? cn_embedder_max_tokens(e) : BENCH_TOKENS, starts[SENTENCES], known = 0, count;
    size_t times = 2 + most / PROSE_WORDS, one = sizeof prose - 1;
    char *text = cn_arena_alloc(a, times * one);
    cn_token *t;
    if (!text)
        return cn_fail_memory();
    for (size_t i = 0; i < times; i++)
        memcpy(text + i * one, prose, one);
    CN_TRY(cn_tokenize(e, (cn_str){text, times * one}, a, &t, &count));
    for (uint32_t i = 0; i < count && t[i].from < one && known < SENTENCES; i++)
        if (t[i].from == 0 || (t[i].from >= 2 && text[t[i].from - 2] == '.'))
            starts[known++] = i;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t first = starts[i % known], length = tokens ? tokens : most * (1 + i % 4) / 4;
        uint32_t last = first + (length < 3 ? 3 : length) - 3;
        ret[i] = (cn_str){text + t[first].from, t[last].to - t[first].from};
    }
    return CN_OK;
}

static cn_err bench(cn_embedder *e, const cn_str *texts, uint32_t batch, uint32_t threads, double *ret_chunks, double *ret_tokens) {
    CN_AUTO_FREE float *out = cn_calloc(batch, cn_embedder_dim(e) * sizeof *out);
    cn_embed_cost cost;
    if (!out)
        return cn_fail_memory();
    CN_TRY(cn_embed(e, texts, batch < threads ? batch : threads, threads, out, NULL)); /* each thread's memory */
    uint64_t from = cn_mono_ns(), chunks = 0, tokens = 0;
    double seconds = 0;
    while (seconds < BENCH_SECONDS) {
        CN_TRY(cn_embed_told(e, texts, batch, threads, NULL, out, &cost));
        chunks += batch;
        tokens += cost.tokens;
        seconds = (double)(cn_mono_ns() - from) / 1e9;
    }
    *ret_chunks = (double)chunks / seconds;
    *ret_tokens = (double)tokens / seconds;
    return CN_OK;
}

static cn_err may_bench(const cmd *c, const cmd_call *call, const cn_embedder *e) {
    if (!cn_embedder_is_remote(e) || cmd_value(c, call, "--yes"))
        return CN_OK;
    return cn_fail(CN_REFUSED, "model \"%s\" is a service elsewhere: for %.0f seconds it would be sent texts, and may want money for each; with --yes that is done", call->words[0], BENCH_SECONDS);
}

static cn_err bench_made(cn_embedder *e, uint32_t tokens, uint32_t batch, uint32_t threads, double *ret_chunks, double *ret_tokens) {
    CN_CLEANUP(cn_arena_done) cn_arena a;
    cn_arena_init(&a, 65536, (size_t)64 << 20);
    cn_str *texts = cn_arena_zalloc(&a, batch, sizeof *texts);
    if (!texts)
        return cn_fail_memory();
    CN_TRY(make_texts(e, tokens, batch, &a, texts));
    return bench(e, texts, batch, threads, ret_chunks, ret_tokens);
}

int run_model_bench(const cmd *c, cmd_call *call) {
    CN_CLEANUP(unref_p) cn_embedder *e = NULL;
    CN_AUTO_BUF cn_buf out;
    double chunks, tokens_per_s;
    uint32_t tokens = 0, batch = 32, threads = 1;
    cn_buf_init(&out, 4096);
    cn_err err = open_model(c, call, &e);
    if (err != CN_OK)
        return cmd_fail(err);
    if (cmd_value(c, call, "--tokens"))
        err = cmd_number(c, call, "--tokens", tokens, 3, cn_embedder_max_tokens(e), &tokens);
    if (err == CN_OK)
        err = cmd_number(c, call, "--batch", batch, 1, CN_EMBED_BATCH, &batch);
    if (err == CN_OK)
        err = cmd_number(c, call, "--threads", threads, 1, THREADS_MAX, &threads);
    if (err != CN_OK)
        return cmd_usage(err);
    err = may_bench(c, call, e);
    if (err == CN_OK)
        err = bench_made(e, tokens, batch, threads, &chunks, &tokens_per_s);
    if (err != CN_OK)
        return cmd_fail(err);
    cn_pack_map(&out, 2);
    cn_pack_cstr(&out, "chunks_per_s");
    cn_pack_f64(&out, chunks);
    cn_pack_cstr(&out, "tokens_per_s");
    cn_pack_f64(&out, tokens_per_s);
    return cmd_print(c, cn_buf_str(&out));
}

/* ---------- embed: texts in ---------- */
#define LINES_MAX 64                      /* texts a call */
#define LINE_BYTES_MAX ((size_t)64 << 20) /* of one text */

typedef struct lines {
    cn_buf text;
    size_t ends[LINES_MAX];
    uint32_t n;
} lines;

static cn_err lines_add(lines *l, const char *p, size_t n, uint64_t number) {
    size_t from = l->n ? l->ends[l->n - 1] : 0;
    if (l->text.n - from + n > LINE_BYTES_MAX)
        return cn_fail(CN_INVALID, "line %llu of standard input has over %zu bytes; a text is one line", (unsigned long long)number, LINE_BYTES_MAX);
    cn_buf_add(&l->text, p, n);
    return cn_buf_check(&l->text);
}

/* Up to LINES_MAX lines, or none at the end of input. The last one may lack its line break. */
static cn_err lines_read(lines *l, uint64_t before) {
    char part[8192];
    bool open = false; /* a line has begun */
    int c = 0;
    cn_buf_reset(&l->text);
    l->n = 0;
    while (l->n < LINES_MAX && c != EOF) {
        size_t n = 0;
        while (n < sizeof part && (c = getc_unlocked(stdin)) != EOF && c != '\n')
            part[n++] = (char)c;
        open = open || n > 0 || c == '\n';
        CN_TRY(lines_add(l, part, n, before + l->n + 1));
        if (c == '\n' || (c == EOF && open)) {
            l->ends[l->n++] = l->text.n;
            open = false;
        }
    }
    return ferror(stdin) ? cn_fail_errno(EIO, "standard input cannot be read") : CN_OK;
}

/* ---------- embed: vectors out ---------- */
typedef struct sink {
    FILE *npy; /* NULL: JSON on standard output */
    const char *path;
    char part[4096]; /* renamed to path at the end, so that a file under this name is whole */
    uint64_t rows, cut;
} sink;

/* The header of format 1.0. It always has 128 bytes, so that it can be written again when the rows are counted. */
static cn_err npy_header(sink *s, uint32_t dim) {
    char head[119];
    int n = snprintf(head, sizeof head, "{'descr': '<f4', 'fortran_order': False, 'shape': (%llu, %u), }", (unsigned long long)s->rows, dim);
    memset(head + n, ' ', sizeof head - 1 - (size_t)n);
    head[117] = '\n';
    if (fseek(s->npy, 0, SEEK_SET) != 0 || fwrite("\x93NUMPY\x01\x00\x76\x00", 1, 10, s->npy) != 10 || fwrite(head, 1, 118, s->npy) != 118)
        return cn_fail_errno(errno, "cannot write %s", s->part);
    return CN_OK;
}

static cn_err sink_open(sink *s, const char *path, uint32_t dim) {
    s->path = path;
    if (!path)
        return CN_OK;
    if (snprintf(s->part, sizeof s->part, "%s.part", path) >= (int)sizeof s->part)
        return cn_fail(CN_INVALID, "the path after --out is too long");
    s->npy = fopen(s->part, "w+e");
    return s->npy ? npy_header(s, dim) : cn_fail_errno(errno, "cannot write %s", s->part);
}

static cn_err sink_close(sink *s, uint32_t dim, cn_err err) {
    if (!s->npy)
        return err == CN_OK && fflush(stdout) != 0 ? cn_fail_errno(errno, "cannot write to standard output") : err;
    if (err == CN_OK)
        err = npy_header(s, dim);
    if (fclose(s->npy) != 0 && err == CN_OK)
        err = cn_fail_errno(errno, "cannot write %s", s->part);
    if (err == CN_OK && rename(s->part, s->path) != 0)
        err = cn_fail_errno(errno, "cannot write %s", s->path);
    if (err != CN_OK)
        unlink(s->part);
    return err;
}

static cn_err sink_add(sink *s, const float *v, uint32_t n, uint32_t dim) {
    if (s->npy && fwrite(v, dim * sizeof *v, n, s->npy) != n)
        return cn_fail_errno(errno, "cannot write %s", s->part);
    for (size_t i = 0; !s->npy && i < (size_t)n * dim; i++)
        printf("%c%.9g%s", i % dim ? ',' : '[', (double)v[i], i % dim == dim - 1 ? "]\n" : "");
    s->rows += n;
    return ferror(stdout) ? cn_fail_errno(EIO, "cannot write to standard output") : CN_OK;
}

static cn_err embed_lines(cn_embedder *e, uint32_t threads, lines *l, float *out, sink *s) {
    cn_str texts[LINES_MAX];
    uint32_t cut = 0, dim = cn_embedder_dim(e);
    do {
        CN_TRY(lines_read(l, s->rows));
        cn_str all = cn_buf_str(&l->text);
        for (uint32_t i = 0; i < l->n; i++) {
            size_t from = i ? l->ends[i - 1] : 0;
            texts[i] = (cn_str){all.p + from, l->ends[i] - from};
        }
        CN_TRY(cn_embed(e, texts, l->n, threads, out, &cut));
        CN_TRY(sink_add(s, out, l->n, dim));
        s->cut += cut;
    } while (l->n == LINES_MAX);
    return CN_OK;
}

static cn_err embed(cn_embedder *e, uint32_t threads, sink *s) {
    lines l = {.n = 0};
    CN_AUTO_FREE float *out = cn_calloc(LINES_MAX, cn_embedder_dim(e) * sizeof *out);
    cn_buf_init(&l.text, (LINES_MAX + 1) * LINE_BYTES_MAX);
    cn_err err = out ? embed_lines(e, threads, &l, out, s) : cn_fail_memory();
    cn_buf_done(&l.text);
    return err;
}

int run_embed(const cmd *c, cmd_call *call) {
    CN_CLEANUP(unref_p) cn_embedder *e = NULL;
    sink s = {.npy = NULL};
    uint32_t threads = 1;
    cn_err err = cmd_number(c, call, "--threads", cn_cpus(), 1, THREADS_MAX, &threads);
    if (err != CN_OK)
        return cmd_usage(err);
    err = open_model(c, call, &e);
    if (err != CN_OK)
        return cmd_fail(err);
    err = sink_open(&s, cmd_value(c, call, "--out"), cn_embedder_dim(e));
    if (err == CN_OK)
        err = embed(e, threads, &s);
    err = sink_close(&s, cn_embedder_dim(e), err);
    if (err != CN_OK)
        return cmd_fail(err);
    fprintf(stderr, "%llu texts, %llu over the model's limit of %u tokens\n", (unsigned long long)s.rows, (unsigned long long)s.cut, cn_embedder_max_tokens(e));
    return 0;
}
