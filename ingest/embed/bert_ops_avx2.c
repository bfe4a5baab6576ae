#define OPS_NAME "avx2"
#define OPS_TABLE cn_bert_ops_avx2
#include "ingest/embed/bert_ops_body.h"
