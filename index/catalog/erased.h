/* erased.h -- what the policy has erased and files still hold: what is left to do before an erasure has reached the disk.
 *
 * A document that was erased is out of every answer at once; its bytes leave when compact.h writes new files, and the old ones
 * are unlinked a minute later. Counted are documents of files that versions name, and files let go that are still there; and
 * what killed jobs and compactions of the tenant left (leftover.h).
 * Owns:    nothing.
 * Thread:  any.
 * Limits:  reads no text; where nothing was ever erased it is a look-up, else it opens the index's files. */
#pragma once
#include "index/catalog/version.h"

typedef struct cn_erased {
    uint64_t documents; /* erased, and in a file that a version names, or that was left */
    uint32_t files;     /* those files */
    uint32_t building;  /* files under way in the tenant, which nobody can look into: a job killed later may leave what was erased */
    int64_t since_us;   /* when the first of the documents was erased; CN_NO_TIME: there is none, or not known */
    uint32_t leaving;   /* files that were let go and that still lie there, with erased documents in them */
    int64_t gone_us;    /* when the last of these may be unlinked (by compact or gc); 0: there is none */
} cn_erased;
/* index empty: of a tenant that has none (any more). */
cn_err cn_erased_look(cn_tenant *t, cn_str index, cn_erased *ret);
