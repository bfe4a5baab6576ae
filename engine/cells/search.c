/* A query over the cells: rank, read while they promise, int8 bounds, float scores. */

#include "engine/base/mem.h"
#include "engine/cells/inside.h"

#define STOP_CELLS 16u    /* cells between two looks at the clock */
#define SCORED_TOGETHER 16u
#define DEEPER 4u         /* times the depth before */

/* ---------- cells in the order of what they promise ---------- */

static void sift_down(cn_promise *h, uint32_t n, uint32_t i) {
    for (uint32_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && (h[child + 1].most > h[child].most))
            child++;
        if (!(h[child].most > h[i].most))
            return;
        cn_promise t = h[i];
        h[i] = h[child];
        h[child] = t;
    }
}

static cn_err make_room(const cn_cells *c, uint32_t depth, cn_cells_scratch *s) {
    if (c->head.cells > s->room_cells) {
        if (!cn_resize(s->dot, c->head.cells) || !cn_resize(s->order, c->head.cells))
            return cn_fail_memory();
        s->room_cells = c->head.cells;
    }
    if (depth > s->room_found) {
        if (!cn_resize(s->found, depth))
            return cn_fail_memory();
        s->room_found = depth;
    }
    return cn_top_begin(&s->best, depth, NULL);
}

cn_err cn_cells_rank(const cn_cells *c, const cn_scratch *flat, uint32_t depth, cn_cells_scratch *s) {
    uint32_t n = c->head.cells;
    CN_TRY(make_room(c, depth, s));
    s->n_order = n;
    s->over = s->may = 0;
    cn_kernels_now()->u8dots(flat->p8, c->at_round, c->head.padded, n, s->dot);
    for (uint32_t i = 0; i < n; i++) {
        float dot = flat->p_scale * c->round_scale[i] * (float)(s->dot[i] - 128 * flat->p8_sum);
        s->order[i] = (cn_promise){c->cell[i].add + dot + 2 * flat->p_norm * c->cell[i].spread, i};
    }
    for (uint32_t i = n / 2; i-- > 0;)
        sift_down(s->order, n, i);
    return CN_OK;
}

bool cn_cells_next(cn_cells_scratch *s, cn_promise *ret) {
    if (s->n_order == 0)
        return false;
    *ret = s->order[0];
    s->order[0] = s->order[--s->n_order];
    sift_down(s->order, s->n_order, 0);
    return true;
}

/* ---------- reading ---------- */

static bool may(const uint64_t *permitted, uint32_t row) { return permitted[row / 64] >> (row % 64) & 1; }

void cn_cells_read(const cn_cells *c, const uint64_t *permitted, const cn_scratch *flat, uint32_t cell, cn_cells_scratch *s) {
    const cn_kernels *k = cn_kernels_now();
    const cn_cell *in = &c->cell[cell];
    const cn_flat_head *h = &c->flat->head;
    float line[2] = {flat->lut_scale, flat->lut_shift}, est[CN_FASTSCAN_ROWS], dot;
    k->dots(flat->p, &c->centroid[cell], h->padded, 1, &dot);
    for (uint32_t done = 0; done < in->rows; done += CN_FASTSCAN_ROWS) {
        uint32_t block = in->block + done / CN_FASTSCAN_ROWS, left = in->rows - done;
        const uint32_t *rows = c->rows + (size_t)block * CN_FASTSCAN_ROWS;
        uint32_t over = k->fastscan(flat->lut, cn_cells_block(c, block), h->padded, h->planes, line, cn_top_bar(&s->best) - dot, est);
        if (left < CN_FASTSCAN_ROWS)
            over &= (1u << left) - 1;
        s->over += (uint32_t)__builtin_popcount(over);
        for (; over; over &= over - 1) {
            uint32_t i = (uint32_t)__builtin_ctz(over);
            if (may(permitted, rows[i])) {
                cn_top_offer(&s->best, (cn_scored){est[i] + dot, block * CN_FASTSCAN_ROWS + i});
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
    cn_promise at;
    *ret_all = true;
    for (uint32_t i = 0; cn_cells_next(s, &at) && may_hold(c, aim, flat, &at, cn_top_bar(&s->best)); i++) {
        if (q->stop && i % STOP_CELLS == 0 && q->stop(q->stop_ctx))
            return cn_fail(CN_DEADLINE, "the search ran out of time");
        if (io->rows > budget || behind(c, q, s, io)) {
            *ret_all = false;
            break;
        }
        cn_cells_read(c, q->permitted, flat, at.cell, s);
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
            at[i] = f->chunk[row / CN_CHUNK_ROWS].int8 + (size_t)(row % CN_CHUNK_ROWS) * f->head.padded;
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
    cn_top_take(&s->best, s->found, &n);
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
    cn_free(s->dot);
    cn_free(s->order);
    cn_free(s->found);
    cn_free(s);
}
