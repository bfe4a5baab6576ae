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

/* 32 components at once, without a branch, so that the compiler uses wide registers: all finite? */
static bool sound_block(const float *x, bool *io_any) {
    uint32_t bits[32], worst = 0, any = 0;
    memcpy(bits, x, sizeof bits);
    for (int i = 0; i < 32; i++) {
        uint32_t size = bits[i] & 0x7fffffffu;
        worst = size > worst ? size : worst;
        any |= size;
    }
    *io_any |= any != 0;
    return worst < 0x7f800000u;
}

cn_err cn_vec_check(const float *x, uint32_t dim, cn_metric metric) {
    bool any = false;
    for (uint32_t i = 0; i < dim; i++) {
        if (i % 32 == 0 && i + 32 <= dim && sound_block(x + i, &any)) {
            i += 31;
            continue;
        }
        if (!isfinite(x[i]))
            return cn_fail(CN_INVALID, "component %u of the vector is %s", i, isnan(x[i]) ? "not a number" : "infinite");
        any |= x[i] != 0.0f;
    }
    return any || metric != CN_COSINE ? CN_OK : cn_fail(CN_INVALID, "the vector is all zero, which has no direction for cosine");
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
