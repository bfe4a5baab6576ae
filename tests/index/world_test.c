#include <CUnit/CUnit.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/index/suites.h"
#include "tests/index/world.h"

#include "tests/count.h"

/* Random changes to the model and to the real tenant; after each, questions whose answers must be the same. */
typedef struct plan {
    unsigned long changes;
    unsigned questions, looks; /* after each change */
} plan;

typedef struct sums {
    unsigned long worlds, changes, questions, hits, hidden, sealed, refused, members, compacted, stubs, repeated, widened;
    unsigned long done[W_STEPS_MAX], explained[CN_V_LACKING + 1];
} sums;

static void add(sums *s, const w_world *w) {
    s->worlds++;
    s->questions += w->questions;
    s->hits += w->hits;
    s->hidden += w->hidden_rows;
    s->sealed += w->sealed;
    s->refused += w->refused;
    s->members += w->as_members;
    s->compacted += w->compacted;
    s->stubs += w->stubs;
    s->repeated += w->repeated;
    s->widened += w->widened;
    for (int v = 0; v <= CN_V_LACKING; v++)
        s->explained[v] += w->explained[v];
    for (unsigned i = 0; i < w_n_steps; i++) {
        s->done[i] += w->done[i];
        s->changes += w->done[i];
    }
}

static bool run(uint64_t seed, const plan *p, sums *s) {
    w_world *w = malloc(sizeof *w);
    uint64_t n;
    cn_digest head;
    CU_ASSERT_FATAL(w && w_open(w, seed));
    for (unsigned long i = 0; i < p->changes && !w->wrong; i++) {
        w_change(w);
        for (unsigned k = 0; k < p->questions; k++)
            w_ask(w);
        for (unsigned k = 0; k < p->looks; k++)
            w_look(w);
        w_look_catalog(w);
    }
    if (w->wrong)
        printf("\n  in the world of seed %llu: CAIRN_SEED=%llu begins with it ", (unsigned long long)seed, (unsigned long long)seed);
    CU_ASSERT_EQUAL(w->wrong, 0);
    CU_ASSERT_EQUAL(cn_audit_verify(w->t, &n, &head), CN_OK);
    CU_ASSERT(n >= w->sealed + w->refused);
    bool fine = !w->wrong;
    add(s, w);
    w_close(w);
    free(w);
    return fine;
}

static void tell(const sums *s) {
    printf("\n  %lu tenants, %lu changes, %lu questions, %lu hits (%lu left out for their text, %lu around them), %lu versions, %lu refusals, %lu times as a member, %lu files compacted, %lu documents to stubs\n ", s->worlds,
           s->changes, s->questions, s->hits, s->repeated, s->widened, s->sealed, s->refused, s->members, s->compacted, s->stubs);
    CU_ASSERT(s->compacted > 0 && s->stubs > 0 && s->repeated > s->questions / 500 && s->widened > s->questions / 50);
    for (unsigned i = 0; i < w_n_steps; i++) {
        printf(" %s %lu", w_steps[i].name, s->done[i]);
        CU_ASSERT(s->done[i] > 0);
    }
    for (int v = 0; v <= CN_V_LACKING; v++)
        CU_ASSERT(s->explained[v] > 0);
    CU_ASSERT(s->hits > s->questions / 4 && s->hidden > s->changes / 4 && s->refused > s->changes / 50 && s->members > s->questions / 20);
}

/* Many questions about each state. */
static void test_permissions(void) {
    const plan p = {200, 25, 1};
    sums s = {0};
    for (uint64_t seed = test_seed(1); s.questions < test_rounds && run(seed, &p, &s); seed++)
        ;
    tell(&s);
}

/* Many states, most of tenants with a short past, every tenth with a long one. */
static void test_history(void) {
    const plan brief = {250, 2, 1}, old = {1500, 2, 1};
    sums s = {0};
    for (uint64_t seed = test_seed(1001); s.changes < test_steps && run(seed, s.worlds % 10 == 3 ? &old : &brief, &s); seed++)
        ;
    tell(&s);
}

void add_world_suite(void) {
    CU_pSuite s = CU_add_suite("search against the model", NULL, NULL);
    CU_add_test(s, "permissions", test_permissions);
    CU_add_test(s, "history", test_history);
}
