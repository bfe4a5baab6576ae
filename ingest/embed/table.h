/* table.h -- a static embedder's file: a row of numbers for each piece of its vocabulary.
 *
 * A text's vector is the sum of its pieces' rows, at length 1 (static.h). How much a piece counts is in its row. All
 * numbers are little-endian. Any numbers will do in a row; up to CN_TABLE_SHORT they are summed faster.
 *   | 0   | "cairntab"                                                                     |
 *   | 8   | u32 format, 1                                                                  |
 *   | 12  | u32 CRC-32C of everything from byte 16 on                                      |
 *   | 16  | u32 words: rows, as many as its vocab.txt has lines                            |
 *   | 20  | u32 dim                                                                        |
 *   | 24  | u32 how it cuts words: 1 lower case, 2 accents off, 4 ideographs apart         |
 *   | 28  | u32 0                                                                          |
 *   | 32  | digest of the embedder it was made from                                        |
 *   | 64  | digest of the passages it was fitted to; zeros: none                           |
 *   | 96  | u64 how many passages                                                          |
 *   | 104 | 24 bytes, 0                                                                    |
 *   | 128 | i16 rows[words][dim]                                                           |
 * Owns:    nothing: rows are borrowed from the file's bytes.
 * Thread:  any.
 * Limits:  CN_TABLE_WORDS_MAX, CN_TABLE_DIM_MAX; texts of CN_TABLE_TOKENS_MAX, so that no sum overflows 32 bits. */
#pragma once
#include "engine/base/digest.h"
#include "ingest/embed/wordpiece.h"

#define CN_TABLE_FORMAT 1
#define CN_TABLE_HEAD 128
#define CN_TABLE_WORDS_MAX (1u << 21)
#define CN_TABLE_DIM_MAX 4096
#define CN_TABLE_TOKENS_MAX 4096 /* with [CLS] and [SEP], as any model's; neither is added */
#define CN_TABLE_BYTES_MAX (CN_TABLE_HEAD + (uint64_t)CN_TABLE_WORDS_MAX * CN_TABLE_DIM_MAX * 2)

#define CN_TABLE_SHORT 8191      /* four of them still fit 16 bits */

typedef struct cn_token_table {
    uint32_t words, dim;
    cn_wordpiece_opts pieces;
    cn_digest from, texts;
    uint64_t passages;
    const int16_t *rows; /* [words][dim] */
    bool is_short;       /* as validated: no number is over CN_TABLE_SHORT */
} cn_token_table;

/* Checks all of it; the bytes begin at an even address. CN_INVALID: what is wrong and where. */
cn_err cn_table_validate(cn_str file, cn_token_table *ret);
/* What stands before the rows. */
void cn_table_head(const cn_token_table *t, uint8_t ret[CN_TABLE_HEAD]);
