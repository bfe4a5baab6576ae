/* Rows shared among threads: each is taken once, whatever the threads and the share; what is ended gives no more. */
#include <CUnit/Basic.h>
#include <CUnit/CUnit.h>
#include <stdatomic.h>
#include <string.h>

#include "engine/base/spread.h"

#define ROWS 1000

typedef struct counts {
    _Atomic unsigned char row[ROWS];
    _Atomic uint32_t threads, wrong, share, stop_at;
} counts;

static void count_rows(void *ctx, uint32_t from, uint32_t to) {
    counts *c = ctx;
    if (from >= to || to - from > c->share || from % c->share)
        c->wrong++;
    for (uint32_t i = from; i < to; i++)
        c->row[i]++;
}

static void test_each_once(void) {
    static const uint32_t rows[] = {0, 1, 7, 64, 999, ROWS}, shares[] = {1, 3, 64, 5000};
    static const unsigned threads[] = {0, 1, 2, 5, 300};
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++)
        for (size_t s = 0; s < sizeof shares / sizeof *shares; s++)
            for (size_t t = 0; t < sizeof threads / sizeof *threads; t++) {
                counts c = {.share = shares[s]};
                cn_spread_rows(threads[t], rows[r], shares[s], count_rows, &c);
                CU_ASSERT_EQUAL(c.wrong, 0);
                for (uint32_t i = 0; i < ROWS; i++)
                    CU_ASSERT_EQUAL(c.row[i], i < rows[r]);
            }
}

static void take_until(void *ctx, cn_shares *s) {
    counts *c = ctx;
    c->threads++;
    for (uint32_t from, to; cn_shares_next(s, &from, &to);)
        for (; from < to; from++) {
            c->row[from]++;
            if (from == c->stop_at)
                cn_shares_end(s);
        }
}

static void test_an_end(void) {
    counts c = {.stop_at = 10};
    cn_spread(1, ROWS, 4, take_until, &c);
    for (uint32_t i = 0; i < ROWS; i++)
        CU_ASSERT_EQUAL(c.row[i], i < 12); /* the share that was taken is done */
    memset(&c, 0, sizeof c);
    c.stop_at = 0;
    cn_spread(4, ROWS, 1, take_until, &c);
    CU_ASSERT(c.threads >= 1 && c.threads <= 4);
    for (uint32_t i = 0; i < ROWS; i++)
        CU_ASSERT(c.row[i] <= 1);
}

int main(void) {
    CU_initialize_registry();
    CU_pSuite s = CU_add_suite("spread", NULL, NULL);
    CU_add_test(s, "each row once", test_each_once);
    CU_add_test(s, "an end", test_an_end);
    CU_basic_run_tests();
    unsigned failed = CU_get_number_of_failures(), ran = CU_get_number_of_tests_run();
    CU_cleanup_registry();
    return failed || !ran;
}
