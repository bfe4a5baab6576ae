/* The best rows by BM25, a window of rows at a time.
 *
 * Of each window a bound is known before anything is decoded: the sum over the terms of the best that their blocks there can
 * give. A window under the bar is passed over. In others the terms that give least may together be under the bar: a row that
 * holds none but those cannot be among the best, so candidates come from the other terms alone, and of the common terms only
 * blocks with candidates are decoded. What is left is scored whole, term by term in the order of the question, so that
 * what was passed over never changes a bit of a score. A term that joins others adds its occurrences to theirs; a score grows
 * less than the occurrences do, so the sum of their bounds is a bound. Of what may be a hit by its terms alone the caller is asked
 * only where its score suffices. */
#include "engine/base/mem.h"
#include "engine/postings/inside.h"

#define WINDOW 4096u
#define WORDS (WINDOW / 64)
#define SLACK 1.00001f      /* times a bound: more than all rounding of sums */
#define STOP_WINDOWS 16u    /* between two looks at the clock */
#define NO_BLOCK UINT32_MAX

typedef struct cursor { /* one term's list in the run at hand */
    cn_posting_list list;
    uint32_t group;      /* of terms that are one */
    bool must;
    float weight;
    float bound, here;   /* the best a row can get from it: anywhere, and in this window */
    uint32_t block;      /* the first that may reach into this window */
    uint32_t decoded;    /* block in d; NO_BLOCK: none */
    cn_decoded d;
} cursor;

struct cn_lookup_scratch {
    cn_top top;
    cursor *cursors;
    uint32_t *order;     /* cursors by bound, smallest first */
    uint32_t n, room;
    float base, slope;   /* k1 * (1 - b + b * length / mean) = base + slope * length */
    float score[WINDOW];
    uint32_t tf[WINDOW]; /* of terms that are one, together */
    uint64_t may[WORDS], touched[WORDS], one[WORDS];
};

cn_err cn_lookup_scratch_new(cn_lookup_scratch **ret) {
    cn_lookup_scratch *s = cn_calloc(1, sizeof *s);
    if (!s)
        return cn_fail_memory();
    *ret = s;
    return CN_OK;
}

void cn_lookup_scratch_free(cn_lookup_scratch *s) {
    if (!s)
        return;
    cn_top_done(&s->top);
    cn_free(s->cursors);
    cn_free(s->order);
    cn_free(s);
}

static cn_err make_room(cn_lookup_scratch *s, uint32_t n) {
    if (n <= s->room)
        return CN_OK;
    uint32_t room = n < 16 ? 16 : n;
    if (!cn_resize(s->cursors, room) || !cn_resize(s->order, room))
        return cn_fail_memory();
    s->room = room;
    return CN_OK;
}

static float part(const cn_lookup_scratch *s, float weight, uint32_t tf, uint32_t length) {
    float t = (float)tf;
    return weight * t / (t + (s->base + s->slope * (float)length));
}

/* ---------- terms of a run ---------- */
static cn_err open_cursors(const cn_postings_run *r, const cn_lookup *q, cn_lookup_scratch *s) {
    uint32_t group = 0;
    s->n = 0;
    for (uint32_t i = 0; i < q->n; i++) {
        cursor *c = &s->cursors[s->n];
        bool is;
        group += !q->terms[i].joins;
        CN_TRY(cn_posting_list_find(r, q->terms[i].term, &c->list, &is));
        if (!is && q->terms[i].must) {
            s->n = 0;
            return CN_OK;
        }
        if (!is)
            continue;
        c->group = group;
        c->must = q->terms[i].must;
        c->weight = q->terms[i].weight;
        c->bound = part(s, c->weight, c->list.entry.max_tf, c->list.entry.min_len) * SLACK;
        c->block = 0;
        c->decoded = NO_BLOCK;
        s->order[s->n] = s->n;
        s->n++;
    }
    return CN_OK;
}

static bool gives_less(const cn_lookup_scratch *s, uint32_t i, uint32_t j) { return s->cursors[i].bound < s->cursors[j].bound; }

static void sort_cursors(cn_lookup_scratch *s) {
    for (uint32_t i = 1; i < s->n; i++) { /* in place: qsort may take memory */
        uint32_t x = s->order[i], j = i;
        for (; j > 0 && gives_less(s, x, s->order[j - 1]); j--)
            s->order[j] = s->order[j - 1];
        s->order[j] = x;
    }
}

/* ---------- blocks of a window, rows from (within) to (without) ---------- */
static bool reaches(const cursor *c, uint32_t i, uint32_t to) { return i < c->list.n_blocks && (i == 0 || cn_posting_list_before(&c->list, i) + 1 < to); }

static void bound_here(const cn_lookup_scratch *s, cursor *c, uint32_t from, uint32_t to) {
    while (c->block < c->list.n_blocks && cn_posting_list_skip(&c->list, c->block).last < from)
        c->block++;
    c->here = 0;
    for (uint32_t i = c->block; reaches(c, i, to); i++) {
        cn_skip k = cn_posting_list_skip(&c->list, i);
        float b = part(s, c->weight, k.max_tf, k.min_len) * SLACK;
        c->here = b > c->here ? b : c->here;
    }
}

static cn_err decode(cursor *c, uint32_t i) {
    if (c->decoded == i)
        return CN_OK;
    c->decoded = NO_BLOCK;
    CN_TRY(cn_posting_list_decode(&c->list, i, &c->d));
    c->decoded = i;
    return CN_OK;
}

static cn_err mark(cursor *c, uint32_t from, uint32_t to, uint64_t *into) {
    for (uint32_t i = c->block; c->here > 0 && reaches(c, i, to); i++) {
        CN_TRY(decode(c, i));
        for (uint32_t j = 0; j < c->d.n; j++) {
            uint32_t row = c->d.row[j] - from; /* before the window: very large */
            if (row < to - from)
                into[row / 64] |= (uint64_t)1 << (row % 64);
        }
    }
    return CN_OK;
}

/* Does a block's span hold a candidate? */
static bool any_candidate(const cn_lookup_scratch *s, const cursor *c, uint32_t i, uint32_t from, uint32_t to) {
    uint32_t lo = cn_posting_list_before(&c->list, i) + 1, hi = cn_posting_list_skip(&c->list, i).last;
    if (hi < from || (lo >= to && lo > from)) /* not so: decoding it will say */
        return true;
    lo = lo < from ? 0 : lo - from;
    hi = hi >= to ? to - from - 1 : hi - from;
    for (uint32_t w = lo / 64; w <= hi / 64; w++) {
        uint64_t bits = s->may[w];
        if (w == lo / 64)
            bits &= UINT64_MAX << (lo % 64);
        if (w == hi / 64)
            bits &= UINT64_MAX >> (63 - hi % 64);
        if (bits)
            return true;
    }
    return false;
}

static cn_err add_scores(const cn_postings_run *r, cn_lookup_scratch *s, cursor *c, uint32_t from, uint32_t to) {
    for (uint32_t i = c->block; c->here > 0 && reaches(c, i, to); i++) {
        if (!any_candidate(s, c, i, from, to))
            continue;
        CN_TRY(decode(c, i));
        for (uint32_t j = 0; j < c->d.n; j++) {
            uint32_t row = c->d.row[j] - from;
            if (row >= to - from || !(s->may[row / 64] >> (row % 64) & 1))
                continue;
            float was = s->touched[row / 64] >> (row % 64) & 1 ? s->score[row] : 0;
            s->score[row] = was + part(s, c->weight, c->d.tf[j], r->lengths[c->d.row[j]]);
            s->touched[row / 64] |= (uint64_t)1 << (row % 64);
        }
    }
    return CN_OK;
}

static cn_err add_times(cn_lookup_scratch *s, cursor *c, uint32_t from, uint32_t to) {
    for (uint32_t i = c->block; c->here > 0 && reaches(c, i, to); i++) {
        if (!any_candidate(s, c, i, from, to))
            continue;
        CN_TRY(decode(c, i));
        for (uint32_t j = 0; j < c->d.n; j++) {
            uint32_t row = c->d.row[j] - from;
            if (row < to - from && s->may[row / 64] >> (row % 64) & 1)
                s->tf[row] += c->d.tf[j];
        }
    }
    return CN_OK;
}

/* Terms that are one, from `first` to before `end`. */
static cn_err add_joined(const cn_postings_run *r, cn_lookup_scratch *s, uint32_t first, uint32_t end, uint32_t from, uint32_t to) {
    memset(s->tf, 0, sizeof s->tf);
    for (uint32_t i = first; i < end; i++)
        CN_TRY(add_times(s, &s->cursors[i], from, to));
    for (uint32_t row = 0; row < to - from; row++) {
        if (s->tf[row] == 0)
            continue;
        float was = s->touched[row / 64] >> (row % 64) & 1 ? s->score[row] : 0;
        s->score[row] = was + part(s, s->cursors[first].weight, s->tf[row], r->lengths[from + row]);
        s->touched[row / 64] |= (uint64_t)1 << (row % 64);
    }
    return CN_OK;
}

static cn_err add_all(const cn_postings_run *r, cn_lookup_scratch *s, uint32_t from, uint32_t to) {
    for (uint32_t i = 0, end; i < s->n; i = end) {
        for (end = i + 1; end < s->n && s->cursors[end].group == s->cursors[i].group;)
            end++;
        CN_TRY(end - i == 1 ? add_scores(r, s, &s->cursors[i], from, to) : add_joined(r, s, i, end, from, to));
    }
    return CN_OK;
}

/* ---------- a window ---------- */
/* How many of the terms, smallest first, stay under the bar together; *ret_all: the sum of them all. */
static uint32_t under(const cn_lookup_scratch *s, float bar, float *ret_all) {
    float sum = 0;
    uint32_t n = 0;
    for (uint32_t i = 0; i < s->n; i++) {
        sum += s->cursors[s->order[i]].here;
        n += n == i && sum * SLACK < bar;
    }
    *ret_all = sum * SLACK;
    return n;
}

/* Is there a term that rows must hold, and none here does? */
static bool lacks_one(const cn_lookup_scratch *s) {
    for (uint32_t i = 0; i < s->n; i++)
        if (s->cursors[i].must && !(s->cursors[i].here > 0))
            return true;
    return false;
}

static cn_err keep_with_all(cn_lookup_scratch *s, uint32_t from, uint32_t to) {
    for (uint32_t i = 0; i < s->n; i++) {
        if (!s->cursors[i].must)
            continue;
        memset(s->one, 0, sizeof s->one);
        CN_TRY(mark(&s->cursors[i], from, to, s->one));
        for (uint32_t w = 0; w < WORDS; w++)
            s->may[w] &= s->one[w];
    }
    return CN_OK;
}

/* Candidates: rows that may be seen, hold a term that is not among the `few` small ones, and all that they must. */
static cn_err candidates(cn_lookup_scratch *s, const uint64_t *permitted, uint32_t few, uint32_t from, uint32_t to) {
    uint32_t words = (to - from + 63) / 64;
    if (few == 0) {
        memcpy(s->may, permitted, words * sizeof *s->may);
        return keep_with_all(s, from, to);
    }
    memset(s->may, 0, sizeof s->may);
    for (uint32_t i = few; i < s->n; i++)
        CN_TRY(mark(&s->cursors[s->order[i]], from, to, s->may));
    for (uint32_t w = 0; w < words; w++)
        s->may[w] &= permitted[w];
    return keep_with_all(s, from, to);
}

static cn_err fits(const cn_lookup_scratch *s, const cn_lookup *q, cn_scored x, bool *ret) {
    *ret = x.score >= q->floor && (!q->fits || x.score >= cn_top_bar(&s->top));
    return *ret && q->fits ? q->fits(q->fits_ctx, x.row, ret) : CN_OK;
}

static cn_err offer(cn_lookup_scratch *s, const cn_postings_run *r, const cn_lookup *q, uint32_t from) {
    for (uint32_t w = 0; w < WORDS; w++)
        for (uint64_t bits = s->touched[w]; bits; bits &= bits - 1) {
            uint32_t row = w * 64 + (uint32_t)__builtin_ctzll(bits);
            cn_scored x = {s->score[row], r->head.first_row + from + row};
            bool is;
            CN_TRY(fits(s, q, x, &is));
            if (is)
                cn_top_offer(&s->top, x);
        }
    return CN_OK;
}

static cn_err window(const cn_postings_run *r, const cn_lookup *q, cn_lookup_scratch *s, uint32_t from, uint32_t to) {
    const uint64_t *permitted = q->permitted.bits + (r->head.first_row + from) / 64;
    float bar = cn_top_bar(&s->top), all;
    bar = bar > q->floor ? bar : q->floor;
    for (uint32_t i = 0; i < s->n; i++)
        bound_here(s, &s->cursors[i], from, to);
    uint32_t few = under(s, bar, &all);
    if (all <= 0 || all < bar || lacks_one(s))
        return CN_OK;
    CN_TRY(candidates(s, permitted, few, from, to));
    memset(s->touched, 0, sizeof s->touched);
    CN_TRY(add_all(r, s, from, to));
    return offer(s, r, q, from);
}

static cn_err search_run(const cn_postings_run *r, const cn_lookup *q, cn_lookup_scratch *s) {
    CN_TRY(open_cursors(r, q, s));
    sort_cursors(s);
    for (uint32_t from = 0, n = 0; s->n && from < r->head.rows; from += WINDOW, n++) {
        uint32_t to = r->head.rows - from < WINDOW ? r->head.rows : from + WINDOW;
        if (q->stop && n % STOP_WINDOWS == 0 && q->stop(q->stop_ctx))
            return cn_fail(CN_DEADLINE, "the search ran out of time");
        CN_TRY(window(r, q, s, from, to));
    }
    return CN_OK;
}

cn_err cn_postings_search(const cn_postings *p, const cn_lookup *q, cn_lookup_scratch *s, cn_scored *hits, uint32_t *ret_n) {
    CN_ASSERT(q->k >= 1 && q->k <= CN_K_MAX && q->permitted.bits && q->n <= CN_TERMS_MAX && q->mean > 0);
    CN_TRY(make_room(s, q->n));
    CN_TRY(cn_top_begin(&s->top, q->k, q->rank));
    s->base = q->k1 * (1 - q->b);
    s->slope = q->k1 * q->b / q->mean;
    for (uint32_t i = 0; q->permitted.n && i < p->head.runs; i++)
        CN_TRY(search_run(&p->run[i], q, s));
    cn_top_take(&s->top, hits, ret_n);
    return CN_OK;
}
