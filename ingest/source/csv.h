/* csv.h -- records of comma, semicolon or tab separated values (RFC 4180): quoted cells may hold separators, line ends and
 * doubled quotes; a quote inside a cell that does not begin with one stands for itself.
 *
 * The first record names the columns; its separator counts for the file: a tab where it has one, else a semicolon where it
 * has no comma, else a comma.
 * Owns:    its buffers, until cn_csv_done(); cells are valid until the next record.
 * Thread:  one at a time.
 * Limits:  CN_CSV_RECORD bytes a record, CN_CSV_COLUMNS columns. */
#pragma once
#include "engine/base/buf.h"
#include "ingest/source/input.h"

#define CN_CSV_RECORD ((size_t)64 << 20)
#define CN_CSV_COLUMNS 1024

typedef struct cn_csv {
    cn_input *in;
    cn_buf record, header;
    char sep;
    bool broken;                       /* no record after this one can be told from it: the file is over */
    uint32_t n_columns, n;
    uint64_t line;                     /* where the record begins, from 1 */
    cn_str columns[CN_CSV_COLUMNS], cells[CN_CSV_COLUMNS];
} cn_csv;

/* Reads the header. CN_INVALID: there is none, or a column without a name or named twice. */
cn_err cn_csv_begin(cn_csv *c, cn_input *in);
void cn_csv_done(cn_csv *c); /* of zeroed memory is fine */
/* The next record's cells, as many as columns. CN_END: the end. CN_INVALID: this record is wrong; with broken set, it
 * was the last. */
cn_err cn_csv_next(cn_csv *c);
