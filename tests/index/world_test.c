#include <CUnit/CUnit.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/index/suites.h"
#include "tests/index/world.h"

#define QUESTIONS 6 /* after each change */

/* Random changes to the model and to the real tenant; after each, questions whose answers must be the same. */
static void run(uint64_t seed, unsigned long questions) {
    w_world *w = malloc(sizeof *w);
    CU_ASSERT_FATAL(w && w_open(w, seed));
    for (unsigned long i = 0; i * QUESTIONS < questions && !w->wrong; i++) {
        w_change(w);
        for (int k = 0; k < QUESTIONS; k++)
            w_ask(w);
        w_look(w);
        w_look_catalog(w);
    }
    printf("\n  seed %llu: %u questions, %u hits, %u versions, %u refusals, %u files compacted, %u documents to stubs ", (unsigned long long)seed, w->questions, w->hits, w->sealed,
           w->refused, w->compacted, w->stubs);
    CU_ASSERT_EQUAL(w->wrong, 0);
    CU_ASSERT(questions < 900 || (w->hits > w->questions / 4 && w->sealed > 10 && w->refused > 10 && w->hidden_rows > w->questions / 4));
    for (int v = 0; v <= CN_V_LACKING; v++)
        CU_ASSERT(questions < 900 || w->explained[v] > 0);
    uint64_t n;
    cn_digest head;
    CU_ASSERT_EQUAL(cn_audit_verify(w->t, &n, &head), CN_OK);
    CU_ASSERT(n >= w->sealed + w->refused);
    w_close(w);
    free(w);
}

static void test_world(void) {
    for (uint64_t seed = 1; seed <= 4; seed++)
        run(seed, test_rounds / 4);
}

void add_world_suite(void) {
    CU_pSuite s = CU_add_suite("search against the model", NULL, NULL);
    CU_add_test(s, "random tenants", test_world);
}
