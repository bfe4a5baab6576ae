/* sweep.h -- files that no version names: unlinked a minute after they were let go, under the control write transaction; and
 * what dead jobs and dropped indexes left.
 *
 * Owns:    nothing.
 * Thread:  any; one transaction after the other, each short.
 * Limits:  64 files a transaction, looked for before it; a file that someone builds (holds its lock) is left alone, one that was never named
 *          for an hour, one that a compaction made in vain for a minute. */
#pragma once
#include "index/catalog/version.h"
#include "index/control/records.h"

#define CN_GRACE_US ((int64_t)60 * 1000000) /* between letting go and unlinking: a reader may have read the manifest just before */

#define CN_UNNAMED_US ((int64_t)3600 * 1000000) /* what is not yet named by a version, or by a set, is left alone for so long */

/* Adds what went to io's files and bytes. Files that held erased documents (`erasing`, and whatever else holds one as it goes)
 * leave a record "version.erased" in the audit chain once they are gone from the disk. */
cn_err cn_catalog_sweep(cn_tenant *t, const cn_actor *who, cn_gc_result *io);
/* Files of dropped indexes are let go, and the records of their versions forgotten. What a kill leaves of it the sweep does. */
cn_err cn_catalog_let_go_dropped(cn_tenant *t);
/* Files let go that are still there, and when the first and the last of them may be unlinked. */
typedef struct cn_pending {
    uint32_t files;
    int64_t from_us, due_us;
} cn_pending;
cn_err cn_catalog_pending(cn_tenant *t, cn_pending *ret);
/* Notes that a file holds this many erased documents of an index, as told in the audit record of that number. */
cn_err cn_erasing_put(MDB_txn *txn, MDB_dbi erasing, const cn_seg_id *id, cn_str index, uint64_t documents, uint64_t record);
/* Such files of an index (empty: of all) that still lie there, and when the last of them may be unlinked (0: none does). */
cn_err cn_erasing_look(cn_tenant *t, cn_str index, uint32_t *ret_files, int64_t *ret_due_us);
