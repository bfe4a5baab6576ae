/* Codes with damaged bytes: what has a wrong size or head is refused when it is opened; any other byte may cost an answer
 * its recall, for the files' checksums are kept elsewhere, but never a crash, a row that is not permitted or a wrong score. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/mem.h"
#include "engine/kernels/kernels.h"
#include "tests/engine/flat_fixture.h"

#define ROUNDS 400
#define K 10

static void open_is(const fixture *f, store *s, cn_err want) {
    cn_flat *flat = NULL;
    cn_err e = cn_flat_open(&f->vecs, &f->space, store_get, s, &flat);
    CU_ASSERT_EQUAL(e, want);
    CU_ASSERT(e == CN_OK || flat == NULL);
    cn_flat_close(flat);
}

static fixture_plan plan_of(cn_metric m) { return (fixture_plan){m, 100, 2100, 1024, ROWS_CLUSTERED, 1}; }

/* Each piece shorter or longer by a byte, empty, or not there. */
static void test_sizes(void) {
    fixture f;
    fixture_init(&f, plan_of(CN_COSINE));
    CU_ASSERT(f.codes.n >= 2);
    for (uint32_t i = 0; i < f.codes.n; i++) {
        stored was = f.codes.at[i], *b = &f.codes.at[i];
        const size_t sizes[] = {was.n - 1, was.n / 2, 1, 0};
        for (size_t j = 0; j < sizeof sizes / sizeof *sizes; j++) {
            b->n = sizes[j];
            open_is(&f, &f.codes, CN_DAMAGED);
        }
        b->n = was.n + 64;
        open_is(&f, &f.codes, CN_DAMAGED);
        *b = was;
        b->array += 100;
        open_is(&f, &f.codes, CN_NOT_FOUND);
        *b = was;
    }
    open_is(&f, &f.codes, CN_OK);
    fixture_done(&f);
}

/* Codes of other rows: another number of them, another dimension, no codes at all. */
static void test_of_others(void) {
    fixture a, b, c;
    store none = {0};
    fixture_init(&a, plan_of(CN_IP));
    fixture_init(&b, (fixture_plan){CN_IP, 100, 2101, 1024, ROWS_CLUSTERED, 1});
    fixture_init(&c, (fixture_plan){CN_IP, 99, 2100, 1024, ROWS_CLUSTERED, 1});
    open_is(&a, &b.codes, CN_DAMAGED);
    open_is(&a, &c.codes, CN_DAMAGED);
    open_is(&b, &a.codes, CN_DAMAGED);
    open_is(&a, &none, CN_NOT_FOUND);
    fixture_done(&a);
    fixture_done(&b);
    fixture_done(&c);
}

static void check_search(const fixture *f, const cn_scan *q, const cn_scored *hits, uint32_t n, cn_err e) {
    CU_ASSERT_EQUAL_FATAL(e, CN_OK);
    CU_ASSERT_FATAL(n <= q->k);
    for (uint32_t i = 0; i < n; i++) {
        CU_ASSERT_FATAL(hits[i].row < f->plan.n && (q->permitted[hits[i].row / 64] >> (hits[i].row % 64) & 1));
        CU_ASSERT_EQUAL(hits[i].score, cn_score(f->plan.metric, q->query, cn_vec(&f->vecs, hits[i].row), f->plan.dim));
        for (uint32_t j = 0; j < i; j++)
            CU_ASSERT_NOT_EQUAL(hits[j].row, hits[i].row);
    }
}

/* Every second row is permitted, so that one that is not stands beside each. */
static void check_answers(const fixture *f, cn_flat *flat, const float *query) {
    static uint64_t mask[2100 / 64 + 1];
    cn_scored hits[K];
    uint32_t n = 0, permitted = 0;
    for (uint32_t w = 0; w < sizeof mask / sizeof *mask; w++)
        permitted += (uint32_t)__builtin_popcountll(mask[w] = f->all[w] & UINT64_C(0xaaaaaaaaaaaaaaab));
    cn_scan q = {.query = query, .k = K, .permitted = mask, .n_permitted = permitted};
    check_search(f, &q, hits, n, cn_flat_staged(flat, &q, f->scratch, hits, &n));
    check_search(f, &q, hits, n, cn_flat_exact(flat, &q, f->scratch, hits, &n));
}

/* The head is array 0. */
static stored *head_of(store *s) {
    for (uint32_t i = 0; i < s->n; i++)
        if (s->at[i].array == 0)
            return &s->at[i];
    CU_FAIL_FATAL("no head");
    return NULL;
}

/* Refused, or harmless. */
static bool refused(const fixture *f, store *s, const float *query) {
    cn_flat *flat = NULL;
    cn_err e = cn_flat_open(&f->vecs, &f->space, store_get, s, &flat);
    CU_ASSERT(e == CN_OK || e == CN_DAMAGED);
    if (e == CN_OK)
        check_answers(f, flat, query);
    cn_flat_close(flat);
    return e != CN_OK;
}

static void test_head_bits(void) {
    fixture f;
    fixture_init(&f, plan_of(CN_L2));
    stored *head = head_of(&f.codes);
    float *query = fixture_query(&f, 5);
    uint8_t *bytes = head->bytes;
    uint32_t n = 0;
    for (size_t bit = 0; bit < 8 * head->n; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        n += refused(&f, &f.codes, query);
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    CU_ASSERT(n >= 8 * 20); /* the magic and the shape at least */
    cn_free(query);
    fixture_done(&f);
}

/* No number of the head may be NaN or infinite. */
static void test_head_numbers(void) {
    static const float bad[] = {NAN, INFINITY, -INFINITY, -1};
    fixture f;
    fixture_init(&f, plan_of(CN_IP));
    stored *head = head_of(&f.codes);
    float *query = fixture_query(&f, 5);
    uint8_t *bytes = head->bytes, was[4];
    for (size_t at = 0; at + 4 <= 32; at += 4) /* the rest is zeros */
        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
            memcpy(was, bytes + at, 4);
            memcpy(bytes + at, &bad[i], 4);
            CU_ASSERT(refused(&f, &f.codes, query));
            memcpy(bytes + at, was, 4);
        }
    cn_free(query);
    fixture_done(&f);
}

static void change_bytes(store *s) {
    for (uint32_t changes = 1 + (uint32_t)(random_bits() % 40); changes; changes--) {
        stored *b = &s->at[random_bits() % s->n];
        uint8_t *p = b->bytes;
        size_t at = random_bits() % b->n, run = 1 + random_bits() % (b->n - at);
        switch (random_bits() % 4) {
        case 0: p[at] = (uint8_t)random_bits(); break;
        case 1: p[at] ^= (uint8_t)(1u << random_bits() % 8); break;
        case 2: memset(p + at, (int)(random_bits() & 255), run < 256 ? run : 256); break;
        default: /* a float that is none */
            at = at / 4 * 4;
            if (at + 4 <= b->n)
                memcpy(p + at, random_bits() & 1 ? &(float){NAN} : &(float){INFINITY}, 4);
        }
    }
}

static void fuzz(cn_metric m) {
    fixture f;
    fixture_init(&f, plan_of(m));
    float *query = fixture_query(&f, 9);
    store s = {0};
    for (uint32_t i = 0; i < ROUNDS; i++) {
        for (uint32_t j = 0; j < f.codes.n; j++)
            CU_ASSERT_EQUAL_FATAL(store_put(&s, f.codes.at[j].array, f.codes.at[j].block, f.codes.at[j].bytes, f.codes.at[j].n), CN_OK);
        change_bytes(&s);
        refused(&f, &s, query);
        store_done(&s);
    }
    cn_free(query);
    fixture_done(&f);
}

static void test_fuzz(void) {
    for (cn_metric m = CN_COSINE; m <= CN_L2; m++)
        fuzz(m);
}

int main(void) {
    if (cn_kernels_init() != CN_OK)
        return 1;
    CU_initialize_registry();
    CU_pSuite s = CU_add_suite("flat damage", NULL, NULL);
    CU_add_test(s, "sizes", test_sizes);
    CU_add_test(s, "of others", test_of_others);
    CU_add_test(s, "bits of the head", test_head_bits);
    CU_add_test(s, "numbers of the head", test_head_numbers);
    CU_add_test(s, "fuzz", test_fuzz);
    CU_basic_run_tests();
    unsigned failed = CU_get_number_of_failures(), ran = CU_get_number_of_tests_run();
    CU_cleanup_registry();
    return failed || !ran;
}
