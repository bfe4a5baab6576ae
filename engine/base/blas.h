/* blas.h -- OpenBLAS, opened at run time at one thread and with the kernels of this processor's instruction set.
 *
 * It is opened and not linked, for OpenBLAS chooses its kernels while it is loaded, by lists of processor models: Debian
 * 12's 0.3.21 takes processors newer than itself for a Prescott of 2004 and runs at a quarter of their speed. Opened late,
 * it can be told by OPENBLAS_CORETYPE which to take; one set by the user wins. All processors with AVX-512 so use the same
 * kernels and give the same vectors.
 * Owns:    the library, open until the process ends.
 * Thread:  any.
 * Limits:  none. */
#pragma once
#include <cblas.h>
#include <stddef.h>

#include "engine/base/error.h"

typedef struct cn_blas {
    __typeof__(cblas_sgemm) *sgemm;
    /* The same as Fortran has it. */
    void (*sgemm_f)(const char *ta, const char *tb, const int *m, const int *n, const int *k, const float *alpha, const float *a, const int *lda, const float *b,
                    const int *ldb, const float *beta, float *c, const int *ldc);
    /* LAPACK's, as Fortran has it (with the lengths of its texts at the end); NULL where OpenBLAS was built without. */
    void (*ssyev)(const char *jobz, const char *uplo, const int *n, float *a, const int *lda, float *w, float *work, const int *lwork, int *info, size_t, size_t);
    const char *core, *config; /* "SkylakeX"; "OpenBLAS 0.3.21 ..." */
} cn_blas;

/* The same for all callers. CN_UNAVAILABLE when the library cannot be loaded. */
cn_err cn_blas_get(const cn_blas **ret);
