#include "ingest/embed/bert_ops.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

const cn_bert_ops *cn_bert_ops_get(void) {
#if defined(__x86_64__)
    const char *most = getenv("CAIRN_ISA");
    bool any = !most || !*most, wide = any || strcmp(most, "avx512") == 0;
    if (wide && __builtin_cpu_supports("avx512f"))
        return &cn_bert_ops_avx512;
    if ((wide || strcmp(most, "avx2") == 0) && __builtin_cpu_supports("avx2"))
        return &cn_bert_ops_avx2;
#endif
    return &cn_bert_ops_base;
}
