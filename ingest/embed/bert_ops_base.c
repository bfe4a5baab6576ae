#define OPS_NAME "scalar"
#define OPS_TABLE cn_bert_ops_base
#define OPS_WIDTH 4
#include "ingest/embed/bert_ops_body.h"
