/* score.c -- metrics by name, checks of a vector, and the one definition of a score. */
#include <math.h>
#include <string.h>

#include "engine/flat/inside.h"

static const char *const names[] = {[CN_COSINE] = "cosine", [CN_IP] = "ip", [CN_L2] = "l2"};

const char *cn_metric_name(cn_metric m) { return names[m]; }

cn_err cn_metric_parse(const char *name, cn_metric *ret) {
    for (cn_metric m = CN_COSINE; m <= CN_L2; m++)
        if (strcmp(name, names[m]) == 0) {
            *ret = m;
            return CN_OK;
        }
    return cn_fail(CN_INVALID, "the metric is cosine, ip or l2, not \"%s\"", name);
}

/* Squares within which no score of two vectors overflows (a squared distance is at most four times the larger), and no
 * length of cosine vanishes. */
#define NORM2_MAX 6e37f
#define NORM2_MIN 1e-36f

static cn_err why_not(const float *x, uint32_t dim, float norm2) {
    bool any = false;
    for (uint32_t i = 0; i < dim; i++) {
        if (!isfinite(x[i]))
            return cn_fail(CN_INVALID, "component %u of the vector is %s", i, isnan(x[i]) ? "not a number" : "infinite");
        any |= x[i] != 0.0f;
    }
    if (!any)
        return cn_fail(CN_INVALID, "the vector is all zero, which has no direction for cosine");
    if (norm2 < NORM2_MIN)
        return cn_fail(CN_INVALID, "the vector is shorter than 1e-18, too short for cosine in single precision; scale it up");
    return cn_fail(CN_INVALID, "the vector is longer than 7e18, too long for scores in single precision; scale it down");
}

cn_err cn_vec_check(const float *x, uint32_t dim, cn_metric metric) {
    float norm2 = cn_norm2(x, dim); /* NaN or infinite when a component is */
    return norm2 <= NORM2_MAX && (metric != CN_COSINE || norm2 >= NORM2_MIN) ? CN_OK : why_not(x, dim, norm2);
}

static float cosine(float dot, float qq, float xx) {
    float n = sqrtf(qq) * sqrtf(xx);
    return n > 0 ? dot / n : 0;
}

void cn_scores(cn_metric metric, const float *q, float qq, const float *const *rows, uint32_t dim, uint32_t n, float *ret) {
    const cn_kernels *k = cn_kernels_now();
    float xx[CN_BATCH];
    CN_ASSERT(n <= CN_BATCH);
    if (metric == CN_IP) {
        k->dots(q, rows, dim, n, ret);
    } else if (metric == CN_L2) {
        k->l2s(q, rows, dim, n, ret);
        for (uint32_t i = 0; i < n; i++)
            ret[i] = -ret[i];
    } else {
        k->dot_norms(q, rows, dim, n, ret, xx);
        for (uint32_t i = 0; i < n; i++)
            ret[i] = cosine(ret[i], qq, xx[i]);
    }
}

float cn_norm2(const float *q, uint32_t dim) {
    float xx;
    cn_kernels_now()->dots(q, &q, dim, 1, &xx);
    return xx;
}

float cn_score(cn_metric metric, const float *q, const float *x, uint32_t dim) {
    float ret;
    cn_scores(metric, q, cn_norm2(q, dim), &x, dim, 1, &ret);
    return ret;
}
