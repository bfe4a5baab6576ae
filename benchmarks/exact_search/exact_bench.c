/* exact_bench -- searches one query at a time on one thread, and answers each line of standard input with one of JSON.
 *
 *   exact_bench VECTORS.npy QUERIES.npy METRIC K       float32, C order
 *   MODE EACH FIRST COUNT FILE      MODE: staged, exact, or plain (the float scan of every row); one row in EACH is
 *                                   permitted; COUNT queries from FIRST on; FILE takes the rows found (uint32, K a query)
 * The first line, unasked, tells the building of codes.
 * Owns:    its process.
 * Thread:  one.
 * Limits:  what fits memory. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "benchmarks/exact_search/arrays.h"
#include "engine/base/hist.h"
#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "engine/kernels/kernels.h"

/* --- searching --- */
typedef struct bench {
    matrix x, q;
    cn_vecs vecs;
    cn_space space;
    cn_flat *coded, *plain;
    cn_scratch *scratch;
    uint64_t *permitted;
    uint32_t n_permitted, k;
    uint32_t *found;
} bench;

static void permit(bench *b, uint32_t each) {
    memset(b->permitted, 0, (b->x.rows / 64 + 1) * sizeof *b->permitted);
    b->n_permitted = 0;
    for (uint32_t r = 0; r < b->x.rows; r += each, b->n_permitted++)
        b->permitted[r / 64] |= UINT64_C(1) << (r % 64);
}

typedef cn_err search_fn(const cn_flat *, const cn_scan *, cn_scratch *, cn_scored *, uint32_t *);

static void run(bench *b, const cn_flat *f, search_fn *search, uint32_t first, uint32_t count) {
    static cn_hist wall;
    static cn_scored hits[CN_K_MAX];
    cn_hist_reset(&wall);
    uint64_t cpu = cn_thread_cpu_ns();
    for (uint32_t i = 0; i < count; i++) {
        cn_scan scan = {.query = b->q.v + (size_t)(first + i) * b->q.dim, .k = b->k, .permitted = b->permitted, .n_permitted = b->n_permitted};
        uint32_t n;
        uint64_t start = cn_mono_ns();
        if (search(f, &scan, b->scratch, hits, &n) != CN_OK)
            die("searching");
        cn_hist_add(&wall, cn_mono_ns() - start);
        for (uint32_t j = 0; j < b->k; j++)
            b->found[(size_t)i * b->k + j] = j < n ? hits[j].row : UINT32_MAX;
    }
    cpu = cn_thread_cpu_ns() - cpu;
    printf("{\"cpu_ns\": %llu, \"p50_ns\": %llu, \"p99_ns\": %llu}\n", (unsigned long long)cpu,
           (unsigned long long)cn_hist_quantile(&wall, 0.5), (unsigned long long)cn_hist_quantile(&wall, 0.99));
}

static void serve(bench *b) {
    char mode[16], path[1000];
    uint32_t each, first, count;
    while (scanf("%15s %u %u %u %999s", mode, &each, &first, &count, path) == 5) {
        if (each < 1 || first > b->q.rows || count > b->q.rows - first)
            die("a line of standard input");
        permit(b, each);
        run(b, strcmp(mode, "plain") == 0 ? b->plain : b->coded, strcmp(mode, "staged") == 0 ? cn_flat_staged : cn_flat_exact, first, count);
        matrix_save(b->found, (size_t)count * b->k, path);
        fflush(stdout);
    }
}

static void build(bench *b, cn_metric metric) {
    static arrays c;
    float *mean = must(cn_alloc(b->x.dim * sizeof *mean));
    b->vecs = matrix_vecs(&b->x);
    b->space = (cn_space){metric, b->x.dim, 1, mean};
    uint64_t cpu = cn_thread_cpu_ns();
    if (cn_space_mean(&b->vecs, metric, mean) != CN_OK || cn_flat_build(&b->vecs, &b->space, 1, arrays_put, &c) != CN_OK)
        die("building");
    printf("{\"build_cpu_ns\": %llu, \"bytes\": %zu, \"isa\": \"%s\"}\n", (unsigned long long)(cn_thread_cpu_ns() - cpu), c.total, cn_kernels_now()->name);
    fflush(stdout);
    if (cn_flat_open(&b->vecs, &b->space, arrays_get, &c, &b->coded) != CN_OK || cn_flat_open(&b->vecs, &b->space, NULL, NULL, &b->plain) != CN_OK)
        die("opening");
}

int main(int argc, char **argv) {
    bench b = {0};
    cn_metric metric;
    if (argc != 5) {
        fprintf(stderr, "usage: exact_bench VECTORS.npy QUERIES.npy METRIC K\n");
        return 2;
    }
    b.k = (uint32_t)atoi(argv[4]);
    if (cn_kernels_init() != CN_OK || cn_metric_parse(argv[3], &metric) != CN_OK || b.k < 1 || b.k > CN_K_MAX)
        die("METRIC, K or CAIRN_ISA");
    b.x = matrix_load(argv[1]);
    b.q = matrix_load(argv[2]);
    if (b.x.dim != b.q.dim)
        die("vectors and queries differ in dimension");
    build(&b, metric);
    b.permitted = must(cn_alloc((b.x.rows / 64 + 1) * sizeof *b.permitted));
    b.found = must(cn_alloc((size_t)b.q.rows * b.k * sizeof *b.found));
    if (cn_scratch_new(&b.scratch) != CN_OK)
        die("memory");
    serve(&b);
    return 0;
}
