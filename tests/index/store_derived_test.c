#include "tests/index/store_test.h"

void derived_suite(void) {}
