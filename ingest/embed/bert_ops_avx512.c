#define OPS_NAME "avx512"
#define OPS_TABLE cn_bert_ops_avx512
#include "ingest/embed/bert_ops_body.h"
