/* cells_bench -- searches one query at a time on one thread, and answers each line of standard input with one of JSON.
 *
 *   cells_bench VECTORS.npy QUERIES.npy METRIC K THREADS       float32, C order; THREADS make the cells
 *   RECALL SHARE FIRST COUNT FILE   the recall asked for (over .99: the staged scan; 1: exact); SHARE of the rows are
 *                                   permitted, by chance, or (-SHARE) those nearest to row 0; COUNT queries from FIRST on;
 *                                   FILE takes the rows found (uint32, K a query)
 * The first line, unasked, tells the building and what it measured.
 * Owns:    its process.
 * Thread:  one, once all is built.
 * Limits:  what fits memory. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "benchmarks/exact_search/arrays.h"
#include "engine/base/hist.h"
#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "engine/cells/inside.h"
#include "engine/kernels/kernels.h"

typedef struct bench {
    matrix x, q;
    cn_vecs vecs;
    cn_space space;
    cn_flat *flat;
    cn_cells *cells;
    cn_scratch *scratch;
    cn_cells_scratch *own;
    uint64_t *permitted;
    uint32_t n_permitted, k;
    uint32_t *found;
} bench;

static void permit_row(bench *b, uint32_t row) {
    b->permitted[row / 64] |= UINT64_C(1) << (row % 64);
    b->n_permitted++;
}

static void permit_by_chance(bench *b, double share) {
    for (uint32_t r = 0; r < b->x.rows; r++) {
        uint64_t h = (r + 1) * 0x9e3779b97f4a7c15u;
        h = (h ^ (h >> 32)) * 0xd6e8feb86659fd93u;
        if ((double)(h >> 32) < share * 0x1p32)
            permit_row(b, r);
    }
}

static int best_first(const void *a, const void *b) {
    const cn_scored *x = a, *y = b;
    return (x->score < y->score) - (x->score > y->score);
}

static void permit_near_row(bench *b, double share) {
    cn_scored *all = must(cn_alloc(b->x.rows * sizeof *all));
    for (uint32_t r = 0; r < b->x.rows; r++)
        all[r] = (cn_scored){cn_score(b->space.metric, cn_vec(&b->vecs, 0), cn_vec(&b->vecs, r), b->x.dim), r};
    qsort(all, b->x.rows, sizeof *all, best_first);
    for (uint32_t i = 0; i < share * b->x.rows; i++)
        permit_row(b, all[i].row);
    cn_free(all);
}

static void permit(bench *b, double share) {
    memset(b->permitted, 0, (b->x.rows / 64 + 1) * sizeof *b->permitted);
    b->n_permitted = 0;
    if (share > 0)
        permit_by_chance(b, share);
    else
        permit_near_row(b, -share);
}

static cn_cells_told search(const bench *b, const cn_scan *q, double recall, cn_scored *hits, uint32_t *ret_n) {
    cn_cells_told told = {CN_WAY_SCAN, 0, 0, 0};
    cn_err e = recall < 1 ? cn_cells_search(b->cells, q, recall, b->scratch, b->own, hits, ret_n, &told) : cn_flat_exact(b->flat, q, b->scratch, hits, ret_n);
    if (e != CN_OK)
        die("searching");
    return told;
}

static void run(bench *b, double recall, uint32_t first, uint32_t count) {
    static cn_hist wall;
    static cn_scored hits[CN_K_MAX];
    uint64_t ways[3] = {0}, cells = 0, rows = 0, expected = 0;
    cn_hist_reset(&wall);
    uint64_t cpu = cn_thread_cpu_ns();
    for (uint32_t i = 0; i < count; i++) {
        cn_scan scan = {.query = b->q.v + (size_t)(first + i) * b->q.dim, .k = b->k, .permitted = b->permitted, .n_permitted = b->n_permitted};
        uint32_t n;
        uint64_t start = cn_mono_ns();
        cn_cells_told told = search(b, &scan, recall, hits, &n);
        cn_hist_add(&wall, cn_mono_ns() - start);
        ways[told.way]++, cells += told.cells, rows += told.rows, expected += told.expected;
        for (uint32_t j = 0; j < b->k; j++)
            b->found[(size_t)i * b->k + j] = j < n ? hits[j].row : UINT32_MAX;
    }
    cpu = cn_thread_cpu_ns() - cpu;
    printf("{\"cpu_ns\": %llu, \"p50_ns\": %llu, \"p99_ns\": %llu, \"most_ns\": %llu, \"scan\": %llu, \"cells\": %llu, \"abandoned\": %llu, \"cells_read\": %.1f, \"rows_read\": %.0f, "
           "\"rows_expected\": %.0f}\n",
           (unsigned long long)cpu, (unsigned long long)cn_hist_quantile(&wall, 0.5), (unsigned long long)cn_hist_quantile(&wall, 0.99), (unsigned long long)cn_hist_quantile(&wall, 1),
           (unsigned long long)ways[CN_WAY_SCAN], (unsigned long long)ways[CN_WAY_CELLS], (unsigned long long)ways[CN_WAY_ABANDONED], (double)cells / count, (double)rows / count, (double)expected / count);
}

static void serve(bench *b) {
    char path[1000];
    double recall, share;
    uint32_t first, count;
    while (scanf("%lf %lf %u %u %999s", &recall, &share, &first, &count, path) == 5) {
        if (!(recall > 0 && recall <= 1) || !(share >= -1 && share <= 1) || share == 0 || first > b->q.rows || count > b->q.rows - first || count == 0)
            die("a line of standard input");
        permit(b, share);
        run(b, recall, first, count);
        matrix_save(b->found, (size_t)count * b->k, path);
        fflush(stdout);
    }
}

static uint64_t cpu_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void tell(const bench *b, const uint64_t cpu[2], const uint64_t wall[2], size_t codes, size_t all) {
    const cn_cells_head *h = &b->cells->head;
    printf("{\"isa\": \"%s\", \"codes_cpu_ns\": %llu, \"codes_wall_ns\": %llu, \"cells_cpu_ns\": %llu, \"cells_wall_ns\": %llu, \"codes_bytes\": %zu, \"cells_bytes\": %zu, \"cells\": %u, \"aims\": [",
           cn_kernels_now()->name, (unsigned long long)cpu[0], (unsigned long long)wall[0], (unsigned long long)cpu[1], (unsigned long long)wall[1], codes, all, h->cells);
    for (uint32_t i = 0; i < CN_CELLS_KS; i++)
        for (uint32_t j = 0; j < CN_CELLS_RECALLS; j++) {
            const cn_aim *a = &h->aims[i][j];
            printf("%s{\"k\": %u, \"recall\": %.2f, \"reach\": %.4f, \"depth\": %u, \"rows\": %u, \"measured\": %.4f}", i + j ? ", " : "", cn_cells_ks[i], cn_cells_recalls[j], (double)a->reach, a->depth, a->rows,
                   (double)a->recall);
        }
    printf("]}\n");
    fflush(stdout);
}

static void build(bench *b, cn_metric metric, unsigned threads) {
    static arrays codes, cells;
    uint64_t cpu[2], wall[2];
    float *mean = must(cn_alloc(b->x.dim * sizeof *mean));
    b->vecs = matrix_vecs(&b->x);
    b->space = (cn_space){metric, b->x.dim, 1, mean};
    cpu[0] = cpu_ns(), wall[0] = cn_mono_ns();
    if (cn_space_mean(&b->vecs, metric, mean) != CN_OK || cn_flat_build(&b->vecs, &b->space, threads, arrays_put, &codes) != CN_OK || cn_flat_open(&b->vecs, &b->space, arrays_get, &codes, &b->flat) != CN_OK)
        die("building codes");
    cpu[1] = cpu_ns(), wall[1] = cn_mono_ns();
    cpu[0] = cpu[1] - cpu[0], wall[0] = wall[1] - wall[0];
    if (cn_cells_build(b->flat, threads, arrays_put, &cells) != CN_OK || cn_cells_open(b->flat, arrays_get, &cells, &b->cells) != CN_OK)
        die("building cells");
    cpu[1] = cpu_ns() - cpu[1], wall[1] = cn_mono_ns() - wall[1];
    tell(b, cpu, wall, codes.total, cells.total);
}

int main(int argc, char **argv) {
    bench b = {0};
    cn_metric metric;
    if (argc != 6) {
        fprintf(stderr, "usage: cells_bench VECTORS.npy QUERIES.npy METRIC K THREADS\n");
        return 2;
    }
    b.k = (uint32_t)atoi(argv[4]);
    unsigned threads = (unsigned)atoi(argv[5]);
    if (cn_kernels_init() != CN_OK || cn_metric_parse(argv[3], &metric) != CN_OK || b.k < 1 || b.k > CN_K_MAX || threads < 1)
        die("METRIC, K, THREADS or CAIRN_ISA");
    b.x = matrix_load(argv[1]);
    b.q = matrix_load(argv[2]);
    if (b.x.dim != b.q.dim)
        die("vectors and queries differ in dimension");
    build(&b, metric, threads);
    b.permitted = must(cn_alloc((b.x.rows / 64 + 1) * sizeof *b.permitted));
    b.found = must(cn_alloc((size_t)b.q.rows * b.k * sizeof *b.found));
    if (cn_scratch_new(&b.scratch) != CN_OK || cn_cells_scratch_new(&b.own) != CN_OK)
        die("memory");
    serve(&b);
    return 0;
}
