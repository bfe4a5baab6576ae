#include "ingest/embed/bert_ops.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/blas.h"

cn_err cn_bert_ops_get(const cn_bert_ops **ret) {
#if defined(__x86_64__)
    const char *most = getenv("CAIRN_ISA");
    bool any = !most || !*most, wide = any || strcmp(most, "avx512") == 0;
    __builtin_cpu_init();
    if (wide && __builtin_cpu_supports("avx512f")) {
        *ret = &cn_bert_ops_avx512;
        return CN_OK;
    }
    if ((wide || strcmp(most, "avx2") == 0) && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        *ret = &cn_bert_ops_avx2;
        return CN_OK;
    }
#endif
    const cn_blas *blas;
    CN_TRY(cn_blas_get(&blas));
    *ret = &cn_bert_ops_base;
    return CN_OK;
}

void cn_bert_ops_text(const cn_bert_ops *ops, char text[256]) {
    const cn_blas *blas;
    if (ops->packed || cn_blas_get(&blas) != CN_OK)
        snprintf(text, 256, "fma/1");
    else
        snprintf(text, 256, "blas/1 %s %s", blas->core, blas->config);
}

/* Rows of one panel. */
static void pack_part(const float *w, uint32_t rows, uint32_t k, uint32_t depth, float *out) {
    for (uint32_t i = 0; i < depth; i++)
        for (uint32_t r = 0; r < rows; r++)
            out[i * CN_PANEL + r] = w[(size_t)r * k + i];
}

/* The layout is that in which dense() reads: for each CN_PANEL_DEPTH of the inputs, for each panel of rows, for each input
 * the weights of the panel's rows. */
void cn_bert_pack(const float *w, uint32_t rows, uint32_t k, uint32_t at, uint32_t n, float *out) {
    size_t height = (size_t)cn_bert_panels(n) * CN_PANEL;
    for (uint32_t p = 0; p < k; p += CN_PANEL_DEPTH) {
        uint32_t depth = k - p < CN_PANEL_DEPTH ? k - p : CN_PANEL_DEPTH;
        for (uint32_t r = 0, many; r < rows; r += many) {
            uint32_t lane = (at + r) % CN_PANEL;
            many = rows - r < CN_PANEL - lane ? rows - r : CN_PANEL - lane;
            pack_part(w + (size_t)r * k + p, many, k, depth, out + height * p + (size_t)(at + r - lane) * depth + lane);
        }
    }
}
