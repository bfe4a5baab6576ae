#define INT8_NAME "plain"
#define INT8_TABLE cn_bert_int8_plain
#define INT8_PER 1
#define OPS_WIDTH 4
#define OPS_FMA 2
#define TILE_ROWS 4
#define TILE_BLOCKS 1
#include "ingest/embed/bert_vec.h"

INLINE ivec dot(ivec sums, ivec inputs, ivec weights) { return sums + inputs * weights; }

#include "ingest/embed/bert_int8_body.h"
