/* The bounded pool: everything queued is done, a full queue refuses, parts are done once each. */
#include <CUnit/Basic.h>
#include <pthread.h>
#include <stdatomic.h>

#include "engine/base/pool.h"

static atomic_uint done;
static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;

static void count(void *arg) {
    (void)arg;
    atomic_fetch_add(&done, 1);
}

static void wait_at_gate(void *arg) {
    pthread_mutex_lock(&gate);
    pthread_mutex_unlock(&gate);
    count(arg);
}

static void test_all_done(void) {
    cn_pool *p;
    atomic_store(&done, 0);
    CU_ASSERT_EQUAL_FATAL(cn_pool_new(3, 1000, &p), CN_OK);
    CU_ASSERT_EQUAL(cn_pool_threads(p), 3);
    for (int i = 0; i < 500; i++)
        CU_ASSERT_EQUAL(cn_pool_submit(p, count, NULL), CN_OK);
    cn_pool_free(p);
    CU_ASSERT_EQUAL(done, 500);
}

static void test_full_queue_refuses(void) {
    cn_pool *p;
    unsigned taken = 0;
    atomic_store(&done, 0);
    CU_ASSERT_EQUAL_FATAL(cn_pool_new(1, 4, &p), CN_OK);
    pthread_mutex_lock(&gate);
    cn_err err = CN_OK;
    while (taken < 10 && (err = cn_pool_submit(p, wait_at_gate, NULL)) == CN_OK)
        taken++;
    CU_ASSERT_EQUAL(err, CN_OVERLOADED);
    CU_ASSERT(taken == 4 || taken == 5); /* four queued, and the one that a thread may have taken */
    pthread_mutex_unlock(&gate);
    cn_pool_free(p);
    CU_ASSERT_EQUAL(done, taken);
}

static void mark(void *arg, unsigned i) { atomic_fetch_add(&((atomic_uint *)arg)[i], 1); }

static void test_each(void) {
    static atomic_uint marks[1000];
    cn_pool *p;
    CU_ASSERT_EQUAL_FATAL(cn_pool_new(2, 2, &p), CN_OK);
    cn_pool_each(p, 1000, mark, marks);
    cn_pool_each(NULL, 1000, mark, marks);
    cn_pool_each(p, 0, mark, marks);
    for (int i = 0; i < 1000; i++)
        CU_ASSERT_EQUAL(marks[i], 2);
    cn_pool_free(p);
}

int main(void) {
    CU_initialize_registry();
    CU_pSuite s = CU_add_suite("pool", NULL, NULL);
    CU_add_test(s, "all done", test_all_done);
    CU_add_test(s, "full queue refuses", test_full_queue_refuses);
    CU_add_test(s, "each", test_each);
    CU_basic_run_tests();
    unsigned failed = CU_get_number_of_failures(), ran = CU_get_number_of_tests_run();
    CU_cleanup_registry();
    return failed || !ran;
}
