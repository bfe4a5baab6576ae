#include "ingest/embed/static.h"

#define AHEAD 8 /* rows asked for before they are needed: a table is larger than the near caches */

static bool all_zero(const int16_t *row, uint32_t dim) {
    for (uint32_t i = 0; i < dim; i++)
        if (row[i])
            return false;
    return true;
}

cn_err cn_static_check(const cn_token_table *t, const cn_wordpiece *w) {
    if (cn_wordpiece_size(w) != t->words)
        return cn_fail(CN_INVALID, "vocab.txt has %u lines, but the table has %u rows", cn_wordpiece_size(w), t->words);
    if (all_zero(t->rows + (size_t)cn_wordpiece_cls(w) * t->dim, t->dim))
        return cn_fail(CN_INVALID, "the table's row of [CLS] is all 0; it stands for a text without words");
    return CN_OK;
}

static void add_row(int32_t *restrict sums, const int16_t *restrict row, uint32_t dim) {
    for (uint32_t i = 0; i < dim; i++)
        sums[i] += row[i];
}

/* Four short rows, added up in 16 bits before they are widened: half the work. */
static void add_four(int32_t *restrict sums, const int16_t *restrict a, const int16_t *restrict b, const int16_t *restrict c, const int16_t *restrict d, uint32_t dim) {
    for (uint32_t i = 0; i < dim; i++)
        sums[i] += (int16_t)(a[i] + b[i] + c[i] + d[i]);
}

static void ask_for(const int16_t *row, uint32_t dim) {
    for (uint32_t i = 0; i < dim; i += 32)
        __builtin_prefetch(row + i);
}

static const int16_t *row_of(const cn_token_table *t, const cn_token *v) { return t->rows + (size_t)v->id * t->dim; }

static void add_rows(const cn_token_table *t, const cn_token *v, uint32_t n, int32_t *sums) {
    uint32_t i = 0;
    for (; t->is_short && i + 4 <= n; i += 4) {
        for (uint32_t k = i + AHEAD; k < i + AHEAD + 4 && k < n; k++)
            ask_for(row_of(t, v + k), t->dim);
        add_four(sums, row_of(t, v + i), row_of(t, v + i + 1), row_of(t, v + i + 2), row_of(t, v + i + 3), t->dim);
    }
    for (; i < n; i++)
        add_row(sums, row_of(t, v + i), t->dim);
}

/* In CN_STATIC_PAD lanes, folded in halves; behind dim the sums are 0. */
static double squares(const int32_t *sums, uint32_t room) {
    double lanes[CN_STATIC_PAD] = {0};
    for (uint32_t i = 0; i < room; i += CN_STATIC_PAD)
        for (uint32_t k = 0; k < CN_STATIC_PAD; k++)
            lanes[k] += (double)sums[i + k] * (double)sums[i + k];
    for (uint32_t half = CN_STATIC_PAD / 2; half; half /= 2)
        for (uint32_t k = 0; k < half; k++)
            lanes[k] += lanes[k + half];
    return lanes[0];
}

void cn_static_run(const cn_token_table *t, uint32_t cls, const cn_token *v, uint32_t n, int32_t *sums, float *out) {
    uint32_t room = cn_static_room(t->dim);
    CN_ASSERT(n <= CN_TABLE_TOKENS_MAX);
    memset(sums, 0, room * sizeof *sums);
    add_rows(t, v, n, sums);
    double square = squares(sums, room);
    if (square == 0) {
        add_row(sums, t->rows + (size_t)cls * t->dim, t->dim);
        square = squares(sums, room);
    }
    double scale = 1 / __builtin_sqrt(square);
    for (uint32_t i = 0; i < t->dim; i++)
        out[i] = (float)((double)sums[i] * scale);
}
