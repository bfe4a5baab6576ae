#include "tests/index/store_test.h"

void root_suite(void) {}
