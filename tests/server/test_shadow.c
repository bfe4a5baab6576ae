/* What the counts of a version make of its effort: a recall that is too low raises it, step by step; one that is at its goal seldom
 * does, by chance alone; one that is back ends it. */
#include <CUnit/Basic.h>
#include <CUnit/CUnit.h>
#include <stdio.h>
#include <time.h>

#include "server/service/inside.h"
#include "server/service/shadow_inside.h"
#include "tests/count.h"
#include "tests/server/fixture.h"

#define AIM 1 /* .95 */

static uint64_t state = 1;
static double uniform(void) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (double)(state >> 11) * 0x1p-53;
}

static double hits_of(double p) {
    uint32_t n = 0;
    for (int i = 0; i < 10; i++)
        n += uniform() < p;
    return n / 10.;
}

static cn_watch fresh(void) { return (cn_watch){.effort = cn_recall_usual()}; }

/* Until something is done, or so many were asked. */
static cn_steered counted(cn_watch *w, enum cn_recall_plan plan, double used, double as_asked, uint32_t most, uint32_t *ret_n) {
    cn_steered s = {.did = CN_STEER_NOT};
    for (*ret_n = 0; *ret_n < most && !s.did; ++*ret_n)
        s = cn_watch_add(w, plan, CN_SELECTS_TENTH, AIM, &(cn_again_told){10, hits_of(used), hits_of(as_asked)});
    return s;
}

static void test_raised(void) {
    cn_watch w = fresh();
    uint32_t n;
    for (uint32_t to = AIM + 1; to <= 4; to++) { /* by cells, as far as they go; then the scan */
        cn_steered s = counted(&w, CN_PLAN_CELLS, .7, .7, 10000, &n);
        CU_ASSERT(s.did == CN_STEER_RAISED && s.to == to && w.effort.aim[AIM] == to && n == CN_SHADOW_FIRST);
        CU_ASSERT(s.is.high < .95 && s.as_asked < .8);
        CU_ASSERT(cn_watch_raised(&w));
    }
    CU_ASSERT(counted(&w, CN_PLAN_SCAN, .7, .7, 10000, &n).to == CN_AIMS - 1);
    CU_ASSERT(counted(&w, CN_PLAN_SCAN, .7, .7, 5000, &n).did == CN_STEER_NOT); /* there is no further */
    CU_ASSERT_EQUAL(w.effort.aim[0], 0);
    CU_ASSERT_EQUAL(cn_recall_total(&w.counts).n, 4 * CN_SHADOW_FIRST + 5000);
    w = fresh();
    CU_ASSERT(counted(&w, CN_PLAN_SCAN, .7, .7, 10000, &n).to == CN_AIMS - 1); /* no cells are read: no use in asking them for more */
}

static void test_a_small_loss(void) {
    cn_watch w = fresh();
    uint32_t n, all = 0;
    cn_steered s = {.did = CN_STEER_NOT};
    for (; !s.did && all < 10000; all += n)
        s = counted(&w, CN_PLAN_CELLS, .93, .93, 10000, &n);
    CU_ASSERT(s.did == CN_STEER_RAISED && all > CN_SHADOW_FIRST);
}

static void test_by_chance(void) {
    uint32_t n, tries = (uint32_t)test_count(400, 4000), at_goal = 0, above = 0;
    for (uint32_t i = 0; i < tries; i++) {
        cn_watch w = fresh();
        at_goal += counted(&w, CN_PLAN_CELLS, .95, .95, CN_SHADOW_LAST, &n).did != CN_STEER_NOT;
        w = fresh();
        above += counted(&w, CN_PLAN_CELLS, .96, .96, CN_SHADOW_LAST, &n).did != CN_STEER_NOT;
    }
    printf("\n  raised for nothing within %u questions: %.3f at the goal, %.4f a hundredth above it ", CN_SHADOW_LAST, (double)at_goal / tries, (double)above / tries);
    CU_ASSERT(at_goal <= tries / 8);
    CU_ASSERT(above <= tries / 100);
}

static void test_back(void) {
    cn_watch w = fresh();
    uint32_t n;
    CU_ASSERT(counted(&w, CN_PLAN_CELLS, .7, .7, 10000, &n).did == CN_STEER_RAISED);
    CU_ASSERT(counted(&w, CN_PLAN_CELLS, .99, .7, 5000, &n).did == CN_STEER_NOT); /* it needs it still */
    w.judged[AIM] = (cn_judged){.by_cells = 0};
    cn_steered s = counted(&w, CN_PLAN_CELLS, 1, .98, 5000, &n);
    CU_ASSERT(s.did == CN_STEER_BACK && s.to == AIM && n == CN_SHADOW_BACK && !cn_watch_raised(&w));
    CU_ASSERT(counted(&w, CN_PLAN_CELLS, .98, .98, 3000, &n).did == CN_STEER_NOT);
}

#define OTHER "{\"tenant\":\"other\",\"index\":\"docs\""
static const char *must(fixture *f, const char *method, const char *json) {
    const char *a = ask(f, &f->operator, method, json);
    if (*a != '{')
        printf("%s: %s\n", method, a);
    CU_ASSERT(*a == '{');
    return a;
}

static void ask_some(fixture *f, uint64_t until) {
    for (int i = 0; i < 3000 && cn_shadow_count(f->s->shadow).searched < until; i++) {
        must(f, "query", OTHER ",\"vector\":[1,0],\"labels\":[\"public\"],\"mode\":\"dense\"}");
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    }
    CU_ASSERT(cn_shadow_count(f->s->shadow).searched >= until);
}

/* Its indexes and versions have the same numbers. */
static void test_a_tenant_of_the_same_name(void) {
    static const char put[] = OTHER ",\"activate\":true,\"documents\":[{\"id\":\"a\",\"text\":\"a\",\"labels\":[\"public\"],\"vector\":[1,0]}]}";
    const cn_upkeep_opts o = {.recall_sample = 1000, .recall_cpu = 100};
    fixture f;
    fixture_init(&f);
    CU_ASSERT_FATAL(cn_shadow_new(f.s, &o, &f.s->shadow) == CN_OK);
    must(&f, "documents.put", put);
    ask_some(&f, 3);
    CU_ASSERT_EQUAL(times_in(must(&f, "recall.show", OTHER "}"), "\"state\": \"active\""), 1);
    must(&f, "admin.tenant_drop", "{\"tenant\":\"other\"}");
    must(&f, "admin.tenant_add", "{\"tenant\":\"other\"}");
    must(&f, "admin.index_create", OTHER ",\"embedder\":\"none\"}");
    must(&f, "documents.put", put);
    CU_ASSERT_EQUAL(times_in(must(&f, "recall.show", OTHER "}"), "\"versions\": []"), 1);
    ask_some(&f, cn_shadow_count(f.s->shadow).searched + 2); /* its own are counted */
    CU_ASSERT_EQUAL(times_in(must(&f, "recall.show", OTHER "}"), "\"state\": \"active\""), 1);
    fixture_done(&f);
}

int main(void) {
    CU_initialize_registry();
    CU_pSuite s = CU_add_suite("shadow", NULL, NULL);
    CU_add_test(s, "raised", test_raised);
    CU_add_test(s, "a small loss", test_a_small_loss);
    CU_add_test(s, "by chance", test_by_chance);
    CU_add_test(s, "back", test_back);
    CU_add_test(s, "a tenant of the same name", test_a_tenant_of_the_same_name);
    CU_basic_run_tests();
    unsigned failed = CU_get_number_of_failures(), ran = CU_get_number_of_tests_run();
    CU_cleanup_registry();
    return failed || !ran;
}
