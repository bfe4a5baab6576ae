#define INT8_NAME "avx2"
#define INT8_TABLE cn_bert_int8_avx2
#define INT8_PER 2
#define OPS_WIDTH 8
#define OPS_FMA 1
#define TILE_ROWS 4
#define TILE_BLOCKS 1
#include <immintrin.h>

#include "ingest/embed/bert_vec.h"

INLINE ivec dot(ivec sums, ivec inputs, ivec weights) { return sums + (ivec)_mm256_madd_epi16((__m256i)inputs, (__m256i)weights); }

#include "ingest/embed/bert_int8_body.h"
