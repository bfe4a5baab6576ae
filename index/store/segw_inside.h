/* segw_inside.h -- the writer of a segment, for its own files only: segw.c (adding), segw_open.c (files and resuming),
 * segw_finish.c (what is computed from all rows).
 *
 * Owns:    everything it points to.
 * Thread:  one at a time.
 * Limits:  memory: the open blocks (some MiB), 24 bytes a document, the classes, and what LMDB and the thread that writes hold between two commits. */
#pragma once
#include "engine/base/buf.h"
#include "index/store/behind.h"
#include "index/store/rows.h"
#include "engine/base/table.h"

struct cn_segw {
    cn_seg_id id;
    char *path;
    int lock_fd;          /* holds the flock on the file */
    cn_env *env;
    cn_behind *disk;      /* puts blocks into the file, and commits them */
    cn_err broken;        /* the first failure that left the rest uncertain; every later call returns it */
    char why[256];

    cn_seg_head head;     /* counts all that was added; block counts: closed blocks only */
    bool changed;         /* since the last commit */

    cn_buf docs, offsets, text; /* the open blocks: records, u32 offset of each among them, texts */
    uint32_t docs_first;        /* document number of the first record in `docs` */
    cn_buf classes;             /* classes not yet in a closed block, and the number of the first */
    uint32_t classes_first;
    cn_id_rec *ids;             /* CN_IDS_BLOCK, the last block's: head.docs % CN_IDS_BLOCK of them (or all) */
    float *vecs;                /* block_rows rows, the last block's: head.rows % block_rows of them */

    cn_buf sources;             /* as in the header: u32 length, bytes */
    cn_str *source_names;       /* head.sources of them, each owned */
    cn_table keys;              /* documents by key */
    cn_table class_table;       /* classes by content, which lies here: */
    cn_buf class_bytes;         /* all classes as in their blocks */
    uint64_t *class_at;         /* where each begins; head.classes + 1 entries */
    uint32_t class_room;
    cn_buf key_of_class;        /* scratch */
    cn_buf record;              /* scratch */
    cn_buf note;
    bool note_changed;
};

/* Takes the flock on `path`, or fails with CN_CONFLICT; create: the file must be new. */
cn_err cn_lock_file(const char *path, bool create, int *ret_fd);

cn_err cn_segw_put(cn_segw *w, char kind, uint32_t a, uint32_t b, cn_str tail, const cn_piece *pieces, unsigned n);
cn_err cn_segw_flush_all(cn_segw *w);             /* open blocks and header too */
cn_err cn_segw_lend(cn_segw *w, cn_blocks *ret);    /* the table of what is committed, until the next put; cn_blocks_done() is the caller's */
cn_err cn_segw_alloc(cn_segw *w);                 /* the buffers, when head.dim is known */
cn_err cn_segw_broken(cn_segw *w, cn_err e);      /* notes a failure; returns e */
cn_err cn_segw_class_add(cn_segw *w, cn_str bytes, uint32_t *ret); /* a class by its content, found or new */
cn_err cn_segw_source_add(cn_segw *w, cn_str name, uint32_t *ret);
cn_err cn_segw_finish(cn_segw *w);                /* segw_finish.c: arrays and class rows, from what is committed */
