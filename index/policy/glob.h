/* glob.h -- patterns of names and paths: * within a path part, ** across, ?, [set].
 *
 * Owns:    nothing.
 * Thread:  any.
 * Limits:  time is bounded by |glob| * |text|^2, without recursion. */
#pragma once
#include "engine/base/str.h"

bool cn_glob_match(cn_str glob, cn_str text); /* shared by label rules, hiding and keys */
