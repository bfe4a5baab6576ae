/* relevance.h -- how far a passage answers its question, from 0 to 1, alike in every mode; and what an answer's evidence is.
 *
 * A hit's grounds are, by vectors, its cosine and how far that stands above those of passages picked blindly (in spreads of
 * theirs, so that models and indexes compare); by words, its BM25 score, that score's share of what no passage can reach, and the share of the
 * question's weight whose words are known at all. All of them are of what the caller may read, whatever the filter. A logistic
 * function of them is the relevance; its constants, one set for each of the three kinds of grounds, were fitted by
 * benchmarks/search/evidence.py to questions that documents answer and questions that they cannot, so that at
 * CN_EVIDENCE_OK and at CN_EVIDENCE_WEAK the best passages of the same share of answerable questions lie below, in every mode.
 * Owns:    nothing.
 * Thread:  any.
 * Limits:  none. */
#pragma once
#include "index/search/search.h"

#define CN_EVIDENCE_OK 0.5f    /* 5 of 100 answerable questions reach no more */
#define CN_EVIDENCE_WEAK 0.25f /* 1 of 100 */

typedef struct cn_grounds {
    bool by_vector, by_words;
    float cosine, above;       /* above: the blindly picked ones */
    float score, share, known; /* of the words: BM25's; 0 where the passage holds none of them */
} cn_grounds;

float cn_relevance(const cn_grounds *g);
const char *cn_evidence(float best, bool any); /* "ok", "weak", "none" */
/* How far a cosine stands above the background, at most CN_ABOVE_MAX. Few rows tell little, so they are mixed with what is usual. */
#define CN_ABOVE_MAX 12.0f
float cn_above(const cn_background *b, float cosine);
