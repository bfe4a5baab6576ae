/* segment.h -- an immutable LMDB file of rows: what one job (or put, or compaction) wrote.
 *
 * A segment holds documents in the order they came; a document's rows (chunks) lie side by side. It keeps each extracted
 * text once, vectors as given, labels interned as classes. The file a version was sealed with also holds that version's
 * own parts: tombstones for the older segments and the table of its Merkle buckets.
 * The layout is drawn in segment_format.h.
 * Owns:    a cn_segw owns the file being built and its flock; a cn_seg is shared, counted, and closed with the last reference.
 * Thread:  a cn_segw, one at a time; a cn_seg is read by any number of threads.
 * Limits:  CN_SEGMENT_ROWS_MAX rows; a document must fit whole. */
#pragma once
#include "engine/base/arena.h"
#include "engine/base/buf.h"
#include "engine/cells/cells.h"
#include "engine/faiss/faiss.h"
#include "index/store/data.h"
#include "index/text/analyser.h"

#define CN_SEG_ID 16 /* bytes; 32 hex digits in file names */
typedef struct cn_seg_id {
    uint8_t b[CN_SEG_ID];
} cn_seg_id;

/* ---------- writing ---------- */
typedef struct cn_segw cn_segw;

/* A new file; sweep leaves it alone while the flock is held. dim may be 0: no vectors. cn_segw_open_again() takes up a file
 * that a killed job left: all that was committed is there, also when it was killed inside cn_segw_seal() (whose arrays and
 * parts are dropped and made again). Never for a file that a version names. CN_NOT_FOUND when it was swept; CN_CONFLICT
 * when another has had it for 10 seconds. */
cn_err cn_segw_new(cn_tenant *t, uint32_t dim, cn_segw **ret);
cn_err cn_segw_open_again(cn_tenant *t, const cn_seg_id *id, cn_segw **ret);
cn_seg_id cn_segw_id(const cn_segw *w);
uint32_t cn_segw_docs(const cn_segw *w);
uint64_t cn_segw_cpu_ns(cn_segw *w); /* spent by the thread that writes the file, beside the caller's own */

/* Adds a document with its chunks. CN_CONFLICT when its key is in this file already. leaf: its digest as root.h makes
 * it, which other threads may do beforehand; cn_segw_add() does it itself. A document of no chunks is kept too. */
cn_err cn_segw_add(cn_segw *w, const cn_doc *doc);
cn_err cn_segw_add_leaf(cn_segw *w, const cn_doc *doc, const cn_digest *leaf);
/* What stays of an erased document: key and leaf, so that the roots of versions that held it can still be worked out. */
typedef struct cn_stub {
    cn_str source;
    uint32_t chunks;   /* that it had */
    bool unlabelled;   /* nobody could read it */
} cn_stub;
cn_err cn_segw_add_stub(cn_segw *w, const cn_key *key, const cn_digest *leaf, const cn_stub *stub);
/* Has this file the document? For resuming, and for ids that come twice. */
bool cn_segw_has(cn_segw *w, const cn_key *key);
/* All added so far survives the process's death. Called by add itself every few MiB, and then only at its end; call it where
 * a resume should find its place. */
cn_err cn_segw_commit(cn_segw *w);
/* A place for the job's own resume state, committed together with the rows added after it; at most 1 MiB. Costs a copy. */
cn_err cn_segw_note(cn_segw *w, cn_str note);
cn_err cn_segw_get_note(cn_segw *w, cn_buf *ret);

/* A version's own parts, before sealing: tombstones, bucket table, revocations; each an opaque value here. part: one
 * letter; name: at most 128 bytes. */
cn_err cn_segw_put_part(cn_segw *w, char part, cn_str name, cn_str value);

/* Writes class bitmaps, tie ranks and look-up arrays, syncs once, and renames nothing: the file is complete, and becomes
 * part of a version when control.mdb names it. digest: over the heads of all blocks, which hold their checksums. Frees w in
 * any case; after a failure the file stays, for a resume or the sweep. */
cn_err cn_segw_seal(cn_segw *w, cn_digest *ret_digest);
/* The same, and hands out the lock, until a version names the file: else somebody may take it for one that was left. -1 after a
 * failure; close(2) it. */
cn_err cn_segw_seal_held(cn_segw *w, cn_digest *ret_digest, int *ret_held);
void cn_segw_abort(cn_segw *w);   /* closes and unlinks; NULL is fine */
void cn_segw_leave(cn_segw *w);   /* closes and keeps the file for a later resume */

/* No job will go on with this file: the next sweep need not wait, if no version names it. */
void cn_segw_abandon(const cn_tenant *t, const cn_seg_id *id);

/* Holds a file as if it were being built, to look into one that was left. close(2) the number. CN_CONFLICT: somebody else does. */
cn_err cn_seg_try_hold(const cn_tenant *t, const cn_seg_id *id, int *ret_fd);
/* A file that a killed job, sealing or compaction left, held by the caller: the keys of its documents, when it was begun (or
 * cleaned), and whether it is unfinished: then it may hold more than those, of what was being written. CN_DAMAGED: nobody can
 * go on with it. */
typedef cn_err cn_segw_key_fn(void *ctx, const cn_key *key);
typedef struct cn_segw_left {
    int64_t since_us;
    bool unfinished;
} cn_segw_left;
cn_err cn_segw_look(cn_tenant *t, const cn_seg_id *id, int held, cn_segw_key_fn *fn, void *ctx, cn_segw_left *ret);
/* From an unfinished one what it holds beyond the documents it counts is gone, free pages included; it can still be taken up. */
cn_err cn_segw_clean(cn_tenant *t, const cn_seg_id *id, int held);

/* ---------- reading ---------- */
typedef struct cn_seg cn_seg;

/* One open per process: a second returns the same, counted. Verifies the tree, the heads of all blocks (whose digest must
 * be `expect`), arrays, classes and keys; texts, records and vectors are verified at their first touch. expect: the digest
 * that a version names; then a file that is not there is CN_DAMAGED. NULL skips the comparison, and it is CN_NOT_FOUND. */
cn_err cn_seg_open(cn_tenant *t, const cn_seg_id *id, const cn_digest *expect, cn_seg **ret);
cn_seg *cn_seg_ref(cn_seg *s);
void cn_seg_close(cn_seg *s);
/* Reads and verifies everything; the reason in the error text. */
cn_err cn_seg_validate(cn_seg *s);

const cn_seg_id *cn_seg_get_id(const cn_seg *s);
uint32_t cn_seg_docs(const cn_seg *s);
uint32_t cn_seg_rows(const cn_seg *s);
uint32_t cn_seg_dim(const cn_seg *s);
int64_t cn_seg_made_us(const cn_seg *s); /* when it was begun */
/* All vectors in place; CN_NOT_FOUND when dim is 0. Verifies block checksums not yet verified. */
cn_err cn_seg_vecs(cn_seg *s, cn_vecs *ret);
const uint32_t *cn_seg_row_doc(const cn_seg *s);    /* document number of each row */
const uint32_t *cn_seg_doc_row(const cn_seg *s);    /* first row of each document; docs + 1 entries */
const uint32_t *cn_seg_row_rank(const cn_seg *s);   /* place of each row in the order (source, id, chunk) */
const uint32_t *cn_seg_doc_class(const cn_seg *s);  /* class of each document */
uint32_t cn_seg_classes(const cn_seg *s);
uint32_t cn_seg_sources(const cn_seg *s);
cn_str cn_seg_source(const cn_seg *s, uint32_t source); /* its name, borrowed from the segment */
uint64_t cn_seg_class_bytes(const cn_seg *s);       /* of all classes as written, and a little more */
cn_err cn_seg_class(cn_seg *s, uint32_t cls, cn_triple *ret);                  /* borrowed from the segment */
/* Rows of a class, as a serialised CRoaring bitmap (portable), borrowed. */
cn_err cn_seg_class_rows(cn_seg *s, uint32_t cls, cn_str *ret);

/* CN_DAMAGED when the file, or one made from it, was cut short since it was opened: what was read in place may have been
 * zeros. Look after a search and after texts were copied; it costs one load. */
cn_err cn_seg_sound(cn_seg *s);

/* Documents that are stubs; of one, what is left. Whoever reads documents of a version finds each stub among its dead ones
 * (catalog/live.h); read all the same, a stub is a document of no strings, no rows and no labels. */
uint32_t cn_seg_stubs(const cn_seg *s);
cn_err cn_seg_stub(cn_seg *s, uint32_t doc, bool *ret_is, cn_stub *ret);

/* Everything borrowed from the segment's map, valid until it is closed. `arena` holds the array of chunks. */
cn_err cn_seg_doc_brief(cn_seg *s, uint32_t doc, cn_doc *ret);  /* without text, outline and chunks (n_chunks is there): touches the record only */
cn_err cn_seg_doc(cn_seg *s, uint32_t doc, cn_doc *ret);        /* with text, outline and labels; chunks NULL */
cn_err cn_seg_doc_full(cn_seg *s, uint32_t doc, cn_arena *arena, cn_doc *ret); /* with chunks (and vectors) */
cn_err cn_seg_row(cn_seg *s, uint32_t row, cn_chunk *ret, uint32_t *ret_doc, uint32_t *ret_chunk); /* chunk number within its document */
cn_err cn_seg_text_digest(cn_seg *s, uint32_t row, cn_digest *ret); /* SHA-256 of the chunk's text */
bool cn_seg_find(cn_seg *s, const cn_key *key, uint32_t *ret_doc);
/* All documents: first *ret_named by (source, id), then those that have no rows, in no order. Made at the first call, 4 bytes a
 * document; borrowed from the segment. */
cn_err cn_seg_by_name(cn_seg *s, const uint32_t **ret, uint32_t *ret_named);
cn_err cn_seg_leaf(cn_seg *s, uint32_t doc, cn_key *ret_key, cn_digest *ret_leaf);
/* Documents by key order, for Merkle buckets: calls fn for each key whose first `bits` bits equal `bucket`. */
cn_err cn_seg_bucket(cn_seg *s, unsigned bits, uint32_t bucket, cn_err (*fn)(void *ctx, const cn_key *key, const cn_digest *leaf, uint32_t doc), void *ctx);
cn_err cn_seg_part(cn_seg *s, char part, cn_str name, cn_str *ret); /* CN_NOT_FOUND */

/* ---------- derived files: <id>.<kind>.mdb ---------- */
typedef struct cn_derived cn_derived;
/* CN_NOT_FOUND: the rows' own file was unlinked, so nothing is left of this one either. */
cn_err cn_derived_build(cn_seg *s, const char *kind, cn_err (*build)(void *ctx, cn_put_array *put, void *put_ctx), void *ctx);
cn_err cn_derived_open(cn_seg *s, const char *kind, cn_derived **ret); /* CN_NOT_FOUND, CN_DAMAGED: then rebuild */
void cn_derived_close(cn_derived *d);
cn_err cn_derived_get(void *derived, uint32_t array, uint32_t block, const void **ret_bytes, size_t *ret_n); /* a cn_get_array */

/* The exact-search view of the segment, its codes built and kept on first use; borrowed from the segment. space is the
 * index's. Without a writable directory, or while another process builds, it is the plain float scan (*ret_coded false). */
#define CN_CODED_FROM 4096 /* rows; fewer are scanned as fast without codes, and are in no space */
cn_err cn_seg_flat(cn_seg *s, const cn_space *space, cn_flat **ret, bool *ret_coded);
cn_err cn_seg_build_flat(cn_seg *s, const cn_space *space, unsigned threads); /* at sealing, so that the first query finds it */

/* The cells over `flat`, an open one of cn_seg_flat() with codes; opened on first use, borrowed from the segment. Never made here,
 * for that takes seconds. NULL: its rows are few (cn_cells_from()), or no sound file of them is there: then the flat scan answers. */
cn_cells *cn_seg_cells(cn_seg *s, const cn_space *space, const cn_flat *flat);
/* At sealing and compaction, once the codes are built; what is there and sound stays, and *ret_made is false. */
cn_err cn_seg_build_cells(cn_seg *s, const cn_space *space, unsigned threads, bool *ret_made);

/* The same by FAISS, for an index that asks for this factory string. A build without FAISS makes none and opens none. */
cn_faiss *cn_seg_faiss(cn_seg *s, const cn_space *space, const cn_flat *flat, cn_str factory);
cn_err cn_seg_build_faiss(cn_seg *s, const cn_space *space, cn_str factory, unsigned threads, bool *ret_made);

/* The postings of the segment's rows by this analyser, made and kept on first use; borrowed from the segment. In memory where
 * rows are few, or where no file can be made and they are not too many; else CN_UNAVAILABLE, which is the answer for a second
 * then. CN_DEADLINE (cn_mono_ns(); 0: none) while other threads make them, or as many others as may; who makes them goes on
 * to the end, whatever its deadline, for a large segment's would else never be there. */
cn_err cn_seg_postings(cn_seg *s, const cn_analyser *a, uint64_t deadline_ns, cn_postings **ret);
/* Calls fn with them, and looks afterwards whether their file was whole all the while: where it was cut short or written over
 * they are made anew and fn is called once more, from its beginning. */
typedef cn_err cn_use_postings(void *ctx, const cn_postings *p);
cn_err cn_seg_use_postings(cn_seg *s, const cn_analyser *a, uint64_t deadline_ns, cn_use_postings *fn, void *ctx);
/* At sealing and compaction. pace (NULL: as fast as it goes): asked before each document with the bytes of its text; false: stop,
 * CN_UNAVAILABLE. */
cn_err cn_seg_build_postings(cn_seg *s, const cn_analyser *a, bool (*pace)(void *ctx, uint64_t bytes), void *pace_ctx);

/* ---------- files ---------- */
#define CN_SEG_KINDS 6
extern const char *const cn_seg_kinds[CN_SEG_KINDS]; /* NULL: the rows; then each kind of derived file */
/* How many files of it there are; adds their bytes. */
uint32_t cn_seg_files(const cn_tenant *t, const cn_seg_id *id, uint64_t *io_bytes);
/* Is nothing left of it, not even a derived file that someone is building, or was when killed? Once the rows are unlinked. */
bool cn_seg_is_gone(const cn_tenant *t, const cn_seg_id *id);
void cn_seg_files_unlink(const cn_tenant *t, const cn_seg_id *id);
cn_err cn_seg_path(const cn_tenant *t, const cn_seg_id *id, const char *kind, char *path, size_t n); /* kind NULL: the rows */
/* Files of segments/ that keep, asked of each, does not want, and what killed builders left: at most `most`. */
typedef struct cn_stray {
    char name[128];
} cn_stray;
cn_err cn_seg_strays(cn_tenant *t, bool (*keep)(void *ctx, const cn_seg_id *id), void *ctx, cn_stray *ret, uint32_t most, uint32_t *ret_n);
/* Unlinks those of them that no living job builds, inside the control write transaction that the caller holds, so that none
 * of them gets a version's name meanwhile; adds them up. The caller syncs the folder. */
cn_err cn_seg_strays_remove(cn_tenant *t, const cn_stray *v, uint32_t n, uint32_t *io_files, uint64_t *io_bytes);
