#include "tests/index/store_test.h"

void env_suite(void) {}
