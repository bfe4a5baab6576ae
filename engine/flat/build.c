/* A segment's vectors to their codes, chunk by chunk; a chunk's blocks are shared out among threads. */
#include <math.h>
#include <pthread.h>
#include <string.h>

#include "engine/base/mem.h"
#include "engine/base/spread.h"
#include "engine/flat/inside.h"

#define SHARE (8u * CN_FASTSCAN_ROWS) /* whole blocks: two threads never write to one */

/* What is known of rows: the same whatever their order. */
typedef struct extremes {
    float norm;                /* of the longest row, with the mean */
    bool odd;                  /* a row with which floats cannot be trusted */
} extremes;

typedef struct build {
    const cn_vecs *v;
    const cn_space *space;
    const cn_rotation *rotation;
    const cn_flat_head *head;
    uint32_t first, rows;      /* of the chunk */
    uint32_t room;             /* rows, rounded up to whole blocks */
    uint8_t *bits, *int8;
    float *factors, *spread;
    const float *mean;         /* the space's, rotated; NULL: none */
    float mean_norm;
    pthread_mutex_t lock;      /* of what follows */
    extremes all;
} build;

/* Longer or shorter ones overflow, or vanish, when they are squared. */
static bool trusted(const cn_code *c, float norm) {
    return isfinite(c->add) && isfinite(c->factor) && isfinite(c->miss) && isfinite(c->size) && norm <= CN_NORM_MAX;
}

/* inside.h's `add`, from the row in the codes' space: a rotation changes neither lengths nor angles. */
static float add_of(const build *b, const float *r) {
    float ret;
    const float *with = b->space->metric == CN_L2 ? r : b->mean;
    if (!with)
        return 0;
    cn_kernels_now()->dots(r, &with, b->head->padded, 1, &ret);
    return b->space->metric == CN_L2 ? -ret : ret;
}

static void encode_row(build *b, uint32_t row, float *r, float *room, uint8_t *bits, extremes *io) {
    uint32_t padded = b->head->padded;
    const float *x = cn_vec(b->v, b->first + row);
    float norm = cn_into_space(b->space, b->rotation, x, r);
    float add = add_of(b, r);
    cn_code c = cn_encode(r, padded, b->head->planes, room, bits, b->int8 + (size_t)row * padded);
    c.add = add;
    float whole = (b->space->metric == CN_COSINE ? 1 : norm) + b->mean_norm;
    io->norm = cn_maxf(io->norm, whole);
    io->odd |= !trusted(&c, whole);
    cn_code_put(b->bits + row / CN_FASTSCAN_ROWS * cn_code_block_bytes(b->head), b->head, row % CN_FASTSCAN_ROWS, bits, &c);
    b->factors[row] = c.scale;
    b->factors[b->room + row] = c.add;
    b->factors[2 * b->room + row] = c.miss;
    b->factors[3 * b->room + row] = c.size;
    b->spread[row] = c.spread;
}

static void add_extremes(extremes *io, const extremes *e) {
    io->norm = cn_maxf(io->norm, e->norm);
    io->odd |= e->odd;
}

static void encode_rows(void *ctx, cn_shares *s) {
    build *b = ctx;
    float r[CN_PADDED_MAX], room[CN_PADDED_MAX];
    uint8_t bits[CN_PADDED_MAX];
    extremes own = {0};
    for (uint32_t row, to; cn_shares_next(s, &row, &to);)
        for (; row < to; row++)
            encode_row(b, row, r, room, bits, &own);
    pthread_mutex_lock(&b->lock);
    add_extremes(&b->all, &own);
    pthread_mutex_unlock(&b->lock);
}

/* Sums of the spreads in row order, so that their mean does not depend on the threads. */
typedef struct spreads {
    double sum, squares;
    uint32_t n;
} spreads;

static void add_spreads(spreads *s, const float *v, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        s->sum += (double)v[i];
        s->squares += (double)v[i] * (double)v[i];
    }
    s->n += n;
}

/* Over nearly every row's own spread: the mean and four deviations. */
static float spread_of(const spreads *s) {
    double mean = s->n ? s->sum / s->n : 0, var = s->n ? s->squares / s->n - mean * mean : 0;
    return (float)(mean + 4 * sqrt(var > 0 ? var : 0));
}

static cn_err put_chunk(build *b, uint32_t chunk, cn_put_array *put, void *ctx) {
    CN_TRY(put(ctx, CN_FLAT_ARRAY_BITS, chunk, b->bits, b->room / CN_FASTSCAN_ROWS * cn_code_block_bytes(b->head)));
    CN_TRY(put(ctx, CN_FLAT_ARRAY_INT8, chunk, b->int8, (size_t)b->room * b->head->padded));
    return put(ctx, CN_FLAT_ARRAY_FACTORS, chunk, b->factors, (size_t)b->room * 4 * sizeof(float));
}

static cn_err build_chunks(build *b, unsigned threads, spreads *s, cn_put_array *put, void *ctx) {
    for (uint32_t c = 0; c * (uint64_t)CN_CHUNK_ROWS < b->v->n; c++) {
        b->first = c * CN_CHUNK_ROWS;
        b->rows = b->v->n - b->first < CN_CHUNK_ROWS ? b->v->n - b->first : CN_CHUNK_ROWS;
        b->room = (b->rows + CN_FASTSCAN_ROWS - 1) / CN_FASTSCAN_ROWS * CN_FASTSCAN_ROWS;
        memset(b->bits, 0, b->room / CN_FASTSCAN_ROWS * cn_code_block_bytes(b->head));
        memset(b->int8, 0, (size_t)b->room * b->head->padded);
        memset(b->factors, 0, (size_t)b->room * 4 * sizeof(float));
        cn_spread(threads, b->rows, SHARE, encode_rows, b);
        add_spreads(s, b->spread, b->rows);
        CN_TRY(put_chunk(b, c, put, ctx));
    }
    return CN_OK;
}

static cn_err build_all(const cn_vecs *v, const cn_space *space, const cn_rotation *rot, cn_flat_head *h, unsigned threads,
                        cn_put_array *put, void *ctx) {
    uint32_t room = v->n < CN_CHUNK_ROWS ? (v->n + CN_FASTSCAN_ROWS - 1) / CN_FASTSCAN_ROWS * CN_FASTSCAN_ROWS : CN_CHUNK_ROWS;
    CN_AUTO_FREE uint8_t *bits = cn_alloc(room / CN_FASTSCAN_ROWS * cn_code_block_bytes(h) + 1);
    CN_AUTO_FREE uint8_t *int8 = cn_alloc((size_t)room * h->padded + 1);
    CN_AUTO_FREE float *factors = cn_alloc(((size_t)room * 4 + 1) * sizeof *factors);
    CN_AUTO_FREE float *spread = cn_alloc((room + 1) * sizeof *spread);
    CN_AUTO_FREE float *mean = cn_calloc(h->padded, sizeof *mean);
    if (!bits || !int8 || !factors || !spread || !mean)
        return cn_fail_memory();
    build b = {.v = v, .space = space, .rotation = rot, .head = h, .bits = bits, .int8 = int8, .factors = factors, .spread = spread,
               .lock = PTHREAD_MUTEX_INITIALIZER};
    if (space->mean) {
        memcpy(mean, space->mean, space->dim * sizeof *mean);
        cn_rotate(rot, mean);
        b.mean = mean;
    }
    b.mean_norm = space->mean ? sqrtf(cn_norm2(space->mean, space->dim)) : 0;
    spreads s = {0};
    CN_TRY(build_chunks(&b, threads, &s, put, ctx));
    h->norm = cn_maxf(h->norm, b.all.norm);
    h->spread = spread_of(&s);
    if (b.all.odd || !isfinite(h->norm) || !isfinite(h->spread)) {
        h->planes = 0;
        h->norm = h->spread = 0;
    }
    return put(ctx, CN_FLAT_ARRAY_HEAD, 0, h, sizeof *h);
}

cn_err cn_flat_build(const cn_vecs *v, const cn_space *space, unsigned threads, cn_put_array *put, void *ctx) {
    cn_rotation rot;
    cn_flat_head h = {"cnflat02", v->dim, cn_padded(v->dim), cn_planes_for(v->dim), v->n, 0, 0, {0}};
    CN_ASSERT(v->dim == space->dim && v->dim >= 1 && v->dim <= CN_DIM_MAX && threads >= 1);
    CN_TRY(cn_rotation_init(&rot, v->dim, space->seed));
    cn_err e = build_all(v, space, &rot, &h, threads, put, ctx);
    cn_rotation_done(&rot);
    return e;
}
