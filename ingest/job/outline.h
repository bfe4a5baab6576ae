/* outline.h -- a parsed document's blocks as a few bytes each, kept beside its text, so that it can be chunked again
 * without the bytes it came from.
 *
 * Layout (varint: 7 bits a byte, least first, the top bit says that more follow):
 *   u8 1                                   format
 *   varint n                               blocks
 *   n times: u8 kind | level << 4          kind: cn_block_kind, level: 0 to 15
 *            varint gap                    bytes between the end of the block before (or the text's start) and this one
 *            varint length                 bytes of the block
 *            varint pages                  pages on from the block before (from 0)
 * Owns:    nothing.
 * Thread:  any.
 * Limits:  CN_OUTLINE_BLOCKS blocks. */
#pragma once
#include "engine/base/buf.h"
#include "ingest/parse/parse.h"

#define CN_OUTLINE_BLOCKS 1000000u

/* CN_INVALID: blocks that overlap or go back. */
cn_err cn_outline_pack(const cn_block *blocks, uint32_t n, cn_buf *out);
/* Checks every number against the text's length. CN_DAMAGED. An empty outline gives one paragraph over the whole text. */
cn_err cn_outline_unpack(cn_str outline, uint64_t text_bytes, cn_arena *a, const cn_block **ret, uint32_t *ret_n);
