/* A query over the cells: rank, read while they promise, int8 bounds, float scores. */

#include "engine/base/mem.h"
#include "engine/cells/inside.h"

#define STOP_CELLS 16u    /* cells between two looks at the clock */
#define SCORED_TOGETHER 16u
#define DEEPER 4u         /* times the depth before */

/* ---------- cells in the order of what they promise ---------- */

static cn_err make_room(const cn_cells *c, uint32_t depth, cn_cells_scratch *s) {
    uint32_t groups = (c->head.cells + CN_CELLS_GROUP - 1) / CN_CELLS_GROUP;
    if (groups > s->room_groups) {
        size_t cells = (size_t)groups * CN_CELLS_GROUP;
        if (!cn_resize(s->sum, cells) || !cn_resize(s->dot, cells) || !cn_resize(s->most, cells) || !cn_resize(s->peak, groups))
            return cn_fail_memory();
        s->room_groups = groups;
    }
    if (depth > s->room_found) {
        if (!cn_resize(s->found, depth))
            return cn_fail_memory();
        s->room_found = depth;
    }
    s->n_groups = groups;
    return cn_top_begin(&s->best, depth, NULL);
}

#define LANES 8u
static float peak_of(const float *most) {
    float m[LANES];
    memcpy(m, most, sizeof m);
    for (uint32_t i = LANES; i < CN_CELLS_GROUP; i += LANES)
        for (uint32_t j = 0; j < LANES; j++)
            m[j] = cn_maxf(m[j], most[i + j]);
    for (uint32_t j = 1; j < LANES; j++)
        m[0] = cn_maxf(m[0], m[j]);
    return m[0];
}

cn_err cn_cells_rank(const cn_cells *c, const cn_scratch *flat, uint32_t depth, cn_cells_scratch *s) {
    uint32_t n = c->head.cells;
    CN_TRY(make_room(c, depth, s));
    s->over = s->may = 0;
    cn_kernels_now()->u8dots(flat->p8, c->at_round, c->head.padded, n, s->sum);
    for (uint32_t i = 0; i < n; i++) {
        s->dot[i] = flat->p_scale * c->round_scale[i] * (float)(s->sum[i] - 128 * flat->p8_sum);
        s->most[i] = c->cell[i].add + s->dot[i] + 2 * flat->p_norm * c->cell[i].spread;
    }
    for (uint32_t i = n; i < s->n_groups * CN_CELLS_GROUP; i++)
        s->most[i] = -INFINITY;
    for (uint32_t g = 0; g < s->n_groups; g++)
        s->peak[g] = peak_of(s->most + g * CN_CELLS_GROUP);
    return CN_OK;
}

bool cn_cells_next(cn_cells_scratch *s, cn_promise *ret) {
    uint32_t g = 0, i = 0;
    for (uint32_t j = 1; j < s->n_groups; j++)
        if (s->peak[j] > s->peak[g])
            g = j;
    float *most = s->most + g * CN_CELLS_GROUP, peak = s->peak[g];
    if (!(peak > -INFINITY))
        return false;
    while (most[i] != peak)
        i++;
    *ret = (cn_promise){peak, g * CN_CELLS_GROUP + i};
    most[i] = -INFINITY;
    s->peak[g] = peak_of(most);
    return true;
}

/* ---------- reading ---------- */

static bool may(const uint64_t *permitted, uint32_t row) { return permitted[row / 64] >> (row % 64) & 1; }

/* A block of the cell that is read next, on its way while one of this cell is scanned: where that begins in memory nothing foresees. */
static void fetch_block(const cn_cells *c, const cn_cell *ahead, uint32_t i) {
    if (!ahead || i >= cn_cell_blocks(ahead))
        return;
    const uint8_t *block = cn_cells_block(c, ahead->block + i);
    for (size_t at = 0; at < cn_code_block_bytes(&c->flat->head); at += 64)
        __builtin_prefetch(block + at, 0, 2);
}

void cn_cells_read(const cn_cells *c, const uint64_t *permitted, const cn_scratch *flat, uint32_t cell, const cn_cell *ahead, cn_cells_scratch *s) {
    const cn_kernels *k = cn_kernels_now();
    const cn_cell *in = &c->cell[cell];
    const cn_flat_head *h = &c->flat->head;
    float line[2] = {flat->lut_scale, flat->lut_shift}, est[CN_FASTSCAN_ROWS], dot = s->dot[cell];
    for (uint32_t i = 0; i < cn_cell_blocks(in); i++) {
        uint32_t block = in->block + i, left = in->rows - i * CN_FASTSCAN_ROWS;
        const uint32_t *rows = c->rows + (size_t)block * CN_FASTSCAN_ROWS;
        __builtin_prefetch(rows);
        __builtin_prefetch(rows + CN_FASTSCAN_ROWS / 2);
        fetch_block(c, ahead, i);
        uint32_t over = k->fastscan(flat->lut, cn_cells_block(c, block), h->padded, h->planes, line, cn_top_bar(&s->best) - dot, est);
        if (left < CN_FASTSCAN_ROWS)
            over &= (1u << left) - 1;
        for (; over; over &= over - 1, s->over++) {
            uint32_t at = (uint32_t)__builtin_ctz(over);
            if (may(permitted, rows[at])) {
                cn_top_offer(&s->best, (cn_scored){est[at] + dot, block * CN_FASTSCAN_ROWS + at});
                s->may++;
            }
        }
    }
}

/* At least so many deviations of its rows beyond what it promises: a query whose neighbours are forbidden finds the best of the
 * rest at the edges of cells, where none of those lay that reach was measured with. */
#define EDGE 1.0f
static bool may_hold(const cn_cells *c, const cn_aim *aim, const cn_scratch *flat, const cn_promise *at, float bar) {
    return !(at->most + flat->p_norm * cn_maxf(aim->reach, EDGE * c->cell[at->cell].spread) < bar);
}

/* Of the rows near the query far fewer are permitted than of all: the best permitted ones lie anywhere, and reading would go on
 * for long. */
#define BEHIND_OVER 256u  /* rows that are enough to tell */
#define BEHIND_ROWS 2048u
#define BEHIND_TIMES 4u
static bool behind(const cn_cells *c, const cn_scan *q, const cn_cells_scratch *s, const cn_cells_told *told) {
    return told->rows > BEHIND_ROWS + told->expected / 4 && s->over >= BEHIND_OVER &&
           (uint64_t)BEHIND_TIMES * s->may * c->head.rows < (uint64_t)s->over * q->n_permitted;
}

/* *ret_all: all that may matter was read before io->rows were more than the budget. */
static cn_err read_cells(const cn_cells *c, const cn_scan *q, const cn_aim *aim, uint32_t budget, const cn_scratch *flat, cn_cells_scratch *s, cn_cells_told *io, bool *ret_all) {
    cn_promise at, next;
    bool has = cn_cells_next(s, &at);
    *ret_all = true;
    for (uint32_t i = 0; has && may_hold(c, aim, flat, &at, cn_top_bar(&s->best)); i++, at = next) {
        if (q->stop && i % STOP_CELLS == 0 && q->stop(q->stop_ctx))
            return cn_fail(CN_DEADLINE, "the search ran out of time");
        if (io->rows > budget || behind(c, q, s, io)) {
            *ret_all = false;
            break;
        }
        has = cn_cells_next(s, &next);
        cn_cells_read(c, q->permitted, flat, at.cell, has ? &c->cell[next.cell] : NULL, s);
        io->cells++;
        io->rows += c->cell[at.cell].rows;
    }
    return CN_OK;
}

/* ---------- scores of what was found ---------- */

/* s->found by what the int8 bounds leave to each, the most first. */
static void bound_found(const cn_cells *c, const cn_scratch *flat, cn_cells_scratch *s, uint32_t n) {
    const cn_flat *f = c->flat;
    cn_bound b = cn_bound_of(f, flat);
    const uint8_t *at[CN_BATCH];
    int32_t dots[CN_BATCH];
    for (uint32_t from = 0; from < n; from += CN_BATCH) {
        uint32_t m = n - from < CN_BATCH ? n - from : CN_BATCH;
        for (uint32_t i = 0; i < m; i++) {
            uint32_t row = s->found[from + i].row;
            const cn_flat_chunk *in = &f->chunk[row / CN_CHUNK_ROWS];
            at[i] = in->int8 + (size_t)(row % CN_CHUNK_ROWS) * f->head.padded;
            cn_bound_fetch(in, row % CN_CHUNK_ROWS);
        }
        cn_kernels_now()->u8dots(flat->p8, at, f->head.padded, m, dots);
        for (uint32_t i = 0; i < m; i++) {
            uint32_t row = s->found[from + i].row;
            cn_top_offer(&s->best, (cn_scored){cn_bound_most(&b, &f->chunk[row / CN_CHUNK_ROWS], row % CN_CHUNK_ROWS, dots[i]), row});
        }
    }
    cn_top_take(&s->best, s->found, &n);
}

/* From places to rows, and into flat's top, as far as no bound rules them out. */
static void score_found(const cn_cells *c, const cn_scan *q, cn_scratch *flat, cn_cells_scratch *s) {
    uint32_t n;
    cn_top_drain(&s->best, s->found, &n);
    s->factor = 0;
    for (uint32_t i = 0; i < n; i++) {
        s->factor += cn_cells_factor(c, s->found[i].row) / (float)n;
        s->found[i].row = c->rows[s->found[i].row];
    }
    bound_found(c, flat, s, n);
    for (uint32_t from = 0; from < n && !(s->found[from].score < cn_top_bar(&flat->top)); from += SCORED_TOGETHER) {
        uint32_t m = n - from < SCORED_TOGETHER ? n - from : SCORED_TOGETHER;
        float score[SCORED_TOGETHER];
        const float *at[SCORED_TOGETHER];
        for (uint32_t i = 0; i < m; i++)
            at[i] = cn_vec(&c->flat->v, s->found[from + i].row);
        cn_scores(c->flat->space.metric, q->query, flat->qq, at, c->flat->v.dim, m, score);
        for (uint32_t i = 0; i < m; i++)
            cn_top_offer(&flat->top, (cn_scored){score[i], s->found[from + i].row});
    }
}

/* The share of a normal distribution over x deviations. */
static float tail(float x) {
    static const float at[] = {.99997f, .99865f, .97725f, .84134f, .5f, .15866f, .02275f, .00135f, .00003f, 0}; /* -4, -3, ... */
    float from = cn_minf(cn_maxf(x + 4, 0), 7.9999f);
    uint32_t i = (uint32_t)from;
    return at[i] + (at[i + 1] - at[i]) * (from - (float)i);
}

/* Of rows as good as those in flat's top, how many have estimates under `worst`. */
static float expected_loss(const cn_scratch *flat, float worst, float deviation) {
    float lost = 0;
    for (uint32_t i = 0; i < flat->top.n; i++)
        lost += tail((cn_ranked_score(&flat->top.heap[i]) - worst) / deviation);
    return lost;
}

cn_err cn_cells_by(const cn_cells *c, const cn_scan *q, const cn_aim *aim, double recall, uint32_t budget, cn_scratch *flat, cn_cells_scratch *s, cn_cells_told *io,
                   bool *ret_all) {
    float loss = (float)((1 - recall) * CN_CELLS_LOSS) * (float)q->k;
    for (uint32_t depth = aim->depth;; depth *= DEEPER) {
        cn_top_empty(&flat->top);
        CN_TRY(cn_cells_rank(c, flat, depth, s));
        CN_TRY(read_cells(c, q, aim, budget, flat, s, io, ret_all));
        if (!*ret_all)
            return CN_OK;
        float worst = cn_top_bar(&s->best) + flat->base;
        score_found(c, q, flat, s);
        if (isinf(worst) || expected_loss(flat, worst, cn_maxf(c->flat->head.spread * flat->p_norm * s->factor, 0x1p-100f)) <= loss)
            break;
        if (depth * DEEPER > CN_DEPTH_MAX) {
            *ret_all = false;
            return CN_OK;
        }
    }
    *ret_all = flat->top.n == (q->k < q->n_permitted ? q->k : q->n_permitted);
    return CN_OK;
}

cn_err cn_cells_search(const cn_cells *c, const cn_scan *q, double recall, cn_scratch *flat, cn_cells_scratch *s, cn_scored *hits, uint32_t *ret_n,
                       cn_cells_told *ret_told) {
    cn_aim aim;
    uint32_t budget;
    cn_cells_told told = cn_cells_choose(c, q, recall, &aim, &budget);
    bool coded = false, all = false;
    if (told.way == CN_WAY_CELLS) {
        CN_TRY(cn_scan_begin(c->flat, q, flat, &coded));
        if (coded)
            CN_TRY(cn_cells_by(c, q, &aim, recall, budget, flat, s, &told, &all));
        if (!all)
            told.way = coded ? CN_WAY_ABANDONED : CN_WAY_SCAN;
    }
    if (all)
        cn_top_take(&flat->top, hits, ret_n);
    else
        CN_TRY(cn_flat_staged(c->flat, q, flat, hits, ret_n));
    *ret_told = told;
    return CN_OK;
}

cn_err cn_cells_scratch_new(cn_cells_scratch **ret) {
    cn_cells_scratch *s = cn_calloc(1, sizeof *s);
    if (!s)
        return cn_fail_memory();
    *ret = s;
    return CN_OK;
}

void cn_cells_scratch_free(cn_cells_scratch *s) {
    if (!s)
        return;
    cn_top_done(&s->best);
    cn_free(s->sum);
    cn_free(s->dot);
    cn_free(s->most);
    cn_free(s->peak);
    cn_free(s->found);
    cn_free(s);
}
