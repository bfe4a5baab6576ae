/* components.h -- principal components of vectors (Pearson 1901), by OpenBLAS and its LAPACK.
 *
 * Owns:    cn_components its arrays.
 * Thread:  any.
 * Limits:  CN_MODEL_HIDDEN_MAX dimensions. */
#pragma once
#include "engine/base/error.h"
#include "ingest/embed/model.h"

typedef struct cn_components {
    uint32_t from, to; /* dimensions of what is projected, and of what comes out */
    float *axes;       /* [to][from], length 1, those of the largest variance first */
    float *variance;   /* [to] */
} cn_components;

/* Of v[n][dim], whose mean is 0. */
cn_err cn_components_make(const float *v, uint32_t n, uint32_t dim, uint32_t to, cn_components *ret);
void cn_components_done(cn_components *c);
/* out[n][c->to] */
cn_err cn_components_project(const cn_components *c, const float *v, uint32_t n, float *out);
