#include "ingest/distill/components.h"

#include <string.h>

#include "engine/base/mem.h"
#include "engine/base/blas.h"

void cn_components_done(cn_components *c) {
    cn_free(c->axes);
    cn_free(c->variance);
    *c = (cn_components){0};
}

/* The sign of an axis is free: its largest number is made positive, so that the same vectors give the same axes. */
static void put_axis(const float *from, uint32_t dim, float *to) {
    uint32_t most = 0;
    for (uint32_t i = 1; i < dim; i++)
        if (__builtin_fabsf(from[i]) > __builtin_fabsf(from[most]))
            most = i;
    for (uint32_t i = 0; i < dim; i++)
        to[i] = from[most] < 0 ? -from[i] : from[i];
}

/* m[dim][dim] to its axes, a row each, by growing variance. */
static cn_err axes_of(const cn_blas *blas, float *m, uint32_t dim, float *variance) {
    int n = (int)dim, room = -1, info = 0;
    float want = 0;
    blas->ssyev("V", "U", &n, m, &n, variance, &want, &room, &info, 1, 1);
    room = (int)want + 1;
    CN_AUTO_FREE float *work = cn_calloc((size_t)room, sizeof *work);
    if (!work)
        return cn_fail_memory();
    blas->ssyev("V", "U", &n, m, &n, variance, work, &room, &info, 1, 1);
    return info == 0 ? CN_OK : cn_fail(CN_INTERNAL, "the principal components were not found (ssyev: %d)", info);
}

static cn_err make(const float *v, uint32_t n, cn_components *c) {
    const cn_blas *blas;
    uint32_t dim = c->from;
    CN_AUTO_FREE float *m = cn_calloc((size_t)dim * dim, sizeof *m);
    CN_AUTO_FREE float *variance = cn_calloc(dim, sizeof *variance);
    c->axes = cn_calloc((size_t)c->to * dim, sizeof *c->axes);
    c->variance = cn_calloc(c->to, sizeof *c->variance);
    if (!m || !variance || !c->axes || !c->variance)
        return cn_fail_memory();
    CN_TRY(cn_blas_get(&blas));
    if (!blas->ssyev)
        return cn_fail(CN_UNAVAILABLE, "this libopenblas.so.0 was built without LAPACK, which distilling needs; install libopenblas0-pthread");
    blas->sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (int)dim, (int)dim, (int)n, 1 / (float)n, v, (int)dim, v, (int)dim, 0, m, (int)dim);
    CN_TRY(axes_of(blas, m, dim, variance));
    for (uint32_t i = 0; i < c->to; i++) {
        put_axis(m + (size_t)(dim - 1 - i) * dim, dim, c->axes + (size_t)i * dim);
        c->variance[i] = variance[dim - 1 - i];
    }
    return CN_OK;
}

cn_err cn_components_make(const float *v, uint32_t n, uint32_t dim, uint32_t to, cn_components *ret) {
    cn_components c = {.from = dim, .to = to};
    CN_ASSERT(n > 0 && to > 0 && to <= dim && dim <= CN_MODEL_HIDDEN_MAX);
    cn_err err = make(v, n, &c);
    if (err == CN_OK)
        *ret = c;
    else
        cn_components_done(&c);
    return err;
}

cn_err cn_components_project(const cn_components *c, const float *v, uint32_t n, float *out) {
    const cn_blas *blas;
    CN_TRY(cn_blas_get(&blas));
    if (n)
        blas->sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)n, (int)c->to, (int)c->from, 1, v, (int)c->from, c->axes, (int)c->from, 0, out, (int)c->to);
    return CN_OK;
}
