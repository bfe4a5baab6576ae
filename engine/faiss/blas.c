/* The one function of BLAS that FAISS needs for the kinds that are made here, by the OpenBLAS that everything else uses: it is opened
 * late and at one thread, which an OpenBLAS that is linked would be beside it. */
#include "engine/base/blas.h"

void sgemm_(const char *ta, const char *tb, const int *m, const int *n, const int *k, const float *alpha, const float *a, const int *lda, const float *b, const int *ldb,
            const float *beta, float *c, const int *ldc);

void sgemm_(const char *ta, const char *tb, const int *m, const int *n, const int *k, const float *alpha, const float *a, const int *lda, const float *b, const int *ldb,
            const float *beta, float *c, const int *ldc) {
    const cn_blas *blas = NULL;
    CN_ASSERT(cn_blas_get(&blas) == CN_OK); /* whoever trains has looked */
    blas->sgemm_f(ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}
