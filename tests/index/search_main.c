#include <CUnit/Basic.h>
#include <stdlib.h>

#include "tests/count.h"
#include "tests/index/suites.h"

unsigned long test_rounds, test_steps;

int main(int argc, char **argv) {
    test_rounds = test_count(100000, 1000000);
    test_steps = test_count(10000, 200000);
    if (argc > 2)
        test_steps = strtoul(argv[2], NULL, 10);
    if (argc > 1)
        test_rounds = strtoul(argv[1], NULL, 10);
    if (CU_initialize_registry() != CUE_SUCCESS)
        return 2;
    add_filter_suite();
    add_policy_suite();
    add_policy_next_suite();
    add_member_suite();
    add_key_suite();
    add_refusals_suite();
    add_upkeep_suite();
    add_view_suite();
    add_mode_suite();
    add_gate_suite();
    add_frozen_suite();
    add_scrub_suite();
    add_explain_suite();
    add_find_suite();
    add_holding_suite();
    add_lexical_suite();
    add_asked_suite();
    add_pick_suite();
    add_seal_suite();
    add_settings_suite();
    add_compact_suite();
    add_tiers_suite();
    add_compact_switch_suite();
    add_erased_suite();
    add_space_suite();
    add_recall_suite();
    add_leftover_suite();
    add_world_suite();
    CU_basic_set_mode(CU_BRM_VERBOSE);
    CU_basic_run_tests();
    unsigned failed = CU_get_number_of_failures(), ran = CU_get_number_of_tests_run();
    CU_cleanup_registry();
    return failed || !ran ? 1 : 0;
}
