/* exact_bench: vectors and queries from .npy files (float32, C order), searched one query at a time, one thread.
 *
 * Usage: exact_bench VECTORS.npy QUERIES.npy METRIC K. Each line of standard input is "MODE FILE" (staged, exact or plain):
 * all queries run, their rows are written to FILE (uint32, K a query), and the nanoseconds of the whole are printed. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "engine/flat/flat.h"
#include "engine/kernels/kernels.h"

static void die(const char *what) {
    fprintf(stderr, "exact_bench: %s: %s\n", what, cn_error_detail());
    exit(1);
}

typedef struct matrix {
    const float *v;
    uint32_t rows, dim;
} matrix;

static matrix load(const char *path) {
    int fd = open(path, O_RDONLY);
    struct stat st;
    matrix m;
    if (fd < 0 || fstat(fd, &st) != 0 || st.st_size < 128)
        die(path);
    char *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
    const char *shape = p == MAP_FAILED ? NULL : memmem(p, 128, "'shape': (", 10);
    if (!shape || sscanf(shape + 10, "%u, %u", &m.rows, &m.dim) != 2)
        die(path);
    m.v = (const float *)(const void *)(p + st.st_size - (off_t)((size_t)m.rows * m.dim * sizeof(float)));
    return m;
}

typedef struct stored {
    void *p[4][256];
    size_t n[4][256];
} stored;

static cn_err put(void *ctx, uint32_t array, uint32_t block, const void *bytes, size_t n) {
    stored *s = ctx;
    s->p[array][block] = cn_alloc_aligned(64, (n + 63) & ~(size_t)63);
    memcpy(s->p[array][block], bytes, n);
    s->n[array][block] = n;
    return CN_OK;
}

static cn_err get(void *ctx, uint32_t array, uint32_t block, const void **ret, size_t *ret_n) {
    const stored *s = ctx;
    *ret = s->p[array][block];
    *ret_n = s->n[array][block];
    return CN_OK;
}

typedef cn_err search_fn(const cn_flat *, const cn_scan *, cn_scratch *, cn_scored *, uint32_t *);

static uint64_t run(const cn_flat *f, search_fn *search, const matrix *q, cn_scan *scan, cn_scratch *s, uint32_t *rows) {
    cn_scored hits[CN_K_MAX];
    uint32_t n;
    uint64_t start = cn_mono_ns();
    for (uint32_t i = 0; i < q->rows; i++) {
        scan->query = q->v + (size_t)i * q->dim;
        if (search(f, scan, s, hits, &n) != CN_OK)
            die("search");
        for (uint32_t j = 0; j < scan->k; j++)
            rows[(size_t)i * scan->k + j] = j < n ? hits[j].row : UINT32_MAX;
    }
    return cn_mono_ns() - start;
}

static void serve(const cn_flat *coded, const cn_flat *plain, const matrix *q, cn_scan *scan) {
    char mode[16], path[1000];
    size_t bytes = (size_t)q->rows * scan->k * sizeof(uint32_t);
    uint32_t *rows = cn_alloc(bytes);
    cn_scratch *s;
    if (!rows || cn_scratch_new(&s) != CN_OK)
        die("memory");
    while (scanf("%15s %999s", mode, path) == 2) {
        bool exact = strcmp(mode, "staged") != 0;
        uint64_t ns = run(strcmp(mode, "plain") == 0 ? plain : coded, exact ? cn_flat_exact : cn_flat_staged, q, scan, s, rows);
        FILE *f = fopen(path, "wb");
        if (!f || fwrite(rows, 1, bytes, f) != bytes || fclose(f) != 0)
            die(path);
        printf("%llu\n", (unsigned long long)ns);
        fflush(stdout);
    }
    cn_scratch_free(s);
    cn_free(rows);
}

int main(int argc, char **argv) {
    static stored codes;
    cn_metric metric;
    if (argc != 5 || cn_metric_parse(argv[3], &metric) != CN_OK)
        die("usage: exact_bench VECTORS.npy QUERIES.npy METRIC K");
    matrix x = load(argv[1]), q = load(argv[2]);
    const float **blocks = cn_alloc((x.rows / 65536 + 1) * sizeof *blocks);
    for (uint32_t i = 0; i * 65536u < x.rows; i++)
        blocks[i] = x.v + (size_t)i * 65536 * x.dim;
    cn_vecs v = {blocks, x.rows, x.dim, 65536};
    float *mean = cn_alloc(x.dim * sizeof *mean);
    cn_space space = {metric, x.dim, 1, mean};
    cn_flat *coded, *plain;
    uint64_t start = cn_mono_ns();
    if (cn_space_mean(&v, metric, mean) != CN_OK || cn_flat_build(&v, &space, 1, put, &codes) != CN_OK)
        die("build");
    printf("%llu %s\n", (unsigned long long)(cn_mono_ns() - start), cn_kernels_now()->name);
    fflush(stdout);
    if (cn_flat_open(&v, &space, get, &codes, &coded) != CN_OK || cn_flat_open(&v, &space, NULL, NULL, &plain) != CN_OK)
        die("open");
    uint64_t *all = cn_alloc((x.rows / 64 + 1) * sizeof *all);
    for (uint32_t w = 0; w * 64 < x.rows; w++)
        all[w] = x.rows - w * 64 >= 64 ? UINT64_MAX : (UINT64_C(1) << (x.rows % 64)) - 1;
    serve(coded, plain, &q, &(cn_scan){.k = (uint32_t)atoi(argv[4]), .permitted = all, .n_permitted = x.rows});
    return 0;
}
