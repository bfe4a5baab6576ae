/* An index of kind cells against the model: large tenants, whose segments of a thousand rows and more have cells that are read wherever
 * they can be; denials, hiding, erasures, requirements, revocations, older versions, tombstones, several segments, compaction. */
#include <CUnit/Basic.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/count.h"
#include "tests/index/world.h"

#define CELLS_FROM 1500 /* of the some 4,000 rows that a first job or a compaction writes */
#define CHANGES 40      /* of one tenant */

typedef struct sums {
    unsigned long changes, questions, hits, by_cells, compacted, hidden;
    uint64_t right[W_MODES], wanted[W_MODES];
} sums;

static void add(sums *s, const w_world *w) {
    s->questions += w->questions;
    s->hits += w->hits;
    s->by_cells += w->by_cells;
    s->compacted += w->compacted;
    s->hidden += w->hidden_rows;
    for (unsigned m = 0; m < W_MODES; m++) {
        s->right[m] += w->right[m];
        s->wanted[m] += w->wanted[m];
    }
}

static bool run(uint64_t seed, sums *s) {
    w_world *w = malloc(sizeof *w);
    CU_ASSERT_FATAL(w && w_open(w, seed));
    for (unsigned i = 0; i < CHANGES && !w->wrong; i++, s->changes++) {
        w_change(w);
        for (unsigned k = 0; k < 20; k++)
            w_ask(w);
        w_look(w);
        w_look_catalog(w);
    }
    if (w->wrong)
        printf("\n  in the world of seed %llu: CAIRN_SEED=%llu begins with it ", (unsigned long long)seed, (unsigned long long)seed);
    CU_ASSERT_EQUAL(w->wrong, 0);
    bool fine = !w->wrong;
    add(s, w);
    w_close(w);
    free(w);
    return fine;
}

static void test_cells(void) {
    sums s = {0};
    unsigned long enough = test_count(4000, 100000);
    for (uint64_t seed = test_seed(1); s.questions < enough && run(seed, &s); seed++)
        ;
    printf("\n  %lu changes, %lu questions, %lu hits, %lu by cells, %lu files compacted", s.changes, s.questions, s.hits, s.by_cells, s.compacted);
    CU_ASSERT(s.by_cells > s.questions / 50 && s.compacted > 0 && s.hidden > 0);
    for (unsigned m = 0; m < W_MODES; m++)
        if (w_modes[m].least < 1) {
            double recall = (double)s.right[m] / (double)s.wanted[m];
            printf("; %s %.5f", w_modes[m].name, recall);
            CU_ASSERT(s.wanted[m] > s.questions / 10 && recall >= w_modes[m].least);
        }
}

int main(void) {
    cn_cells_set_from(CELLS_FROM);
    if (CU_initialize_registry() != CUE_SUCCESS)
        return 2;
    CU_pSuite s = CU_add_suite("cells against the model", NULL, NULL);
    CU_add_test(s, "cells", test_cells);
    CU_basic_set_mode(CU_BRM_VERBOSE);
    CU_basic_run_tests();
    unsigned failed = CU_get_number_of_failures(), ran = CU_get_number_of_tests_run();
    CU_cleanup_registry();
    return failed || !ran ? 1 : 0;
}
