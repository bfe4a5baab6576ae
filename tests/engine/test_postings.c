/* Postings against a plain list of rows: what is written comes back, counts and scores are those of the definition, nothing
 * that was passed over would have been among the best, and damaged bytes are refused or harmless. */
#include <CUnit/Basic.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/mem.h"
#include "engine/postings/inside.h"
#include "tests/count.h"
#include "tests/engine/flat_fixture.h"

#define VOCABULARY 400
#define ASKED 8

typedef struct corpus {
    uint32_t rows;
    uint16_t (*tf)[VOCABULARY]; /* of each row and word */
    uint32_t *length;
    uint64_t *permitted;
    uint32_t n_permitted;
    store arrays;
    cn_postings *p;
} corpus;

static uint64_t state = 1;
static uint32_t below(uint32_t n) { /* splitmix64 */
    uint64_t z = state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (uint32_t)((z ^ z >> 31) >> 32) % n;
}

static cn_str word(uint32_t w, char text[32]) {
    int n = snprintf(text, 32, "w%u%s", w, w % 7 ? "" : "-a-longer-one");
    return (cn_str){text, (size_t)n};
}

/* Word w stands in about one row in w + 1: from a word in every row to words in next to none. */
static void fill(corpus *c, uint32_t row) {
    for (uint32_t w = 0; w < VOCABULARY; w++)
        if (below(w + 1) == 0) {
            c->tf[row][w] = (uint16_t)(1 + below(below(10) ? 3 : 300));
            c->length[row] += c->tf[row][w];
        }
}

static void build(corpus *c) {
    cn_postings_build *b;
    char text[32];
    CU_ASSERT_EQUAL_FATAL(cn_postings_begin(store_put, &c->arrays, &b), CN_OK);
    for (uint32_t row = 0; row < c->rows; row++) {
        for (uint32_t w = 0; w < VOCABULARY; w++)
            if (c->tf[row][w])
                CU_ASSERT_EQUAL(cn_postings_add(b, word(w, text), c->tf[row][w], c->tf[row][w]), CN_OK);
        CU_ASSERT_EQUAL(cn_postings_next_row(b), CN_OK);
    }
    CU_ASSERT_EQUAL(cn_postings_end(b), CN_OK);
    cn_postings_free(b);
}

static void permit(corpus *c, uint32_t percent) {
    memset(c->permitted, 0, (c->rows / 64 + 1) * sizeof *c->permitted);
    c->n_permitted = 0;
    for (uint32_t row = 0; row < c->rows; row++)
        if (below(100) < percent) {
            c->permitted[row / 64] |= (uint64_t)1 << (row % 64);
            c->n_permitted++;
        }
}

static void corpus_init(corpus *c, uint32_t rows, bool empty) {
    *c = (corpus){.rows = rows, .tf = calloc(rows + 1u, sizeof *c->tf), .length = calloc(rows + 1u, sizeof *c->length), .permitted = calloc(rows / 64 + 1, 8)};
    for (uint32_t row = 0; !empty && row < rows; row++)
        if (below(50))
            fill(c, row);
    build(c);
    CU_ASSERT_EQUAL_FATAL(cn_postings_open(rows, store_get, &c->arrays, &c->p), CN_OK);
    permit(c, 100);
}

static void corpus_done(corpus *c) {
    cn_postings_close(c->p);
    store_done(&c->arrays);
    free(c->tf);
    free(c->length);
    free(c->permitted);
}

static bool may(const corpus *c, uint32_t row) { return c->permitted[row / 64] >> (row % 64) & 1; }

/* ---------- the definition ---------- */
typedef struct asked {
    uint32_t word;
    float weight;
    bool must, joins;
} asked;

/* Three rows of four, whatever they hold. */
static bool is_fit(uint32_t row) { return row * 2654435761u >> 16 & 3; }

static cn_err ask_fit(void *ctx, uint32_t row, bool *ret) {
    ++*(uint32_t *)ctx;
    *ret = is_fit(row);
    return CN_OK;
}

static float score_of(const corpus *c, const cn_lookup *q, const asked *a, uint32_t row) {
    float score = 0, base = q->k1 * (1 - q->b), slope = q->k1 * q->b / q->mean;
    for (uint32_t i = 0, end; i < q->n; i = end) {
        uint32_t times = 0;
        for (end = i; end < q->n && (end == i || a[end].joins); end++)
            times += c->tf[row][a[end].word];
        if (a[i].must && times == 0)
            return 0;
        if (times)
            score += a[i].weight * (float)times / ((float)times + (base + slope * (float)c->length[row]));
    }
    return q->fits && !is_fit(row) ? 0 : score;
}

static int best_first(const void *a, const void *b) {
    const cn_scored *x = a, *y = b;
    if (x->score != y->score)
        return x->score > y->score ? -1 : 1;
    return (x->row > y->row) - (x->row < y->row);
}

static uint32_t plain(const corpus *c, const cn_lookup *q, const asked *a, cn_scored *all) {
    uint32_t n = 0;
    for (uint32_t row = 0; row < c->rows; row++) {
        float s = score_of(c, q, a, row);
        if (may(c, row) && s > 0)
            all[n++] = (cn_scored){s, row};
    }
    qsort(all, n, sizeof *all, best_first);
    return n < q->k ? n : q->k;
}

static void compare(const corpus *c, cn_lookup_scratch *s, uint32_t n, uint32_t k) {
    char text[ASKED][32];
    asked a[ASKED];
    cn_wanted wanted[ASKED];
    cn_scored *all = malloc((c->rows + 1) * sizeof *all), *got = malloc((k + 1) * sizeof *got);
    uint32_t n_got = 0, kind = below(4), looks = 0; /* plain words; some that rows must hold; some that are one; whatever fits */
    for (uint32_t i = 0; i < n; i++) {
        a[i] = (asked){(below(VOCABULARY / ASKED) * ASKED + i) >> below(3), 0.1f + (float)below(1000) / 100, kind == 1 && below(2), kind == 2 && i && below(2)};
        a[i].weight = a[i].joins ? a[i - 1].weight : a[i].weight;
        for (uint32_t j = 0; j < i; j++) /* each once */
            if (a[j].word == a[i].word)
                a[i].word = (a[i].word + 1) % VOCABULARY, j = UINT32_MAX;
        wanted[i] = (cn_wanted){word(a[i].word, text[i]), a[i].weight, a[i].must, a[i].joins};
    }
    cn_lookup q = {.terms = wanted, .n = n, .k1 = 1.2f, .b = below(4) ? .75f : 0, .mean = 700, .k = k, .floor = -INFINITY, .permitted = {c->permitted, c->n_permitted},
                   .fits = kind == 3 ? ask_fit : NULL, .fits_ctx = &looks};
    uint32_t want = plain(c, &q, a, all);
    CU_ASSERT_EQUAL(cn_postings_search(c->p, &q, s, got, &n_got), CN_OK);
    CU_ASSERT_EQUAL(n_got, want);
    for (uint32_t i = 0; i < want && n_got == want; i++)
        if (got[i].row != all[i].row || got[i].score != all[i].score) {
            CU_ASSERT_EQUAL(got[i].row, all[i].row);
            CU_ASSERT(got[i].score == all[i].score);
            break;
        }
    if (want > 2) { /* with a floor: what reaches it, a tie with it too */
        q.floor = all[want / 2].score;
        CU_ASSERT_EQUAL(cn_postings_search(c->p, &q, s, got, &n_got), CN_OK);
        uint32_t over = 0;
        while (over < want && all[over].score >= q.floor)
            over++;
        CU_ASSERT(n_got >= over && memcmp(got, all, over * sizeof *got) == 0);
    }
    free(all);
    free(got);
}

static void check_counts(const corpus *c) {
    char text[32];
    uint64_t tokens = 0;
    cn_row_set rows = {c->permitted, c->n_permitted};
    for (uint32_t w = 0; w < VOCABULARY; w++) {
        uint32_t want = 0, got = 99;
        for (uint32_t row = 0; row < c->rows; row++)
            want += may(c, row) && c->tf[row][w];
        CU_ASSERT_EQUAL(cn_postings_count(c->p, word(w, text), rows, &got), CN_OK);
        CU_ASSERT_EQUAL(got, want);
    }
    for (uint32_t row = 0; row < c->rows; row++)
        tokens += may(c, row) ? c->length[row] : 0;
    CU_ASSERT_EQUAL(cn_postings_tokens(c->p, rows), tokens);
}

/* ---------- beginnings ---------- */
typedef struct begun {
    cn_str beginning;
    uint32_t rows[VOCABULARY], calls, without;
} begun;

static cn_err add_begun(void *ctx, cn_str term, uint32_t rows) {
    begun *b = ctx;
    b->calls++;
    b->without += rows == 0;
    CU_ASSERT(term.n >= b->beginning.n && memcmp(term.p, b->beginning.p, b->beginning.n) == 0);
    char text[32] = "";
    memcpy(text, term.p, term.n < sizeof text - 1 ? term.n : sizeof text - 1);
    b->rows[strtoul(text + 1, NULL, 10)] += rows;
    return b->calls == 40 ? CN_DEADLINE : CN_OK;
}

static void test_begun(void) {
    static const char *const beginnings[] = {"w1", "w14", "w399", "w7-", "w", "x", "", "w7-a-longer-one-still"};
    char text[32];
    uint32_t without = 0;
    corpus c;
    corpus_init(&c, 700, false);
    for (uint32_t share = 100; share > 0; share /= 3) {
        permit(&c, share);
        for (size_t i = 0; i < sizeof beginnings / sizeof *beginnings; i++) {
            begun b = {.beginning = cn_str_of(beginnings[i])};
            cn_row_set rows = {c.permitted, c.n_permitted};
            cn_err e = cn_postings_begun(c.p, b.beginning, rows, add_begun, &b);
            CU_ASSERT(e == (b.calls == 40 ? CN_DEADLINE : CN_OK));
            without += b.without;
            for (uint32_t w = 0; w < VOCABULARY && e == CN_OK; w++) {
                uint32_t n = 0;
                bool fits = strncmp(word(w, text).p, beginnings[i], b.beginning.n) == 0;
                CU_ASSERT_EQUAL(cn_postings_count(c.p, word(w, text), rows, &n), CN_OK);
                CU_ASSERT_EQUAL(b.rows[w], fits ? n : 0);
            }
        }
    }
    CU_ASSERT(without > 0); /* of what stands in no row that may be seen it hears too, to end in time */
    corpus_done(&c);
}

static cn_err fail_fit(void *ctx, uint32_t row, bool *ret) {
    (void)ctx, (void)row, (void)ret;
    return CN_CONFLICT;
}

/* What the caller is asked of is what would be among the best, and its error ends the search. */
static void test_fits(void) {
    corpus c;
    cn_lookup_scratch *s;
    cn_scored hit;
    uint32_t n = 0, looks = 0;
    CU_ASSERT_EQUAL_FATAL(cn_lookup_scratch_new(&s), CN_OK);
    corpus_init(&c, 5000, false);
    cn_wanted w = {.term = CN_STR("w1"), .weight = 1};
    cn_lookup q = {.terms = &w, .n = 1, .k1 = 1.2f, .b = .75f, .mean = 700, .k = 1, .floor = -INFINITY, .permitted = {c.permitted, 5000}, .fits = ask_fit, .fits_ctx = &looks};
    CU_ASSERT(cn_postings_search(c.p, &q, s, &hit, &n) == CN_OK && n == 1 && is_fit(hit.row));
    CU_ASSERT(looks > 0 && looks < 500);
    q.fits = fail_fit;
    CU_ASSERT_EQUAL(cn_postings_search(c.p, &q, s, &hit, &n), CN_CONFLICT);
    w = (cn_wanted){.term = CN_STR("nowhere"), .weight = 1, .must = true};
    CU_ASSERT(cn_postings_search(c.p, &q, s, &hit, &n) == CN_OK && n == 0);
    corpus_done(&c);
    cn_lookup_scratch_free(s);
}

static void test_against_the_definition(void) {
    static const uint32_t sizes[] = {1, 63, 64, 129, 4096, 4097, 9000};
    cn_lookup_scratch *s;
    CU_ASSERT_EQUAL_FATAL(cn_lookup_scratch_new(&s), CN_OK);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        corpus c;
        corpus_init(&c, sizes[i], false);
        CU_ASSERT_EQUAL(cn_postings_validate(c.p), CN_OK);
        static const uint32_t shares[] = {100, 50, 3, 0};
        for (size_t j = 0; j < 4; j++) {
            permit(&c, shares[j]);
            check_counts(&c);
            for (unsigned long r = 0; r < test_count(30, 1000); r++)
                compare(&c, s, 1 + below(ASKED), (const uint32_t[]){1, 10, 100, 10000}[below(4)]);
        }
        corpus_done(&c);
    }
    cn_lookup_scratch_free(s);
}

static void test_nothing_in_it(void) {
    corpus none, empty;
    uint32_t n = 9;
    cn_lookup_scratch *s;
    cn_scored hit;
    CU_ASSERT_EQUAL_FATAL(cn_lookup_scratch_new(&s), CN_OK);
    corpus_init(&none, 0, true);
    corpus_init(&empty, 300, true);
    cn_wanted w = {.term = CN_STR("w0"), .weight = 1};
    cn_lookup q = {.terms = &w, .n = 1, .k1 = 1.2f, .b = .75f, .mean = 1, .k = 1, .floor = -INFINITY, .permitted = {empty.permitted, 300}};
    CU_ASSERT(cn_postings_search(empty.p, &q, s, &hit, &n) == CN_OK && n == 0);
    q.permitted.n = 0, n = 9;
    CU_ASSERT(cn_postings_search(none.p, &q, s, &hit, &n) == CN_OK && n == 0);
    CU_ASSERT_EQUAL(cn_postings_validate(none.p), CN_OK);
    CU_ASSERT_EQUAL(cn_postings_validate(empty.p), CN_OK);
    corpus_done(&none);
    corpus_done(&empty);
    cn_lookup_scratch_free(s);
}

/* Ties by the rank given, not by the row. */
static void test_ties(void) {
    corpus c;
    cn_lookup_scratch *s;
    cn_scored got[3];
    uint32_t n, *rank = malloc(500 * sizeof *rank);
    CU_ASSERT_EQUAL_FATAL(cn_lookup_scratch_new(&s), CN_OK);
    c = (corpus){.rows = 500, .tf = calloc(500, sizeof *c.tf), .length = calloc(500, 4), .permitted = calloc(8, 8)};
    for (uint32_t row = 0; row < 500; row++) {
        c.tf[row][3] = 2;
        c.length[row] = 2;
        rank[row] = 499 - row;
    }
    build(&c);
    CU_ASSERT_EQUAL_FATAL(cn_postings_open(500, store_get, &c.arrays, &c.p), CN_OK);
    permit(&c, 100);
    cn_wanted w = {.term = CN_STR("w3"), .weight = 1};
    cn_lookup q = {.terms = &w, .n = 1, .k1 = 1.2f, .b = .75f, .mean = 2, .k = 3, .floor = -INFINITY, .permitted = {c.permitted, 500}, .rank = rank};
    CU_ASSERT_EQUAL(cn_postings_search(c.p, &q, s, got, &n), CN_OK);
    CU_ASSERT(n == 3 && got[0].row == 499 && got[1].row == 498 && got[2].row == 497);
    free(rank);
    corpus_done(&c);
    cn_lookup_scratch_free(s);
}

/* Counts that are too large for their bits are the largest there is. */
static void test_limits(void) {
    store arrays = {0};
    cn_postings_build *b;
    cn_postings *p;
    cn_entry *e;
    size_t n;
    const void *at;
    CU_ASSERT_EQUAL_FATAL(cn_postings_begin(store_put, &arrays, &b), CN_OK);
    for (int i = 0; i < 3; i++)
        CU_ASSERT_EQUAL(cn_postings_add(b, CN_STR("many"), UINT32_MAX, UINT32_MAX), CN_OK);
    CU_ASSERT(cn_postings_next_row(b) == CN_OK && cn_postings_end(b) == CN_OK);
    cn_postings_free(b);
    CU_ASSERT_EQUAL_FATAL(cn_postings_open(1, store_get, &arrays, &p), CN_OK);
    CU_ASSERT_EQUAL(store_get(&arrays, CN_P_ENTRIES, 0, &at, &n), CN_OK);
    e = malloc(n);
    memcpy(e, at, n);
    CU_ASSERT(e[0].max_tf == CN_TF_MAX && e[0].min_len == UINT32_MAX / 2);
    free(e);
    CU_ASSERT_EQUAL(cn_postings_validate(p), CN_OK);
    cn_postings_close(p);
    store_done(&arrays);
}

/* More rows than a run holds: terms and lists of each run are its own. */
static void test_runs(void) {
    store arrays = {0};
    cn_postings_build *b;
    cn_postings *p;
    cn_lookup_scratch *s;
    cn_scored got[4];
    uint32_t rows = CN_POSTINGS_RUN_ROWS + 70, n = 0, df = 0;
    uint64_t *all = malloc((rows / 64 + 1) * sizeof *all);
    memset(all, 0xff, (rows / 64 + 1) * sizeof *all);
    all[rows / 64] = ((uint64_t)1 << (rows % 64)) - 1;
    CU_ASSERT_EQUAL_FATAL(cn_postings_begin(store_put, &arrays, &b), CN_OK);
    for (uint32_t row = 0; row < rows; row++) {
        CU_ASSERT_EQUAL_FATAL(cn_postings_add(b, CN_STR("in every row"), 1, 1), CN_OK);
        if (row == 5 || row == CN_POSTINGS_RUN_ROWS + 65)
            CU_ASSERT_EQUAL(cn_postings_add(b, CN_STR("rare"), row == 5 ? 1 : 2, 1), CN_OK);
        CU_ASSERT_EQUAL_FATAL(cn_postings_next_row(b), CN_OK);
    }
    CU_ASSERT_EQUAL(cn_postings_end(b), CN_OK);
    cn_postings_free(b);
    CU_ASSERT_EQUAL_FATAL(cn_postings_open(rows, store_get, &arrays, &p), CN_OK);
    CU_ASSERT_EQUAL(p->head.runs, 2);
    CU_ASSERT_EQUAL(cn_postings_validate(p), CN_OK);
    CU_ASSERT(cn_postings_count(p, CN_STR("rare"), (cn_row_set){all, rows}, &df) == CN_OK && df == 2);
    CU_ASSERT(cn_postings_count(p, CN_STR("rare"), (cn_row_set){all, rows - 1}, &df) == CN_OK && df == 2); /* as if one were not permitted: counted one by one */
    CU_ASSERT_EQUAL_FATAL(cn_lookup_scratch_new(&s), CN_OK);
    cn_wanted w[] = {{.term = CN_STR("in every row"), .weight = .1f}, {.term = CN_STR("rare"), .weight = 3}};
    cn_lookup q = {.terms = w, .n = 2, .k1 = 1.2f, .b = .75f, .mean = 1, .k = 4, .floor = -INFINITY, .permitted = {all, rows}};
    CU_ASSERT_EQUAL(cn_postings_search(p, &q, s, got, &n), CN_OK);
    CU_ASSERT(n == 4 && got[0].row == CN_POSTINGS_RUN_ROWS + 65 && got[1].row == 5 && got[2].row == 0 && got[3].row == 1);
    cn_lookup_scratch_free(s);
    cn_postings_close(p);
    store_done(&arrays);
    free(all);
}

static bool stop_at_once(void *ctx) {
    ++*(int *)ctx;
    return true;
}

static void test_stop(void) {
    corpus c;
    cn_lookup_scratch *s;
    cn_scored hit;
    uint32_t n = 7;
    int asked_often = 0;
    CU_ASSERT_EQUAL_FATAL(cn_lookup_scratch_new(&s), CN_OK);
    corpus_init(&c, 5000, false);
    cn_wanted w = {.term = CN_STR("w1"), .weight = 1};
    cn_lookup q = {.terms = &w, .n = 1, .k1 = 1.2f, .b = .75f, .mean = 1, .k = 1, .floor = -INFINITY, .permitted = {c.permitted, 5000}, .stop = stop_at_once, .stop_ctx = &asked_often};
    CU_ASSERT(cn_postings_search(c.p, &q, s, &hit, &n) == CN_DEADLINE && n == 7 && asked_often == 1);
    corpus_done(&c);
    cn_lookup_scratch_free(s);
}

/* ---------- damage ---------- */
static void test_sizes(void) {
    corpus c;
    cn_postings *p = NULL;
    corpus_init(&c, 300, false);
    for (uint32_t i = 0; i < c.arrays.n; i++) {
        stored was = c.arrays.at[i], *b = &c.arrays.at[i];
        const size_t sizes[] = {was.n - 1, was.n / 2, 0};
        for (size_t j = 0; j < sizeof sizes / sizeof *sizes; j++) {
            b->n = sizes[j];
            CU_ASSERT_EQUAL(cn_postings_open(300, store_get, &c.arrays, &p), CN_DAMAGED);
        }
        b->n = was.n + 64;
        CU_ASSERT_EQUAL(cn_postings_open(300, store_get, &c.arrays, &p), CN_DAMAGED);
        *b = was;
        b->array += 100;
        CU_ASSERT_EQUAL(cn_postings_open(300, store_get, &c.arrays, &p), CN_NOT_FOUND);
        *b = was;
    }
    CU_ASSERT_EQUAL(cn_postings_open(299, store_get, &c.arrays, &p), CN_DAMAGED);
    CU_ASSERT_EQUAL(cn_postings_open(301, store_get, &c.arrays, &p), CN_DAMAGED);
    corpus_done(&c);
}

/* A number of runs that the rows cannot have is refused before memory is taken for it. */
static void test_false_runs(void) {
    corpus c;
    cn_postings *p = NULL;
    corpus_init(&c, 300, false);
    stored *head = &c.arrays.at[0];
    while (head->array != CN_P_HEAD)
        head++;
    cn_postings_head h;
    memcpy(&h, head->bytes, sizeof h);
    for (uint32_t runs = 300 / 64 + 2; runs < UINT32_MAX / 3; runs *= 3) {
        h.runs = runs;
        memcpy(head->bytes, &h, sizeof h);
        cn_alloc_fail_at(1);
        CU_ASSERT_EQUAL(cn_postings_open(300, store_get, &c.arrays, &p), CN_DAMAGED);
        cn_alloc_fail_at(0);
    }
    corpus_done(&c);
}

static void copy_store(const store *from, store *to) {
    for (uint32_t i = 0; i < from->n; i++)
        CU_ASSERT_EQUAL_FATAL(store_put(to, from->at[i].array, from->at[i].block, from->at[i].bytes, from->at[i].n), CN_OK);
}

static cn_err ignore_begun(void *ctx, cn_str term, uint32_t rows) {
    (void)ctx, (void)rows;
    CU_ASSERT(term.n >= 2 && term.p[1] == '1');
    return CN_OK;
}

/* Whatever the bytes: an error, or rows that may be seen. A sanitizer sees what is read besides. */
static void ask_damaged(const corpus *c, cn_postings *p, cn_lookup_scratch *s) {
    char text[ASKED][32];
    cn_wanted w[ASKED];
    cn_scored got[20];
    uint32_t n = 0, df;
    for (uint32_t i = 0; i < ASKED; i++)
        w[i] = (cn_wanted){word(below(30), text[i]), 1, below(20) == 0, i && below(3) == 0};
    cn_lookup q = {.terms = w, .n = ASKED, .k1 = 1.2f, .b = .75f, .mean = 500, .k = 20, .floor = -INFINITY, .permitted = {c->permitted, c->n_permitted}};
    cn_err e = cn_postings_search(p, &q, s, got, &n);
    CU_ASSERT(e == CN_OK || e == CN_DAMAGED);
    for (uint32_t i = 0; e == CN_OK && i < n; i++)
        CU_ASSERT(got[i].row < c->rows && may(c, got[i].row));
    e = cn_postings_count(p, w[0].term, q.permitted, &df);
    CU_ASSERT(e == CN_OK || e == CN_DAMAGED);
    e = cn_postings_begun(p, CN_STR("w1"), q.permitted, ignore_begun, NULL);
    CU_ASSERT(e == CN_OK || e == CN_DAMAGED);
    e = cn_postings_validate(p);
    CU_ASSERT(e == CN_OK || e == CN_DAMAGED);
}

static void spoil(store *x) {
    for (uint32_t i = 0, n = 1 + below(3); i < n; i++) {
        stored *b = &x->at[below(x->n)];
        if (b->n)
            ((uint8_t *)b->bytes)[below(below(2) ? (uint32_t)b->n : b->n < 64 ? (uint32_t)b->n : 64)] = (uint8_t)below(256);
    }
}

/* Before they are opened, or, as a file may be that another program writes over, afterwards. */
static void test_fuzz(void) {
    corpus c;
    cn_lookup_scratch *s;
    unsigned found = 0;
    CU_ASSERT_EQUAL_FATAL(cn_lookup_scratch_new(&s), CN_OK);
    corpus_init(&c, 2000, false);
    permit(&c, 60);
    for (unsigned long r = 0; r < test_count(400, 20000); r++) {
        store damaged = {0};
        cn_postings *p = NULL;
        copy_store(&c.arrays, &damaged);
        bool afterwards = below(2);
        if (!afterwards)
            spoil(&damaged);
        cn_err e = cn_postings_open(2000, store_get, &damaged, &p);
        CU_ASSERT(e == CN_OK || !afterwards);
        if (afterwards)
            spoil(&damaged);
        if (e == CN_OK)
            ask_damaged(&c, p, s);
        else
            found++;
        cn_postings_close(p);
        store_done(&damaged);
    }
    CU_ASSERT(found > 0);
    corpus_done(&c);
    cn_lookup_scratch_free(s);
}

/* validate() sees what open() does not: any change of a list, a length or a term. */
static void test_validate(void) {
    corpus c;
    unsigned passed = 0;
    corpus_init(&c, 700, false);
    for (uint32_t r = 0; r < 300; r++) {
        store damaged = {0};
        cn_postings *p = NULL;
        copy_store(&c.arrays, &damaged);
        stored *b = &damaged.at[below(damaged.n)];
        uint32_t at = below((uint32_t)b->n);
        ((uint8_t *)b->bytes)[at] ^= (uint8_t)(1u << below(8));
        if (b->array != CN_P_HEAD && b->array != CN_P_RUN && b->array != CN_P_TERMS && cn_postings_open(700, store_get, &damaged, &p) == CN_OK)
            passed += cn_postings_validate(p) == CN_OK;
        cn_postings_close(p);
        store_done(&damaged);
    }
    CU_ASSERT(passed < 30); /* a count that is not the greatest of its block, or a length that is not the shortest, may stay unseen: the files' checksums see it */
    corpus_done(&c);
}

static void test_no_memory(void) {
    for (uint64_t nth = 1; nth < 60; nth++) {
        store arrays = {0};
        cn_postings_build *b = NULL;
        cn_alloc_fail_at(nth);
        cn_err e = cn_postings_begin(store_put, &arrays, &b);
        for (uint32_t row = 0; e == CN_OK && row < 100; row++) {
            e = cn_postings_add(b, row % 2 ? CN_STR("odd") : CN_STR("even"), 1, 1);
            e = e == CN_OK ? cn_postings_next_row(b) : e;
        }
        e = e == CN_OK ? cn_postings_end(b) : e;
        cn_alloc_fail_at(0);
        CU_ASSERT(e == CN_OK || e == CN_OVERLOADED);
        cn_postings_free(b);
        store_done(&arrays);
    }
}

int main(void) {
    CU_initialize_registry();
    state = test_seed(1);
    CU_pSuite s = CU_add_suite("postings", NULL, NULL);
    CU_add_test(s, "against the definition", test_against_the_definition);
    CU_add_test(s, "beginnings", test_begun);
    CU_add_test(s, "fits", test_fits);
    CU_add_test(s, "nothing in it", test_nothing_in_it);
    CU_add_test(s, "ties", test_ties);
    CU_add_test(s, "limits", test_limits);
    CU_add_test(s, "runs", test_runs);
    CU_add_test(s, "stop", test_stop);
    CU_add_test(s, "sizes", test_sizes);
    CU_add_test(s, "false number of runs", test_false_runs);
    CU_add_test(s, "fuzz", test_fuzz);
    CU_add_test(s, "validate", test_validate);
    CU_add_test(s, "no memory", test_no_memory);
    CU_basic_run_tests();
    unsigned failed = CU_get_number_of_failures(), ran = CU_get_number_of_tests_run();
    CU_cleanup_registry();
    return failed || !ran;
}
