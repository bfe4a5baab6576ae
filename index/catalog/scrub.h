/* scrub.h -- the files that a tenant's versions name, each once, and one of them read anew: what a server does in the
 * background (`cairn scrub` reads and verifies more, and all at once: check.h).
 *
 * Owns:    the list lives in the arena given.
 * Thread:  any.
 * Limits:  none of its own. */
#pragma once
#include "index/catalog/version.h"
#include "index/store/scrub.h"

typedef struct cn_scrub_file {
    cn_part part;
    cn_str index;      /* a version that names it: the active one, else the newest */
    uint64_t version;
    bool active;
} cn_scrub_file;
cn_err cn_scrub_list(cn_tenant *t, cn_arena *a, cn_scrub_file **ret, uint32_t *ret_n);

/* The files beside the segments: the trees of control.mdb and work.mdb, the policy, the members. CN_DAMAGED. */
cn_err cn_scrub_catalog(cn_tenant *t);
/* The file with what is derived from it. CN_DAMAGED: *ret_kind is the kind of the derived one that is, NULL for the rows. A file that no version names
 * any more is CN_OK, whatever it holds. */
cn_err cn_scrub_one(cn_tenant *t, const cn_scrub_file *f, cn_scrub_pace *pace, void *ctx, bool *ret_all, const char **ret_kind);
/* The file of this name (damage.h) in the tenant's directory; CN_OK also when no version names it any more. */
cn_err cn_scrub_named(cn_tenant *t, const char *file);
