#include "tests/index/store_test.h"

void fault_suite(void) {}
