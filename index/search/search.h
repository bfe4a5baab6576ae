/* search.h -- a question over one version by one principal: pin, permitted set, search, merge, fetch.
 *
 * Owns:    a cn_view (an index's version, pinned, with its open segments and their permitted sets) is shared and counted.
 * Thread:  any; a cn_searcher (scratch memory) belongs to one thread at a time.
 * Limits:  k up to CN_K_MAX. A warm search allocates nothing from the heap. */
#pragma once
#include "index/catalog/version.h"
#include "index/policy/policy.h"
#include "index/search/filter.h"

typedef struct cn_view cn_view;
/* The version `number` (0: active) under the current policy epoch; cached, so a warm call is two look-ups. Where the epoch has
 * grown for something else (a member, a flip of another index) the view is kept and its epoch grows too. Which versions
 * a caller may name is the caller's business (scopes), except that a quarantined or dropped one is refused here. */
cn_err cn_view_open(cn_tenant *t, cn_str index, uint64_t number, cn_view **ret);
void cn_view_unref(cn_view *v);
const cn_version *cn_view_version(const cn_view *v);
const cn_index_info *cn_view_index(const cn_view *v);
uint64_t cn_view_epoch(const cn_view *v);
const cn_modes *cn_view_modes(const cn_view *v); /* of that epoch; whether it may answer is the caller's to look at */
/* Drops cached views and closes segments no one uses; before a tenant closes. */
void cn_views_flush(cn_tenant *t);

typedef struct cn_searcher cn_searcher;
cn_err cn_searcher_new(cn_searcher **ret);
void cn_searcher_free(cn_searcher *s);

/* dense: near vectors, within a rare miss, or by cells or FAISS as many of them as the recall asks for; exact: none missed; lexical: rows that hold the question's words, by BM25; hybrid:
 * dense and lexical, fused (fuse.c). */
typedef enum cn_mode { CN_MODE_DENSE, CN_MODE_EXACT, CN_MODE_LEXICAL, CN_MODE_HYBRID } cn_mode;
typedef struct cn_query {
    cn_principal who;          /* verified by the caller; at least {public} */
    const float *vector;       /* the version's dim; not for lexical */
    cn_str text;               /* for lexical and hybrid */
    bool exact;                /* hybrid: its dense half is that of mode exact */
    bool rrf;                  /* hybrid: its halves are fused by reciprocal ranks; else by their scores */
    uint32_t k;
    cn_mode mode;
    double recall;             /* the least wanted of vectors, dense or the dense half of hybrid, where there are cells; 0, or over CN_CELLS_RECALL_MAX: a rare miss */
    const cn_filter *filter;   /* NULL: none */
    float min_score;           /* -INFINITY: none; of vectors: dense, exact, and the dense half of hybrid */
    uint32_t per_doc;          /* at most so many hits of one document; 0: no limit */
    bool distinct;             /* of permitted passages with the same text the first alone */
    bool operators;            /* text has phrases and prefixes: asked.h */
    uint64_t deadline_ns;      /* cn_mono_ns(); 0: none */
} cn_query;

typedef struct cn_half { /* what one half of a hybrid search says of a hit */
    uint32_t rank;             /* from 1; 0: it is not among those that this half found */
    float score;
} cn_half;

typedef struct cn_hit {
    float score;
    cn_seg *seg;
    uint32_t row, doc, chunk;  /* chunk: number within its document */
    cn_half dense, lexical;    /* of hybrid alone */
} cn_hit;

typedef struct cn_search_stats { /* for plans (audit scope only) and metrics */
    uint32_t segments, permitted, scored; /* scored: by codes or floats; all that are permitted, but in a segment of cells the rows of those read */
    bool coded, any_coded;      /* all segments had codes, one at least had; those without have the plain float scan */
    uint32_t without_cells;     /* segments that are large enough for them, of an index of kind cells, and have none: scanned */
    uint32_t without_faiss, by_faiss; /* likewise, of an index of kind faiss: without its FAISS index, and searched by it */
    uint32_t by_cells, abandoned; /* segments whose cells were read; those of them, and of by_faiss, that were scanned after all */
    uint32_t cells_read, rows_expected; /* rows: what the plans thought to read there */
    uint32_t terms, known;      /* of the question, stop words left out; and those of them that a readable row holds */
    bool words_cut;             /* the question has more than CN_TERMS_MAX different words: the rest was passed over */
    bool prefix_cut;            /* more terms begin as a prefix says than are looked up: those of fewer rows were passed over */
    uint32_t phrases, looked_at; /* of the question; rows whose text was read for them */
    uint32_t prefixes, expanded; /* of the question; terms they stand for */
    float lexical_most;         /* no lexical score of this question reaches it; 0: no lexical search */
    uint64_t permit_ns, search_ns;
} cn_search_stats;

float cn_hit_cosine(const cn_hit *hit, const float *vector); /* whatever the metric; 0 where it is none */

/* Are there postings of all its rows? Made on first use. CN_UNAVAILABLE: they can be neither opened nor made, or its analyser
 * is none of this build's. CN_DEADLINE. */
cn_err cn_view_lexical(cn_view *v, uint64_t deadline_ns);

/* At least k permitted (and matching) rows exist -> k hits; in mode lexical: those that hold a word of the question. Best
 * first; ties by source, id, chunk. Hits borrow from the view.
 * BM25 counts over the rows that the principal may read in this version, whatever the filter: how many there are, how long
 * they are on average, how many hold a word. So scores say nothing of other rows, and a filter leaves them as they are.
 * hybrid: .6 and .4 of the scores by vectors and by words, each in standard deviations from the mean of its first 100 (fuse.c):
 * a number for the order alone, mostly between -3 and 6. With rrf: 1 / (60 + rank), of both halves' first 100 added up. */
cn_err cn_search(cn_view *v, const cn_query *q, cn_searcher *s, cn_hit *hits, uint32_t *ret_n, cn_search_stats *stats);

/* Where a question's words stand in a text: words that were asked outside of quotes or begin as its prefixes say, and phrases
 * whole. Stop words only where the question has nothing else. Ranges grow and do not meet; borrowed from the searcher until it
 * is used again, the first CN_HIGHLIGHTS_MAX of them. CN_UNAVAILABLE: the version's analyser is none of this build's. */
#define CN_HIGHLIGHTS_MAX 1024u
typedef struct cn_range {
    size_t from, to;           /* bytes of the text */
} cn_range;
cn_err cn_highlight(cn_view *v, cn_searcher *s, cn_str question, bool operators, cn_str text, const cn_range **ret, uint32_t *ret_n);

/* What stands around a hit in its own document, whose passages all have its labels: up to `each` passages on each side,
 * or, by section, those that follow one another under the same headings (each 0: all of them). Nothing that `given` holds. */
#define CN_WIDEN_BYTES 65536u /* of one span */
typedef struct cn_span { /* passages first to last of a document, and the bytes from the first's begin to the last's end */
    uint32_t first, last;
    uint64_t from, to;
} cn_span;
typedef struct cn_widen {
    uint32_t each;
    bool section;
    const cn_span *given;      /* of the same document */
    uint32_t n_given;
} cn_widen;
/* steps: at most so many passages besides the hit's own, the one behind first, then by turns. */
cn_err cn_hit_widen(const cn_hit *hit, const cn_widen *how, uint32_t steps, cn_span *ret);

/* Is this document, as this version has it, readable by the principal? CN_NOT_FOUND both when it is not there and when it
 * is not permitted. */
cn_err cn_view_doc(cn_view *v, cn_str source, cn_str id, const cn_principal *who, cn_seg **ret_seg, uint32_t *ret_doc);
/* Is a document of this id readable by the principal, whatever its source? */
cn_err cn_view_reads_any(cn_view *v, cn_str id, const cn_principal *who, bool *ret);
/* Why a document may be read or not: the verdict is that of cn_view_doc() and of every search; the rest says what made it. */
typedef enum cn_verdict {
    CN_V_READABLE,
    CN_V_ABSENT,       /* not in this version */
    CN_V_ERASED,
    CN_V_HIDDEN,
    CN_V_DENIED,       /* a label that is held is denied */
    CN_V_NOT_ALLOWED,  /* no label asked with is allowed */
    CN_V_LACKING,      /* a label that is required is not held */
} cn_verdict;
typedef struct cn_explained {
    cn_verdict verdict;               /* the first that holds, in that order */
    cn_seg *seg;                      /* NULL: absent, and so is all that follows but said */
    uint32_t doc;
    cn_triple row, now;               /* its labels as written, and after the policy */
    cn_said said;
    cn_labels met, denied_by, lacking; /* of now: allowed and asked with; denied and held; required and not asked with */
} cn_explained;
cn_err cn_view_explain(cn_view *v, cn_str source, cn_str id, const cn_principal *who, cn_arena *a, cn_explained *ret);

typedef struct cn_place_after { /* of the last document seen; id empty: from the start */
    cn_str source, id;
} cn_place_after;
/* Permitted documents (of one source, if given) by (source, id) behind `after`, for listing; fn returns CN_OK to go on. */
cn_err cn_view_docs(cn_view *v, const cn_principal *who, cn_str source, const cn_place_after *after, uint32_t n, uint64_t deadline_ns,
                    cn_err (*fn)(void *ctx, cn_seg *seg, uint32_t doc), void *ctx);
