/* searcher.h -- the memory of one search, and the parts of lexical and hybrid search; for index/search only.
 *
 * Owns:    see each struct.
 * Thread:  one at a time.
 * Limits:  those of asked.h; a prefix stands for CN_PREFIX_WORDS terms, of CN_BEGUN_MAX that a readable row holds. */
#pragma once
#include "index/search/asked.h"
#include "index/search/view_inside.h"

#define CN_BM25_K1 1.5f     /* bm25s's default too */
#define CN_BM25_B 0.75f
#define CN_FUSE_DENSE 0.6      /* the weight of the half by vectors; that of the other makes 1 with it (benchmarks/quality) */
#define CN_FUSE_RANK 60u       /* reciprocal rank fusion's k */
#define CN_HYBRID_DEPTH 100u   /* hits of each half, at least; a fused score is made of so many */

#define CN_PREFIX_WORDS 64u
#define CN_BEGUN_MAX (1u << 16)

typedef struct cn_begun { /* a term that a prefix may stand for */
    uint64_t rows;             /* readable ones that hold it, of the segments so far */
    uint32_t more;             /* of the segment at hand */
    uint8_t bytes;
    char term[CN_TERM_MAX];
} cn_begun;

typedef struct cn_lexical { /* a question, made ready for every segment */
    cn_asked asked;
    cn_lookup_scratch *scratch;
    cn_begun *begun;           /* of the prefix at hand */
    cn_table begun_at;         /* of those */
    uint32_t n_begun, room_begun;
    char *expanded;            /* CN_PREFIXES_MAX x CN_PREFIX_WORDS x CN_TERM_MAX */
    uint32_t n_expanded;       /* terms that its prefixes stand for */
    bool prefix_cut;           /* there are more of them */
    cn_wanted *wanted;         /* CN_TERMS_MAX: those that a readable row holds, or must hold, with their weights */
    uint32_t n_wanted;
    uint32_t terms, terms_known; /* words and prefixes, without stop words unless there are no others; those that a readable row holds */
    float mean, most;          /* length of a readable row; what no score reaches */
    uint32_t looked_at;        /* rows whose text was read for phrases */
    cn_range *ranges;          /* CN_HIGHLIGHTS_MAX */
} cn_lexical;

typedef struct cn_probed { /* the last search by vectors */
    uint32_t by_cells, by_faiss, abandoned, cells, expected;
    uint32_t scored; /* rows */
} cn_probed;

struct cn_searcher {
    cn_scratch *scratch;
    cn_cells_scratch *cells;
    cn_probed probed;
    cn_lexical lexical;
    cn_scored *scored;          /* one segment's */
    cn_hit *best, *part, *next; /* of the segments so far, of one more, of both: k each */
    cn_hit *fused;              /* 2 k */
    uint32_t *told;             /* hash table of documents told already: place in the answer + 1; a power of two */
    cn_digest *texts;           /* of the answer's passages, where equal ones are told once: k */
    uint32_t *told_texts;       /* hash table of those: as large as told */
    uint32_t room, room_told;
};

/* Higher scores first, ties by source, id, chunk. */
cn_err cn_hit_first(const cn_hit *x, const cn_hit *y, bool *ret);

/* Of n ranked hits those that stand in the answer, k at most: what per_doc and distinct leave of them. */
cn_err cn_take(cn_searcher *s, const cn_query *q, const cn_hit *found, uint32_t n, cn_hit *hits, uint32_t *ret_n);
/* The best of a permitted set; by words once cn_lexical_prepare() was. */
cn_err cn_search_permitted(cn_view *v, const cn_query *q, const cn_permit *permit, cn_searcher *s, cn_hit *hits, uint32_t *ret_n);
/* Words, their counts over what the principal may read, and weights. */
cn_err cn_lexical_prepare(cn_view *v, const cn_query *q, cn_lexical *l);
void cn_lexical_done(cn_lexical *l);
/* Over all segments: how many readable rows hold the term; what was counted once is known. */
cn_err cn_lexical_counted(cn_view *v, const cn_query *q, cn_permit *p, cn_str term, uint64_t *ret);
/* The terms that a prefix stands for, at the end of l->wanted without a weight, those of the most readable rows: *ret_n of them,
 * *ret_rows of the first. */
cn_err cn_expand(cn_view *v, const cn_query *q, cn_permit *p, const cn_asked_prefix *prefix, cn_lexical *l, uint32_t *ret_n, uint64_t *ret_rows);

typedef struct cn_phrase_look {
    const cn_query *q;
    const cn_analyser *analyser;
    cn_seg *seg;
    cn_lexical *lexical;
    cn_err failed;             /* of reading a row, which says nothing of the postings */
} cn_phrase_look;
/* Do all phrases of the question stand in the row? ctx: a cn_phrase_look. */
cn_err cn_phrases_stand(void *ctx, uint32_t row, bool *ret);
/* s->fused[0..dense) and s->best[0..lexical), each in its order, of so many rows that may be found, become s->fused in the
 * order of the fused scores; rrf: of reciprocal ranks. */
cn_err cn_fuse(cn_searcher *s, uint32_t dense, uint32_t lexical, uint64_t permitted, bool rrf, uint32_t *ret_n);
