/* Postings read whole: that all they say of themselves agrees. */
#include "engine/postings/inside.h"

static cn_err wrong(uint32_t run, uint32_t term, const char *what) {
    return cn_fail(CN_DAMAGED, "postings, run %u, term %u: %s; remove the file, it is made anew", run, term, what);
}

static cn_err check_block(const cn_postings_run *r, const cn_posting_list *l, uint32_t i, const cn_decoded *d, uint32_t *max_tf, uint32_t *min_len, bool *ret_fits) {
    cn_skip s = cn_posting_list_skip(l, i);
    uint32_t tf = 0, len = UINT32_MAX;
    for (uint32_t j = 0; j < d->n; j++) {
        tf = d->tf[j] > tf ? d->tf[j] : tf;
        len = r->lengths[d->row[j]] < len ? r->lengths[d->row[j]] : len;
    }
    *ret_fits = !l->skips || (s.last == d->row[d->n - 1] && s.max_tf == tf && s.min_len == (len < UINT16_MAX ? len : UINT16_MAX));
    *max_tf = tf > *max_tf ? tf : *max_tf;
    *min_len = len < *min_len ? len : *min_len;
    return CN_OK;
}

static cn_err check_list(const cn_postings_run *r, uint32_t run, uint32_t term) {
    cn_posting_list l;
    cn_decoded d;
    uint32_t max_tf = 0, min_len = UINT32_MAX, end = 0;
    CN_TRY(cn_posting_list_open(r, term, &l));
    for (uint32_t i = 0; i < l.n_blocks; i++) {
        bool fits;
        CN_TRY(cn_posting_list_decode(&l, i, &d));
        CN_TRY(check_block(r, &l, i, &d, &max_tf, &min_len, &fits));
        if (!fits)
            return wrong(run, term, "what is said of a block is not so");
        end = cn_posting_list_skip(&l, i).end;
    }
    if (end != l.bytes)
        return wrong(run, term, "bytes are left over");
    return max_tf == l.entry.max_tf && min_len == l.entry.min_len && max_tf <= CN_TF_MAX ? CN_OK : wrong(run, term, "its greatest count or shortest row is not so");
}

static cn_err check_order(const cn_postings_run *r, uint32_t run, uint32_t term) {
    cn_str before, now;
    CN_TRY(cn_posting_term(r, term, &now));
    if (now.n > CN_TERM_MAX)
        return wrong(run, term, "it is too long");
    if (term == 0)
        return CN_OK;
    CN_TRY(cn_posting_term(r, term - 1, &before));
    return cn_str_cmp(before, now) < 0 ? CN_OK : wrong(run, term, "it is out of order");
}

static cn_err check_run(const cn_postings_run *r, uint32_t run) {
    uint64_t postings = 0, tokens = 0;
    for (uint32_t t = 0; t < r->head.terms; t++) {
        CN_TRY(check_order(r, run, t));
        CN_TRY(check_list(r, run, t));
        postings += r->entries[t].df;
    }
    for (uint32_t row = 0; row < r->head.rows; row++)
        tokens += r->lengths[row];
    return postings == r->head.postings && tokens == r->head.tokens ? CN_OK : wrong(run, r->head.terms, "the run's sums are not so");
}

cn_err cn_postings_validate(const cn_postings *p) {
    for (uint32_t i = 0; i < p->head.runs; i++)
        CN_TRY(check_run(&p->run[i], i));
    return CN_OK;
}
