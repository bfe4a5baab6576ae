/* again.h -- a question that was answered by vectors, kept to be searched again exactly: the recall that its answer had.
 *
 * The same version, as it was pinned, and the very permitted set that the answer was made of. Of mode hybrid the half by vectors
 * is searched once more as it was, since the fused hits do not tell it. Rows count by their scores: one as good as the worst of
 * the exact hits is right, whichever of equal ones it is.
 * Owns:    copies of the vector and of the answer's scores, a reference to the view and to the set; no text, no label, no filter.
 * Thread:  one at a time.
 * Limits:  k up to CN_AGAIN_K; CN_AGAIN_MS a search. */
#pragma once
#include "index/catalog/recall.h"
#include "index/search/search.h"

#define CN_AGAIN_K 1000
#define CN_AGAIN_MS 10000

typedef struct cn_again cn_again;
/* Right after cn_search() of q, whose mode is dense, or hybrid, gave these hits. asked: the recall wanted, where q's is another by
 * more effort. *ret NULL: there is nothing to measure (nothing may be read, k is too large, the set is no longer at hand). */
cn_err cn_again_new(cn_view *v, const cn_query *q, double asked, const cn_hit *hits, uint32_t n, const cn_search_stats *stats, cn_again **ret);
void cn_again_free(cn_again *a); /* NULL is fine */

cn_view *cn_again_view(const cn_again *a);
enum cn_recall_plan cn_again_plan(const cn_again *a);
enum cn_selectivity cn_again_selects(const cn_again *a);
uint32_t cn_again_aim(const cn_again *a); /* cn_recall_aims[]: that it asked for */

typedef struct cn_again_told {
    uint32_t wanted;       /* exact hits; 0: there were none */
    double share;          /* of them, those that the answer had */
    double as_asked;       /* the same, searched without more effort; share, where there was none */
} cn_again_told;
/* hits: room for CN_K_MAX. */
cn_err cn_again_look(cn_again *a, cn_searcher *s, cn_hit *hits, cn_again_told *ret);
