/* Recall, searched again and recorded: the same permitted set as the answer's, whatever became of policy and index since; records by
 * hour that add up, are read again, go when they are old, and refuse what is damaged; a gate that they bar a version by. */
#include <CUnit/CUnit.h>
#include <math.h>
#include <stdio.h>

#include "engine/base/os.h"
#include "index/catalog/gate.h"
#include "index/search/again.h"
#include "tests/index/small.h"
#include "tests/index/suites.h"

#define OK(x) CU_ASSERT_EQUAL(x, CN_OK)
#define ROWS 200

static cn_searcher *searcher;
static cn_hit hits[CN_K_MAX];
static int64_t shift_us; /* of the wall clock */
static cn_os os;
static int64_t shifted(void) { return cn_os_real.wall_us() + shift_us; }

/* Of each ten rows the first is group:few's too. */
static int set_up(void) {
    static char id[ROWS][8];
    static s_row rows[ROWS];
    for (uint32_t i = 0; i < ROWS; i++) {
        snprintf(id[i], sizeof id[i], "r%03u", i);
        rows[i] = (s_row){id[i], id[i], i % 10 ? "public" : "public,group:few", "", ""};
    }
    os = cn_os_real;
    os.wall_us = shifted;
    cn_os_now = &os;
    if (!s_open() || cn_searcher_new(&searcher) != CN_OK)
        return 1;
    s_index("r");
    return s_seal("r", rows, ROWS, NULL) == 1 && s_activate("r", 1) == CN_OK && s_seal("r", rows, 1, "r001") == 2 && s_activate("r", 2) == CN_OK ? 0 : 1;
}

static int tear_down(void) {
    cn_searcher_free(searcher);
    s_close();
    cn_os_now = &cn_os_real;
    return 0;
}

/* ---------- searched again ---------- */
static const float vector[SMALL_DIM] = {.3f, -.2f, .5f, .1f};

static cn_query query_of(const char *labels, uint32_t k) {
    return (cn_query){.who = cn_principal_of(s_labels(labels)), .vector = vector, .k = k, .mode = CN_MODE_DENSE, .recall = .95, .min_score = -INFINITY};
}

/* Asks, and keeps the question; the answer is made worse by leaving its best hits out. */
static cn_again *ask(cn_query q, uint32_t leave_out) {
    cn_view *v;
    cn_again *a = NULL;
    uint32_t n;
    cn_search_stats st;
    OK(cn_view_open(s_tenant, CN_STR("r"), 1, &v));
    OK(cn_search(v, &q, searcher, hits, &n, &st));
    OK(cn_again_new(v, &q, .95, hits + leave_out, n - leave_out, &st, &a));
    cn_view_unref(v);
    return a;
}

static cn_again_told look(cn_again *a) {
    cn_again_told told = {.wanted = 0};
    CU_ASSERT_PTR_NOT_NULL_FATAL(a);
    OK(cn_again_look(a, searcher, hits, &told));
    cn_again_free(a);
    return told;
}

static void the_same_set(void) {
    cn_again *a = ask(query_of("group:few", 10), 0), *worse = ask(query_of("group:few", 10), 3), *all = ask(query_of("group:few", 100), 0), *wide = ask(query_of("public", 10), 0);
    CU_ASSERT_EQUAL(cn_again_selects(a), CN_SELECTS_TENTH); /* 20 of 200: of all rows the ten best are others */
    CU_ASSERT_EQUAL(cn_again_selects(wide), CN_SELECTS_ALL);
    CU_ASSERT_EQUAL(cn_again_plan(a), CN_PLAN_SCAN);
    CU_ASSERT_EQUAL(cn_again_aim(a), 1);
    cn_again_told of_public = look(wide), is = look(a), less = look(worse), few = look(all);
    CU_ASSERT(of_public.wanted == 10 && of_public.share == 1);
    CU_ASSERT(is.wanted == 10 && is.share == 1 && is.as_asked == 1);
    CU_ASSERT(less.wanted == 10);
    CU_ASSERT_DOUBLE_EQUAL(less.share, .7, 1e-9);
    CU_ASSERT(few.wanted == 20 && few.share == 1);
}

/* What is decided after the answer is of no matter to what it is measured by; a question after it has another set. */
static void as_it_was_pinned(void) {
    cn_again *a = ask(query_of("group:few", 100), 0);
    OK(s_policy(CN_POLICY_DENY, "r010", "group:few", &s_why));
    cn_again_told before = look(a), after = look(ask(query_of("group:few", 100), 0));
    CU_ASSERT(before.wanted == 20 && before.share == 1);
    CU_ASSERT(after.wanted == 19 && after.share == 1);
    OK(s_policy(CN_POLICY_CLEAR, "r010", "group:few", &s_why));
}

/* Its half by vectors, as far down as fusing takes it. */
static void of_a_hybrid_answer(void) {
    cn_query q = query_of("public", 5), few = query_of("group:few", 5);
    cn_view *v;
    q.mode = few.mode = CN_MODE_HYBRID;
    q.text = few.text = CN_STR("r005");
    OK(cn_view_open(s_tenant, CN_STR("r"), 1, &v));
    OK(cn_view_lexical(v, 0));
    cn_again_told told = look(ask(q, 0)), less = look(ask(few, 0));
    cn_view_unref(v);
    CU_ASSERT(told.wanted == 100 && told.share == 1);
    CU_ASSERT(less.wanted == 20 && less.share == 1);
}

static void nothing_to_measure(void) {
    CU_ASSERT_PTR_NULL(ask(query_of("group:nobody", 10), 0));
    CU_ASSERT_PTR_NULL(ask(query_of("public", CN_AGAIN_K + 1), 0));
}

/* ---------- records ---------- */
typedef struct seen {
    uint32_t n;
    cn_recall_hour last;
} seen;

static cn_err see(void *ctx, const cn_recall_hour *h) {
    seen *s = ctx;
    s->n++;
    s->last = *h;
    return CN_OK;
}

static seen all_of(uint64_t version) {
    seen s = {.n = 0};
    OK(cn_recall_each(s_tenant, 7, version, see, &s));
    return s;
}

static cn_recall_counts some(uint32_t questions, double share, uint64_t dropped) {
    cn_recall_counts c = {.dropped = dropped};
    for (uint32_t i = 0; i < questions; i++)
        cn_tally_add(&c.v[CN_PLAN_CELLS][CN_SELECTS_LESS][1], share, 10);
    return c;
}

static void records(void) {
    cn_recall_effort effort = cn_recall_usual(), more = effort;
    cn_recall_counts c = some(30, .9, 2);
    more.aim[1] = 3;
    CU_ASSERT_EQUAL(all_of(0).n, 0);
    shift_us = 0;
    OK(cn_recall_add(s_tenant, 7, 1, &c, &effort));
    c = some(10, .5, 1);
    OK(cn_recall_add(s_tenant, 7, 1, &c, &more));
    OK(cn_recall_add(s_tenant, 7, 2, &c, &effort));
    OK(cn_recall_add(s_tenant, 8, 1, &c, &effort)); /* another index */
    cn_tenant_unref(s_tenant);
    cn_data_close(s_data);
    CU_ASSERT_FATAL(s_open_again());
    seen s = all_of(1);
    CU_ASSERT(s.n == 1 && s.last.counts.dropped == 3 && s.last.effort.aim[1] == 3 && s.last.at_us % CN_RECALL_HOUR_US == 0);
    cn_tally t = cn_recall_total(&s.last.counts), own = s.last.counts.v[CN_PLAN_CELLS][CN_SELECTS_LESS][1];
    CU_ASSERT(t.n == 40 && t.bits == 400 && own.n == 40);
    CU_ASSERT_DOUBLE_EQUAL(t.sum, 32, 1e-9);
    CU_ASSERT_DOUBLE_EQUAL(t.squares, 30 * .81 + 10 * .25, 1e-9);
    CU_ASSERT_EQUAL(all_of(0).n, 2);
    shift_us = CN_RECALL_HOUR_US;
    OK(cn_recall_add(s_tenant, 7, 1, &c, &effort));
    CU_ASSERT_EQUAL(all_of(1).n, 2);
    shift_us = (CN_RECALL_HOURS + 1) * CN_RECALL_HOUR_US; /* the first hour is too old, whichever version's */
    OK(cn_recall_add(s_tenant, 7, 3, &c, &effort));
    CU_ASSERT_EQUAL(all_of(1).n, 1);
    CU_ASSERT_EQUAL(all_of(2).n, 0);
    CU_ASSERT_EQUAL(all_of(3).n, 1);
    shift_us = 0;
}

static void aims(void) {
    CU_ASSERT(cn_recall_aim(.5) == 0 && cn_recall_aim(.95) == 1 && cn_recall_aim(.951) == 2 && cn_recall_aim(.999) == 4 && cn_recall_aim(1) == 5);
}

/* A record that counts more than can be is refused, and begins anew. */
static void a_damaged_record(void) {
    seen s = {.n = 0};
    cn_recall_effort effort = cn_recall_usual();
    cn_recall_counts c = some(4, 2, 0); /* shares over 1 */
    OK(cn_recall_add(s_tenant, 7, 9, &c, &effort));
    CU_ASSERT_EQUAL(cn_recall_each(s_tenant, 7, 9, see, &s), CN_DAMAGED);
    c = some(4, 1, 0);
    OK(cn_recall_add(s_tenant, 7, 9, &c, &effort));
    s = all_of(9);
    CU_ASSERT_EQUAL(cn_recall_total(&s.last.counts).n, 4);
}

/* ---------- the gate ---------- */
static cn_err require(const char *text) {
    cn_str one = cn_str_of(text);
    return cn_gate_require(s_tenant, CN_STR("r"), &one, 1, &s_why);
}

static void the_gate(void) {
    const cn_gate_result by_hand = {.name = CN_STR("recall_live@0.95"), .value = 1};
    CU_ASSERT_EQUAL(require("recall_live@0.94>=0.9"), CN_INVALID);
    OK(require("recall_live@0.95>=0.95"));
    OK(s_activate("r", 1)); /* nothing was measured: no new version could become active else */
    OK(s_activate("r", 2));
    OK(cn_gate_live(s_tenant, CN_STR("r"), 1, 1, .81, &s_who));
    CU_ASSERT_EQUAL(s_activate("r", 1), CN_REFUSED);
    CU_ASSERT_PTR_NOT_NULL(strstr(cn_error_detail(), "recall_live@0.95>=0.95 (it is 0.81)"));
    CU_ASSERT_PTR_NULL(strstr(cn_error_detail(), "cairn gate")); /* neither measures it */
    CU_ASSERT_EQUAL(cn_gate_submit(s_tenant, CN_STR("r"), 1, &by_hand, 1, &s_who), CN_REFUSED);
    OK(cn_gate_live(s_tenant, CN_STR("r"), 1, 1, .96, &s_who));
    OK(s_activate("r", 1));
}

void add_recall_suite(void) {
    CU_pSuite s = CU_add_suite("recall", set_up, tear_down);
    CU_add_test(s, "the same set", the_same_set);
    CU_add_test(s, "as it was pinned", as_it_was_pinned);
    CU_add_test(s, "of a hybrid answer", of_a_hybrid_answer);
    CU_add_test(s, "nothing to measure", nothing_to_measure);
    CU_add_test(s, "aims", aims);
    CU_add_test(s, "records", records);
    CU_add_test(s, "a damaged record", a_damaged_record);
    CU_add_test(s, "the gate", the_gate);
}
