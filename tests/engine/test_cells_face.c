/* Cells beside their answers: the same bytes whoever makes them; what is damaged is refused, or harmless; what runs out or is
 * stopped leaves nothing behind; a warm search allocates nothing. */
#include <math.h>
#include <string.h>

#include "engine/base/mem.h"
#include "engine/cells/inside.h"
#include "tests/engine/flat_fixture.h"

#define ROUNDS 200
#define K 10

static fixture_plan plan_of(cn_metric m) { return (fixture_plan){m, 70, 3000, 1024, ROWS_TOPICS, 1}; }

static void build_cells(const fixture *f, unsigned threads, store *ret) {
    *ret = (store){.n = 0};
    CU_ASSERT_EQUAL_FATAL(cn_cells_build(f->flat, threads, store_put, ret), CN_OK);
}

/* --- the same bytes --- */
static void test_same_bytes(void) {
    static const unsigned threads[] = {2, 5, 64};
    const cn_kernels *usable[CN_KERNELS_MAX], *now = cn_kernels_now();
    for (cn_metric m = CN_COSINE; m <= CN_L2; m++) {
        fixture f;
        store one, again;
        fixture_init(&f, (fixture_plan){m, m == CN_L2 ? 400 : 70, 3000, 1024, m == CN_IP ? ROWS_TWINS : ROWS_TOPICS, 1});
        build_cells(&f, 1, &one);
        for (size_t i = 0; i < sizeof threads / sizeof *threads; i++) {
            build_cells(&f, threads[i], &again);
            CU_ASSERT(store_same(&one, &again));
            store_done(&again);
        }
        for (size_t u = 0, n = cn_kernels_usable(usable); u < n; u++) {
            CU_ASSERT_EQUAL(cn_kernels_choose(usable[u]->name), CN_OK);
            build_cells(&f, 2, &again);
            CU_ASSERT(store_same(&one, &again));
            store_done(&again);
        }
        CU_ASSERT_EQUAL(cn_kernels_choose(now->name), CN_OK);
        store_done(&one);
        fixture_done(&f);
    }
}

/* --- damage --- */
static void open_is(const fixture *f, store *s, cn_err want) {
    cn_cells *c = NULL;
    cn_err e = cn_cells_open(f->flat, store_get, s, &c);
    CU_ASSERT_EQUAL(e, want);
    CU_ASSERT(e == CN_OK || c == NULL);
    cn_cells_close(c);
}

static void test_sizes(void) {
    fixture f;
    store s;
    fixture_init(&f, plan_of(CN_COSINE));
    build_cells(&f, 2, &s);
    for (uint32_t i = 0; i < s.n; i++) {
        stored was = s.at[i], *b = &s.at[i];
        const size_t sizes[] = {was.n - 1, was.n / 2, 1, 0, was.n + 64};
        for (size_t j = 0; j < sizeof sizes / sizeof *sizes; j++) {
            b->n = sizes[j];
            open_is(&f, &s, CN_DAMAGED);
        }
        *b = was;
        b->array += 100;
        open_is(&f, &s, CN_NOT_FOUND);
        *b = was;
    }
    open_is(&f, &s, CN_OK);
    store_done(&s);
    fixture_done(&f);
}

static void test_of_others(void) {
    fixture a, b;
    store s, none = {.n = 0};
    fixture_init(&a, plan_of(CN_IP));
    fixture_init(&b, (fixture_plan){CN_IP, 70, 3001, 1024, ROWS_TOPICS, 1});
    build_cells(&b, 2, &s);
    open_is(&a, &s, CN_DAMAGED);
    open_is(&a, &none, CN_NOT_FOUND);
    store_done(&s);
    fixture_done(&a);
    fixture_done(&b);
}

static stored *array_of(store *s, uint32_t array) {
    for (uint32_t i = 0; i < s->n; i++)
        if (s->at[i].array == array)
            return &s->at[i];
    CU_FAIL_FATAL("no such array");
    return NULL;
}

static void check_one(const fixture *f, const cn_scan *q, const cn_scored *hits, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        CU_ASSERT_FATAL(hits[i].row < f->plan.n && (q->permitted[hits[i].row / 64] >> (hits[i].row % 64) & 1));
        CU_ASSERT_EQUAL(hits[i].score, cn_score(f->plan.metric, q->query, cn_vec(&f->vecs, hits[i].row), f->plan.dim));
        for (uint32_t j = 0; j < i; j++)
            CU_ASSERT_NOT_EQUAL(hits[j].row, hits[i].row);
    }
}

/* Every second row is permitted, so that one that is not stands beside each. */
static void check_answers(const fixture *f, cn_cells *c, cn_cells_scratch *s, const float *query) {
    static uint64_t mask[3000 / 64 + 1];
    cn_scored hits[K];
    cn_cells_told told;
    uint32_t n = 0, permitted = 0;
    for (uint32_t w = 0; w < sizeof mask / sizeof *mask; w++)
        permitted += (uint32_t)__builtin_popcountll(mask[w] = f->all[w] & UINT64_C(0xaaaaaaaaaaaaaaab));
    cn_scan q = {.query = query, .k = K, .permitted = mask, .n_permitted = permitted};
    CU_ASSERT_EQUAL_FATAL(cn_cells_search(c, &q, .95, f->scratch, s, hits, &n, &told), CN_OK);
    CU_ASSERT_EQUAL_FATAL(n, K);
    check_one(f, &q, hits, n);
    cn_aim aim = c->head.aims[0][1];
    if (aim.depth < K || aim.depth > CN_DEPTH_MAX)
        return;
    bool coded, all;
    CU_ASSERT_EQUAL_FATAL(cn_scan_begin(f->flat, &q, f->scratch, &coded), CN_OK);
    CU_ASSERT_FATAL(coded);
    told = (cn_cells_told){CN_WAY_CELLS, 0, 0, 0};
    CU_ASSERT_EQUAL_FATAL(cn_cells_by(c, &q, &aim, .95, UINT32_MAX, f->scratch, s, &told, &all), CN_OK);
    cn_top_take(&f->scratch->top, hits, &n);
    check_one(f, &q, hits, n);
}

static bool refused(const fixture *f, store *s, cn_cells_scratch *scratch, const float *query) {
    cn_cells *c = NULL;
    cn_err e = cn_cells_open(f->flat, store_get, s, &c);
    CU_ASSERT(e == CN_OK || e == CN_DAMAGED);
    if (e == CN_OK)
        check_answers(f, c, scratch, query);
    cn_cells_close(c);
    return e != CN_OK;
}

/* A row that stands twice, in a wrong place or nowhere; cells that overlap. */
static void test_order(void) {
    fixture f;
    store s;
    fixture_init(&f, plan_of(CN_L2));
    build_cells(&f, 2, &s);
    uint32_t *rows = array_of(&s, CN_CELLS_ARRAY_ROWS)->bytes;
    const uint32_t bad[] = {rows[1], 3000, CN_NO_ROW};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        uint32_t was = rows[0];
        rows[0] = bad[i];
        open_is(&f, &s, CN_DAMAGED);
        rows[0] = was;
    }
    cn_cell *cells = array_of(&s, CN_CELLS_ARRAY_CELLS)->bytes;
    for (int i = 0; i < 4; i++) {
        cn_cell was = cells[1];
        cells[1].block -= i == 0;
        cells[1].rows += i == 1;
        cells[1].add = i == 2 ? NAN : was.add;
        cells[1].spread = i == 3 ? -1 : was.spread;
        open_is(&f, &s, CN_DAMAGED);
        cells[1] = was;
    }
    open_is(&f, &s, CN_OK);
    store_done(&s);
    fixture_done(&f);
}

static void test_head_bits(void) {
    fixture f;
    store s;
    cn_cells_scratch *scratch;
    uint32_t n = 0;
    fixture_init(&f, plan_of(CN_COSINE));
    build_cells(&f, 2, &s);
    CU_ASSERT_EQUAL_FATAL(cn_cells_scratch_new(&scratch), CN_OK);
    stored *head = array_of(&s, CN_CELLS_ARRAY_HEAD);
    float *query = fixture_query(&f, 5);
    uint8_t *bytes = head->bytes;
    for (size_t bit = 0; bit < 8 * head->n; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        n += refused(&f, &s, scratch, query);
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    CU_ASSERT(n >= 8 * 30); /* the magic and the shape at least */
    cn_free(query);
    cn_cells_scratch_free(scratch);
    store_done(&s);
    fixture_done(&f);
}

static void change_bytes(store *s) {
    for (uint32_t changes = 1 + (uint32_t)(random_bits() % 20); changes; changes--) {
        stored *b = &s->at[random_bits() % s->n];
        uint8_t *p = b->bytes;
        size_t at = random_bits() % b->n, run = 1 + random_bits() % (b->n - at);
        if (random_bits() % 2)
            p[at] ^= (uint8_t)(1u << random_bits() % 8);
        else
            memset(p + at, (int)(random_bits() & 255), run < 256 ? run : 256);
    }
}

static void test_any_bytes(void) {
    fixture f;
    cn_cells_scratch *scratch;
    uint32_t n = 0;
    store s, now;
    fixture_init(&f, plan_of(CN_IP));
    CU_ASSERT_EQUAL_FATAL(cn_cells_scratch_new(&scratch), CN_OK);
    build_cells(&f, 2, &s);
    float *query = fixture_query(&f, 3);
    for (int i = 0; i < ROUNDS; i++) {
        now = (store){.n = 0};
        for (uint32_t j = 0; j < s.n; j++)
            CU_ASSERT_EQUAL_FATAL(store_put(&now, s.at[j].array, s.at[j].block, s.at[j].bytes, s.at[j].n), CN_OK);
        change_bytes(&now);
        n += refused(&f, &now, scratch, query);
        store_done(&now);
    }
    CU_ASSERT(n > ROUNDS / 4 && n < ROUNDS);
    cn_free(query);
    cn_cells_scratch_free(scratch);
    store_done(&s);
    fixture_done(&f);
}

/* What opening cannot see, validating does. */
static void test_validate(void) {
    fixture f;
    store s;
    cn_cells *c;
    fixture_init(&f, plan_of(CN_L2));
    build_cells(&f, 2, &s);
    CU_ASSERT_EQUAL_FATAL(cn_cells_open(f.flat, store_get, &s, &c), CN_OK);
    CU_ASSERT_EQUAL(cn_cells_validate(c), CN_OK);
    float *centroids = array_of(&s, CN_CELLS_ARRAY_CENTROIDS)->bytes, was = centroids[99];
    centroids[99] = INFINITY;
    CU_ASSERT_EQUAL(cn_cells_validate(c), CN_DAMAGED);
    centroids[99] = was;
    float *add = (float *)(void *)((uint8_t *)array_of(&s, CN_CELLS_ARRAY_BITS)->bytes + (size_t)f.flat->head.planes * 4 * f.flat->head.padded);
    add[0] += 1;
    CU_ASSERT_EQUAL(cn_cells_validate(c), CN_DAMAGED);
    add[0] -= 1;
    add[CN_FASTSCAN_ROWS] = -1;
    CU_ASSERT_EQUAL(cn_cells_validate(c), CN_DAMAGED);
    cn_cells_close(c);
    store_done(&s);
    fixture_done(&f);
}

/* --- what runs out --- */
static void test_store_refuses(void) {
    fixture f;
    fixture_init(&f, plan_of(CN_IP));
    store s;
    build_cells(&f, 2, &s);
    for (uint32_t i = 1; i < s.n; i++) {
        store less = {.refuse_after = i};
        CU_ASSERT_EQUAL(cn_cells_build(f.flat, 2, store_put, &less), CN_REFUSED);
        store_done(&less);
    }
    store_done(&s);
    fixture_done(&f);
}

static cn_err live(const fixture *f, const cn_scan *q) {
    store s = {.n = 0};
    cn_cells *c = NULL;
    cn_scratch *flat = NULL;
    cn_cells_scratch *own = NULL;
    cn_scored hits[K];
    cn_cells_told told;
    uint32_t n;
    cn_err e = cn_cells_build(f->flat, 1, store_put, &s);
    if (e == CN_OK)
        e = cn_cells_open(f->flat, store_get, &s, &c);
    if (e == CN_OK)
        e = cn_scratch_new(&flat);
    if (e == CN_OK)
        e = cn_cells_scratch_new(&own);
    if (e == CN_OK)
        e = cn_cells_search(c, q, .95, flat, own, hits, &n, &told);
    cn_cells_close(c);
    cn_scratch_free(flat);
    cn_cells_scratch_free(own);
    store_done(&s);
    return e;
}

static void test_memory(void) {
    fixture f;
    fixture_init(&f, (fixture_plan){CN_IP, 20, 1500, 2048, ROWS_TOPICS, 1});
    float *query = fixture_query(&f, 5);
    cn_scan q = {.query = query, .k = K, .permitted = f.all, .n_permitted = f.plan.n};
    uint32_t failed = 0;
    cn_err e;
    do {
        cn_alloc_fail_at(failed + 1);
        e = live(&f, &q);
        cn_alloc_fail_at(0);
        CU_ASSERT(e == CN_OK || e == CN_OVERLOADED);
    } while (e != CN_OK && (failed += failed < 40 ? 1 : 17) < 5000); /* measuring asks again and again for the same */
    CU_ASSERT_EQUAL(e, CN_OK);
    CU_ASSERT(failed >= 20);
    cn_free(query);
    fixture_done(&f);
}

static bool asked_twice(void *ctx) { return ++*(uint32_t *)ctx > 1; }

static void test_warm_and_stop(void) {
    fixture f;
    store s;
    cn_cells *c;
    cn_cells_scratch *own;
    cn_scored hits[K];
    cn_cells_told told;
    uint32_t n, asked = 1;
    fixture_init(&f, (fixture_plan){CN_IP, 70, 12000, 16384, ROWS_TOPICS, 1});
    build_cells(&f, 2, &s);
    CU_ASSERT_EQUAL_FATAL(cn_cells_open(f.flat, store_get, &s, &c), CN_OK);
    CU_ASSERT_EQUAL_FATAL(cn_cells_scratch_new(&own), CN_OK);
    float *query = fixture_query(&f, 5);
    cn_scan q = {.query = query, .k = K, .permitted = f.all, .n_permitted = f.plan.n};
    CU_ASSERT_EQUAL(cn_cells_search(c, &q, .95, f.scratch, own, hits, &n, &told), CN_OK);
    CU_ASSERT_EQUAL(told.way, CN_WAY_CELLS);
    CU_ASSERT(told.cells > 0 && told.rows > 0 && told.rows < f.plan.n && told.expected > 0);
    uint64_t before = cn_alloc_count();
    CU_ASSERT_EQUAL(cn_cells_search(c, &q, .95, f.scratch, own, hits, &n, &told), CN_OK);
    CU_ASSERT_EQUAL(cn_cells_search(c, &q, .9, f.scratch, own, hits, &n, &told), CN_OK);
    CU_ASSERT_EQUAL(cn_alloc_count(), before);
    q.stop = asked_twice, q.stop_ctx = &asked, n = 77;
    CU_ASSERT_EQUAL(cn_cells_search(c, &q, .95, f.scratch, own, hits, &n, &told), CN_DEADLINE);
    CU_ASSERT_EQUAL(n, 77);
    cn_free(query);
    cn_cells_scratch_free(own);
    cn_cells_close(c);
    store_done(&s);
    fixture_done(&f);
}

int main(void) {
    CU_initialize_registry();
    CU_pSuite s = CU_add_suite("cells face", NULL, NULL);
    CU_add_test(s, "same bytes", test_same_bytes);
    CU_add_test(s, "sizes", test_sizes);
    CU_add_test(s, "of others", test_of_others);
    CU_add_test(s, "order", test_order);
    CU_add_test(s, "head bits", test_head_bits);
    CU_add_test(s, "any bytes", test_any_bytes);
    CU_add_test(s, "validate", test_validate);
    CU_add_test(s, "store refuses", test_store_refuses);
    CU_add_test(s, "memory", test_memory);
    CU_add_test(s, "warm and stopped", test_warm_and_stop);
    CU_basic_run_tests();
    unsigned failed = CU_get_number_of_failures(), ran = CU_get_number_of_tests_run();
    CU_cleanup_registry();
    return failed || !ran;
}
