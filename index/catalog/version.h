/* version.h -- immutable snapshots of an index: sealing, the active pointer, and the ways back (DESIGN.md section 8).
 *
 * States: sealed -> dropped (building is the job's own; active is the pointer). Marks: suspect, quarantined, pinned, trial.
 * A trial is what a rebuild made: the documents of its base by another model or chunker. Jobs go on building on the head, so no
 * model changes before a person activates the trial, which then is the head. That is refused while the head has moved past its base.
 * Owns:    results live in the arena given.
 * Thread:  any; changes take the control writer, in transactions of at most 10 ms.
 * Limits:  numbers are u64, from 1, without gaps. */
#pragma once
#include "index/catalog/mode.h"
#include "index/control/epoch.h"
#include "index/store/root.h"

cn_err cn_version_get(cn_tenant *t, cn_str index, uint64_t number, cn_arena *a, cn_version *ret); /* 0: the active one */
cn_err cn_version_list(cn_tenant *t, cn_str index, cn_arena *a, cn_version **ret, uint32_t *ret_n);
/* What a job builds on: the newest sealed version neither suspect nor quarantined nor dropped nor a trial; CN_NOT_FOUND when there is none. */
cn_err cn_version_head(cn_tenant *t, cn_str index, cn_arena *a, cn_version *ret);

/* Parts of a version's own file; a third, CN_PART_REVOKED, is inforce.h's. */
#define CN_PART_DEAD 't'    /* which documents of its segments are dead: drawn in live.h */
#define CN_PART_BUCKETS 'b' /* its Merkle buckets: root.h */

/* The dead documents of one segment of the manifest, from the version's own file: a portable CRoaring bitmap of document
 * numbers, borrowed. CN_DAMAGED when it is absent: each segment has one, if empty. */
cn_err cn_version_tombs(cn_seg *own, const cn_seg_id *segment, cn_str *ret);
/* Those of them that are stubs of this version's erased documents: they count for its root. CN_NOT_FOUND: it has none there. */
cn_err cn_version_stubs(cn_seg *own, const cn_seg_id *segment, cn_str *ret);
/* The code space that rows of this recipe live in; mean points into the arena. CN_NOT_FOUND before the first vectors. */
cn_err cn_version_space(cn_tenant *t, uint64_t index_id, const cn_recipe *recipe, cn_arena *a, cn_space *ret);
/* Makes the segment's file of postings, its words cut by the recipe's analyser; pace as of cn_seg_build_postings(). */
cn_err cn_version_postings(cn_seg *s, const cn_recipe *recipe, bool (*pace)(void *ctx, uint64_t bytes), void *pace_ctx);

/* What a query needs to know, as of one moment: under which epoch, of which version, in which space (dim 0: no vectors). */
typedef struct cn_pin {
    uint64_t epoch;
    uint64_t host;  /* stamp (cn_env_stamp) of the host's commit under which its mode was read */
    cn_index_info ix; /* its settings that change answers are the version's (answers.h) */
    cn_version version;
    cn_space space;
    cn_modes modes;
    cn_digest of; /* of the bytes of all that was read but epoch and stamp: equal ones say the same */
} cn_pin;
cn_err cn_version_pin(cn_tenant *t, cn_str index, uint64_t number, cn_arena *a, cn_pin *ret); /* number 0: the active one */

/* ---------- sealing ---------- */
typedef struct cn_seal {
    cn_str index;
    uint64_t index_id;              /* the index that the rows were made for; 0: whichever has that name. CN_CONFLICT: it was dropped and made anew */
    uint64_t base;                  /* what the caller read as head; sealing fails with CN_CONFLICT when the head moved and rebase is not possible */
    uint64_t newest;                /* the newest version there was then, trials apart: what of those up to it becomes the head again was not looked at */
    bool rest;                      /* rows of the file are of documents that the source did not say, narrowed by the lists of `policy`: only
                                     * where the head is the base still, and under these lists, is the version of them */
    uint64_t trial_of;              /* not 0: made a trial, of this version's documents; it lies on the trial `base` (0: on none), wherever the head is;
                                     * quarantined where that version was dropped meanwhile, and with it lists that counted for it */
    const cn_recipe *recipe;        /* but of a trial the analyser apart, which goes on as all that changes answers (answers.h) */
    cn_index_edit_fn *edit;         /* changes settings of the index with it, in the same transaction; NULL: none. Then a version is sealed
                                     * though no document differs, and it has those of them that change answers */
    void *edit_ctx;
    const cn_key *removed;          /* keys deleted; keys rewritten need not be listed: a row in the new file replaces an older one */
    uint64_t n_removed;
    cn_counts counts;               /* the job's; documents and chunks are computed here */
    cn_str job;
    const struct cn_policy *policy; /* by which rows of the file were made of stored ones; NULL: none was; of a trial: not known */
} cn_seal;

/* Takes the built file (w is freed in any case; NULL when only documents were removed: then a file without rows is made),
 * finds what it replaces in the head, makes tombstones, bucket table, root and revocation list, seals the file, and
 * commits the version in one control transaction. If another source's job sealed meanwhile, the work is done again on
 * the new head (other sources' documents are untouched by construction). Freezes the index's mean at the first vectors.
 * CN_CONFLICT too when a document of the file was erased and restored since `policy`: its row is one of before. In a trial such
 * a row is erased from the beginning, as those are that there were at the restore; where `policy` is not known the trial is
 * quarantined, since it may lack documents of its base. The file of a
 * trial stays whatever happens, for a resume, and so does one that the head's model has changed under; another's goes where a
 * resume would come to the same end. */
cn_err cn_version_seal(cn_tenant *t, const cn_seal *seal, cn_segw *w, const cn_actor *who, uint64_t *ret_number, cn_digest *ret_root);

/* ---------- the pointer ---------- */
#define CN_ANY_VERSION UINT64_MAX
/* Compare-and-set: expect is the version believed active (CN_ANY_VERSION: whichever; 0: none). CN_CONFLICT names the one
 * found; so it does for a trial whose base is no more the head. CN_REFUSED: quarantined; suspect without a reason; the index's gate (gate.h) is not met; under a hold
 * or a freeze for jobs (by_job). Refusals are audited. */
cn_err cn_version_activate(cn_tenant *t, cn_str index, uint64_t number, uint64_t expect, bool by_job, const cn_actor *who, uint64_t *ret_before);
/* A person's word past the index's gate (gate.h): with a reason, and the audit record says what was not met. */
cn_err cn_version_force(cn_tenant *t, cn_str index, uint64_t number, uint64_t expect, const cn_actor *who, uint64_t *ret_before);
/* to 0: the version active before the current one was first activated. To one that was never active: then all between the two is
 * behind, and what was active before is further back; the index's gate is asked of such a one, as if it were activated. Marks
 * the one it leaves suspect and holds the pointer. */
cn_err cn_version_rollback(cn_tenant *t, cn_str index, uint64_t to, const cn_actor *who, uint64_t *ret_from, uint64_t *ret_to);
/* The same past the gate: with a reason, as cn_version_force. */
cn_err cn_version_force_back(cn_tenant *t, cn_str index, uint64_t to, const cn_actor *who, uint64_t *ret_from, uint64_t *ret_to);
cn_err cn_version_release(cn_tenant *t, cn_str index, const cn_actor *who);
cn_err cn_version_mark(cn_tenant *t, cn_str index, uint64_t number, unsigned set, unsigned clear, const cn_actor *who); /* pin, unpin, quarantine */
cn_err cn_version_drop(cn_tenant *t, cn_str index, uint64_t number, const cn_actor *who); /* REFUSED: active or pinned */

/* ---------- gc and diff ---------- */
typedef struct cn_gc_result {
    uint32_t versions, files;
    uint64_t documents, bytes; /* documents: of the versions, each counted in every one that holds it */
} cn_gc_result;
/* Drops versions beyond keep_versions and keep_days (never the active, pinned, or one that another's rollback needs), then
 * sweeps files whose last version went over a minute ago; files and bytes are of those. dry: only tells what would go, in
 * files and bytes too (of the first CN_RETIRE_MAX versions). */
cn_err cn_version_gc(cn_tenant *t, cn_str index, bool dry, const cn_actor *who, cn_gc_result *ret);

enum cn_diff_kind { CN_DIFF_ADDED, CN_DIFF_DELETED, CN_DIFF_CHANGED, CN_DIFF_RELABELLED };
typedef cn_err cn_diff_fn(void *ctx, enum cn_diff_kind kind, cn_str source, cn_str id, const cn_triple *before, const cn_triple *after);
cn_err cn_version_diff(cn_tenant *t, cn_str index, uint64_t m, uint64_t n, cn_diff_fn *fn, void *ctx);
/* What m's readers would miss in n: its documents that n does not hold, and those of the same content of which the source says
 * other labels or metadata. A row that sealing narrowed (carry.h) is neither. Reads one record each of those that differ. */
typedef struct cn_loss {
    uint64_t deleted, relabelled;
} cn_loss;
cn_err cn_version_loss(cn_tenant *t, cn_str index, uint64_t m, uint64_t n, cn_loss *ret);
