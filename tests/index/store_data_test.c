#include "tests/index/store_test.h"

void data_suite(void) {}
