/* folders.h -- what a job says, for callers elsewhere: files without the folders of this host that they lie in.
 *
 * Owns:    nothing; the folders' names are in the caller's arena.
 * Thread:  any.
 * Limits:  folders as they were named; what a text says of others stays. */
#pragma once
#include "ingest/job/rows.h"

typedef struct cn_folders {
    cn_str *v; /* without a slash at the end */
    uint32_t n;
} cn_folders;

/* What is not told to this reader: of a client's job the import roots, of another the folders that what it was given lies in;
 * to the operator (NULL) everything is. */
cn_err cn_folders_of(const cn_job_row *r, const cn_job_reader *to, cn_arena *a, cn_folders *ret);
/* Puts "." for each where it stands in the text. The text's new length. */
size_t cn_folders_cut(const cn_folders *f, char *text, size_t n);
