/* words.h -- tokens where there is no model: runs of letters and digits, and single other signs.
 *
 * Owns:    nothing.
 * Thread:  any.
 * Limits:  a run of over CN_WORD_BYTES bytes counts as several; texts under 4 GiB. */
#pragma once
#include "ingest/embed/wordpiece.h"

#define CN_WORD_BYTES 256

/* Appends the words of text; ids are 0. */
cn_err cn_words_run(cn_str text, cn_tokens *out);
