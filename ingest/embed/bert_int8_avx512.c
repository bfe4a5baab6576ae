#define INT8_NAME "avx512"
#define INT8_TABLE cn_bert_int8_avx512
#define INT8_PER 4
#define OPS_WIDTH 16
#define OPS_FMA 1
#define TILE_ROWS 8
#define TILE_BLOCKS 3
#include <immintrin.h>

#include "ingest/embed/bert_vec.h"

INLINE ivec dot(ivec sums, ivec inputs, ivec weights) { return (ivec)_mm512_dpbusd_epi32((__m512i)sums, (__m512i)inputs, (__m512i)weights); }

#include "ingest/embed/bert_int8_body.h"
