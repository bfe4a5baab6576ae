/* view_inside.h -- a pinned version with its permitted sets; for index/search only.
 *
 * Owns:    a cn_view owns its arena, open segments, policy and permitted sets.
 * Thread:  built by one; then read by any; its list of permitted sets is behind its lock.
 * Limits:  CN_PERMITS sets a view, the least recently used goes. */
#pragma once
#include <pthread.h>

#include "index/search/word_counts.h"
#include "index/search/search.h"
#include "index/search/touch.h"
#include "index/store/bitmap.h"

#define CN_PERMITS 64

typedef struct cn_view_part {
    cn_seg *seg;
    cn_flat *flat;         /* borrowed from the segment; NULL: no vectors */
    bool coded;
    cn_cells *cells;       /* borrowed likewise, of an index of that kind; NULL: none */
    cn_faiss *faiss;       /* the same */
    roaring_bitmap_t *dead;   /* in this version */
    roaring_bitmap_t *hidden; /* by the policy's patterns; NULL: it has none */
    cn_touches *touches;   /* what the policy says of single documents */
} cn_view_part;

typedef struct cn_permit { /* what one principal (and filter) may see; of the version, and of the policy by which it was made */
    _Atomic uint32_t refs;
    uint32_t hash;         /* of the principal's labels, for a quick no */
    cn_principal who;      /* its own copy, each set in one piece */
    cn_digest filter;
    uint64_t **rows;       /* for each part: a bit a row */
    uint32_t *n_rows;      /* bits set */
    cn_touches **touches;  /* those of each part that it was made by */
    uint32_t parts;
    _Atomic(cn_word_counts *) counts; /* of the filterless set: what lexical search has counted in it; NULL: nothing yet */
} cn_permit;

static inline uint64_t cn_permit_rows(const cn_permit *p) {
    uint64_t n = 0;
    for (uint32_t i = 0; i < p->parts; i++)
        n += p->n_rows[i];
    return n;
}

struct cn_view {
    _Atomic uint32_t refs;
    cn_arena a;
    uint64_t used_ns;      /* when it was last asked for; under the holder's lock */
    uint64_t asked;        /* the number it was opened by; 0: the active one */
    _Atomic uint64_t epoch; /* the newest under which it is known to hold */
    uint64_t host;         /* the host's commit under which it is: its mode is read with the rest; under the holder's lock */
    cn_digest of;          /* of the records it was made of: cn_pin */
    cn_index_info ix;
    cn_version ver;
    cn_space space;
    cn_modes modes;
    cn_analyser analyser;
    bool analyses;         /* there is such an analyser in this build */
    cn_policy *policy;
    cn_seg *own;
    cn_view_part *parts;
    uint32_t n_parts;
    pthread_mutex_t lock;
    struct {
        cn_permit *set;
        uint64_t used;
    } permits[CN_PERMITS]; /* those without one at the end */
    uint64_t clock;
    cn_view *next;         /* in the tenant's list */
};

static inline bool cn_part_lacks(const cn_view_part *p, uint32_t doc) {
    return roaring_bitmap_contains(p->dead, doc) || (p->hidden && roaring_bitmap_contains(p->hidden, doc));
}

/* CN_UNAVAILABLE: the version's analyser is none of this build's. */
cn_err cn_view_analyses(const cn_view *v);
/* Where the document lives in the version, whoever may see it. */
bool cn_view_find(const cn_view *v, const cn_key *key, uint32_t *ret_part, uint32_t *ret_doc);
/* A file cut short reads as zeros: what was not found, or not permitted, may be there all the same. CN_DAMAGED then. */
cn_err cn_view_sound(const cn_view *v);
/* May this document be read? Tombstones, policy and labels together. */
cn_err cn_permit_doc(cn_view *v, uint32_t part, uint32_t doc, const cn_principal *who, bool *ret);
/* CN_DEADLINE when it is not made by deadline_ns (cn_mono_ns(); 0: none): nothing half made is kept. */
cn_err cn_permit_get(cn_view *v, const cn_principal *who, const cn_filter *filter, uint64_t deadline_ns, cn_permit **ret);
cn_permit *cn_permit_kept(cn_view *v, const cn_principal *who, const cn_filter *filter); /* the one made for a search just now; NULL: it has gone */
#define CN_LOOK 256 /* documents between two looks at the clock */
cn_err cn_in_time(uint32_t doc, uint64_t deadline_ns); /* looks at the clock at each CN_LOOK-th document */
void cn_permit_unref(cn_permit *p);
