/* arrays.h -- what programs that measure an index need beside it: vectors of an .npy file, derived arrays kept in memory, and
 * answers in a file. All of them end the process with a message when something fails. */
#pragma once
#include "engine/flat/flat.h"

_Noreturn void die(const char *what); /* with the last error's text */
void *must(void *p);                  /* p, unless it is NULL */

typedef struct matrix {
    const float *v;
    uint32_t rows, dim;
} matrix;
matrix matrix_load(const char *path);  /* float32, C order */
cn_vecs matrix_vecs(const matrix *m);
void matrix_save(const uint32_t *v, size_t n, const char *path);

#define ARRAYS 5u
#define ARRAY_BLOCKS 4096u
typedef struct arrays {
    void *p[ARRAYS][ARRAY_BLOCKS];
    size_t n[ARRAYS][ARRAY_BLOCKS], total;
} arrays;
cn_err arrays_put(void *ctx, uint32_t array, uint32_t block, const void *bytes, size_t n);
cn_err arrays_get(void *ctx, uint32_t array, uint32_t block, const void **ret, size_t *ret_n);
