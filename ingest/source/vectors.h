/* vectors.h -- rows of ready vectors: .npy (format 1 to 3, f2, f4 or f8 of either byte order, C order), .fvecs, .fbin.
 *
 *   .fvecs  each row: i32 dimension, then that many f4          .fbin  u32 rows, u32 dimension, then f4
 * Owns:    nothing; it reads from the input given.
 * Thread:  one at a time.
 * Limits:  dimension 1 to CN_DIM_MAX. */
#pragma once
#include "ingest/parse/parse.h"
#include "ingest/source/input.h"

typedef struct cn_vector_file {
    cn_input *in;
    cn_format format;
    uint64_t n, row;   /* rows in all (fvecs: unknown, 0), rows given */
    uint32_t dim;
    uint32_t width;    /* bytes a number: 2, 4, 8 */
    bool swapped;      /* big-endian */
} cn_vector_file;

cn_err cn_vectors_begin(cn_input *in, cn_format format, cn_vector_file *ret);
/* The next row, copied into the arena. CN_END at the end. */
cn_err cn_vectors_next(cn_vector_file *v, cn_arena *a, const float **ret, uint32_t *ret_dim);
