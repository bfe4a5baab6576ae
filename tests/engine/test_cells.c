/* Cells through their face, beside a naive search: the recall that was asked for comes back under every filter, min(k, permitted)
 * hits do whatever the rows, the filter and k, and no hit has a wrong score or is not permitted. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/mem.h"
#include "engine/cells/inside.h"
#include "tests/engine/flat_fixture.h"

typedef struct cells_fixture {
    fixture f;
    store stored;
    cn_cells *cells;
    cn_cells_scratch *scratch;
} cells_fixture;

static void init(cells_fixture *c, fixture_plan plan) {
    *c = (cells_fixture){.stored = {.n = 0}};
    fixture_init(&c->f, plan);
    CU_ASSERT_EQUAL_FATAL(cn_cells_build(c->f.flat, 2, store_put, &c->stored), CN_OK);
    CU_ASSERT_EQUAL_FATAL(cn_cells_open(c->f.flat, store_get, &c->stored, &c->cells), CN_OK);
    CU_ASSERT_EQUAL(cn_cells_validate(c->cells), CN_OK);
    CU_ASSERT_EQUAL_FATAL(cn_cells_scratch_new(&c->scratch), CN_OK);
}

static void done(cells_fixture *c) {
    cn_cells_close(c->cells);
    cn_cells_scratch_free(c->scratch);
    store_done(&c->stored);
    fixture_done(&c->f);
}

typedef struct tally {
    uint32_t right, wanted, searches;
    uint32_t right_by_cells, wanted_by_cells;
    uint32_t ways[3];
} tally;

static void check_hits(const fixture *f, const cn_scan *q, const cn_scored *hits, uint32_t n) {
    CU_ASSERT_EQUAL(n, q->k < q->n_permitted ? q->k : q->n_permitted);
    for (uint32_t i = 0; i < n; i++) {
        const cn_scored *h = &hits[i];
        CU_ASSERT_FATAL(h->row < f->plan.n && (q->permitted[h->row / 64] >> (h->row % 64) & 1));
        CU_ASSERT_EQUAL(h->score, cn_score(f->plan.metric, q->query, cn_vec(&f->vecs, h->row), f->plan.dim));
        uint32_t mine = q->rank ? q->rank[h->row] : h->row, before = i == 0 ? 0 : q->rank ? q->rank[h[-1].row] : h[-1].row;
        CU_ASSERT(i == 0 || h->score < h[-1].score || (h->score == h[-1].score && before < mine));
    }
}

/* By cells whatever the plan says, as far as there are numbers for it: false where they are given up. */
static bool by_cells(cells_fixture *c, const cn_scan *q, cn_scored *hits, uint32_t *ret_n) {
    const cn_aim *a = &c->cells->head.aims[q->k > cn_cells_ks[0]][1];
    cn_cells_told told = {CN_WAY_CELLS, 0, 0, 0};
    bool coded, all;
    if (!cn_scan_codes(c->f.flat, q) || q->k > CN_CELLS_K_MAX || !a->depth)
        return false;
    CU_ASSERT_EQUAL_FATAL(cn_scan_begin(c->f.flat, q, c->f.scratch, &coded), CN_OK);
    CU_ASSERT_EQUAL_FATAL(cn_cells_by(c->cells, q, a, .95, UINT32_MAX, c->f.scratch, c->scratch, &told, &all), CN_OK);
    if (!all)
        return false;
    CU_ASSERT(told.cells > 0 && told.rows > 0);
    cn_top_take(&c->f.scratch->top, hits, ret_n);
    return true;
}

static void search(cells_fixture *c, const cn_scan *q, double recall, tally *t) {
    cn_scored *want = cn_alloc((q->k + 1) * sizeof *want), *got = cn_alloc((q->k + 1) * sizeof *got);
    CU_ASSERT_FATAL(want && got);
    cn_cells_told told;
    uint32_t n = brute_force(&c->f, q, want), n_got = 0;
    CU_ASSERT_EQUAL_FATAL(cn_cells_search(c->cells, q, recall, c->f.scratch, c->scratch, got, &n_got, &told), CN_OK);
    CU_ASSERT(q->k <= CN_CELLS_K_MAX || told.way == CN_WAY_SCAN);
    check_hits(&c->f, q, got, n_got);
    for (uint32_t i = 0; i < n_got; i++)
        t->right += got[i].score >= want[n - 1].score;
    if (by_cells(c, q, got, &n_got)) {
        check_hits(&c->f, q, got, n_got);
        for (uint32_t i = 0; i < n_got; i++)
            t->right_by_cells += got[i].score >= want[n - 1].score;
        t->wanted_by_cells += n;
    }
    t->wanted += n;
    t->searches++;
    t->ways[told.way]++;
    cn_free(want);
    cn_free(got);
}

static uint32_t count(const uint64_t *bits, uint32_t n) {
    uint32_t sum = 0;
    for (uint32_t w = 0; w < n / 64 + 1; w++)
        sum += (uint32_t)__builtin_popcountll(bits[w]);
    return sum;
}

static void search_some(cells_fixture *c, const uint64_t *permitted, uint32_t queries, uint32_t k, double recall, tally *t) {
    for (uint32_t i = 0; i < queries; i++) {
        float *query = fixture_query(&c->f, i + 1);
        search(c, &(cn_scan){.query = query, .k = k, .permitted = permitted, .n_permitted = count(permitted, c->f.plan.n)}, recall, t);
        cn_free(query);
    }
}

static void check_recall(const cells_fixture *c, const char *what, const tally *t, double least) {
    double recall = t->wanted ? (double)t->right / t->wanted : 1;
    if (recall < least)
        printf("%s: recall %.4f of %.2f, %s, dimension %u, %u rows, kind %d; scanned %u, by cells %u, abandoned %u\n", what, recall, least, cn_metric_name(c->f.plan.metric), c->f.plan.dim,
               c->f.plan.n, (int)c->f.plan.kind, t->ways[0], t->ways[1], t->ways[2]);
    CU_ASSERT(recall >= least);
    double forced = t->wanted_by_cells ? (double)t->right_by_cells / t->wanted_by_cells : 1;
    if (forced < least && forced < .9)
        printf("%s: by cells alone recall %.4f, %s, dimension %u, %u rows, kind %d\n", what, forced, cn_metric_name(c->f.plan.metric), c->f.plan.dim, c->f.plan.n, (int)c->f.plan.kind);
    CU_ASSERT(forced >= least || forced >= .9);
}

/* --- rows of every kind --- */
static void try_plan(fixture_plan plan) {
    cells_fixture c;
    tally t = {0};
    init(&c, plan);
    search_some(&c, c.f.all, 20, 10, .95, &t);
    search_some(&c, c.f.all, 4, 100, .95, &t);
    check_recall(&c, "kind", &t, .93);
    done(&c);
}

static void test_dimensions(void) {
    static const uint32_t dims[] = {1, 3, 64, 65, 384, 1000, 4096};
    for (cn_metric m = CN_COSINE; m <= CN_L2; m++)
        for (size_t d = 0; d < sizeof dims / sizeof *dims; d++)
            try_plan((fixture_plan){m, dims[d], dims[d] > 500 ? 1200 : 3000, 1024, ROWS_TOPICS, 1});
}

static void test_numbers_of_rows(void) {
    static const uint32_t ns[] = {0, 1, 2, 31, 32, 33, 100, 1023, 1025, 1056, 2047};
    for (cn_metric m = CN_COSINE; m <= CN_L2; m++)
        for (size_t i = 0; i < sizeof ns / sizeof *ns; i++)
            try_plan((fixture_plan){m, 70, ns[i], 64, ROWS_TOPICS, 1});
}

static void test_kinds_of_rows(void) {
    for (cn_metric m = CN_COSINE; m <= CN_L2; m++) {
        try_plan((fixture_plan){m, 100, 2500, 1024, ROWS_UNIFORM, 1});
        try_plan((fixture_plan){m, 320, 2500, 1024, ROWS_CLUSTERED, 1});
        try_plan((fixture_plan){m, 100, 2500, 1024, ROWS_FAR, 1});
        try_plan((fixture_plan){m, 320, 2500, 1024, ROWS_SPARSE, 1});
        try_plan((fixture_plan){m, 48, 2500, 1024, ROWS_TWINS, 1});
        try_plan((fixture_plan){m, 65, 2500, 512, ROWS_TOPICS, 1e-6f});
        try_plan((fixture_plan){m, 65, 2500, 512, ROWS_TOPICS, 1e6f});
        try_plan((fixture_plan){m, 65, 2500, 512, ROWS_TOPICS, 1e15f}); /* no codes, so no cells */
    }
}

/* --- the recall asked for, and filters --- */
#define MANY 20000u

static void permit_share(uint64_t *bits, uint32_t n, uint32_t one_in) {
    memset(bits, 0, (n / 64 + 1) * sizeof *bits);
    for (uint32_t r = 0; r < n; r++)
        bits[r / 64] |= (uint64_t)(random_bits() % one_in == 0) << (r % 64);
}

static void try_recalls(cells_fixture *c) {
    for (uint32_t j = 0; j < CN_CELLS_RECALLS; j++) {
        tally t = {0};
        double asked = cn_cells_recalls[j];
        search_some(c, c->f.all, 40, 10, asked, &t);
        check_recall(c, "asked", &t, asked - 3 * (1 - asked) / 4); /* 400 neighbours of queries that it was not measured with */
        CU_ASSERT(j > 1 || c->f.plan.metric == CN_IP || t.ways[CN_WAY_CELLS] > t.searches / 2);
    }
}

static void try_filters(cells_fixture *c) {
    static const uint32_t one_in[] = {2, 10, 100, 1000};
    static uint64_t bits[MANY / 64 + 1];
    for (size_t i = 0; i < sizeof one_in / sizeof *one_in; i++) {
        tally t = {0};
        permit_share(bits, MANY, one_in[i]);
        search_some(c, bits, 20, 10, .95, &t);
        check_recall(c, "filter", &t, .93);
        CU_ASSERT(i > 0 || c->f.plan.metric == CN_IP || t.ways[CN_WAY_CELLS] > 0);
        CU_ASSERT(i == 0 || t.ways[CN_WAY_SCAN] == t.searches);
    }
}

static int by_score(const void *a, const void *b) {
    const cn_scored *x = a, *y = b;
    return (x->score > y->score) - (x->score < y->score);
}

/* Rows are permitted that lie furthest from the query, or nearest to it. */
static void try_correlated(cells_fixture *c, bool near, uint32_t part) {
    static cn_scored all[MANY];
    static uint64_t bits[MANY / 64 + 1];
    tally t = {0};
    for (uint32_t i = 0; i < 8; i++) {
        float *query = fixture_query(&c->f, i + 1);
        for (uint32_t r = 0; r < MANY; r++)
            all[r] = (cn_scored){cn_score(c->f.plan.metric, query, cn_vec(&c->f.vecs, r), c->f.plan.dim), r};
        qsort(all, MANY, sizeof *all, by_score);
        memset(bits, 0, sizeof bits);
        for (uint32_t r = 0; r < MANY / part; r++) {
            uint32_t row = all[near ? MANY - 1 - r : r].row;
            bits[row / 64] |= UINT64_C(1) << (row % 64);
        }
        search(c, &(cn_scan){.query = query, .k = 10, .permitted = bits, .n_permitted = MANY / part}, .95, &t);
        cn_free(query);
    }
    check_recall(c, near ? "near" : "far", &t, .9);
}

/* Estimates that are not to be trusted at all: however deep the search goes, the answer is the flat scan's. And an aim that stops
 * at once: whole all the same. */
static void try_bad_aims(cells_fixture *c) {
    tally doubted = {0}, hasty = {0};
    cn_aim *a = &c->cells->head.aims[0][1], was = *a;
    CU_ASSERT_FATAL(a->depth > 0);
    float *spread = (float *)(uintptr_t)&c->f.flat->head.spread, spread_was = *spread;
    *spread = 1e6f;
    search_some(c, c->f.all, 5, 10, .95, &doubted);
    CU_ASSERT_EQUAL(doubted.ways[CN_WAY_ABANDONED], 5);
    check_recall(c, "abandoned", &doubted, .99);
    *spread = spread_was;
    a->reach = -1e6f;
    search_some(c, c->f.all, 5, 10, .95, &hasty);
    CU_ASSERT_EQUAL(hasty.ways[CN_WAY_CELLS], 5);
    *a = was;
}

static void test_many(void) {
    for (cn_metric m = CN_COSINE; m <= CN_L2; m++) {
        cells_fixture c;
        init(&c, (fixture_plan){m, 100, MANY, 16384, ROWS_TOPICS, 1});
        try_recalls(&c);
        try_filters(&c);
        for (uint32_t part = 2; part <= 32; part *= 4) {
            try_correlated(&c, false, part);
            try_correlated(&c, true, part);
        }
        if (m == CN_COSINE)
            try_bad_aims(&c);
        done(&c);
    }
}

static void test_k(void) {
    static const uint32_t ks[] = {1, 10, 11, 99, 100, 101, 1000, CN_K_MAX};
    static const uint32_t fewer[] = {1, 3, 16, 120};
    static uint64_t bits[6000 / 64 + 1];
    cells_fixture c;
    tally t = {0};
    init(&c, (fixture_plan){CN_COSINE, 40, 6000, 2048, ROWS_TOPICS, 1});
    for (size_t i = 0; i < sizeof ks / sizeof *ks; i++) {
        search_some(&c, c.f.all, 2, ks[i], .95, &t);
        for (size_t j = 0; j < sizeof fewer / sizeof *fewer; j++) {
            memset(bits, 0, sizeof bits);
            for (uint32_t r = 0; r < fewer[j]; r++)
                bits[r * 37 / 64] |= UINT64_C(1) << (r * 37 % 64);
            search_some(&c, bits, 2, ks[i], .95, &t);
        }
        memset(bits, 0, sizeof bits);
        search_some(&c, bits, 1, ks[i], .95, &t);
    }
    check_recall(&c, "k", &t, .93);
    done(&c);
}

/* Twins tie: the rank decides. */
static void test_ties(void) {
    enum { N = 6000 };
    static uint32_t rank[N];
    cells_fixture c;
    tally t = {0};
    init(&c, (fixture_plan){CN_L2, 40, N, 1024, ROWS_TWINS, 1});
    for (uint32_t i = 0; i < N; i++)
        rank[i] = N - 1 - i;
    for (uint32_t i = 0; i < 8; i++) {
        float *query = fixture_query(&c.f, i + 1);
        search(&c, &(cn_scan){.query = query, .k = 10, .permitted = c.f.all, .n_permitted = N, .rank = rank}, .95, &t);
        cn_free(query);
    }
    check_recall(&c, "ties", &t, .95);
    done(&c);
}

/* Run once for each table of kernels: CAIRN_ISA; 77 tells meson that this processor has it not. */
#define SKIPPED 77
int main(void) {
    cn_err e = cn_kernels_init();
    if (e != CN_OK) {
        fprintf(stderr, "%s\n", cn_error_detail());
        return e == CN_REFUSED ? SKIPPED : 1;
    }
    CU_initialize_registry();
    CU_pSuite s = CU_add_suite("cells", NULL, NULL);
    CU_add_test(s, "dimensions", test_dimensions);
    CU_add_test(s, "numbers of rows", test_numbers_of_rows);
    CU_add_test(s, "kinds of rows", test_kinds_of_rows);
    CU_add_test(s, "many rows", test_many);
    CU_add_test(s, "k", test_k);
    CU_add_test(s, "ties", test_ties);
    CU_basic_run_tests();
    unsigned failed = CU_get_number_of_failures(), ran = CU_get_number_of_tests_run();
    CU_cleanup_registry();
    return failed || !ran;
}
