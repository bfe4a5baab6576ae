/* The bounded pool: everything queued is done, a full queue and a full lane refuse, lanes take turns. */
#include <CUnit/Basic.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

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
    CU_ASSERT_EQUAL_FATAL(cn_pool_new(&(cn_pool_opts){.threads = 3, .queue = 1000}, &p), CN_OK);
    CU_ASSERT_EQUAL(cn_pool_threads(p), 3);
    for (unsigned i = 0; i < 500; i++)
        CU_ASSERT_EQUAL(cn_pool_submit(p, i, count, NULL), CN_OK);
    cn_pool_free(p);
    CU_ASSERT_EQUAL(done, 500);
}

/* Submits to a lane until it is refused; how many were taken. */
static unsigned fill(cn_pool *p, unsigned lane) {
    unsigned taken = 0;
    cn_err err = CN_OK;
    while (taken < 20 && (err = cn_pool_submit(p, lane, wait_at_gate, NULL)) == CN_OK)
        taken++;
    CU_ASSERT_EQUAL(err, CN_OVERLOADED);
    return taken;
}

static void test_full_queue_refuses(void) {
    cn_pool *p;
    atomic_store(&done, 0);
    CU_ASSERT_EQUAL_FATAL(cn_pool_new(&(cn_pool_opts){.threads = 1, .queue = 8}, &p), CN_OK);
    pthread_mutex_lock(&gate);
    unsigned first = fill(p, 1);
    CU_ASSERT(first == 4 || first == 5); /* half of the queue, and the one that the thread may have taken */
    unsigned second = fill(p, 2), third = fill(p, 3);
    CU_ASSERT_EQUAL(second, 4);
    CU_ASSERT_EQUAL(third, 0);
    while (cn_pool_waiting(p) == first + second) /* until the thread has taken the first */
        usleep(1000);
    CU_ASSERT_EQUAL(cn_pool_waiting(p), first + second - 1);
    pthread_mutex_unlock(&gate);
    while (cn_pool_waiting(p))
        usleep(1000);
    cn_pool_free(p);
    CU_ASSERT_EQUAL(done, first + second);
}

/* ---------- turns ---------- */
static unsigned order[64], n_order;

static void note(void *arg) { order[n_order++] = *(unsigned *)arg; } /* by the one thread */

static void test_lanes_take_turns(void) {
    static unsigned lanes[] = {1, 2, 3};
    cn_pool *p;
    n_order = 0;
    CU_ASSERT_EQUAL_FATAL(cn_pool_new(&(cn_pool_opts){.threads = 1, .queue = 64}, &p), CN_OK);
    pthread_mutex_lock(&gate);
    CU_ASSERT_EQUAL(cn_pool_submit(p, 0, wait_at_gate, NULL), CN_OK); /* holds the thread while the rest queues up */
    for (int i = 0; i < 10; i++)
        CU_ASSERT_EQUAL(cn_pool_submit(p, 1, note, &lanes[0]), CN_OK);
    for (int i = 0; i < 2; i++)
        CU_ASSERT_EQUAL(cn_pool_submit(p, 2, note, &lanes[1]), CN_OK);
    CU_ASSERT_EQUAL(cn_pool_submit(p, 3, note, &lanes[2]), CN_OK);
    CU_ASSERT_EQUAL(cn_pool_lane_waiting(p, 1), 10);
    CU_ASSERT_EQUAL(cn_pool_lane_waiting(p, CN_POOL_LANES + 2), 2);
    CU_ASSERT_EQUAL(cn_pool_lane_waiting(p, 4), 0);
    pthread_mutex_unlock(&gate);
    cn_pool_free(p);
    static const unsigned expected[] = {1, 2, 3, 1, 2, 1, 1, 1, 1, 1, 1, 1, 1};
    CU_ASSERT_EQUAL_FATAL(n_order, 13);
    for (int i = 0; i < 13; i++)
        CU_ASSERT_EQUAL(order[i], expected[i]);
}

/* ---------- one of a lane at a time ---------- */
static atomic_int inside[2];
static atomic_uint together;

static void alone(void *arg) {
    int lane = *(int *)arg;
    if (atomic_fetch_add(&inside[lane], 1) > 0)
        atomic_fetch_add(&together, 1);
    for (volatile int i = 0; i < 20000; i++)
        ;
    atomic_fetch_sub(&inside[lane], 1);
    count(arg);
}

static void test_one_of_a_lane(void) {
    static int lanes[] = {0, 1};
    cn_pool *p;
    atomic_store(&done, 0);
    CU_ASSERT_EQUAL_FATAL(cn_pool_new(&(cn_pool_opts){.threads = 4, .queue = 1000, .one_each = true}, &p), CN_OK);
    for (unsigned i = 0; i < 800; i++)
        CU_ASSERT_EQUAL(cn_pool_submit(p, i % 2, alone, &lanes[i % 2]), CN_OK);
    cn_pool_free(p);
    CU_ASSERT_EQUAL(done, 800);
    CU_ASSERT_EQUAL(together, 0);
}

/* A lane whose job hangs holds one thread, and the others' jobs run. */
static void test_a_lane_that_hangs(void) {
    cn_pool *p;
    atomic_store(&done, 0);
    CU_ASSERT_EQUAL_FATAL(cn_pool_new(&(cn_pool_opts){.threads = 2, .queue = 100, .one_each = true}, &p), CN_OK);
    pthread_mutex_lock(&gate);
    for (int i = 0; i < 5; i++)
        CU_ASSERT_EQUAL(cn_pool_submit(p, 1, wait_at_gate, NULL), CN_OK);
    for (int i = 0; i < 5; i++)
        CU_ASSERT_EQUAL(cn_pool_submit(p, 2, count, NULL), CN_OK);
    for (int i = 0; i < 5000 && atomic_load(&done) < 5; i++)
        usleep(1000);
    CU_ASSERT_EQUAL(done, 5);
    pthread_mutex_unlock(&gate);
    cn_pool_free(p);
    CU_ASSERT_EQUAL(done, 10);
}

/* ---------- the last free thread ---------- */
static void wait_until_waiting(cn_pool *p, unsigned n) {
    for (int i = 0; i < 5000 && cn_pool_waiting(p) != n; i++)
        usleep(1000);
    CU_ASSERT_EQUAL(cn_pool_waiting(p), n);
}

/* One lane may have several threads, but the last one only where it has none; and whoever has none goes first. */
static void test_the_last_thread(void) {
    cn_pool *p;
    atomic_store(&done, 0);
    CU_ASSERT_EQUAL_FATAL(cn_pool_new(&(cn_pool_opts){.threads = 3, .queue = 100, .keep_one = true}, &p), CN_OK);
    pthread_mutex_lock(&gate);
    for (int i = 0; i < 5; i++)
        CU_ASSERT_EQUAL(cn_pool_submit(p, 1, wait_at_gate, NULL), CN_OK);
    wait_until_waiting(p, 3); /* it has two threads */
    usleep(20000);
    CU_ASSERT_EQUAL(cn_pool_lane_waiting(p, 1), 3);
    for (int i = 0; i < 5; i++)
        CU_ASSERT_EQUAL(cn_pool_submit(p, 2, count, NULL), CN_OK);
    for (int i = 0; i < 5000 && atomic_load(&done) < 5; i++)
        usleep(1000);
    CU_ASSERT_EQUAL(done, 5);
    CU_ASSERT_EQUAL(cn_pool_lane_waiting(p, 1), 3);
    CU_ASSERT_EQUAL(cn_pool_submit(p, 3, wait_at_gate, NULL), CN_OK);
    CU_ASSERT_EQUAL(cn_pool_submit(p, 4, wait_at_gate, NULL), CN_OK);
    wait_until_waiting(p, 4);
    CU_ASSERT_EQUAL(cn_pool_lane_waiting(p, 4), 1); /* all three are taken now */
    pthread_mutex_unlock(&gate);
    cn_pool_free(p);
    CU_ASSERT_EQUAL(done, 12);
}

static void test_who_has_none_goes_first(void) {
    static unsigned lanes[] = {1, 2};
    cn_pool *p;
    n_order = 0;
    CU_ASSERT_EQUAL_FATAL(cn_pool_new(&(cn_pool_opts){.threads = 2, .queue = 64, .keep_one = true}, &p), CN_OK);
    pthread_mutex_lock(&gate);
    CU_ASSERT_EQUAL(cn_pool_submit(p, 1, wait_at_gate, NULL), CN_OK);
    wait_until_waiting(p, 0);
    for (int i = 0; i < 3; i++)
        CU_ASSERT_EQUAL(cn_pool_submit(p, 1, note, &lanes[0]), CN_OK);
    for (int i = 0; i < 3; i++)
        CU_ASSERT_EQUAL(cn_pool_submit(p, 2, note, &lanes[1]), CN_OK);
    wait_until_waiting(p, 3); /* by the one thread that is left */
    CU_ASSERT_EQUAL(cn_pool_lane_waiting(p, 2), 0);
    pthread_mutex_unlock(&gate);
    cn_pool_free(p);
    CU_ASSERT(n_order == 6 && order[0] == 2 && order[1] == 2 && order[2] == 2);
}

int main(void) {
    CU_initialize_registry();
    CU_pSuite s = CU_add_suite("pool", NULL, NULL);
    CU_add_test(s, "all done", test_all_done);
    CU_add_test(s, "full queue refuses", test_full_queue_refuses);
    CU_add_test(s, "lanes take turns", test_lanes_take_turns);
    CU_add_test(s, "one of a lane at a time", test_one_of_a_lane);
    CU_add_test(s, "a lane that hangs", test_a_lane_that_hangs);
    CU_add_test(s, "the last free thread", test_the_last_thread);
    CU_add_test(s, "who has none goes first", test_who_has_none_goes_first);
    CU_basic_run_tests();
    unsigned failed = CU_get_number_of_failures(), ran = CU_get_number_of_tests_run();
    CU_cleanup_registry();
    return failed || !ran;
}
