#define OPS_NAME "scalar"
#define OPS_TABLE cn_bert_ops_base
#define OPS_WIDTH 4
#define OPS_FMA 0
#define OPS_PACKED false
#include "ingest/embed/bert_ops_body.h"
#include "engine/base/blas.h"

/* There: cn_bert_ops_get() has asked for it. */
static const cn_blas *library(void) {
    const cn_blas *b = NULL;
    CN_ASSERT(cn_blas_get(&b) == CN_OK);
    return b;
}

/* One call for each block: OpenBLAS's bytes depend on a product's shape and on a token's place in it. */
static void dense(const cn_bert_dense *d, const float *x, uint32_t blocks, float *out) {
    const cn_blas *blas = library();
    for (uint32_t b = 0; b < blocks; b++, x += (size_t)d->k * LANES, out += (size_t)d->n * LANES) {
        for (uint32_t r = 0; r < d->n; r++)
            for (uint32_t i = 0; i < LANES; i++)
                out[r * LANES + i] = d->bias[r];
        blas->sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)d->n, LANES, (int)d->k, 1.0f, d->w, (int)d->k, x, LANES, 1.0f, out, LANES);
    }
}

static void scores(const float *query, const float *key, size_t stride, uint32_t d, uint32_t n, float *out) {
    uint32_t blocks = BLOCKS(n);
    for (uint32_t q = 0; q < blocks; q++)
        for (uint32_t b = 0; b < blocks; b++, out += LANES * LANES)
            library()->sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, LANES, LANES, (int)d, 1.0f, key + b * stride, LANES, query + q * stride, LANES, 0.0f, out, LANES);
}

static void context(const float *value, size_t stride, const float *s, uint32_t d, uint32_t n, float *out, size_t out_stride) {
    uint32_t blocks = BLOCKS(n);
    for (uint32_t q = 0; q < blocks; q++)
        for (uint32_t b = 0; b < blocks; b++, s += LANES * LANES) {
            int keys = (int)(n - b * LANES < LANES ? n - b * LANES : LANES);
            library()->sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)d, LANES, keys, 1.0f, value + b * stride, LANES, s, LANES, b ? 1.0f : 0.0f, out + q * out_stride, LANES);
        }
}

OPS_DEFINE
