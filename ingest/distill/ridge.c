#include "ingest/distill/ridge.h"

#include <string.h>

#include "engine/base/mem.h"
#include "engine/base/spread.h"

#define SHARE 64u /* rows that a thread takes at a time */

typedef struct ridge {
    const cn_bags *b;
    const float *y, *p_in;
    float *w, *r, *p, *a; /* [words][dim]: solution, residual, direction, and the matrix times the direction */
    float *t;             /* [n][dim] */
    double *part;         /* [words] */
    uint32_t dim;
    float penalty, step;
} ridge;

static void add_scaled(float *restrict to, const float *restrict from, float f, uint32_t n) {
    for (uint32_t i = 0; i < n; i++)
        to[i] += f * from[i];
}

static double dot(const float *a, const float *b, uint32_t n) {
    double s[4] = {0};
    for (uint32_t i = 0; i < n; i++)
        s[i & 3] += (double)a[i] * (double)b[i];
    return (s[0] + s[1]) + (s[2] + s[3]);
}

static double sum(const double *v, uint32_t n) {
    double s = 0;
    for (uint32_t i = 0; i < n; i++)
        s += v[i];
    return s;
}

/* ---------- a passage is a row ---------- */
static void times_rows(void *ctx, uint32_t from, uint32_t to) {
    const ridge *g = ctx;
    for (uint32_t p = from; p < to; p++) {
        float *out = g->t + (size_t)p * g->dim;
        memset(out, 0, g->dim * sizeof *out);
        for (uint64_t i = g->b->from[p]; i < g->b->from[p + 1]; i++)
            add_scaled(out, g->p_in + (size_t)g->b->piece[i] * g->dim, g->b->x[i], g->dim);
    }
}

static void missing_rows(void *ctx, uint32_t from, uint32_t to) {
    const ridge *g = ctx;
    for (size_t i = (size_t)from * g->dim; i < (size_t)to * g->dim; i++)
        g->t[i] = g->y[i] - g->t[i];
}

void cn_bags_times(const cn_bags *b, const float *w, uint32_t dim, unsigned threads, float *out) {
    ridge g = {.b = b, .p_in = w, .t = out, .dim = dim};
    cn_spread_rows(threads, b->n, SHARE, times_rows, &g);
}

/* ---------- a piece is a row ---------- */
static void gather_row(const ridge *g, uint32_t w, float *out) {
    for (uint64_t i = g->b->by_from[w]; i < g->b->by_from[w + 1]; i++)
        add_scaled(out, g->t + (size_t)g->b->by_passage[i] * g->dim, g->b->by_x[i], g->dim);
}

/* The matrix's diagonal, by which a row is scaled. */
static float inverse(const ridge *g, uint32_t w) {
    float s = g->penalty;
    for (uint64_t i = g->b->by_from[w]; i < g->b->by_from[w + 1]; i++)
        s += g->b->by_x[i] * g->b->by_x[i];
    return 1 / s;
}

/* r is what is missing, p points along it, part = r . z */
static void begin_rows(void *ctx, uint32_t from, uint32_t to) {
    const ridge *g = ctx;
    for (uint32_t w = from; w < to; w++) {
        float *r = g->r + (size_t)w * g->dim, *p = g->p + (size_t)w * g->dim, m = inverse(g, w);
        gather_row(g, w, r);
        for (uint32_t i = 0; i < g->dim; i++)
            p[i] = m * r[i];
        g->part[w] = dot(r, p, g->dim);
    }
}

/* a = the matrix times p; part = p . a */
static void apply_rows(void *ctx, uint32_t from, uint32_t to) {
    const ridge *g = ctx;
    for (uint32_t w = from; w < to; w++) {
        float *a = g->a + (size_t)w * g->dim;
        const float *p = g->p + (size_t)w * g->dim;
        for (uint32_t i = 0; i < g->dim; i++)
            a[i] = g->penalty * p[i];
        gather_row(g, w, a);
        g->part[w] = dot(p, a, g->dim);
    }
}

/* A step along p; part = r . z */
static void step_rows(void *ctx, uint32_t from, uint32_t to) {
    const ridge *g = ctx;
    for (uint32_t w = from; w < to; w++) {
        size_t at = (size_t)w * g->dim;
        float m = inverse(g, w);
        add_scaled(g->w + at, g->p + at, g->step, g->dim);
        add_scaled(g->r + at, g->a + at, -g->step, g->dim);
        g->part[w] = (double)m * dot(g->r + at, g->r + at, g->dim);
    }
}

static void turn_rows(void *ctx, uint32_t from, uint32_t to) {
    const ridge *g = ctx;
    for (uint32_t w = from; w < to; w++) {
        float *p = g->p + (size_t)w * g->dim, m = inverse(g, w);
        const float *r = g->r + (size_t)w * g->dim;
        for (uint32_t i = 0; i < g->dim; i++)
            p[i] = m * r[i] + g->step * p[i];
    }
}

static void solve(ridge *g, uint32_t steps, unsigned threads, cn_ridge_step *told, void *ctx) {
    uint32_t words = g->b->words, n = g->b->n;
    g->p_in = g->w;
    cn_spread_rows(threads, n, SHARE, times_rows, g);
    cn_spread_rows(threads, n, SHARE, missing_rows, g);
    cn_spread_rows(threads, words, SHARE, begin_rows, g);
    g->p_in = g->p;
    double rz = sum(g->part, words);
    for (uint32_t k = 0; k < steps; k++) {
        if (told)
            told(ctx, k, steps);
        cn_spread_rows(threads, n, SHARE, times_rows, g);
        cn_spread_rows(threads, words, SHARE, apply_rows, g);
        double pa = sum(g->part, words);
        if (!(rz > 0 && pa > 0))
            break; /* solved */
        g->step = (float)(rz / pa);
        cn_spread_rows(threads, words, SHARE, step_rows, g);
        double next = sum(g->part, words);
        g->step = (float)(next / rz);
        rz = next;
        cn_spread_rows(threads, words, SHARE, turn_rows, g);
    }
}

cn_err cn_ridge(const cn_bags *b, const float *y, uint32_t dim, float penalty, uint32_t steps, unsigned threads, cn_ridge_step *step, void *ctx, float *io_w) {
    size_t all = (size_t)b->words * dim;
    CN_AUTO_FREE float *r = cn_calloc(all, sizeof *r);
    CN_AUTO_FREE float *p = cn_calloc(all, sizeof *p);
    CN_AUTO_FREE float *a = cn_calloc(all, sizeof *a);
    CN_AUTO_FREE float *t = cn_calloc((size_t)b->n * dim, sizeof *t);
    CN_AUTO_FREE double *part = cn_calloc(b->words, sizeof *part);
    if (!r || !p || !a || !t || !part)
        return cn_fail_memory();
    ridge g = {.b = b, .y = y, .w = io_w, .r = r, .p = p, .a = a, .t = t, .part = part, .dim = dim, .penalty = penalty};
    solve(&g, steps, threads, step, ctx);
    return CN_OK;
}
