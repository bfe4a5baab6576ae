/* seg_inside.h -- an open segment, for its own files only: seg.c (open, close), seg_read.c (reading), seg_check.c
 * (validating), derived.c, seg_flat.c, seg_cells.c, seg_faiss.c and seg_postings.c (what is made from it).
 *
 * Owns:    what it points to, except what lies in the map.
 * Thread:  unchanged once it is open, but for `made`, under its lock.
 * Limits:  none. */
#pragma once
#include <pthread.h>

#include "index/store/rows.h"

/* Something made from the segment, kept until it closes; the first member of what it is. */
typedef struct cn_seg_made cn_seg_made;
struct cn_seg_made {
    cn_seg_made *next;
    void (*done)(cn_seg_made *m);
    cn_err (*sound)(const cn_seg_made *m); /* were the bytes cut short under it? NULL: its users look */
};

/* Postings that could not be made a moment ago, and why. */
typedef struct cn_seg_unmade {
    cn_digest analyser;
    uint64_t until_ns; /* they are not tried again before; 0: none failed */
    cn_err code;
    char why[512];
} cn_seg_unmade;

struct cn_seg {
    cn_seg *next;
    unsigned refs;
    cn_seg_id id;
    cn_env *env;
    MDB_txn *txn;            /* one read transaction for as long as it is open: the map does not move */
    cn_blocks blocks;
    cn_rows rows;
    const uint32_t *arrays[CN_ARRAYS];
    const float **vecs;      /* one pointer a block */
    uint32_t n_vecs;
    cn_str *sources;
    cn_triple *classes;
    cn_str *labels;          /* what the triples point to */
    cn_str class_rows;       /* offsets, then bitmaps */
    pthread_mutex_t lock;    /* of `made` */
    pthread_mutex_t making;  /* held while postings are made; before `lock` */
    cn_seg_made *made;       /* the newest first */
    cn_seg_unmade unmade;    /* under `making` */
};

static inline void cn_seg_keep(cn_seg *s, cn_seg_made *m) { /* under its lock */
    m->next = s->made;
    s->made = m;
}
cn_err cn_derived_sound(const cn_derived *d);
/* What is derived from vectors says of which space it is, and in which format. */
#define CN_SPACE_ARRAY UINT32_MAX /* array number under which that digest is kept */
cn_digest cn_seg_space_digest(const cn_space *sp, uint32_t format);
bool cn_seg_space_derived(cn_seg *s, const char *kind, const cn_digest *space, cn_derived **ret); /* false: there is none that can be opened */
cn_err cn_seg_record(cn_seg *s, uint32_t doc, cn_record *ret);
cn_err cn_seg_fill(cn_seg *s, const cn_record *rec, cn_doc *ret); /* all but text, outline and chunks */
