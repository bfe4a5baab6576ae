/* caret.h -- an error that shows its place in what a person wrote.
 *
 * Owns:    nothing.
 * Thread:  any.
 * Limits:  60 bytes of the text on each side of the place. */
#pragma once
#include "engine/base/error.h"
#include "engine/base/str.h"

/* CN_INVALID: "KIND: WHAT, at byte N", the text around that byte, and a caret under it. at <= text.n */
cn_err cn_fail_at(const char *kind, cn_str text, size_t at, const char *what);
