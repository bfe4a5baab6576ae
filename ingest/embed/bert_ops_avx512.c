#define OPS_NAME "avx512"
#define OPS_TABLE cn_bert_ops_avx512
#define OPS_WIDTH 16
#define OPS_FMA 1
#define OPS_PACKED true
#define TILE_ROWS 8
#define TILE_BLOCKS 3
#include "ingest/embed/bert_ops_body.h"
#include "ingest/embed/bert_tile_body.h"

OPS_DEFINE
