/* words.h -- tokens where there is no model: runs of letters and digits, and single other signs.
 *
 * Owns:    nothing.
 * Thread:  any.
 * Limits:  a run of over `most` bytes counts as several; texts under 4 GiB. */
#pragma once
#include "ingest/embed/wordpiece.h"

#define CN_WORD_BYTES 256

/* Appends the words of text; ids are 0. most: bytes of one, at least 4: CN_WORD_BYTES, or few where the tokens of a model
 * whose vocabulary is not here are to be guessed. */
cn_err cn_words_run(cn_str text, uint32_t most, cn_tokens *out);
