/* A run's log to its arrays: terms sorted, postings sorted by term (they came by row, and stay so), lists encoded. */
#include <stdlib.h>

#include "engine/postings/build.h"

#define LISTS_MAX ((size_t)UINT32_MAX - 63)

static int by_bytes(const void *a, const void *b, void *ctx) {
    return cn_str_cmp(cn_postings_run_term(ctx, *(const uint32_t *)a), cn_postings_run_term(ctx, *(const uint32_t *)b));
}

static const cn_log_item *item(const cn_postings_build *b, uint32_t i) { return &b->log[i / CN_LOG_PIECE][i % CN_LOG_PIECE]; }

/* sorted: row_tf by term, in the order of `place`; end[p]: where the p-th term's stop. */
static void sort_postings(const cn_postings_build *b, const uint32_t *place, uint32_t *end, uint32_t *sorted) {
    uint32_t n = b->run.postings, sum = 0;
    for (uint32_t i = 0; i < n; i++)
        end[place[item(b, i)->term]]++;
    for (uint32_t p = 0; p < b->run.terms; p++) { /* counts become starts */
        uint32_t count = end[p];
        end[p] = sum;
        sum += count;
    }
    for (uint32_t i = 0; i < n; i++) {
        const cn_log_item *x = item(b, i);
        sorted[end[place[x->term]]++] = x->row_tf;
    }
}

static cn_err encode(const cn_postings_build *b, const uint32_t *end, const uint32_t *sorted, cn_entry *entries, cn_buf *lists) {
    CN_AUTO_FREE cn_posting *v = cn_alloc((CN_POSTINGS_RUN_ROWS + 1) * sizeof *v);
    if (!v)
        return cn_fail_memory();
    for (uint32_t p = 0; p < b->run.terms; p++) {
        uint32_t from = p ? end[p - 1] : 0, n = end[p] - from;
        for (uint32_t i = 0; i < n; i++)
            v[i] = (cn_posting){sorted[from + i] >> 14, sorted[from + i] & CN_TF_MAX};
        cn_posting_list_encode(v, n, b->lengths, lists, &entries[p]);
    }
    entries[b->run.terms] = (cn_entry){.at = (uint32_t)lists->n};
    return cn_buf_check(lists);
}

static cn_err put_terms(const cn_postings_build *b, const uint32_t *order) {
    uint32_t n = b->run.terms;
    CN_AUTO_BUF cn_buf bytes;
    cn_buf_init(&bytes, b->bytes.n + 1);
    CN_AUTO_FREE uint32_t *offset = cn_alloc((n + 1ull) * sizeof *offset);
    if (!offset)
        return cn_fail_memory();
    for (uint32_t p = 0; p < n; p++) {
        cn_str t = cn_postings_run_term(b, order[p]);
        offset[p] = (uint32_t)bytes.n;
        cn_buf_add(&bytes, t.p, t.n);
    }
    offset[n] = (uint32_t)bytes.n;
    CN_TRY(cn_buf_check(&bytes));
    CN_TRY(b->put(b->ctx, CN_P_OFFSETS, b->head.runs, offset, (n + 1ull) * sizeof *offset));
    return b->put(b->ctx, CN_P_TERMS, b->head.runs, bytes.n ? bytes.p : "", bytes.n);
}

static cn_err put_lists(const cn_postings_build *b, const uint32_t *place) {
    uint32_t n = b->run.terms;
    CN_AUTO_BUF cn_buf lists;
    cn_buf_init(&lists, LISTS_MAX);
    CN_AUTO_FREE uint32_t *end = cn_calloc(n + 1ull, sizeof *end), *sorted = cn_alloc((b->run.postings + 1ull) * sizeof *sorted);
    CN_AUTO_FREE cn_entry *entries = cn_alloc((n + 1ull) * sizeof *entries);
    if (!end || !sorted || !entries)
        return cn_fail_memory();
    sort_postings(b, place, end, sorted);
    CN_TRY(encode(b, end, sorted, entries, &lists));
    CN_TRY(b->put(b->ctx, CN_P_ENTRIES, b->head.runs, entries, (n + 1ull) * sizeof *entries));
    return b->put(b->ctx, CN_P_LISTS, b->head.runs, lists.n ? lists.p : "", lists.n);
}

static cn_err put_all(cn_postings_build *b) {
    uint32_t n = b->run.terms;
    CN_AUTO_FREE uint32_t *order = cn_alloc((n + 1ull) * sizeof *order), *place = cn_alloc((n + 1ull) * sizeof *place);
    if (!order || !place)
        return cn_fail_memory();
    for (uint32_t t = 0; t < n; t++)
        order[t] = t;
    qsort_r(order, n, sizeof *order, by_bytes, b);
    for (uint32_t p = 0; p < n; p++)
        place[order[p]] = p;
    CN_TRY(b->put(b->ctx, CN_P_RUN, b->head.runs, &b->run, sizeof b->run));
    CN_TRY(b->put(b->ctx, CN_P_LENGTHS, b->head.runs, b->lengths, b->run.rows * sizeof *b->lengths));
    CN_TRY(put_terms(b, order));
    return put_lists(b, place);
}

cn_err cn_postings_write_run(cn_postings_build *b) {
    CN_TRY(put_all(b));
    b->head.runs++;
    b->head.rows += b->run.rows;
    b->head.tokens += b->run.tokens;
    b->run = (cn_postings_run_head){.first_row = b->head.rows};
    cn_table_done(&b->table);
    cn_buf_reset(&b->bytes);
    return CN_OK;
}
