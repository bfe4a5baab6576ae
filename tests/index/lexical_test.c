/* A question's words made ready: within its time, and what was counted once is known. */
#include <CUnit/CUnit.h>

#include "index/search/searcher.h"
#include "tests/index/small.h"
#include "tests/index/suites.h"

#define OK(x) CU_ASSERT_EQUAL(x, CN_OK)

static const s_row rows[] = {{"a", "stones on the moor", "public", "", ""}, {"b", "stones in the rain", "public", "", ""}};

static int set_up(void) {
    if (!s_open())
        return 1;
    s_index("w");
    return s_seal("w", rows, 2, NULL) != 1 || s_activate("w", 1) != CN_OK;
}

static int tear_down(void) {
    s_close();
    return 0;
}

static void within_a_time(void) {
    cn_view *v;
    cn_lexical l = {0};
    cn_query q = {.who = cn_principal_of(s_labels("public")), .text = CN_STR("rain and stones"), .k = 10, .mode = CN_MODE_LEXICAL};
    CU_ASSERT_FATAL(cn_view_open(s_tenant, CN_STR("w"), 0, &v) == CN_OK);
    q.deadline_ns = 1;
    CU_ASSERT_EQUAL(cn_lexical_prepare(v, &q, &l), CN_DEADLINE);
    q.deadline_ns = 0;
    OK(cn_lexical_prepare(v, &q, &l));
    CU_ASSERT_EQUAL(l.n_wanted, 2);
    q.deadline_ns = 1;
    OK(cn_lexical_prepare(v, &q, &l)); /* counted already */
    CU_ASSERT_EQUAL(l.n_wanted, 2);
    q.text = CN_STR("moor");
    CU_ASSERT_EQUAL(cn_lexical_prepare(v, &q, &l), CN_DEADLINE);
    cn_lexical_done(&l);
    cn_view_unref(v);
}

void add_lexical_suite(void) {
    CU_pSuite s = CU_add_suite("lexical", set_up, tear_down);
    CU_add_test(s, "within a time", within_a_time);
}
