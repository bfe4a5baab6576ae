#include "tests/ingest/embed_test.h"

int main(void) {
    if (CU_initialize_registry() != CUE_SUCCESS)
        return 1;
    add_wordpiece_tests();
    add_safetensors_tests();
    add_embed_tests();
    add_model_tests();
    add_chunk_tests();
    add_http_tests();
    add_static_tests();
    CU_basic_set_mode(CU_BRM_NORMAL);
    CU_basic_run_tests();
    int bad = CU_get_number_of_failures() > 0 || CU_get_number_of_tests_run() == 0;
    CU_cleanup_registry();
    return bad;
}
