/* run_bench.c -- bench: questions of a file through the whole path, each a call of its own or in batches; how fast, how right. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "engine/base/hist.h"
#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "tools/cairn/bench.h"
#include "tools/cairn/local.h"

#define THREADS_MAX 256
#define PLANS_ASKED 100 /* questions that are asked once more, untimed, for their plans */
#define CALL_MAX ((size_t)1 << 30)

typedef struct bench {
    cn_str common;              /* the options: tenant, index, k, ... */
    bench_questions asked;
    bench_rows truth, found;    /* found.v NULL: row numbers are not wanted */
    uint32_t threads, batch, k;
    _Atomic uint32_t next, fallbacks; /* fallbacks: answers that are of their words alone, for want of the embedder */
    _Atomic bool failed;
    pthread_mutex_t lock;       /* of what follows */
    cn_hist us;                 /* of a call */
    cn_err err;
    char why[CN_ERROR_TEXT];
} bench;

/* ---------- one call ---------- */
static void add_map(cn_buf *b, const msgpack_object *m) {
    for (uint32_t i = 0; i < m->via.map.size; i++) {
        cn_pack_object(b, &m->via.map.ptr[i].key);
        cn_pack_object(b, &m->via.map.ptr[i].val);
    }
}

/* Questions [from, to) with the options: one by `query`, several by `query_batch`. */
static cn_err pack_call(const bench *b, uint32_t from, uint32_t to, bool explain, cn_buf *out) {
    CN_AUTO_UNPACKED cn_unpacked common = {0};
    CN_AUTO_UNPACKED cn_unpacked one = {0};
    const char *p = b->asked.bytes.p;
    CN_TRY(cn_unpack(&common, b->common.p, b->common.n));
    cn_pack_map(out, common.o.via.map.size + 1 + explain);
    add_map(out, &common.o);
    if (explain) {
        cn_pack_cstr(out, "explain");
        cn_pack_bool(out, true);
    }
    if (b->batch == 1) {
        CN_TRY(cn_unpack(&one, p + b->asked.at[from], b->asked.at[from + 1] - b->asked.at[from]));
        add_map(out, &one.o);
    } else {
        cn_pack_cstr(out, "queries");
        cn_pack_array(out, to - from);
        cn_buf_add(out, p + b->asked.at[from], b->asked.at[to] - b->asked.at[from]);
    }
    return cn_buf_check(out);
}

static cn_err ask(const bench *b, uint32_t from, uint32_t to, bool explain, cn_buf *ret, uint64_t *ret_us) {
    CN_AUTO_BUF cn_buf params;
    cn_buf_init(&params, CALL_MAX);
    CN_TRY(pack_call(b, from, to, explain, &params));
    uint64_t start = cn_mono_ns();
    CN_TRY(cmd_call_method(b->batch == 1 ? "query" : "query_batch", cn_buf_str(&params), ret));
    *ret_us = (cn_mono_ns() - start) / 1000;
    return CN_OK;
}

/* ---------- answers ---------- */
static cn_err row_of(const msgpack_object *hit, int32_t *ret) {
    char text[16] = "", *end;
    cn_str doc = cn_obj_str(cn_get(hit, "doc"));
    snprintf(text, sizeof text, CN_STR_FMT, CN_STR_ARG(doc));
    long v = strtol(text, &end, 10);
    if (!doc.n || doc.n > 10 || *end || v < 0 || v > INT32_MAX)
        return cn_fail(CN_INVALID, "the document \"" CN_STR_FMT "\" is no row number; --truth and --out are for documents that came from .npy, .fvecs or .fbin", CN_STR_ARG(doc));
    *ret = (int32_t)v;
    return CN_OK;
}

static cn_err keep_one(bench *b, uint32_t i, const msgpack_object *answer) {
    const msgpack_object *hits = cn_get(answer, "hits");
    cn_str why = cn_obj_str(cn_get(answer, "error"));
    if (why.n)
        return cn_fail(CN_INVALID, "question %u: " CN_STR_FMT, i + 1, CN_STR_ARG(why));
    if (cmd_fell_back(answer))
        atomic_fetch_add(&b->fallbacks, 1);
    for (uint32_t h = 0; b->found.v && h < b->k; h++) {
        int32_t *row = &b->found.v[(size_t)i * b->k + h];
        *row = -1;
        if (hits && hits->type == MSGPACK_OBJECT_ARRAY && h < hits->via.array.size)
            CN_TRY(row_of(&hits->via.array.ptr[h], row));
    }
    return CN_OK;
}

static cn_err keep(bench *b, uint32_t from, uint32_t to, cn_str answer) {
    CN_AUTO_UNPACKED cn_unpacked u = {0};
    CN_TRY(cn_unpack(&u, answer.p, answer.n));
    const msgpack_object *results;
    if (b->batch == 1)
        return keep_one(b, from, &u.o);
    CN_TRY(cmd_results(&u.o, to - from, &results));
    for (uint32_t i = from; i < to; i++)
        CN_TRY(keep_one(b, i, &results[i - from]));
    return CN_OK;
}

/* ---------- threads ---------- */
static cn_err ask_next(bench *b, uint32_t from, cn_hist *us) {
    CN_AUTO_BUF cn_buf out = {0};
    uint32_t to = b->asked.n - from < b->batch ? b->asked.n : from + b->batch;
    uint64_t took;
    CN_TRY(ask(b, from, to, false, &out, &took));
    cn_hist_add(us, took);
    return keep(b, from, to, cn_buf_str(&out));
}

static void *work(void *arg) {
    bench *b = arg;
    cn_hist *us = cn_calloc(1, sizeof *us);
    cn_err err = us ? CN_OK : cn_fail_memory();
    while (err == CN_OK && !atomic_load(&b->failed)) {
        uint32_t from = atomic_fetch_add(&b->next, b->batch);
        if (from >= b->asked.n)
            break;
        err = ask_next(b, from, us);
    }
    pthread_mutex_lock(&b->lock);
    if (err == CN_OK) {
        cn_hist_merge(&b->us, us);
    } else if (!atomic_exchange(&b->failed, true)) {
        b->err = err;
        snprintf(b->why, sizeof b->why, "%s", cn_error_detail());
    }
    pthread_mutex_unlock(&b->lock);
    cn_free(us);
    cmd_remote_close(); /* this thread's connection */
    return NULL;
}

static cn_err run_threads(bench *b, double *ret_seconds) {
    pthread_t t[THREADS_MAX];
    uint32_t n = 0;
    uint64_t start = cn_mono_ns();
    while (n < b->threads && pthread_create(&t[n], NULL, work, b) == 0)
        n++;
    for (uint32_t i = 0; i < n; i++)
        pthread_join(t[i], NULL);
    *ret_seconds = (double)(cn_mono_ns() - start) / 1e9;
    if (n < b->threads)
        return cn_fail(CN_OVERLOADED, "only %u of %u threads could be started; raise the limit on processes (ulimit -u), or lower --threads", n, b->threads);
    return b->err == CN_OK ? CN_OK : cn_fail(b->err, "%s", b->why);
}

/* ---------- what comes out ---------- */
/* How many of the k true nearest were found, over all questions. */
static double recall_of(const bench *b) {
    uint64_t hit = 0;
    for (uint32_t i = 0; i < b->asked.n; i++)
        for (uint32_t t = 0; t < b->k; t++)
            for (uint32_t h = 0; h < b->k; h++)
                if (b->found.v[(size_t)i * b->k + h] == b->truth.v[(size_t)i * b->truth.k + t]) {
                    hit++;
                    break;
                }
    return (double)hit / ((double)b->asked.n * b->k);
}

/* made_by.search, whether codes were scanned before floats, and whether only cells were read or FAISS was asked. */
typedef enum plan { PLAN_EXACT, PLAN_APPROXIMATE, PLAN_CODED_EXACT, PLAN_CODED_APPROXIMATE, PLAN_CELLS, PLAN_FAISS, PLANS } plan;
static const char *const plan_names[PLANS] = {"exact", "approximate", "coded_exact", "coded_approximate", "cells", "faiss"};

static void count_plan(const msgpack_object *answer, uint32_t *counts) {
    bool coded = false;
    uint64_t by_cells = 0, by_faiss = 0;
    const msgpack_object *p = cn_get(answer, "plan");
    cn_get_uint(p, "by_cells", 0, UINT32_MAX, &by_cells);
    cn_get_uint(p, "by_faiss", 0, UINT32_MAX, &by_faiss);
    cn_get_bool(p, "coded", &coded);
    bool exact = cn_str_is(cn_obj_str(cn_get(cn_get(answer, "made_by"), "search")), "exact");
    if (p)
        counts[by_cells ? PLAN_CELLS : by_faiss ? PLAN_FAISS : coded ? (exact ? PLAN_CODED_EXACT : PLAN_CODED_APPROXIMATE) : (exact ? PLAN_EXACT : PLAN_APPROXIMATE)]++;
}

/* Plans are for callers with the audit scope; without it none are told. */
static cn_err ask_plans(bench *b, uint32_t *counts) {
    uint32_t n = b->asked.n < PLANS_ASKED ? b->asked.n : PLANS_ASKED;
    b->batch = 1;
    for (uint32_t i = 0; i < n; i++) {
        CN_AUTO_BUF cn_buf out = {0};
        CN_AUTO_UNPACKED cn_unpacked u = {0};
        uint64_t us;
        cn_err err = ask(b, i, i + 1, true, &out, &us);
        if (err == CN_DENIED)
            return CN_OK;
        CN_TRY(err);
        CN_TRY(cn_unpack(&u, out.p, out.n));
        count_plan(&u.o, counts);
    }
    return CN_OK;
}

/* Figures of answers that are no answers of the mode asked for: they are shown, and it is said. */
static void warn_of_fallbacks(const bench *b) {
    if (b->fallbacks)
        fprintf(stderr, "cairn: %u of %u answers were of mode lexical, since the embedder could not be reached: the figures are not those of the mode asked for\n", b->fallbacks, b->asked.n);
}

static int report(const cmd *c, const bench *b, double seconds, const uint32_t *plans) {
    CN_AUTO_BUF cn_buf out;
    uint32_t n = 0;
    warn_of_fallbacks(b);
    cn_buf_init(&out, 4096);
    cn_pack_map(&out, 6u + (b->truth.v != NULL));
    cn_pack_cstr(&out, "queries"), cn_pack_uint(&out, b->asked.n);
    cn_pack_cstr(&out, "fallbacks"), cn_pack_uint(&out, b->fallbacks);
    if (b->truth.v)
        cn_pack_cstr(&out, "recall"), cn_pack_f64(&out, recall_of(b));
    cn_pack_cstr(&out, "qps"), cn_pack_f64(&out, b->asked.n / seconds);
    cn_pack_cstr(&out, "p50_us"), cn_pack_uint(&out, cn_hist_quantile(&b->us, 0.5));
    cn_pack_cstr(&out, "p99_us"), cn_pack_uint(&out, cn_hist_quantile(&b->us, 0.99));
    cn_pack_cstr(&out, "plans");
    for (int i = 0; i < PLANS; i++)
        n += plans[i] > 0;
    cn_pack_map(&out, n);
    for (int i = 0; i < PLANS; i++)
        if (plans[i])
            cn_pack_cstr(&out, plan_names[i]), cn_pack_uint(&out, plans[i]);
    return cmd_print(c, cn_buf_str(&out));
}

/* ---------- the command ---------- */
static cn_err take_numbers(const cmd *c, const cmd_call *call, bench *b) {
    CN_AUTO_UNPACKED cn_unpacked u = {0};
    uint64_t k = 10;
    CN_TRY(cn_unpack(&u, call->params.p, call->params.n));
    CN_TRY(cn_get_uint(&u.o, "k", 1, 10000, &k));
    b->k = (uint32_t)k;
    CN_TRY(cmd_number(c, call, "--threads", 1, 1, THREADS_MAX, &b->threads));
    return cmd_number(c, call, "--batch", 1, 1, 4096, &b->batch);
}

static cn_err read_files(const cmd *c, const cmd_call *call, bench *b) {
    const char *queries = cmd_value(c, call, "--queries"), *truth = cmd_value(c, call, "--truth");
    CN_TRY(bench_questions_read(queries, &b->asked));
    if (truth)
        CN_TRY(bench_rows_read(truth, &b->truth));
    if (truth && (b->truth.n != b->asked.n || b->truth.k < b->k))
        return cn_fail(CN_INVALID, "%s has %u rows of %u numbers; %u questions with -k %u need as many rows, of at least %u", truth, b->truth.n, b->truth.k, b->asked.n, b->k, b->k);
    if (!truth && !cmd_value(c, call, "--out"))
        return CN_OK;
    b->found = (bench_rows){.n = b->asked.n, .k = b->k, .v = cn_calloc((size_t)b->asked.n * b->k, sizeof *b->found.v)};
    return b->found.v ? CN_OK : cn_fail_memory();
}

static cn_err first_as_asked(const bench *b, const cn_buf *out) {
    CN_AUTO_UNPACKED cn_unpacked u = {0};
    CN_TRY(cn_unpack(&u, out->p, out->n));
    const msgpack_object *list = cn_get(&u.o, "results");
    bool many = b->batch != 1 && list && list->type == MSGPACK_OBJECT_ARRAY && list->via.array.size;
    return cmd_as_asked(many ? list->via.array.ptr : &u.o);
}

/* The first question is asked once beforehand: it opens the index, the model, the connection. */
static cn_err measure(const cmd *c, const cmd_call *call, bench *b, double *ret_seconds, uint32_t *plans) {
    CN_AUTO_BUF cn_buf out = {0};
    const char *path = cmd_value(c, call, "--out");
    uint64_t us;
    CN_TRY(read_files(c, call, b));
    CN_TRY(ask(b, 0, 1, false, &out, &us));
    CN_TRY(first_as_asked(b, &out));
    CN_TRY(run_threads(b, ret_seconds));
    if (path)
        CN_TRY(bench_rows_write(path, &b->found));
    return ask_plans(b, plans);
}

int run_bench(const cmd *c, cmd_call *call) {
    cmd_the_env.no_trace = true;
    bench b = {.common = cn_buf_str(&call->params), .lock = PTHREAD_MUTEX_INITIALIZER};
    uint32_t plans[PLANS] = {0};
    double seconds = 0;
    if (!cmd_value(c, call, "--queries"))
        return cmd_usage(cn_fail(CN_INVALID, "--queries is missing: which questions? A text a line, or vectors as .npy, .fvecs or .fbin"));
    cn_err err = take_numbers(c, call, &b);
    if (err != CN_OK)
        return cmd_usage(err);
    err = measure(c, call, &b, &seconds, plans);
    int code = err == CN_OK ? report(c, &b, seconds, plans) : cmd_fail(err);
    bench_questions_done(&b.asked);
    bench_rows_done(&b.truth);
    bench_rows_done(&b.found);
    return code;
}
