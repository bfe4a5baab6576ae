/* count.h -- how often a test tries: a short count, or the full one when CAIRN_TEST_LONG is 1 (tools/test --long).
 *
 * Owns:    nothing.
 * Thread:  any.
 * Limits:  for tests only. */
#pragma once
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static inline bool test_long(void) {
    const char *is = getenv("CAIRN_TEST_LONG");
    return is && strcmp(is, "1") == 0;
}

static inline unsigned long test_count(unsigned long brief, unsigned long full) { return test_long() ? full : brief; }

/* CAIRN_SEED, or what the test begins with else. */
static inline unsigned long test_seed(unsigned long usual) {
    const char *seed = getenv("CAIRN_SEED");
    return seed && *seed ? strtoul(seed, NULL, 10) : usual;
}
