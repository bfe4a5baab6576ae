#include "benchmarks/exact_search/arrays.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "engine/base/mem.h"

#define BLOCK_ROWS 65536u

_Noreturn void die(const char *what) {
    fprintf(stderr, "%s: %s\n", what, cn_error_detail());
    exit(1);
}

void *must(void *p) { return p ? p : (die("memory"), NULL); }

/* The header of an .npy file is a Python literal; numpy writes it in this form. */
matrix matrix_load(const char *path) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    matrix m;
    if (fd < 0 || fstat(fd, &st) != 0 || st.st_size < 128)
        die(path);
    char *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
    if (p == MAP_FAILED || !p)
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

cn_vecs matrix_vecs(const matrix *m) {
    uint32_t n_blocks = m->rows / BLOCK_ROWS + 1;
    const float **blocks = must(cn_alloc(n_blocks * sizeof *blocks));
    for (uint32_t i = 0; i < n_blocks; i++)
        blocks[i] = m->v + (size_t)i * BLOCK_ROWS * m->dim;
    return (cn_vecs){blocks, m->rows, m->dim, BLOCK_ROWS};
}

void matrix_save(const uint32_t *v, size_t n, const char *path) {
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(v, sizeof *v, n, f) != n || fclose(f) != 0)
        die(path);
}

cn_err arrays_put(void *ctx, uint32_t array, uint32_t block, const void *bytes, size_t n) {
    arrays *c = ctx;
    if (array >= ARRAYS || block >= ARRAY_BLOCKS)
        die("too many rows");
    memcpy(c->p[array][block] = must(cn_alloc_aligned(64, n)), bytes, n);
    c->n[array][block] = n;
    c->total += n;
    return CN_OK;
}

cn_err arrays_get(void *ctx, uint32_t array, uint32_t block, const void **ret, size_t *ret_n) {
    const arrays *c = ctx;
    *ret = c->p[array][block];
    *ret_n = c->n[array][block];
    return CN_OK;
}
