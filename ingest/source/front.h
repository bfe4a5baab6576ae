/* front.h -- the front matter of a Markdown file: the lines between a first line "---" and the next "---" or "...".
 *
 * Of YAML only flat keys: "key: value", 'key: "value"', "key: [a, b]", and "key:" with lines "- a" below it. Comments (#)
 * and deeper lines that belong to another key are passed over. Keys named like the fields of a row are these fields; every
 * other becomes metadata: true, false and numbers as such, the rest as strings or lists of strings.
 * Owns:    nothing; what is read lives in the arena.
 * Thread:  one at a time for a reader.
 * Limits:  64 KiB of front matter (as in md.c), CN_LABELS_MAX entries a list. */
#pragma once
#include "ingest/source/row.h"

/* file: from its first byte. Without front matter *io stays as it is. CN_INVALID names line and key. */
cn_err cn_front_read(cn_row_reader *r, cn_str file, cn_arena *a, cn_row *io);
