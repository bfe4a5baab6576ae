/* guard.h -- the limits past which a job's version is sealed but not activated, for a person to look at first.
 *
 * Without a word from the user a job may delete, relabel or reject up to 1,000 documents or 10% of the index, whichever
 * is more; and delete none where it found no document at all, as in a folder whose disk is not mounted. What is deleted and
 * relabelled is counted against the active version, or where none was ever active against the first of those built on, so that a
 * guarded version cannot slip in under the next small job, and is forgotten once a later one brings its documents back; what is
 * rejected, of the job alone.
 * Owns:    nothing.
 * Thread:  any.
 * Limits:  none. */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <stdbool.h>

#define CN_GUARD_DOCS 1000u
#define CN_GUARD_SHARE 10u /* percent */
#define CN_GUARD_DEFAULT UINT64_MAX

typedef struct cn_guard {
    uint64_t before;                       /* documents of the active version, or of the first built on; of the job where there was none */
    uint64_t deleted, relabelled;          /* of those */
    uint64_t rejected;                     /* of the job's */
    uint64_t max_deleted, max_relabelled, max_rejected; /* CN_GUARD_DEFAULT: the rule above */
    bool found_nothing;                    /* the source of a job that deletes what it lacks held no document: rows that delete are none */
    uint64_t first, last;                  /* the new version and those below it that were never active, without the one compared with */
} cn_guard;

/* True when one of the limits is passed; `why` then holds the numbers, the option that allows it, and the way back. */
bool cn_guard_trips(const cn_guard *g, char *why, size_t n);
