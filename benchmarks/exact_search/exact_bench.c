/* exact_bench -- searches one query at a time on one thread, and answers each line of standard input with one of JSON.
 *
 *   exact_bench VECTORS.npy QUERIES.npy METRIC K       float32, C order
 *   MODE EACH FIRST COUNT FILE      MODE: staged, exact, or plain (the float scan of every row); one row in EACH is
 *                                   permitted; COUNT queries from FIRST on; FILE takes the rows found (uint32, K a query)
 * The first line, unasked, tells the building of codes.
 * Owns:    its process.
 * Thread:  one.
 * Limits:  what fits memory. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "engine/base/hist.h"
#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "engine/flat/flat.h"
#include "engine/kernels/kernels.h"

#define BLOCK_ROWS 65536u
#define CODE_BLOCKS 4096u

static _Noreturn void die(const char *what) {
    fprintf(stderr, "exact_bench: %s: %s\n", what, cn_error_detail());
    exit(1);
}

static void *must(void *p) { return p ? p : (die("memory"), NULL); }

typedef struct matrix {
    const float *v;
    uint32_t rows, dim;
} matrix;

/* The header of an .npy file is a Python literal; numpy writes it in this form. */
static matrix load(const char *path) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    matrix m;
    if (fd < 0 || fstat(fd, &st) != 0 || st.st_size < 128)
        die(path);
    char *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
    if (!p || p == MAP_FAILED)
        die(path);
    const char *shape = memmem(p, 128, "'shape': (", 10);
    if (!shape || !memmem(p, 128, "'<f4'", 5) || sscanf(shape + 10, "%u, %u", &m.rows, &m.dim) != 2)
        die(path);
    size_t n = (size_t)m.rows * m.dim * sizeof(float);
    if (m.dim < 1 || m.dim > CN_DIM_MAX || n > (size_t)st.st_size - 64)
        die(path);
    m.v = (const float *)(const void *)(p + (size_t)st.st_size - n);
    return m;
}

/* --- codes, kept in memory --- */
typedef struct codes {
    void *p[4][CODE_BLOCKS];
    size_t n[4][CODE_BLOCKS], total;
} codes;

static cn_err put(void *ctx, uint32_t array, uint32_t block, const void *bytes, size_t n) {
    codes *c = ctx;
    if (array >= 4 || block >= CODE_BLOCKS)
        die("too many rows");
    memcpy(c->p[array][block] = must(cn_alloc_aligned(64, n)), bytes, n);
    c->n[array][block] = n;
    c->total += n;
    return CN_OK;
}

static cn_err get(void *ctx, uint32_t array, uint32_t block, const void **ret, size_t *ret_n) {
    const codes *c = ctx;
    *ret = c->p[array][block];
    *ret_n = c->n[array][block];
    return CN_OK;
}

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

static void save(const bench *b, uint32_t count, const char *path) {
    FILE *f = fopen(path, "wb");
    size_t n = (size_t)count * b->k;
    if (!f || fwrite(b->found, sizeof *b->found, n, f) != n || fclose(f) != 0)
        die(path);
}

static void serve(bench *b) {
    char mode[16], path[1000];
    uint32_t each, first, count;
    while (scanf("%15s %u %u %u %999s", mode, &each, &first, &count, path) == 5) {
        if (each < 1 || first > b->q.rows || count > b->q.rows - first)
            die("a line of standard input");
        permit(b, each);
        run(b, strcmp(mode, "plain") == 0 ? b->plain : b->coded, strcmp(mode, "staged") == 0 ? cn_flat_staged : cn_flat_exact, first, count);
        save(b, count, path);
        fflush(stdout);
    }
}

static void build(bench *b, cn_metric metric) {
    static codes c;
    uint32_t n_blocks = b->x.rows / BLOCK_ROWS + 1;
    const float **blocks = must(cn_alloc(n_blocks * sizeof *blocks));
    for (uint32_t i = 0; i < n_blocks; i++)
        blocks[i] = b->x.v + (size_t)i * BLOCK_ROWS * b->x.dim;
    float *mean = must(cn_alloc(b->x.dim * sizeof *mean));
    b->vecs = (cn_vecs){blocks, b->x.rows, b->x.dim, BLOCK_ROWS};
    b->space = (cn_space){metric, b->x.dim, 1, mean};
    uint64_t cpu = cn_thread_cpu_ns();
    if (cn_space_mean(&b->vecs, metric, mean) != CN_OK || cn_flat_build(&b->vecs, &b->space, 1, put, &c) != CN_OK)
        die("building");
    printf("{\"build_cpu_ns\": %llu, \"bytes\": %zu, \"isa\": \"%s\"}\n", (unsigned long long)(cn_thread_cpu_ns() - cpu), c.total, cn_kernels_now()->name);
    fflush(stdout);
    if (cn_flat_open(&b->vecs, &b->space, get, &c, &b->coded) != CN_OK || cn_flat_open(&b->vecs, &b->space, NULL, NULL, &b->plain) != CN_OK)
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
    b.x = load(argv[1]);
    b.q = load(argv[2]);
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
