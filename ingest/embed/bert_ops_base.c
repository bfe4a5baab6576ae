#define OPS_NAME "scalar"
#define OPS_TABLE cn_bert_ops_base
#include "ingest/embed/bert_ops_body.h"
