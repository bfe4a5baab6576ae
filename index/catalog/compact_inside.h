/* compact_inside.h -- the parts of a compaction, each of use to whoever merges in the background too; for compact*.c, erased.c,
 * facts.c and their tests only: the survey says what there is, pick which files belong together, write makes one new file of some old ones,
 * switch puts it into the manifests.
 *
 * Owns:    a cn_survey owns what it opened, a cn_rewrite its new file's segment and lock.
 * Thread:  one at a time.
 * Limits:  memory: a bit a document, and 8 bytes a document of the merge being picked. */
#pragma once
#include <roaring/roaring.h>

#include "index/catalog/compact.h"
#include "index/catalog/inside.h"
#include "index/control/segset.h"
#include "index/policy/policy.h"

/* ---------- which files there are ---------- */
typedef struct cn_surveyed {
    cn_part part;
    cn_seg *seg;
    roaring_bitmap_t *kept;   /* documents that a retained version holds, stubs too */
    roaring_bitmap_t *erased; /* whole documents that the policy has erased, kept or not */
    uint64_t bytes;           /* of the file and its codes */
    uint32_t space;           /* files of one number may be merged: same model, metric and dimension */
    const cn_version *version; /* one of those that name it */
    const struct cn_rewrite *into; /* the new file in its place, while manifests are switched; NULL: it stays */
    uint32_t at;              /* its place among those that `into` is made from */
} cn_surveyed;

typedef struct cn_survey {
    cn_tenant *t;
    cn_arena *a;
    cn_index_info ix;
    cn_version *v;
    uint32_t n_versions;
    cn_surveyed *segs;        /* oldest first */
    uint32_t n, room;
    cn_segset files;          /* theirs, in the same places */
    cn_buf told;              /* MessagePack: {source, doc} of each erased document, as far as they have room */
    uint32_t n_told;
    uint64_t erased;          /* documents */
    int64_t since_us;         /* when the first of those was erased; CN_NO_TIME: none is left, or not known */
} cn_survey;
cn_err cn_survey_open(cn_tenant *t, cn_str index, const cn_policy *p, cn_arena *a, cn_survey *ret);
void cn_survey_close(cn_survey *s);
cn_surveyed *cn_survey_find(const cn_survey *s, const cn_seg_id *id); /* NULL: it came since, or there is none */

/* ---------- which belong together ---------- */
typedef struct cn_candidate {
    uint64_t bytes;           /* that it would take in a new file */
    uint64_t class_bytes;
    uint32_t docs, rows, sources, space;
    bool must;                /* it is rewritten also alone */
    bool stays;               /* whatever the others are */
} cn_candidate;
/* Sorted numbers that stand for the candidate's documents: equal ones mean the same document (or, rarely, a chance). */
typedef cn_err cn_keys_fn(void *ctx, uint32_t candidate, uint64_t **ret, uint32_t *ret_n); /* cn_free()d by the caller */
#define CN_STAYS UINT32_MAX
/* tiers: by tiers (compact.h). ret_group[n]: the number of the new file, from 0, or CN_STAYS. */
cn_err cn_compact_pick(const cn_candidate *c, uint32_t n, bool tiers, cn_keys_fn *keys, void *ctx, uint32_t *ret_group, uint32_t *ret_groups);

/* ---------- one new file of old ones ---------- */
typedef struct cn_rewrite {
    cn_surveyed *const *from; /* in the order in which they go into the file */
    uint32_t n;
    uint32_t *base;           /* number in the new file of the first document of each */
    cn_seg *seg;              /* the new file; NULL: not written */
    cn_part part;
    int lock;                 /* held until the manifests name it, so that no sweep takes it */
} cn_rewrite;
/* Bit for bit: vectors, texts, labels, digests. Codes too, where it has vectors. */
cn_err cn_rewrite_make(const cn_survey *s, cn_surveyed *const *from, uint32_t n, const cn_compact_opts *o, cn_rewrite *ret);
/* Makes the cells or the FAISS index of a file that stays as it is, where its index is of that kind and they are missing or damaged. */
cn_err cn_compact_kind(const cn_survey *s, const cn_surveyed *x, const cn_compact_opts *o, bool *ret_made);
/* The document of the new file that was `doc` of from[i]; false: it was left out. */
bool cn_rewrite_place(const cn_rewrite *r, uint32_t i, uint32_t doc, uint32_t *ret);
/* Keeps the file, or (unlink) throws it away. */
void cn_rewrite_done(cn_rewrite *r, cn_tenant *t, bool unlink_file);

/* ---------- manifests ---------- */
typedef struct cn_switch {
    const cn_survey *s;
    const cn_rewrite *made;
    uint32_t n;
    const cn_actor *who;
    cn_str index;
    cn_str detail;            /* fields of the first audit record: pairs, packed */
    uint32_t detail_fields;
    uint32_t versions;        /* out: switched */
    bool stale;               /* out: a document was erased and restored meanwhile: all of it must be made anew */
    bool unsure;              /* out: a commit failed, and may have been written: the new files are the sweep's business */
} cn_switch;
/* All versions that name an old file; then the old files are let go. CN_CONFLICT with `stale`: nothing was switched. */
cn_err cn_switch_all(cn_switch *w);
/* A segment's file and what is derived from it. */
uint64_t cn_files_bytes(cn_tenant *t, const cn_seg_id *id);
