/* judge.h -- judgements of relevance, and how well rankings of documents agree with them.
 *
 * Measures are those of trec_eval, under the names of ir_measures: gains are the grades themselves, a document is relevant
 * from grade 1 on, what was not judged is not relevant, and a question without answers counts with 0.
 * nDCG: Järvelin and Kekäläinen, "Cumulated gain-based evaluation of IR techniques", 2002.
 * Owns:    the judgements own their strings; a ranking borrows its ids.
 * Thread:  one reads; then any may ask.
 * Limits:  files of JUDGE_FILE_MAX bytes; 2^31 judgements. */
#pragma once
#include "engine/base/arena.h"
#include "engine/base/error.h"

#define JUDGE_FILE_MAX ((size_t)1 << 30)

typedef struct judgements judgements;

/* A file of TREC ("query 0 document grade") or BEIR ("query-id corpus-id score", tabs, with that first line). */
cn_err judge_read(const char *path, judgements **ret);
void judge_free(judgements *j);
uint32_t judge_queries(const judgements *j);
cn_str judge_query(const judgements *j, uint32_t i); /* its id, in the file's order */
uint32_t judge_find(const judgements *j, cn_str query); /* UINT32_MAX: it is not judged */
uint32_t judge_relevant(const judgements *j, uint32_t i); /* how many documents are */

enum measure { NDCG_10, RR_10, AP, R_10, R_100, P_10, MEASURES };
extern const char *const measure_names[MEASURES];
#define RECALL_CUTS 8
extern const uint32_t recall_cuts[RECALL_CUTS]; /* 1 to 100 */

typedef struct scores { /* of one question */
    double m[MEASURES], recall[RECALL_CUTS];
    uint32_t first; /* rank of the first relevant document; 0: none was found */
} scores;
/* docs: the ranking, best first, each document once. */
void judge_score(const judgements *j, uint32_t query, const cn_str *docs, uint32_t n, scores *ret);

/* Two systems on the same questions: the chance of a mean difference at least as large if the two were one, by 10,000
 * random exchanges (paired randomisation, two-sided; Smucker, Allan and Carterette, 2007), always the same ones. */
double judge_significance(const double *a, const double *b, uint32_t n);
