/* Centroids: Lloyd's k-means over a sample, in sums whose order no thread changes. */
#include <string.h>

#include "engine/base/mem.h"
#include "engine/base/spread.h"
#include "engine/cells/inside.h"

#define ROUNDS 6u
#define SAMPLE_EACH 40u               /* rows of the sample for each cell */
#define SAMPLE_FLOATS (1u << 26)      /* of the whole sample, at most */
#define SHARE 64u

typedef struct training {
    const cn_flat *flat;
    uint32_t n, cells, padded;
    float *rows;              /* n x padded: the sample, in the space of the codes */
    float *centroids, *half;
    const float **centroid;
    uint32_t *cell;           /* of each row */
    uint32_t *at;             /* rows in the order of cells */
    uint32_t *end;            /* cells + 1: once `at` is filled, where the rows of each cell end in it */
} training;

static void take_sample(void *ctx, uint32_t from, uint32_t to) {
    training *t = ctx;
    const cn_vecs *v = &t->flat->v;
    for (uint32_t i = from; i < to; i++)
        cn_into_space(&t->flat->space, &t->flat->rotation, cn_vec(v, (uint32_t)((uint64_t)i * v->n / t->n)), t->rows + (size_t)i * t->padded);
}

uint32_t cn_nearest(const cn_near *n, const float *r, float *room) {
    uint32_t best = 0;
    cn_kernels_now()->dots(r, n->centroid, n->padded, n->cells, room);
    for (uint32_t c = 0; c < n->cells; c++)
        if (room[c] - n->half[c] > room[best] - n->half[best])
            best = c;
    return best;
}

static void find_nearest(void *ctx, uint32_t from, uint32_t to) {
    training *t = ctx;
    float room[CN_CELLS_MAX];
    cn_near near = {t->centroid, t->half, t->cells, t->padded};
    for (uint32_t i = from; i < to; i++)
        t->cell[i] = cn_nearest(&near, t->rows + (size_t)i * t->padded, room);
}

static void by_cell(training *t) {
    memset(t->end, 0, (t->cells + 1u) * sizeof *t->end);
    for (uint32_t i = 0; i < t->n; i++)
        t->end[t->cell[i] + 1]++;
    for (uint32_t c = 0; c < t->cells; c++)
        t->end[c + 1] += t->end[c];
    for (uint32_t i = 0; i < t->n; i++)
        t->at[t->end[t->cell[i]]++] = i;
}

static void measure_half(const training *t, uint32_t cell) {
    float xx;
    cn_kernels_now()->dots(t->centroid[cell], &t->centroid[cell], t->padded, 1, &xx);
    t->half[cell] = xx / 2;
}

/* One that lost all its rows becomes a row of the sample. */
static void move_cells(void *ctx, uint32_t from, uint32_t to) {
    training *t = ctx;
    for (uint32_t c = from; c < to; c++) {
        float *centroid = t->centroids + (size_t)c * t->padded;
        uint32_t first = c ? t->end[c - 1] : 0, n = t->end[c] - first;
        if (n == 0)
            memcpy(centroid, t->rows + (size_t)(c * 2654435761u % t->n) * t->padded, t->padded * sizeof *centroid);
        else
            memset(centroid, 0, t->padded * sizeof *centroid);
        for (uint32_t i = first; i < first + n; i++)
            for (uint32_t j = 0; j < t->padded; j++)
                centroid[j] += t->rows[(size_t)t->at[i] * t->padded + j];
        for (uint32_t j = 0; n && j < t->padded; j++)
            centroid[j] /= (float)n;
        measure_half(t, c);
    }
}

static void begin(training *t, unsigned threads) {
    cn_spread_rows(threads, t->n, SHARE, take_sample, t);
    for (uint32_t c = 0; c < t->cells; c++) {
        t->centroid[c] = t->centroids + (size_t)c * t->padded;
        memcpy(t->centroids + (size_t)c * t->padded, t->rows + (size_t)c * t->n / t->cells * t->padded, t->padded * sizeof(float));
        measure_half(t, c);
    }
}

/* One and a half times the square root: ranking a cell costs more than reading a row. */
uint32_t cn_cells_number(uint32_t rows) {
    uint32_t root = 1;
    while (4ull * (root + 1) * (root + 1) <= 9ull * rows)
        root++;
    return root < CN_CELLS_MAX ? root : CN_CELLS_MAX;
}

static uint32_t sample_of(uint32_t rows, uint32_t cells, uint32_t padded) {
    uint32_t most = SAMPLE_FLOATS / padded, n = SAMPLE_EACH * cells;
    n = n < most ? n : most;
    n = n > cells ? n : cells;
    return n < rows ? n : rows;
}

cn_err cn_cells_train(const cn_flat *f, uint32_t cells, unsigned threads, float *ret_centroids) {
    uint32_t padded = f->head.padded, n = sample_of(f->v.n, cells, padded);
    CN_AUTO_FREE float *rows = cn_alloc((size_t)n * padded * sizeof *rows);
    CN_AUTO_FREE float *half = cn_alloc(cells * sizeof *half);
    CN_AUTO_FREE const float **centroid = cn_alloc(cells * sizeof *centroid);
    CN_AUTO_FREE uint32_t *words = cn_alloc((2 * (size_t)n + cells + 1) * sizeof *words);
    if (!rows || !half || !centroid || !words)
        return cn_fail_memory();
    training t = {f, n, cells, padded, rows, ret_centroids, half, centroid, words, words + n, words + 2 * (size_t)n};
    begin(&t, threads);
    for (uint32_t round = 0; round < ROUNDS; round++) {
        cn_spread_rows(threads, n, SHARE, find_nearest, &t);
        by_cell(&t);
        cn_spread_rows(threads, cells, 1, move_cells, &t);
    }
    return CN_OK;
}
