/* Who somebody is and what may be read are of one moment, whatever is changed while a question begins. The linker puts
 * __wrap_cn_view_open between the two (--wrap). */
#include <CUnit/Basic.h>
#include <CUnit/CUnit.h>

#include "index/search/search.h"
#include "tests/server/fixture.h"

static fixture f, beside; /* one service, two callers at once */
static unsigned times;    /* how often something is still changed before a view is opened */
static unsigned opened;

#define ANA "{\"tenant\":\"acme\",\"member\":\"user:ana\""

static void change(const char *method, const char *json) {
    const char *answer = ask(&beside, &beside.operator, method, json);
    CU_ASSERT_EQUAL(*answer, '{');
    if (*answer != '{')
        printf("\n  %s: %s", method, answer);
}

/* She leaves hr, and then d4 is given to hr: she was never in hr when it could be read there. */
static void take_then_give(void) {
    change("members.set", ANA ",\"labels\":[\"group:x\"]}");
    change("policy.allow", "{\"tenant\":\"acme\",\"docs\":[\"d4\"],\"labels\":[\"group:hr\"]}");
}

/* d4 is taken from hr, and then she comes to hr: never could she read it. */
static void close_then_come(void) {
    change("policy.clear", "{\"tenant\":\"acme\",\"docs\":[\"d4\"]}");
    change("members.set", ANA ",\"labels\":[\"group:hr\"]}");
}

static void (*what)(void) = take_then_give;
static unsigned late; /* views opened before the first change */

cn_err __real_cn_view_open(cn_tenant *t, cn_str index, uint64_t number, cn_view **ret);
cn_err __wrap_cn_view_open(cn_tenant *t, cn_str index, uint64_t number, cn_view **ret);
cn_err __wrap_cn_view_open(cn_tenant *t, cn_str index, uint64_t number, cn_view **ret) {
    opened++;
    if (times && opened > late) {
        times--;
        what();
    }
    return __real_cn_view_open(t, index, number, ret);
}

static const char *as_ana(void) {
    opened = 0;
    return ask(&f, &f.operator, "query", "{\"tenant\":\"acme\",\"index\":\"docs\",\"vector\":[0.6,0.4,0,0],\"as\":\"user:ana\"}");
}

static void before(void) {
    change("members.set", ANA ",\"labels\":[\"group:hr\"]}");
    change("policy.clear", "{\"tenant\":\"acme\",\"docs\":[\"d4\"]}");
}

static void labels_and_documents_are_of_one_moment(void) {
    before();
    CU_ASSERT_PTR_NOT_NULL(strstr(as_ana(), "\"d1\"")); /* hr's */
    CU_ASSERT_EQUAL(opened, 1);
    times = 1;
    const char *answer = as_ana();
    CU_ASSERT_PTR_NULL(strstr(answer, "\"d4\""));
    CU_ASSERT_PTR_NULL(strstr(answer, "\"d1\""));
    CU_ASSERT_PTR_NOT_NULL(strstr(answer, "\"d2\"")); /* her own */
    CU_ASSERT_EQUAL(opened, 2);
}

/* A question of nobody by name looks up no labels there, and so begins once. */
static void who_names_nobody_does_not_wait(void) {
    before();
    times = 1;
    opened = 0;
    const char *answer = ask(&f, &f.operator, "query", "{\"tenant\":\"acme\",\"index\":\"docs\",\"vector\":[0.6,0.4,0,0],\"labels\":[\"group:x\"]}");
    CU_ASSERT_PTR_NOT_NULL(strstr(answer, "\"hits\": []"));
    CU_ASSERT_EQUAL(opened, 1);
}

static void it_does_not_go_on_for_ever(void) {
    times = 1000000;
    CU_ASSERT_PTR_NOT_NULL(strstr(as_ana(), "OVERLOADED: "));
    times = 0;
}

/* At whatever moment of a run she loses what she had, and gets what she had not: nothing is measured that she never could read. */
static void a_gate_measures_one_moment_too(void) {
    change("gate.freeze", "{\"tenant\":\"acme\",\"index\":\"docs\",\"set\":\"leaks\",\"queries\":[{\"id\":\"a\",\"vector\":[0.6,0.4,0,0],\"as\":\"user:ana\",\"must_not_see\":[\"d4\"]}]}");
    for (int come = 0; come < 2; come++)
        for (late = 0; late < 6; late++) {
            before();
            if (come) {
                change("members.set", ANA ",\"labels\":[\"group:x\"]}");
                change("policy.allow", "{\"tenant\":\"acme\",\"docs\":[\"d4\"],\"labels\":[\"group:hr\"]}");
            }
            what = come ? close_then_come : take_then_give;
            opened = 0;
            times = 1;
            const char *answer = ask(&f, &f.operator, "gate.run", "{\"tenant\":\"acme\",\"index\":\"docs\"}");
            CU_ASSERT_PTR_NOT_NULL(strstr(answer, "\"failed\": []"));
            CU_ASSERT(times == 0 || opened <= late);
            times = 0;
        }
    what = take_then_give;
    late = 0;
}

int main(void) {
    fixture_init(&f);
    beside = (fixture){.s = f.s, .operator = f.operator};
    CN_ASSERT(cn_call_init(&beside.call) == CN_OK && CU_initialize_registry() == CUE_SUCCESS);
    cn_buf_init(&beside.packed, 1 << 20);
    cn_buf_init(&beside.answer, 1 << 20);
    cn_buf_init(&beside.text, 1 << 20);
    CU_pSuite s = CU_add_suite("moment", NULL, NULL);
    CU_add_test(s, "labels and documents are of one moment", labels_and_documents_are_of_one_moment);
    CU_add_test(s, "who names nobody does not wait", who_names_nobody_does_not_wait);
    CU_add_test(s, "it does not go on for ever", it_does_not_go_on_for_ever);
    CU_add_test(s, "a gate measures one moment too", a_gate_measures_one_moment_too);
    CU_basic_set_mode(CU_BRM_VERBOSE);
    CU_basic_run_tests();
    unsigned failed = CU_get_number_of_failures();
    CU_cleanup_registry();
    cn_buf_done(&beside.packed);
    cn_buf_done(&beside.answer);
    cn_buf_done(&beside.text);
    cn_call_done(&beside.call);
    fixture_done(&f);
    return failed != 0;
}
