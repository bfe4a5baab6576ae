/* build.h -- the run that is being built; for build.c and write.c only.
 *
 * Owns:    terms, lengths and the log of postings; all of it is used again for the next run.
 * Thread:  one at a time.
 * Limits:  CN_POSTINGS_RUN_ROWS rows; ends at CN_POSTINGS_RUN_MOST postings and 63 rows at most. */
#pragma once
#include "engine/base/buf.h"
#include "engine/base/table.h"
#include "engine/postings/inside.h"

#define CN_LOG_PIECE (1u << 20)

typedef struct cn_log_item { /* one posting, as it came */
    uint32_t term, row_tf;   /* the row in the upper 18 bits, tf in the lower 14 */
} cn_log_item;

struct cn_postings_build {
    cn_put_array *put;
    void *ctx;
    cn_postings_head head;
    cn_postings_run_head run;
    cn_table table;            /* terms by their bytes */
    cn_buf bytes;              /* of the terms, one behind the other */
    uint32_t *offset;          /* terms + 1 */
    uint32_t *tf;              /* of the row at hand, by term */
    uint32_t room;             /* of offset and tf */
    uint32_t *touched;         /* terms of the row at hand */
    uint32_t n_touched, room_touched;
    uint32_t *lengths;         /* CN_POSTINGS_RUN_ROWS */
    uint32_t length;           /* of the row at hand */
    cn_log_item **log;         /* pieces of CN_LOG_PIECE */
    uint32_t n_pieces, room_pieces;
};

/* Writes the run and begins the next one. */
cn_err cn_postings_write_run(cn_postings_build *b);

static inline cn_str cn_postings_run_term(const cn_postings_build *b, uint32_t term) {
    return (cn_str){b->bytes.p + b->offset[term], b->offset[term + 1] - b->offset[term]};
}
