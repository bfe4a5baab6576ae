/* searcher.h -- the memory of one search, and the parts of lexical and hybrid search; for index/search only.
 *
 * Owns:    see each struct.
 * Thread:  one at a time.
 * Limits:  CN_TERMS_MAX different words of a question; those behind are passed over. */
#pragma once
#include "engine/base/table.h"
#include "index/search/view_inside.h"

#define CN_BM25_K1 1.5f     /* bm25s's default too */
#define CN_BM25_B 0.75f
#define CN_FUSE_DENSE 0.6      /* the weight of the half by vectors; that of the other makes 1 with it (benchmarks/quality) */
#define CN_FUSE_RANK 60u       /* reciprocal rank fusion's k */
#define CN_HYBRID_DEPTH 100u   /* hits of each half, at least; a fused score is made of so many */

typedef struct cn_asked { /* a word of the question */
    uint32_t at, bytes, times;
    bool stop;
} cn_asked;

typedef struct cn_lexical { /* a question, made ready for every segment */
    cn_terms *terms;           /* of the analyser used last */
    cn_lookup_scratch *scratch;
    cn_table table;            /* of asked */
    cn_asked *asked;           /* CN_TERMS_MAX */
    char *bytes;               /* CN_TERMS_MAX x CN_TERM_MAX */
    bool cut;                  /* it has more different words than are looked up */
    uint32_t n;                /* different words; once prepared without stop words, unless there are no others */
    cn_wanted *wanted;         /* CN_TERMS_MAX: those that a readable row holds, with their weights */
    uint32_t n_wanted;
    float mean, most, known;   /* length of a readable row; what no score reaches, and what of it is of n_wanted */
} cn_lexical;

typedef struct cn_probed { /* the last search by vectors */
    uint32_t by_cells, abandoned, cells, expected;
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
/* Words, their counts over what the principal may read, and weights. */
cn_err cn_lexical_prepare(cn_view *v, const cn_query *q, cn_lexical *l);
void cn_lexical_done(cn_lexical *l);
/* s->fused[0..dense) and s->best[0..lexical), each in its order, become s->fused in the order of the fused scores. */
cn_err cn_fuse(cn_searcher *s, uint32_t dense, uint32_t lexical, uint32_t *ret_n);
