/* Documents in: the normal form, charsets, parsers in their workers, sources. */
#include <CUnit/Basic.h>

#include "ingest/parse/parse.h"
#include "tests/ingest/parse_test.h"

int main(int argc, char **argv) {
    cn_parse_worker_main(argc, argv);
    CU_initialize_registry();
    add_normal_tests();
    add_parse_tests();
    add_unpack_tests();
    add_source_tests();
    add_table_tests();
    CU_basic_set_mode(CU_BRM_VERBOSE);
    CU_basic_run_tests();
    unsigned ran = CU_get_number_of_tests_run(), failed = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failed || !ran;
}
