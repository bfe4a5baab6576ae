/* scrub.h -- a segment's files read anew, piece by piece: the tree of pages, and every block against its checksum, whether
 * this process has verified it before or not. What lies in the page cache is what is read.
 *
 * Damage that is found is also told to whoever has the file open: their next look refuses it (blocks.h).
 * Owns:    nothing.
 * Thread:  any; beside readers, and beside who unlinks the file.
 * Limits:  a piece is one block; memory for the table of a file's blocks. */
#pragma once
#include "index/store/segment.h"

/* Before n bytes are read: waits as long as it likes; false: stop here. */
typedef bool cn_scrub_pace(void *ctx, uint64_t n);

/* kind NULL: the rows, whose digest must be `expect`; else what is derived from them, of which CN_NOT_FOUND is no damage.
 * CN_DAMAGED, with the file in the text. *ret_all false: it was stopped, and what was read until then is sound. */
cn_err cn_seg_scrub(cn_tenant *t, const cn_seg_id *id, const char *kind, const cn_digest *expect, cn_scrub_pace *pace, void *ctx, bool *ret_all);
