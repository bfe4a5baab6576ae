#include "ingest/embed/bert_int8.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)
static bool asked(const char *isa) {
    const char *most = getenv("CAIRN_ISA");
    return !most || !*most || strcmp(most, isa) == 0;
}

static void choose(const cn_bert_int8 **ret, const cn_bert_ops **ret_ops) {
    __builtin_cpu_init();
    bool fma = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    if (fma && asked("avx512") && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vnni")) {
        *ret = &cn_bert_int8_avx512;
        *ret_ops = &cn_bert_ops_avx512;
    } else if (fma && (asked("avx512") || asked("avx2"))) {
        *ret = &cn_bert_int8_avx2;
        *ret_ops = &cn_bert_ops_avx2;
    }
}
#else
static void choose(const cn_bert_int8 **ret, const cn_bert_ops **ret_ops) { (void)ret, (void)ret_ops; }
#endif

void cn_bert_int8_get(const cn_bert_int8 **ret, const cn_bert_ops **ret_ops) {
    *ret = &cn_bert_int8_plain;
    *ret_ops = &cn_bert_ops_plain;
    choose(ret, ret_ops);
}

static bool is_large(const float *peaks, uint32_t k, uint32_t large, uint32_t at) {
    uint32_t before = 0;
    for (uint32_t i = 0; i < k; i++)
        before += peaks[i] > peaks[at] || (i < at && !(peaks[i] < peaks[at]));
    return before < large;
}

void cn_bert_int8_order(const float *peaks, cn_bert_dense8 *d) {
    uint32_t first = 0, rest = d->large;
    for (uint32_t i = 0; i < d->k; i++)
        d->order[is_large(peaks, d->k, d->large, i) ? first++ : rest++] = i;
}

/* Value i of a group of `per` in one word: 8, 16 or 32 bits of it. */
static uint32_t placed(int32_t v, uint32_t per, uint32_t i) {
    uint32_t bits = 32 / per, mask = per == 1 ? ~0u : (1u << bits) - 1;
    return ((uint32_t)v & mask) << (i * bits);
}

/* Inputs [from, to) of a row, in their order. */
static void pack_part(const cn_bert_int8 *ops, const float *w, uint32_t row, uint32_t from, uint32_t to, uint32_t part, cn_bert_dense8 *d) {
    uint32_t *panel = d->w + (size_t)(row / CN_PANEL) * CN_PANEL * cn_int8_groups(ops, d->k);
    float most = 0;
    for (uint32_t i = from; i < to; i++)
        most = fabsf(w[d->order[i]]) > most ? fabsf(w[d->order[i]]) : most;
    float inverse = most > 0 ? 127.0f / most : 0;
    d->scale[part][row] = most / 127.0f;
    d->sum[part][row] = 0;
    for (uint32_t i = from; i < to; i++) {
        int32_t v = (int32_t)lrintf(w[d->order[i]] * inverse);
        d->sum[part][row] += v;
        panel[(size_t)(i / ops->per) * CN_PANEL + row % CN_PANEL] |= placed(v, ops->per, i % ops->per);
    }
}

void cn_bert_int8_pack(const cn_bert_int8 *ops, const float *w, const float *bias, uint32_t rows, uint32_t at, cn_bert_dense8 *d) {
    for (uint32_t r = 0; r < rows; r++, w += d->k) {
        pack_part(ops, w, at + r, 0, d->large, 0, d);
        pack_part(ops, w, at + r, d->large, d->k, 1, d);
        d->bias[at + r] = bias[r];
    }
}
