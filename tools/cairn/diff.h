/* diff.h -- the answers of two versions to a file of questions, side by side (run_diff.c).
 *
 * Owns:    nothing.
 * Thread:  one.
 * Limits:  those of bench.h. */
#pragma once
#include "tools/cairn/local.h"

/* params: the place, `from`, `to`, and what queries may say. `before` is a map that is printed first, in JSON as one with
 * `compared` in it; empty: none. Returns the exit code. */
int diff_answers(const cmd *row, cn_str params, const char *path, cn_str before);
