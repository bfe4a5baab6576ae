/* judge.h -- judgements of relevance, and how well rankings of documents agree with them.
 *
 * Measures are those of trec_eval, under the names of ir_measures: gains are the grades themselves, a document is relevant
 * from grade 1 on, what was not judged is not relevant, and a question without answers counts with 0.
 * nDCG: Järvelin and Kekäläinen, "Cumulated gain-based evaluation of IR techniques", 2002.
 * Owns:    the judgements own their strings; a ranking borrows its ids.
 * Thread:  one makes them; then any may ask.
 * Limits:  the memory given at first; 2^31 judgements. */
#pragma once
#include "engine/base/arena.h"
#include "engine/base/error.h"

typedef struct cn_judgements cn_judgements;

cn_err cn_judge_new(size_t most, cn_judgements **ret); /* most: bytes of strings */
cn_err cn_judge_add(cn_judgements *j, cn_str query, cn_str doc, int grade); /* INVALID: judged twice */
cn_err cn_judge_ready(cn_judgements *j);               /* after the last, before any is asked for */
void cn_judge_free(cn_judgements *j);
uint32_t cn_judge_queries(const cn_judgements *j);
cn_str cn_judge_query(const cn_judgements *j, uint32_t i); /* its id, in the order of their coming */
uint32_t cn_judge_find(const cn_judgements *j, cn_str query); /* UINT32_MAX: it is not judged */
uint32_t cn_judge_relevant(const cn_judgements *j, uint32_t i); /* how many documents are */
/* Calls fn for each judgement, in the order of their coming. */
cn_err cn_judge_each(const cn_judgements *j, cn_err (*fn)(void *ctx, uint32_t query, cn_str doc, int grade), void *ctx);

enum cn_measure { CN_NDCG_10, CN_RR_10, CN_AP, CN_R_10, CN_R_100, CN_P_10, CN_MEASURES };
extern const char *const cn_measure_names[CN_MEASURES];
#define CN_RECALL_CUTS 8
extern const uint32_t cn_recall_cuts[CN_RECALL_CUTS]; /* 1 to 100 */

typedef struct cn_scores { /* of one question */
    double m[CN_MEASURES], recall[CN_RECALL_CUTS];
    uint32_t first; /* rank of the first relevant document; 0: none was found */
} cn_scores;
/* docs: the ranking, best first, each document once. */
void cn_judge_score(const cn_judgements *j, uint32_t query, const cn_str *docs, uint32_t n, cn_scores *ret);

/* Two systems on the same questions: the chance of a mean difference at least as large if the two were one, by 10,000
 * random exchanges (paired randomisation, two-sided; Smucker, Allan and Carterette, 2007), always the same ones. */
double cn_judge_significance(const double *a, const double *b, uint32_t n);
