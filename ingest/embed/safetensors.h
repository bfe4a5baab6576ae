/* safetensors.h -- a reader for safetensors files (huggingface/safetensors, format 0.x).
 *
 *   | bytes        | what                                                                            |
 *   | 0..7         | N, length of the header, u64 little-endian, at most CN_ST_HEADER_MAX            |
 *   | 8..8+N-1     | JSON: {"name": {"dtype", "shape", "data_offsets": [from, to]}, "__metadata__"}   |
 *   | 8+N..        | data; offsets count from here, leave no gap and end with the file               |
 * Owns:    cn_safetensors its table; names and data are borrowed from the file's bytes and the JSON tree it holds.
 * Thread:  reading: any.
 * Limits:  CN_ST_HEADER_MAX, CN_ST_TENSORS_MAX, CN_ST_DIMS dimensions. */
#pragma once
#include "engine/base/error.h"
#include "engine/base/str.h"

#define CN_ST_HEADER_MAX 100000000u
#define CN_ST_TENSORS_MAX 100000u
#define CN_ST_DIMS 8

typedef enum cn_st_type { CN_ST_OTHER, CN_ST_F32, CN_ST_F16, CN_ST_BF16 } cn_st_type;
typedef struct cn_tensor {
    cn_str name;
    cn_st_type type;
    uint32_t dims;
    uint64_t shape[CN_ST_DIMS];
    uint64_t from, to; /* bytes of the data */
} cn_tensor;
typedef struct cn_safetensors {
    cn_tensor *v;      /* sorted by name */
    uint32_t n;
    const uint8_t *data;
    void *json;
} cn_safetensors;

/* Checks the whole header against the file's bytes; CN_INVALID names the tensor and what is wrong with it. */
cn_err cn_safetensors_parse(cn_str file, cn_safetensors *ret);
void cn_safetensors_done(cn_safetensors *s);
const cn_tensor *cn_safetensors_find(const cn_safetensors *s, cn_str name); /* NULL: none */
/* n floats from element `at` of a tensor of type F32, F16 or BF16. */
void cn_safetensors_read(const cn_safetensors *s, const cn_tensor *t, uint64_t at, uint64_t n, float *out);
