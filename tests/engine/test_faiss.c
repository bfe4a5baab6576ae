/* FAISS's candidates beside brute force: permitted, with true scores, as many as there are, whatever the filter; what is damaged or
 * made by another factory string is refused before FAISS reads it; strings that are none are refused. */
#include <dirent.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/mem.h"
#include "engine/faiss/faiss.h"
#include "tests/engine/flat_fixture.h"

#define ROWS 3000
#define DIM 48
#define QUESTIONS 20
#define K_MOST 50

static fixture f;
static uint64_t mask[ROWS / 64 + 1];

static void begin(cn_metric m, rows_kind kind) { fixture_init(&f, (fixture_plan){m, DIM, ROWS, 1024, kind, 1}); }

static void make(const char *factory, unsigned threads, store *s, cn_faiss **ret) {
    *s = (store){.n = 0};
    CU_ASSERT_EQUAL_FATAL(cn_faiss_build(f.flat, cn_str_of(factory), threads, store_put, s), CN_OK);
    CU_ASSERT_EQUAL_FATAL(cn_faiss_open(f.flat, cn_str_of(factory), store_get, s, ret), CN_OK);
}

/* One row in `of`, by chance; 0: all of them that are in the last quarter of the rows. */
static uint32_t permit(uint32_t of) {
    uint32_t n = 0;
    memset(mask, 0, sizeof mask);
    for (uint32_t i = 0; i < ROWS; i++)
        if (of ? random_bits() % of == 0 : i >= ROWS / 4 * 3) {
            mask[i / 64] |= UINT64_C(1) << (i % 64);
            n++;
        }
    return n;
}

/* How many of the true hits come back. */
static uint32_t check(const cn_faiss *x, const cn_scan *q, double recall, cn_cells_told *ret_told) {
    cn_scored hits[K_MOST], want[K_MOST];
    uint32_t n = 0, right = 0, most = q->k < q->n_permitted ? q->k : q->n_permitted;
    CU_ASSERT_EQUAL_FATAL(cn_faiss_search(x, q, recall, f.scratch, hits, &n, ret_told), CN_OK);
    CU_ASSERT_EQUAL_FATAL(n, most);
    CU_ASSERT_EQUAL_FATAL(brute_force(&f, q, want), most);
    for (uint32_t i = 0; i < n; i++) {
        CU_ASSERT_FATAL(hits[i].row < ROWS && (q->permitted[hits[i].row / 64] >> (hits[i].row % 64) & 1));
        CU_ASSERT_EQUAL(hits[i].score, cn_score(f.plan.metric, q->query, cn_vec(&f.vecs, hits[i].row), DIM));
        CU_ASSERT(i == 0 || hits[i - 1].score > hits[i].score || (hits[i - 1].score == hits[i].score && hits[i - 1].row < hits[i].row));
        for (uint32_t j = 0; j < most; j++)
            right += want[j].row == hits[i].row;
    }
    return right;
}

/* --- Flat: what brute force gives --- */
static void test_flat(void) {
    for (cn_metric m = CN_COSINE; m <= CN_L2; m++) {
        store s;
        cn_faiss *x;
        uint32_t by_faiss = 0;
        begin(m, ROWS_TOPICS);
        make("Flat", 2, &s, &x);
        for (uint32_t i = 0; i < QUESTIONS; i++) {
            float *query = fixture_query(&f, i);
            cn_scan q = {.query = query, .k = 1 + i % K_MOST, .permitted = mask, .n_permitted = permit(1 + i % 5)};
            cn_cells_told told;
            CU_ASSERT_EQUAL(check(x, &q, .9, &told), q.k);
            by_faiss += told.way == CN_WAY_CELLS;
            cn_free(query);
        }
        CU_ASSERT(by_faiss > QUESTIONS / 2);
        cn_faiss_close(x);
        store_done(&s);
        fixture_done(&f);
    }
}

/* --- the others: the recall asked for --- */
static void recall_of(const char *factory, cn_metric m) {
    static const uint32_t filters[] = {1, 2, 10, 200, 0};
    store s;
    cn_faiss *x;
    uint32_t by_faiss = 0;
    begin(m, ROWS_TOPICS);
    make(factory, 1, &s, &x);
    for (size_t p = 0; p < sizeof filters / sizeof *filters; p++) {
        uint32_t right = 0, all = 0;
        for (uint32_t i = 0; i < QUESTIONS; i++) {
            float *query = fixture_query(&f, 100 * p + i);
            cn_scan q = {.query = query, .k = 10, .permitted = mask, .n_permitted = permit(filters[p])};
            cn_cells_told told;
            right += check(x, &q, .95, &told);
            all += 10 < q.n_permitted ? 10 : q.n_permitted;
            by_faiss += told.way == CN_WAY_CELLS;
            cn_free(query);
        }
        CU_ASSERT(right >= all * .9);
        if (right < all * .9)
            printf("\n  %s, %s, filter %u: %u of %u\n", factory, cn_metric_name(m), filters[p], right, all);
    }
    CU_ASSERT(by_faiss > QUESTIONS); /* all that is permitted, and half of it, at least */
    cn_faiss_close(x);
    store_done(&s);
    fixture_done(&f);
}

static void test_recall(void) {
    static const char *const factories[] = {"IVF64,Flat", "IVF64,SQ8", "IVF32,PQ24", "IVF64_HNSW16,Flat", "HNSW16", "HNSW16,SQ8"};
    for (size_t i = 0; i < sizeof factories / sizeof *factories; i++)
        for (cn_metric m = CN_COSINE; m <= CN_L2; m++)
            if (i % 4 == 0 || m == (cn_metric)(i % 3))
                recall_of(factories[i], m);
}

/* --- what FAISS is not asked --- */
static void test_the_scan_answers(void) {
    store s;
    cn_faiss *x;
    cn_cells_told told;
    begin(CN_IP, ROWS_TOPICS);
    make("IVF64,Flat", 2, &s, &x);
    float *query = fixture_query(&f, 5);
    cn_scan q = {.query = query, .k = 10, .permitted = f.all, .n_permitted = ROWS};
    CU_ASSERT_EQUAL(check(x, &q, 1, &told), 10);
    CU_ASSERT_EQUAL(told.way, CN_WAY_SCAN);
    cn_cells_set_from(CN_CELLS_FROM);
    CU_ASSERT_EQUAL(check(x, &q, .9, &told), 10); /* few are permitted */
    CU_ASSERT_EQUAL(told.way, CN_WAY_SCAN);
    cn_cells_set_from(ROWS);
    (void)check(x, &q, .9, &told);
    CU_ASSERT(told.way == CN_WAY_CELLS && told.cells > 0 && told.rows > 0 && told.rows <= ROWS);
    cn_free(query);
    cn_faiss_close(x);
    store_done(&s);
    make("IVF8192,Flat", 1, &s, &x); /* more lists than rows: there is no index, and that is no error */
    query = fixture_query(&f, 6);
    q.query = query;
    CU_ASSERT_EQUAL(check(x, &q, .9, &told), 10);
    CU_ASSERT_EQUAL(told.way, CN_WAY_SCAN);
    cn_free(query);
    cn_faiss_close(x);
    store_done(&s);
    fixture_done(&f);
}

static bool stop(void *ctx) { return ctx != NULL; }

static void test_stopped(void) {
    store s;
    cn_faiss *x;
    cn_scored hits[10];
    cn_cells_told told;
    uint32_t n = 77;
    int here;
    begin(CN_L2, ROWS_TOPICS);
    make("HNSW4", 2, &s, &x);
    float *query = fixture_query(&f, 5);
    cn_scan q = {.query = query, .k = 10, .permitted = f.all, .n_permitted = ROWS, .stop = stop, .stop_ctx = &here};
    CU_ASSERT_EQUAL(cn_faiss_search(x, &q, .95, f.scratch, hits, &n, &told), CN_DEADLINE);
    CU_ASSERT_EQUAL(n, 77);
    cn_free(query);
    cn_faiss_close(x);
    store_done(&s);
    fixture_done(&f);
}

/* --- threads --- */
static uint32_t threads_now(void) {
    uint32_t n = 0;
    DIR *d = opendir("/proc/self/task");
    CU_ASSERT_PTR_NOT_NULL_FATAL(d);
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

static void test_no_threads(void) {
    store s;
    cn_faiss *x;
    cn_cells_told told;
    begin(CN_IP, ROWS_TOPICS);
    make("IVF64,Flat", 1, &s, &x);
    float *query = fixture_query(&f, 5);
    cn_scan q = {.query = query, .k = 10, .permitted = f.all, .n_permitted = ROWS};
    uint32_t before = threads_now();
    (void)check(x, &q, .98, &told);
    CU_ASSERT_EQUAL(told.way, CN_WAY_CELLS);
    CU_ASSERT_EQUAL(threads_now(), before);
    cn_free(query);
    cn_faiss_close(x);
    store_done(&s);
    fixture_done(&f);
}

/* --- damage --- */
static void open_is(const char *factory, store *s, cn_err want) {
    cn_faiss *x = NULL;
    cn_err e = cn_faiss_open(f.flat, cn_str_of(factory), store_get, s, &x);
    CU_ASSERT_EQUAL(e, want);
    CU_ASSERT(e == CN_OK || x == NULL);
    cn_faiss_close(x);
}

static void test_damage(void) {
    store s;
    cn_faiss *x;
    begin(CN_COSINE, ROWS_TOPICS);
    make("IVF16,SQ8", 1, &s, &x);
    cn_faiss_close(x);
    open_is("IVF16,SQ4", &s, CN_DAMAGED);
    open_is("IVF16,SQ", &s, CN_INVALID);
    for (uint32_t i = 0; i < s.n; i++) {
        stored was = s.at[i], *b = &s.at[i];
        const size_t sizes[] = {was.n - 1, was.n / 2, 1, 0, was.n + 64};
        for (size_t j = 0; j < sizeof sizes / sizeof *sizes; j++) {
            b->n = sizes[j];
            open_is("IVF16,SQ8", &s, CN_DAMAGED);
        }
        *b = was;
        b->array += 100;
        open_is("IVF16,SQ8", &s, CN_NOT_FOUND);
        *b = was;
    }
    for (uint32_t i = 0; i < 200; i++) { /* FAISS's bytes: each bit counts */
        stored *b = &s.at[0];
        uint8_t *byte = (uint8_t *)b->bytes + random_bits() % b->n, bit = (uint8_t)(1u << random_bits() % 8);
        *byte ^= bit;
        open_is("IVF16,SQ8", &s, CN_DAMAGED);
        *byte ^= bit;
    }
    open_is("IVF16,SQ8", &s, CN_OK);
    store_done(&s);
    fixture_done(&f);
}

/* Any bit of the head: refused, or an index whose answers are permitted and true. */
static void test_head_bits(void) {
    store s;
    cn_faiss *x;
    uint32_t refused = 0;
    begin(CN_IP, ROWS_TOPICS);
    make("IVF16,Flat", 1, &s, &x);
    cn_faiss_close(x);
    float *query = fixture_query(&f, 5);
    cn_scan q = {.query = query, .k = 10, .permitted = mask, .n_permitted = permit(2)};
    stored *head = &s.at[s.n - 1];
    for (size_t bit = 0; bit < 8 * head->n; bit++) {
        cn_cells_told told;
        ((uint8_t *)head->bytes)[bit / 8] ^= (uint8_t)(1u << bit % 8);
        if (cn_faiss_open(f.flat, CN_STR("IVF16,Flat"), store_get, &s, &x) == CN_OK) {
            (void)check(x, &q, .95, &told);
            cn_faiss_close(x);
        } else {
            refused++;
        }
        ((uint8_t *)head->bytes)[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    CU_ASSERT(refused >= 8 * 80);
    cn_free(query);
    store_done(&s);
    fixture_done(&f);
}

static void test_store_refuses(void) {
    store s = {.n = 0};
    begin(CN_IP, ROWS_TOPICS);
    CU_ASSERT_EQUAL_FATAL(cn_faiss_build(f.flat, CN_STR("Flat"), 1, store_put, &s), CN_OK);
    for (uint32_t i = 1; i < s.n; i++) {
        store less = {.refuse_after = i};
        CU_ASSERT_EQUAL(cn_faiss_build(f.flat, CN_STR("Flat"), 1, store_put, &less), CN_REFUSED);
        store_done(&less);
    }
    store_done(&s);
    fixture_done(&f);
}

/* Our own memory; FAISS's is its own. */
static void test_memory(void) {
    uint32_t failed = 0;
    cn_err e;
    begin(CN_COSINE, ROWS_TOPICS);
    do {
        store s = {.n = 0};
        cn_faiss *x = NULL;
        cn_alloc_fail_at(failed + 1);
        e = cn_faiss_build(f.flat, CN_STR("IVF4,SQ8"), 1, store_put, &s);
        if (e == CN_OK)
            e = cn_faiss_open(f.flat, CN_STR("IVF4,SQ8"), store_get, &s, &x);
        cn_alloc_fail_at(0);
        CU_ASSERT(e == CN_OK || e == CN_OVERLOADED);
        cn_faiss_close(x);
        store_done(&s);
    } while (e != CN_OK && ++failed < 500);
    CU_ASSERT_EQUAL(e, CN_OK);
    CU_ASSERT(failed >= 5);
    fixture_done(&f);
}

/* --- factory strings --- */
static void test_factories(void) {
    static const char *const good[] = {"Flat", "IVF1,Flat", "IVF16384,PQ48", "IVF256,PQ24x4", "IVF256,SQfp16", "IVF1024_HNSW32,PQ12", "HNSW32", "HNSW32,Flat", "HNSW4,SQ8"};
    static const char *const bad[] = {"", "flat", "Flat,", "IVF0,Flat", "IVF01,Flat", "IVF16385,Flat", "IVF99999999999,Flat", "IVF256", "IVF256,", "IVF256,PQ", "IVF256,PQ0", "IVF256,PQ8x9",
                                      "IVF256,PQ8x", "IVF256,PQ4x4fs", "PQ16", "SQ8", "HNSW", "HNSW3", "HNSW65", "HNSW32,", "HNSW64,PQ8", "IDMap,Flat", "OPQ16,IVF256,PQ16", "IVF256,Flat,RFlat", "LSH", "IVF16,Flat "};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        for (cn_metric m = CN_COSINE; m <= CN_L2; m++) {
            CU_ASSERT_EQUAL(cn_faiss_check(cn_str_of(good[i]), m, DIM), CN_OK);
            CU_ASSERT_EQUAL(cn_faiss_check(cn_str_of(good[i]), m, 0), CN_OK);
        }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CU_ASSERT_EQUAL(cn_faiss_check(cn_str_of(bad[i]), CN_IP, 0), CN_INVALID);
    CU_ASSERT_EQUAL(cn_faiss_check(CN_STR("IVF256,PQ7"), CN_IP, 48), CN_INVALID); /* FAISS's own word */
    CU_ASSERT_PTR_NOT_NULL(strstr(cn_error_detail(), "faiss:IVF256,PQ7 does not fit vectors of 48 dimensions"));
}

int main(void) {
    if (cn_faiss_check(CN_STR("Flat"), CN_IP, 4) == CN_UNAVAILABLE) {
        printf("skipped: %s\n", cn_error_detail());
        return 77;
    }
    cn_cells_set_from(ROWS);
    CU_initialize_registry();
    CU_pSuite s = CU_add_suite("faiss", NULL, NULL);
    CU_add_test(s, "factories", test_factories);
    CU_add_test(s, "flat", test_flat);
    CU_add_test(s, "recall", test_recall);
    CU_add_test(s, "the scan answers", test_the_scan_answers);
    CU_add_test(s, "stopped", test_stopped);
    CU_add_test(s, "no threads", test_no_threads);
    CU_add_test(s, "damage", test_damage);
    CU_add_test(s, "head bits", test_head_bits);
    CU_add_test(s, "store refuses", test_store_refuses);
    CU_add_test(s, "memory", test_memory);
    CU_basic_set_mode(CU_BRM_VERBOSE);
    CU_basic_run_tests();
    unsigned failed = CU_get_number_of_failures(), ran = CU_get_number_of_tests_run();
    CU_cleanup_registry();
    return failed || !ran;
}
