/* inside.h -- the bytes of postings; for engine/postings only.
 *
 * The arrays of kind "postings", format 1, little-endian. Rows come in runs, each with terms and lists of its own, so that
 * neither building nor a list's numbers grow with the segment. A run begins at a multiple of 64 rows and has at most
 * CN_POSTINGS_RUN_ROWS. Block r of arrays 1 to 6 is of run r:
 *   array 0   head      one block: cn_postings_head
 *   array 1   run       cn_postings_run_head
 *   array 2   lengths   u32[rows]
 *   array 3   offsets   u32[terms + 1] into array 4
 *   array 4   terms     bytes, in the order of cn_str_cmp
 *   array 5   entries   cn_entry[terms + 1]; the last says where the lists end
 *   array 6   lists     one behind the other: for df over 128 a table cn_skip[ceil(df / 128)]; then blocks of 128 postings,
 *                       and what is left of them
 * A whole block: u8 bits of a gap, u8 bits of a count, then 128 gaps and 128 counts packed in four lanes (number i is in lane
 * i % 4; a lane's numbers lie one behind the other in the lane's words, of which those of the four lanes alternate): 16 bytes
 * a bit (Lemire and Boytsov, arXiv 1209.2137). A gap is the row less the one before it less 1, a count is tf less 1.
 * The rest, fewer than 128: for each posting gap and tf - 1, in bytes of 7 bits, low ones first, a set top bit for more.
 *
 * Owns:    see each struct.
 * Thread:  a cn_postings is read-only.
 * Limits:  those of postings.h. */
#pragma once
#include "engine/postings/postings.h"

#define CN_POSTINGS_RUN_ROWS (1u << 18)
#define CN_POSTINGS_RUN_MOST (8u << 20)  /* at which a run ends, at the next multiple of 64 rows */
#define CN_TF_MAX ((1u << 14) - 1)
#define CN_POSTING_BLOCK 128u

enum { CN_P_HEAD, CN_P_RUN, CN_P_LENGTHS, CN_P_OFFSETS, CN_P_TERMS, CN_P_ENTRIES, CN_P_LISTS };

typedef struct cn_postings_head {
    char magic[8]; /* "cnpost01" */
    uint32_t rows, runs;
    uint64_t tokens;
    uint8_t zero[40];
} cn_postings_head;
_Static_assert(sizeof(cn_postings_head) == 64, "drawn above");

typedef struct cn_postings_run_head {
    uint32_t first_row, rows, terms, postings;
    uint64_t tokens;
    uint8_t zero[40];
} cn_postings_run_head;
_Static_assert(sizeof(cn_postings_run_head) == 64, "drawn above");

typedef struct cn_entry {
    uint32_t at, df;           /* at: byte of array 6 */
    uint32_t max_tf, min_len;  /* over the whole list */
} cn_entry;
_Static_assert(sizeof(cn_entry) == 16, "drawn above");

typedef struct cn_skip {
    uint32_t last, end;        /* row of the run; byte of the list, from its first block on */
    uint16_t max_tf, min_len;  /* of the block; a length over 65,535 is that */
} cn_skip;
_Static_assert(sizeof(cn_skip) == 12, "drawn above");

typedef struct cn_postings_run {
    cn_postings_run_head head;
    const uint32_t *lengths, *offsets;
    const char *terms;
    const cn_entry *entries;
    const uint8_t *lists;
    uint32_t term_bytes, list_bytes;    /* of terms and lists: a file that changes under its map leads nowhere else */
} cn_postings_run;

struct cn_postings {
    cn_postings_head head;
    cn_postings_run run[];              /* borrowed arrays */
};

/* ---------- one list ---------- */
typedef struct cn_posting_list {
    cn_entry entry;
    uint32_t rows;             /* of the run */
    uint32_t n_blocks;
    const uint8_t *skips;      /* NULL: one block, and the entry says it all */
    const uint8_t *blocks;
    uint32_t bytes;            /* of blocks */
} cn_posting_list;

typedef struct cn_decoded {
    uint32_t n, row[CN_POSTING_BLOCK], tf[CN_POSTING_BLOCK];
} cn_decoded;

/* The bytes of term i, of the run's. CN_DAMAGED. */
cn_err cn_posting_term(const cn_postings_run *r, uint32_t i, cn_str *ret);
/* The first term that is not before this one; the number of terms: none. */
cn_err cn_posting_term_from(const cn_postings_run *r, cn_str term, uint32_t *ret);
/* Finds the term; *ret_is false: the run does not hold it. */
cn_err cn_posting_list_find(const cn_postings_run *r, cn_str term, cn_posting_list *ret, bool *ret_is);
cn_err cn_posting_list_open(const cn_postings_run *r, uint32_t term, cn_posting_list *ret);
/* What is said of block i, and the last row before it (UINT32_MAX: none, so that + 1 is the first it may hold). */
cn_skip cn_posting_list_skip(const cn_posting_list *l, uint32_t i);
static inline uint32_t cn_posting_list_before(const cn_posting_list *l, uint32_t i) { return i ? cn_posting_list_skip(l, i - 1).last : UINT32_MAX; }
/* Decodes block i; rows are of the run, growing, each under `rows`. CN_DAMAGED. */
cn_err cn_posting_list_decode(const cn_posting_list *l, uint32_t i, cn_decoded *ret);

/* ---------- writing ---------- */
struct cn_buf;
typedef struct cn_posting {
    uint32_t row, tf;
} cn_posting;
/* Appends the list of n postings; fills max_tf and min_len. */
void cn_posting_list_encode(const cn_posting *v, uint32_t n, const uint32_t *lengths, struct cn_buf *out, cn_entry *entry);
