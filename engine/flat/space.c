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
    double sum = 0, scale = sp->metric == CN_COSINE && norm > 0 ? 1 / (double)norm : 1;
    for (uint32_t i = 0; i < sp->dim; i++) {
        double m = sp->mean ? (double)sp->mean[i] : 0, x = (double)q[i] * scale;
        sum += sp->metric == CN_L2 ? -(x - m) * (x - m) : x * m;
    }
    return (float)sum;
}

/* The step of a scale that ends at `most`; 0 where it would have too few bits left to divide by, so that all is 0 steps. */
static float step_of(float most, float steps) { return most / steps >= FLT_MIN ? most / steps : 0; }

static void make_p8(cn_scratch *s, uint32_t padded) {
    float most = 0;
    double miss = 0, norm = 0;
    for (uint32_t i = 0; i < padded; i++)
        most = cn_maxf(most, fabsf(s->p[i]));
    s->p_scale = step_of(most, 127);
    s->p8_sum = 0;
    for (uint32_t i = 0; i < padded; i++) {
        s->p8[i] = (int8_t)(s->p_scale > 0 ? nearbyintf(s->p[i] / s->p_scale) : 0);
        s->p8_sum += s->p8[i];
        double e = (double)s->p[i] - (double)s->p_scale * s->p8[i];
        miss += e * e;
        norm += (double)s->p[i] * (double)s->p[i];
    }
    s->p_miss = (float)sqrt(miss) * (1 + 0x1p-20f);
    s->p_norm = (float)sqrt(norm) * (1 + 0x1p-20f);
}

/* Entry x of a group of four: the sum of the components whose bits are set in x, from its least one up. */
static void group_sums(const float *p, float sum[16]) {
    sum[0] = 0;
    for (uint32_t t = 0; t < 4; t++)
        for (uint32_t x = 0; x < 1u << t; x++)
            sum[x | 1u << t] = sum[x] + p[t];
}

static float negative(const float *p) { return cn_minf(p[0], 0) + cn_minf(p[1], 0) + cn_minf(p[2], 0) + cn_minf(p[3], 0); }

static void make_lut(cn_scratch *s, uint32_t padded, uint32_t planes) {
    float widest = 0, all = 0, least = 0, sum[16];
    for (uint32_t g = 0; g < padded; g += 4) {
        float n = negative(s->p + g), t = s->p[g] + s->p[g + 1] + s->p[g + 2] + s->p[g + 3];
        widest = cn_maxf(widest, t - 2 * n);
        all += t;
        least += n;
    }
    float step = step_of(widest, CN_LUT_MAX);
    step = step > 0 ? step : 1;
    for (uint32_t g = 0; g < padded; g += 4) {
        float n = negative(s->p + g);
        group_sums(s->p + g, sum);
        for (uint32_t x = 0; x < 16; x++) {
            float v = (sum[x] - n) / step + 0.5f;
            s->lut[4 * g + x] = (uint8_t)(v < 0 ? 0 : v > CN_LUT_MAX ? CN_LUT_MAX : v);
        }
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
