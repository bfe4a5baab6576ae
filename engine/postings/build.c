/* Rows with their terms, gathered run by run: a table of terms, and a log of postings in the order they came. */
#include "engine/postings/build.h"

#define TERM_BYTES_MAX ((size_t)1 << 31)
#define LENGTH_MAX (UINT32_MAX / 2)

cn_err cn_postings_begin(cn_put_array *put, void *ctx, cn_postings_build **ret) {
    cn_postings_build *b = cn_calloc(1, sizeof *b);
    if (!b)
        return cn_fail_memory();
    *b = (cn_postings_build){.put = put, .ctx = ctx, .head = {.magic = "cnpost01"}};
    cn_buf_init(&b->bytes, TERM_BYTES_MAX);
    b->lengths = cn_alloc(CN_POSTINGS_RUN_ROWS * sizeof *b->lengths);
    if (!b->lengths) {
        cn_postings_free(b);
        return cn_fail_memory();
    }
    *ret = b;
    return CN_OK;
}

void cn_postings_free(cn_postings_build *b) {
    if (!b)
        return;
    for (uint32_t i = 0; i < b->n_pieces; i++)
        cn_free(b->log[i]);
    cn_free(b->log);
    cn_free(b->lengths);
    cn_free(b->touched);
    cn_free(b->tf);
    cn_free(b->offset);
    cn_buf_done(&b->bytes);
    cn_table_done(&b->table);
    cn_free(b);
}

/* ---------- terms ---------- */
typedef struct wanted {
    const cn_postings_build *b;
    cn_str term;
} wanted;

static bool same_term(void *ctx, uint32_t number) {
    const wanted *w = ctx;
    return cn_str_eq(cn_postings_run_term(w->b, number), w->term);
}

static cn_err new_term(cn_postings_build *b, cn_str term, uint32_t hash) {
    uint32_t room = b->room, n = b->run.terms;
    if (!cn_grow(b->offset, n + 1, room) || !cn_grow(b->tf, n + 1, b->room)) /* both of that size */
        return cn_fail_memory();
    cn_buf_add(&b->bytes, term.p, term.n);
    CN_TRY(cn_buf_check(&b->bytes));
    CN_TRY(cn_table_add(&b->table, hash, n));
    b->offset[0] = 0;
    b->offset[n + 1] = (uint32_t)b->bytes.n;
    b->tf[n] = 0;
    b->run.terms++;
    return CN_OK;
}

cn_err cn_postings_add(cn_postings_build *b, cn_str term, uint32_t times, uint32_t length) {
    CN_ASSERT(term.n >= 1 && term.n <= CN_TERM_MAX && times >= 1);
    uint32_t hash = cn_hash_bytes(CN_HASH_BEGIN, term), t = cn_table_find(&b->table, hash, same_term, &(wanted){b, term});
    if (t == UINT32_MAX) {
        t = b->run.terms;
        CN_TRY(new_term(b, term, hash));
    }
    if (b->tf[t] == 0) {
        if (!cn_grow(b->touched, b->n_touched, b->room_touched))
            return cn_fail_memory();
        b->touched[b->n_touched++] = t;
    }
    b->tf[t] = times < CN_TF_MAX - b->tf[t] ? b->tf[t] + times : CN_TF_MAX;
    b->length = length < LENGTH_MAX - b->length ? b->length + length : LENGTH_MAX;
    return CN_OK;
}

/* ---------- rows ---------- */
static cn_err log_one(cn_postings_build *b, uint32_t term) {
    uint32_t at = b->run.postings, piece = at / CN_LOG_PIECE;
    if (piece == b->n_pieces) {
        if (!cn_grow(b->log, b->n_pieces, b->room_pieces))
            return cn_fail_memory();
        b->log[piece] = cn_alloc(CN_LOG_PIECE * sizeof **b->log);
        if (!b->log[piece])
            return cn_fail_memory();
        b->n_pieces++;
    }
    b->log[piece][at % CN_LOG_PIECE] = (cn_log_item){term, b->run.rows << 14 | b->tf[term]};
    b->run.postings++;
    return CN_OK;
}

cn_err cn_postings_next_row(cn_postings_build *b) {
    if (b->n_touched > UINT32_MAX / 2 - b->run.postings)
        return cn_fail(CN_INVALID, "rows %u and before it hold more terms than one run of postings can", b->run.first_row + b->run.rows);
    for (uint32_t i = 0; i < b->n_touched; i++) {
        CN_TRY(log_one(b, b->touched[i]));
        b->tf[b->touched[i]] = 0;
    }
    b->lengths[b->run.rows++] = b->length;
    b->run.tokens += b->length;
    b->n_touched = b->length = 0;
    bool full = b->run.rows == CN_POSTINGS_RUN_ROWS || (b->run.rows % 64 == 0 && b->run.postings >= CN_POSTINGS_RUN_MOST);
    return full ? cn_postings_write_run(b) : CN_OK;
}

cn_err cn_postings_end(cn_postings_build *b) {
    if (b->run.rows)
        CN_TRY(cn_postings_write_run(b));
    return b->put(b->ctx, CN_P_HEAD, 0, &b->head, sizeof b->head);
}
