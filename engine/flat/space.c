/* Rows and queries into the space of the codes, and a query's tables. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "engine/base/mem.h"
#include "engine/flat/inside.h"

#define MEAN_ROWS 65536u
#define MEAN_HIDES 64 /* a step of the mean is at least so many times what one row can move it */

static void add_row(const float *x, uint32_t dim, cn_metric metric, double *sum, double *most) {
    double norm = metric == CN_COSINE ? (double)cn_norm2(x, dim) : 1, scale = norm > 0 ? 1 / sqrt(norm) : 0;
    for (uint32_t j = 0; j < dim; j++) {
        double y = (double)x[j] * scale;
        sum[j] += y;
        most[j] = fabs(y) > most[j] ? fabs(y) : most[j];
    }
}

/* To a power of two, so that it is the same float everywhere. */
static float in_steps(double mean, double moved) {
    int exponent;
    (void)frexp(moved * MEAN_HIDES, &exponent);
    double step = ldexp(1, exponent);
    return moved > 0 ? (float)(nearbyint(mean / step) * step) : 0;
}

cn_err cn_space_mean(const cn_vecs *v, cn_metric metric, float *mean) {
    uint32_t n = v->n < MEAN_ROWS ? v->n : MEAN_ROWS;
    CN_AUTO_FREE double *sum = cn_calloc(2 * (size_t)v->dim, sizeof *sum);
    if (!sum)
        return cn_fail_memory();
    double *most = sum + v->dim;
    for (uint32_t i = 0; i < n; i++)
        add_row(cn_vec(v, (uint32_t)((uint64_t)i * v->n / n)), v->dim, metric, sum, most);
    for (uint32_t j = 0; j < v->dim; j++)
        mean[j] = n ? in_steps(sum[j] / n, most[j] / n) : 0;
    return CN_OK;
}

float cn_into_space(const cn_space *sp, const cn_rotation *r, const float *x, float *to) {
    float norm = sqrtf(cn_norm2(x, sp->dim)), scale = sp->metric == CN_COSINE && norm > 0 ? 1 / norm : 1;
    for (uint32_t i = 0; i < sp->dim; i++)
        to[i] = x[i] * scale - (sp->mean ? sp->mean[i] : 0);
    memset(to + sp->dim, 0, (r->padded - sp->dim) * sizeof *to);
    cn_rotate(r, to);
    return norm;
}

/* What the score has beside <p, r> and the row's own `add`. */
static float base_of(const cn_space *sp, const float *q, float norm) {
    float ret;
    if (!sp->mean)
        return sp->metric == CN_L2 ? -norm * norm : 0;
    if (sp->metric == CN_L2) {
        cn_kernels_now()->l2s(q, &sp->mean, sp->dim, 1, &ret);
        return -ret;
    }
    cn_kernels_now()->dots(q, &sp->mean, sp->dim, 1, &ret);
    return sp->metric == CN_COSINE && norm > 0 ? ret / norm : ret;
}

/* The step of a scale that ends at `most`; 0 where it would have too few bits left to divide by, so that all is 0 steps. */
static float step_of(float most, float steps) { return most / steps >= FLT_MIN ? most / steps : 0; }

/* Sums go in lanes, none of which waits for another. */
#define LANES 8u
typedef struct lanes {
    double v[LANES];
} lanes;
static double sum_of(const lanes *l) {
    double sum = 0;
    for (uint32_t i = 0; i < LANES; i++)
        sum += l->v[i];
    return sum;
}

/* To the nearest whole number, of two the even one, for |x| < 2^22: below 1.5 * 2^23 there are no fractions left. */
static float whole(float x) { return x + 0x1.8p23f - 0x1.8p23f; }

static float most_of(const float *p, uint32_t n) {
    float most[LANES] = {0};
    for (uint32_t i = 0; i < n; i += LANES)
        for (uint32_t j = 0; j < LANES; j++)
            most[j] = cn_maxf(most[j], fabsf(p[i + j]));
    for (uint32_t j = 1; j < LANES; j++)
        most[0] = cn_maxf(most[0], most[j]);
    return most[0];
}

static void make_p8(cn_scratch *s, uint32_t padded) {
    const float *p = s->p, scale = step_of(most_of(p, padded), 127), by = scale > 0 ? scale : INFINITY;
    lanes miss = {0}, norm = {0};
    int32_t sum = 0;
    for (uint32_t i = 0; i < padded; i++) {
        int32_t x = (int32_t)whole(p[i] / by);
        s->p8[i] = (int8_t)x;
        sum += x;
    }
    for (uint32_t i = 0; i < padded; i += LANES)
        for (uint32_t j = 0; j < LANES; j++) {
            double x = (double)p[i + j], e = x - (double)scale * s->p8[i + j];
            miss.v[j] += e * e;
            norm.v[j] += x * x;
        }
    s->p_scale = scale;
    s->p8_sum = sum;
    s->p_miss = (float)sqrt(sum_of(&miss)) * (1 + 0x1p-20f);
    s->p_norm = (float)sqrt(sum_of(&norm)) * (1 + 0x1p-20f);
}

/* Entry x of a group of four: the sum of the components whose bits are set in x, in steps from the least there is. */
static void make_entries(const float *p, float least, float steps, uint8_t *ret) {
    static const float has[4][16] = {{0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1},
                                     {0, 0, 1, 1, 0, 0, 1, 1, 0, 0, 1, 1, 0, 0, 1, 1},
                                     {0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0, 1, 1, 1, 1},
                                     {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1}};
    int32_t entry[16];
    for (uint32_t x = 0; x < 16; x++) {
        float sum = p[0] * has[0][x] + p[1] * has[1][x] + p[2] * has[2][x] + p[3] * has[3][x];
        entry[x] = (int32_t)cn_minf(cn_maxf((sum - least) * steps + 0.5f, 0), CN_LUT_MAX);
    }
    for (uint32_t x = 0; x < 16; x++)
        ret[x] = (uint8_t)entry[x];
}

static void make_lut(cn_scratch *s, uint32_t padded, uint32_t planes) {
    float widest = 0, all = 0, least = 0;
    for (uint32_t g = 0; g < padded; g += 4) {
        const float *p = s->p + g;
        float wide = fabsf(p[0]) + fabsf(p[1]) + fabsf(p[2]) + fabsf(p[3]), sum = p[0] + p[1] + p[2] + p[3];
        widest = cn_maxf(widest, wide);
        all += sum;
        least += (sum - wide) / 2; /* the negative ones */
    }
    float step = step_of(widest, CN_LUT_MAX);
    step = step > 0 ? step : 1;
    for (uint32_t g = 0; g < padded; g += 4) {
        const float *p = s->p + g;
        float wide = fabsf(p[0]) + fabsf(p[1]) + fabsf(p[2]) + fabsf(p[3]), sum = p[0] + p[1] + p[2] + p[3];
        make_entries(p, (sum - wide) / 2, 1 / step, s->lut + 4 * (size_t)g);
    }
    float levels = (float)((1u << planes) - 1);
    s->lut_scale = 2 * step;
    s->lut_shift = levels * (2 * least - all);
}

void cn_query_prepare(const cn_flat *f, const float *q, cn_scratch *s) {
    float norm = cn_into_space(&f->space, &f->rotation, q, s->p);
    s->base = base_of(&f->space, q, norm);
    if (f->space.metric == CN_L2)
        for (uint32_t i = 0; i < f->head.padded; i++)
            s->p[i] *= 2;
    make_p8(s, f->head.padded);
    make_lut(s, f->head.padded, f->head.planes);
}
