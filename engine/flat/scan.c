/* The three scans: every permitted row as it is; few-bit codes first; and int8 bounds that prove what may be left out. */
#include <math.h>

#include "engine/base/mem.h"
#include "engine/flat/inside.h"

#define DEVIATIONS 3.0f   /* of the few-bit estimate that a row is given the benefit of: a rare miss is in the far tail */
#define FEW_ROWS 1024u    /* permitted rows up to which codes do not pay, */
#define FEW_SHARE 64u     /* or one row in so many: few blocks of 32 can be passed over */
#define STOP_WORDS 64u    /* words of the bitmap between two looks at the clock */

static cn_err make_room(cn_scratch *s) {
    if (!s->lut) {
        s->p = s->p ? s->p : cn_alloc(CN_PADDED_MAX * sizeof *s->p);
        s->p8 = s->p8 ? s->p8 : cn_alloc(CN_PADDED_MAX);
        s->lut = s->p && s->p8 ? cn_alloc(4 * CN_PADDED_MAX) : NULL;
        if (!s->lut)
            return cn_fail_memory();
    }
    return CN_OK;
}

static cn_err stopped(const cn_scan *q, uint32_t word) {
    if (q->stop && word % STOP_WORDS == 0 && q->stop(q->stop_ctx))
        return cn_fail(CN_DEADLINE, "the search ran out of time");
    return CN_OK;
}

static uint32_t words_of(const cn_flat *f) { return f->v.n / 64 + (f->v.n % 64 != 0); }

/* ---------- rows as they are ---------- */

static void score_waiting(const cn_flat *f, const cn_scan *q, cn_scratch *s) {
    float score[CN_BATCH];
    cn_scores(f->space.metric, q->query, s->qq, s->at, f->v.dim, s->n, score);
    for (uint32_t i = 0; i < s->n; i++)
        cn_top_offer(&s->top, (cn_scored){score[i], s->row[i]});
    s->n = 0;
}

static void wait_row(const cn_flat *f, const cn_scan *q, cn_scratch *s, uint32_t row) {
    s->row[s->n] = row;
    s->at[s->n++] = cn_vec(&f->v, row);
    if (s->n == CN_BATCH)
        score_waiting(f, q, s);
}

static cn_err scan_rows(const cn_flat *f, const cn_scan *q, cn_scratch *s) {
    for (uint32_t w = 0; w < words_of(f); w++) {
        CN_TRY(stopped(q, w));
        for (uint64_t bits = q->permitted[w]; bits; bits &= bits - 1)
            wait_row(f, q, s, w * 64 + (uint32_t)__builtin_ctzll(bits));
    }
    score_waiting(f, q, s);
    return CN_OK;
}

/* ---------- few bits first ---------- */

static cn_err scan_bits(const cn_flat *f, const cn_scan *q, cn_scratch *s) {
    const cn_kernels *k = cn_kernels_now();
    size_t block = cn_code_block_bytes(&f->head);
    /* factor x (<p, u> + doubt): the estimate and DEVIATIONS of its spread above it */
    float line[2] = {s->lut_scale, s->lut_shift + DEVIATIONS * s->p_norm * f->head.spread}, est[CN_FASTSCAN_ROWS];
    for (uint32_t w = 0; w < words_of(f); w++) {
        CN_TRY(stopped(q, w));
        const cn_flat_chunk *c = &f->chunk[w * 64 / CN_CHUNK_ROWS];
        const uint8_t *at = c->bits + w * 64 % CN_CHUNK_ROWS / CN_FASTSCAN_ROWS * block;
        for (uint32_t half = 0; half < 2; half++) {
            uint32_t may = (uint32_t)(q->permitted[w] >> (32 * half));
            if (!may)
                continue;
            may &= k->fastscan(s->lut, at + half * block, f->head.padded, f->head.planes, line, cn_top_bar(&s->top) - s->base, est);
            for (; may; may &= may - 1)
                wait_row(f, q, s, w * 64 + 32 * half + (uint32_t)__builtin_ctz(may));
        }
    }
    score_waiting(f, q, s);
    return CN_OK;
}

/* ---------- int8 bounds ---------- */

cn_bound cn_bound_of(const cn_flat *f, const cn_scratch *s) {
    float q = f->space.metric == CN_COSINE ? 1 : sqrtf(s->qq), both = f->head.norm + q + f->mean_norm;
    return (cn_bound){s->base + CN_ROUNDING * both * both, s->p_scale, s->p_norm, s->p_miss, 128 * s->p8_sum};
}

/* Of the rows of one word, those that may still be among the best; `rows` are their places in the chunk. */
static uint32_t keep_bounded(const cn_flat_chunk *c, const cn_bound *b, const int32_t *dots, float bar, uint32_t n, uint32_t *rows) {
    uint32_t kept = 0;
    for (uint32_t j = 0; j < n; j++) {
        uint32_t i = rows[j];
        rows[kept] = i;
        kept += !(cn_bound_most(b, c, i, dots[j]) < bar);
    }
    return kept;
}

static void scan_word(const cn_flat *f, const cn_scan *q, cn_scratch *s, uint32_t w, const cn_bound *b, float bar) {
    const cn_flat_chunk *c = &f->chunk[w * 64 / CN_CHUNK_ROWS];
    const uint8_t *at[64];
    uint32_t rows[64], n = 0, first = w * 64 % CN_CHUNK_ROWS;
    int32_t dots[64];
    for (uint64_t bits = q->permitted[w]; bits; bits &= bits - 1, n++) {
        rows[n] = first + (uint32_t)__builtin_ctzll(bits);
        at[n] = c->int8 + (size_t)rows[n] * f->head.padded;
    }
    cn_kernels_now()->u8dots(s->p8, at, f->head.padded, n, dots);
    n = keep_bounded(c, b, dots, cn_maxf(bar, cn_top_bar(&s->top)), n, rows);
    for (uint32_t j = 0; j < n; j++)
        wait_row(f, q, s, w * 64 - first + rows[j]);
}

/* bar: a score that k permitted rows are known to reach. */
static cn_err scan_bounded(const cn_flat *f, const cn_scan *q, cn_scratch *s, float bar) {
    cn_bound b = cn_bound_of(f, s);
    for (uint32_t w = 0; w < words_of(f); w++) {
        CN_TRY(stopped(q, w));
        if (q->permitted[w])
            scan_word(f, q, s, w, &b, bar);
    }
    score_waiting(f, q, s);
    return CN_OK;
}

/* ---------- the two searches ---------- */

bool cn_scan_codes(const cn_flat *f, const cn_scan *q) {
    return f->rotation.signs && q->n_permitted > FEW_ROWS && q->n_permitted > f->v.n / FEW_SHARE && q->k < q->n_permitted / 4;
}

cn_err cn_scan_begin(const cn_flat *f, const cn_scan *q, cn_scratch *s, bool *ret_coded) {
    CN_ASSERT(q->k >= 1 && q->k <= CN_K_MAX && q->permitted);
    CN_TRY(make_room(s));
    CN_TRY(cn_top_begin(&s->top, q->k, q->rank));
    s->n = 0;
    s->qq = cn_norm2(q->query, f->v.dim);
    *ret_coded = cn_scan_codes(f, q) && s->qq < CN_NORM_MAX * CN_NORM_MAX;
    if (*ret_coded)
        cn_query_prepare(f, q->query, s);
    return CN_OK;
}

cn_err cn_flat_staged(const cn_flat *f, const cn_scan *q, cn_scratch *s, cn_scored *hits, uint32_t *ret_n) {
    bool coded;
    CN_TRY(cn_scan_begin(f, q, s, &coded));
    CN_TRY(coded ? scan_bits(f, q, s) : scan_rows(f, q, s));
    cn_top_take(&s->top, hits, ret_n);
    return CN_OK;
}

/* The few bits give a bar that k rows are known to reach; the bounds then prove which rows cannot. */
cn_err cn_flat_exact(const cn_flat *f, const cn_scan *q, cn_scratch *s, cn_scored *hits, uint32_t *ret_n) {
    bool coded;
    CN_TRY(cn_scan_begin(f, q, s, &coded));
    if (coded) {
        CN_TRY(scan_bits(f, q, s));
        float bar = cn_top_bar(&s->top);
        cn_top_empty(&s->top);
        CN_TRY(scan_bounded(f, q, s, bar));
    } else {
        CN_TRY(scan_rows(f, q, s));
    }
    cn_top_take(&s->top, hits, ret_n);
    return CN_OK;
}
