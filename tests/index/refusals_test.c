/* Refused attempts in the audit chain: the first of a caller each, then counts, ever more rarely; whoever works on the files each
 * time; and on a full disk not at the cost of the reserve. */
#include <CUnit/CUnit.h>
#include <stdio.h>

#include "engine/base/os.h"
#include "index/control/audit.h"
#include "index/control/refusals.h"
#include "tests/index/small.h"
#include "tests/index/suites.h"

#define OK(x) CU_ASSERT_EQUAL(x, CN_OK)
static cn_os os;
static uint64_t later_us, hurry_us; /* hurry: how much passes at each look */
static int64_t wall(void) { return cn_os_real.wall_us() + (int64_t)later_us; }
static uint64_t mono(void) { return cn_os_real.mono_ns() + (later_us += hurry_us) * 1000; }

static int set_up(void) {
    os = cn_os_real;
    os.wall_us = wall;
    os.mono_ns = mono;
    cn_os_now = &os;
    return !s_open();
}

static int tear_down(void) {
    s_close();
    cn_os_now = &cn_os_real;
    return 0;
}

static uint64_t records(void) {
    uint64_t n = 0;
    cn_digest head;
    OK(cn_audit_verify(s_tenant, &n, &head));
    return n;
}

static cn_actor key(const char *who) { return (cn_actor){cn_str_of(who), CN_STR("rpc"), CN_STR("")}; }

static void refuse(const char *who, const char *action, unsigned times) {
    cn_actor a = key(who);
    for (unsigned i = 0; i < times; i++)
        OK(cn_audit_refused(s_tenant, &a, action, CN_STR("d"), "it may not"));
}

/* The newest record's outcome, after its count was written. */
static void newest(char room[256]) {
    cn_refusals_settle(s_data);
    CN_AUTO_BUF cn_buf b = {.cap = 1 << 20};
    CN_AUTO_UNPACKED cn_unpacked u = {0};
    OK(cn_audit_list(s_tenant, 0, 1, NULL, NULL, &b));
    OK(cn_unpack(&u, b.p, b.n));
    cn_str o = cn_obj_str(cn_get(u.o.via.array.ptr, "outcome")), a = cn_obj_str(cn_get(u.o.via.array.ptr, "action"));
    snprintf(room, 256, CN_STR_FMT " " CN_STR_FMT, CN_STR_ARG(a), CN_STR_ARG(o));
}

static void test_the_first_are_written_and_the_rest_is_counted(void) {
    char last[256];
    uint64_t n = records();
    refuse("key:a", "policy.hide", 1);
    CU_ASSERT_EQUAL(records(), n + 1); /* at once */
    refuse("key:a", "policy.hide", 999);
    CU_ASSERT_EQUAL(records(), n + CN_REFUSALS_AT_ONCE);
    refuse("key:a", "policy.erase", 1);
    refuse("key:b", "policy.hide", 1);
    CU_ASSERT_EQUAL(records(), n + CN_REFUSALS_AT_ONCE + 2);
    later_us += CN_REFUSALS_FIRST_US;
    newest(last);
    CU_ASSERT_PTR_NOT_NULL(strstr(last, "policy.hide refused: 992 more attempts since 20"));
    CU_ASSERT_EQUAL(records(), n + CN_REFUSALS_AT_ONCE + 3);
}

static void test_ever_more_rarely(void) {
    uint64_t n = records();
    for (unsigned minute = 0; minute < 24 * 60; minute++) {
        refuse("key:c", "policy.hide", 10);
        later_us += CN_REFUSALS_FIRST_US;
    }
    CU_ASSERT(records() - n > 24 && records() - n < CN_REFUSALS_AT_ONCE + 40);
    later_us += 2 * CN_REFUSALS_MOST_US;
    refuse("key:c", "other", 1); /* writes the last count */
    later_us += 2 * CN_REFUSALS_MOST_US;
    refuse("key:c", "other", 1); /* and lets the series end */
    n = records();
    refuse("key:c", "policy.hide", 100);
    CU_ASSERT_EQUAL(records(), n + CN_REFUSALS_AT_ONCE);
}

static void test_more_callers_than_are_told_apart(void) {
    char who[32];
    uint64_t n = records();
    for (unsigned round = 0; round < 20; round++)
        for (unsigned i = 0; i < 2 * CN_REFUSALS; i++) {
            snprintf(who, sizeof who, "key:%u", i);
            refuse(who, "policy.hide", 1);
        }
    CU_ASSERT(records() - n <= (CN_REFUSALS + 1) * CN_REFUSALS_AT_ONCE);
}

static void test_who_works_on_the_files(void) {
    uint64_t n = records();
    for (unsigned i = 0; i < 50; i++)
        OK(cn_audit_refused(s_tenant, &s_who, "policy.hide", CN_STR("d"), "it may not"));
    CU_ASSERT_EQUAL(records(), n + 50);
}

static void test_counts_are_written_at_the_end(void) {
    char last[256];
    refuse("key:z", "index.drop", 100);
    uint64_t n = records();
    cn_tenant_unref(s_tenant);
    cn_data_close(s_data);
    CU_ASSERT_FATAL(s_open_again());
    CU_ASSERT(records() > n);
    newest(last); /* and that of another series, perhaps */
    CU_ASSERT_PTR_NOT_NULL(strstr(last, " more attempts since "));
}

static MDB_txn *hold_writer(void) {
    MDB_txn *txn = NULL;
    OK(cn_txn_write(cn_tenant_control(s_tenant), &txn));
    return txn;
}

static void test_another_writer_keeps_nobody_waiting(void) {
    CN_AUTO_BUF cn_buf b = {.cap = 1 << 20};
    uint64_t stamp, after;
    bool write;
    cn_actor a = key("key:w");
    later_us += 2 * CN_REFUSALS_MOST_US;
    cn_refusals_settle(s_data);
    refuse("key:w", "policy.hide", 20);
    refuse("key:v", "policy.hide", 20);
    later_us += CN_REFUSALS_FIRST_US;
    uint64_t n = records();
    MDB_txn *txn = hold_writer();
    cn_fail(CN_DENIED, "of whoever asked");
    uint64_t began = cn_os_real.mono_ns();
    cn_refusals_settle(s_data);
    OK(cn_refusals_note(s_tenant, &a, "policy.hide", &write)); /* no record */
    OK(cn_audit_list(s_tenant, 0, 1, NULL, NULL, &b));
    CU_ASSERT(!write && cn_os_real.mono_ns() - began < 500000000);
    CU_ASSERT_STRING_EQUAL(cn_error_detail(), "of whoever asked");
    cn_txn_abort(cn_tenant_control(s_tenant), txn);
    cn_refusals_settle(s_data); /* too soon after it failed */
    CU_ASSERT_EQUAL(records(), n);
    later_us += CN_REFUSALS_RETRY_US;
    OK(cn_env_stamp(cn_tenant_control(s_tenant), &stamp));
    cn_refusals_settle(s_data);
    OK(cn_env_stamp(cn_tenant_control(s_tenant), &after));
    CU_ASSERT_EQUAL(records(), n + 2);
    CU_ASSERT_EQUAL(after, stamp + 1); /* in one transaction */
}

static void test_what_could_not_be_written_is_counted(void) {
    char last[256];
    cn_actor a = key("key:u");
    later_us += 2 * CN_REFUSALS_MOST_US;
    cn_refusals_settle(s_data);
    MDB_txn *txn = hold_writer();
    hurry_us = (uint64_t)CN_WRITER_WAIT_MS * 1000;
    CU_ASSERT_EQUAL(cn_audit_refused(s_tenant, &a, "policy.hide", CN_STR("d"), "it may not"), CN_OVERLOADED);
    hurry_us = 0;
    cn_txn_abort(cn_tenant_control(s_tenant), txn);
    later_us += CN_REFUSALS_FIRST_US;
    newest(last);
    CU_ASSERT_PTR_NOT_NULL(strstr(last, "policy.hide refused: 1 more attempts since 20"));
}

void add_refusals_suite(void) {
    CU_pSuite s = CU_add_suite("refusals", set_up, tear_down);
    CU_add_test(s, "the first are written, the rest is counted", test_the_first_are_written_and_the_rest_is_counted);
    CU_add_test(s, "ever more rarely", test_ever_more_rarely);
    CU_add_test(s, "whoever works on the files", test_who_works_on_the_files);
    CU_add_test(s, "another writer keeps nobody waiting", test_another_writer_keeps_nobody_waiting);
    CU_add_test(s, "what could not be written is counted", test_what_could_not_be_written_is_counted);
    CU_add_test(s, "counts are written at the end", test_counts_are_written_at_the_end);
    CU_add_test(s, "more callers than are told apart", test_more_callers_than_are_told_apart);
}
