#define OPS_NAME "avx2"
#define OPS_TABLE cn_bert_ops_avx2
#define OPS_WIDTH 8
#define OPS_FMA 1
#define OPS_PACKED true
#define TILE_ROWS 4
#define TILE_BLOCKS 1
#include "ingest/embed/bert_ops_body.h"
#include "ingest/embed/bert_tile_body.h"

OPS_DEFINE
