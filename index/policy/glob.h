/* glob.h -- patterns of names and paths: * within a path part, ** across, ?, [set].
 *
 * Owns:    nothing.
 * Thread:  any.
 * Limits:  globs of CN_GLOB_MAX bytes: a longer one fits nothing. Time is bounded by |glob| * |text|, without recursion. */
#pragma once
#include "index/types.h"

#define CN_GLOB_MAX CN_DOC_ID_MAX
bool cn_glob_match(cn_str glob, cn_str text); /* shared by label rules, hiding and keys */
/* Before a pattern is kept: CN_INVALID, with its place, for a set without its ] and for a \ that nothing follows. */
cn_err cn_glob_check(cn_str glob);
