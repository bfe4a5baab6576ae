/* Postings found and their tables checked; counts over the rows that may be seen. */
#include "engine/base/mem.h"
#include "engine/postings/inside.h"

static cn_err damaged(const char *what) { return cn_fail(CN_DAMAGED, "postings: %s; they will be made anew", what); }

static cn_err get_any(cn_get_array *get, void *ctx, uint32_t array, uint32_t run, const void **ret, size_t *ret_n) {
    CN_TRY(get(ctx, array, run, ret, ret_n));
    return *ret_n <= UINT32_MAX ? CN_OK : damaged("an array is too long");
}

static cn_err check_tables(const cn_postings_run *r, size_t term_bytes, size_t list_bytes) {
    uint32_t n = r->head.terms;
    bool wrong = r->offsets[0] != 0 || r->offsets[n] != term_bytes || r->entries[n].at != list_bytes || (n && r->entries[0].at != 0);
    for (uint32_t i = 0; i < n; i++)
        wrong |= r->offsets[i] >= r->offsets[i + 1] || r->entries[i].at >= r->entries[i + 1].at;
    return wrong ? damaged("terms or lists do not follow each other") : CN_OK;
}

static cn_err open_run(uint32_t i, uint32_t first_row, uint32_t rows_left, cn_get_array *get, void *ctx, cn_postings_run *ret) {
    const void *p, *lengths, *offsets, *terms, *entries, *lists;
    size_t term_bytes, list_bytes;
    cn_postings_run r;
    CN_TRY(cn_get_sized(get, ctx, "postings", CN_P_RUN, i, sizeof r.head, &p));
    memcpy(&r.head, p, sizeof r.head);
    if (r.head.first_row != first_row || first_row % 64 || r.head.rows == 0 || r.head.rows > CN_POSTINGS_RUN_ROWS || r.head.rows > rows_left)
        return damaged("a run's rows do not follow those before");
    CN_TRY(cn_get_sized(get, ctx, "postings", CN_P_LENGTHS, i, r.head.rows * sizeof(uint32_t), &lengths));
    CN_TRY(cn_get_sized(get, ctx, "postings", CN_P_OFFSETS, i, (r.head.terms + 1ull) * sizeof(uint32_t), &offsets));
    CN_TRY(cn_get_sized(get, ctx, "postings", CN_P_ENTRIES, i, (r.head.terms + 1ull) * sizeof(cn_entry), &entries));
    CN_TRY(get_any(get, ctx, CN_P_TERMS, i, &terms, &term_bytes));
    CN_TRY(get_any(get, ctx, CN_P_LISTS, i, &lists, &list_bytes));
    r.lengths = lengths;
    r.offsets = offsets;
    r.terms = terms;
    r.entries = entries;
    r.lists = lists;
    r.term_bytes = (uint32_t)term_bytes;
    r.list_bytes = (uint32_t)list_bytes;
    CN_TRY(check_tables(&r, term_bytes, list_bytes));
    *ret = r;
    return CN_OK;
}

static cn_err open_runs(cn_postings *p, cn_get_array *get, void *ctx) {
    uint32_t rows = 0;
    uint64_t tokens = 0;
    for (uint32_t i = 0; i < p->head.runs; i++) {
        CN_TRY(open_run(i, rows, p->head.rows - rows, get, ctx, &p->run[i]));
        rows += p->run[i].head.rows;
        tokens += p->run[i].head.tokens;
    }
    return rows == p->head.rows && tokens == p->head.tokens ? CN_OK : damaged("runs are missing");
}

cn_err cn_postings_open(uint32_t rows, cn_get_array *get, void *ctx, cn_postings **ret) {
    const void *at;
    cn_postings_head h;
    CN_TRY(cn_get_sized(get, ctx, "postings", CN_P_HEAD, 0, sizeof h, &at));
    memcpy(&h, at, sizeof h);
    /* runs: each but the last has 64 rows or more, so a false number takes no memory */
    if (memcmp(h.magic, "cnpost01", sizeof h.magic) != 0 || h.rows != rows || h.runs > rows / 64 + 1)
        return damaged("the head does not fit the segment");
    cn_postings *p = cn_calloc(1, sizeof *p + h.runs * sizeof *p->run);
    if (!p)
        return cn_fail_memory();
    p->head = h;
    cn_err e = open_runs(p, get, ctx);
    if (e != CN_OK) {
        cn_free(p);
        return e;
    }
    *ret = p;
    return CN_OK;
}

void cn_postings_close(cn_postings *p) { cn_free(p); }

/* ---------- counts ---------- */
static uint64_t tokens_of(const cn_postings_run *r, const uint64_t *bits) {
    uint64_t sum = 0;
    for (uint32_t w = 0; w * 64 < r->head.rows; w++)
        for (uint64_t left = bits[w]; left; left &= left - 1) {
            uint32_t row = w * 64 + (uint32_t)__builtin_ctzll(left);
            sum += row < r->head.rows ? r->lengths[row] : 0;
        }
    return sum;
}

uint64_t cn_postings_tokens(const cn_postings *p, cn_row_set rows) {
    uint64_t sum = 0;
    if (rows.n == p->head.rows)
        return p->head.tokens;
    for (uint32_t i = 0; i < p->head.runs; i++)
        sum += tokens_of(&p->run[i], rows.bits + p->run[i].head.first_row / 64);
    return sum;
}

static cn_err count_list(const cn_posting_list *l, const uint64_t *bits, uint32_t *io) {
    cn_decoded d;
    for (uint32_t b = 0; b < l->n_blocks; b++) {
        CN_TRY(cn_posting_list_decode(l, b, &d));
        for (uint32_t i = 0; i < d.n; i++)
            *io += (uint32_t)(bits[d.row[i] / 64] >> (d.row[i] % 64)) & 1;
    }
    return CN_OK;
}

static cn_err count_in(const cn_postings *p, const cn_postings_run *r, const cn_posting_list *l, cn_row_set rows, uint32_t *io) {
    if (rows.n != p->head.rows)
        return count_list(l, rows.bits + r->head.first_row / 64, io);
    *io += l->entry.df;
    return CN_OK;
}

cn_err cn_postings_count(const cn_postings *p, cn_str term, cn_row_set rows, uint32_t *ret) {
    uint32_t n = 0;
    for (uint32_t i = 0; rows.n && i < p->head.runs; i++) {
        cn_posting_list l;
        bool is;
        CN_TRY(cn_posting_list_find(&p->run[i], term, &l, &is));
        if (is)
            CN_TRY(count_in(p, &p->run[i], &l, rows, &n));
    }
    *ret = n;
    return CN_OK;
}

static bool begins(cn_str term, cn_str beginning) { return term.n >= beginning.n && memcmp(term.p, beginning.p, beginning.n) == 0; }

static cn_err begun_in(const cn_postings *p, const cn_postings_run *r, cn_str beginning, cn_row_set rows, cn_begun_fn *fn, void *ctx) {
    uint32_t i;
    CN_TRY(cn_posting_term_from(r, beginning, &i));
    for (; i < r->head.terms; i++) {
        cn_posting_list l;
        cn_str term;
        uint32_t n = 0;
        CN_TRY(cn_posting_term(r, i, &term));
        if (!begins(term, beginning))
            return CN_OK;
        CN_TRY(cn_posting_list_open(r, i, &l));
        CN_TRY(count_in(p, r, &l, rows, &n));
        CN_TRY(fn(ctx, term, n));
    }
    return CN_OK;
}

cn_err cn_postings_begun(const cn_postings *p, cn_str beginning, cn_row_set rows, cn_begun_fn *fn, void *ctx) {
    for (uint32_t i = 0; rows.n && i < p->head.runs; i++)
        CN_TRY(begun_in(p, &p->run[i], beginning, rows, fn, ctx));
    return CN_OK;
}
