/* compact.h -- new segment files for old ones: of the documents that a retained version holds, without those that were
 * erased, and fewer of them (DESIGN.md sections 4 and 7). Roots and answers stay what they are.
 *
 * Which files (all, without `erased`): one is rewritten when it holds a document that no retained version has, or one that the policy has erased
 * since; and files are merged, from the smallest up, when no retained document is in two of them, and each is at most
 * CN_COMPACT_SMALL or twice as large as all smaller ones of the merge together. So every file left is more than twice as
 * large as all smaller ones that it could be merged with: a long-lived index stays at a few.
 * By tiers (`tiers`), for who does this in the background all along: files of alike many rows (1 to 7, 8 to 63, 64 to 511, ...) are merged
 * once there are CN_COMPACT_TIER of them, of which again no retained document is in two, so that each row is copied once for each
 * time the index grows eightfold; one of which retained versions hold less than half is rewritten. A file with a document that the policy has
 * erased is left to `erased`, which tells of it. It gives way to every other compaction, and of an attempt that failed nothing
 * is in the audit chain.
 * Of an erased document a stub stays (segment.h): its key and leaf, by which the roots of versions that held it verify.
 * How: the new files, their codes and their postings are written beside everything else (what is derived and cannot be made is
 * logged, and made on first use); then the manifests of the retained versions are
 * switched, each in a file of its own, in transactions of at most 128 versions that put nothing in the place of a manifest
 * that another has changed; versions sealed meanwhile on the old files follow. Then the old files are let go, and unlinked
 * a minute later by this call (with wait), the next one, or gc. Killed at any moment, it leaves the old state or the new
 * one, and files that the sweep takes.
 * What killed jobs, sealings and compactions of the tenant left, or dropped versions and indexes, and no version names, goes too where it holds an erased
 * document (leftover.h): such a job begins anew when it is resumed.
 * Of an index of kind cells or faiss those that are missing or damaged are made too, also of files that stay (not with `erased`).
 * In the audit chain: "version.compact" in the transaction that switches, with the erased documents; "version.erased" when
 * an old file that held such is gone.
 * Owns:    nothing.
 * Thread:  any; blocks its caller. One compaction of a tenant at a time: CN_CONFLICT; but one by tiers is stopped by another, which waits
 *          for that at most CN_COMPACT_WAIT_S.
 * Limits:  disk for the new files beside the old ones; a merge has at most CN_COMPACT_MOST bytes. A process that has an old
 *          file open reads on in it, and its blocks are the disk's again when it closes it. */
#pragma once
#include "index/catalog/version.h"
#include "index/store/scrub.h"

#define CN_COMPACT_SMALL ((uint64_t)16 << 20)
#define CN_COMPACT_MOST ((uint64_t)64 << 30)

#define CN_COMPACT_TIER 8
#define CN_COMPACT_WAIT_S 30

typedef struct cn_compact_opts {
    bool dry;   /* only tells what would be done */
    bool wait;  /* returns when the old files are gone */
    bool erased; /* only files that hold what the policy has erased, each by itself: the least that takes its bytes away */
    bool tiers;  /* what there is to do by tiers, and no old file is waited for or unlinked; wants a pace */
    cn_scrub_pace *pace; /* asked before each document is copied, and again as its words are taken up, with its bytes; false: stop,
                          * CN_UNAVAILABLE, nothing was changed. With it, one thread works, for who does this in the background.
                          * NULL: as fast as it goes */
    void *pace_ctx;
} cn_compact_opts;

typedef struct cn_compact_result {
    uint32_t versions;                        /* whose manifests were switched */
    uint32_t segments_before, segments_after; /* that retained versions name */
    uint32_t rewritten, made;                 /* old files replaced, new ones in their place */
    uint64_t bytes_before, bytes_after;       /* of segments with their codes; after a dry run: about */
    uint64_t erased;                          /* documents of which only a stub is left now */
    uint64_t dropped;                         /* documents that no retained version held */
    uint32_t files, pending;                  /* unlinked now; still to be unlinked */
    int64_t due_us;                           /* when the last of those may be; 0: none is left */
} cn_compact_result;

/* index empty: of the tenant only what no version names any more, for one whose indexes were dropped. */
cn_err cn_version_compact(cn_tenant *t, cn_str index, const cn_compact_opts *o, const cn_actor *who, cn_compact_result *ret);
