/* relevance.h -- how far a passage answers its question, from 0 to 1, alike in every mode; and what an answer's evidence is.
 *
 * A hit's grounds are, by vectors, where its cosine stands on its model's scale (scale.h); by words, its BM25 score's share of
 * what no passage can reach, times the square root of how many words were asked: the more there are, the smaller is the share
 * that a passage holds by chance. They are of what the caller may read, whatever the filter. A logistic function of them is the
 * relevance. Its constants, a set for each of the three kinds of grounds, are fitted by benchmarks/search/evidence.py to questions
 * that documents answer and others that they cannot, and then shifted and scaled so that of the answerable ones 5% have no passage
 * over .5, and half none over .9.
 * (How far a cosine stands above those of passages picked blindly from the same documents was tried and tells nothing: a question
 * on their subject is near to all of them. Nor do more grounds by words tell more than chance does, once the number of words is
 * in: how many of them the passage holds, the rarest, how near to one another and in which order they stand, what share of the
 * weight no passage knows, how far the best hit is ahead, how alike the first ones are.)
 * Owns:    nothing.
 * Thread:  any.
 * Limits:  none. */
#pragma once
#include "index/search/search.h"

#define CN_EVIDENCE_OK 0.5f
#define CN_EVIDENCE_WEAK 0.25f

typedef struct cn_grounds {
    bool by_vector, by_words;
    float cosine, place; /* place: on the model's scale */
    float share, words;  /* share: 0 where the passage holds none of the words; words: different ones, known or not */
} cn_grounds;

float cn_relevance(const cn_grounds *g);
const char *cn_evidence(float best, bool any); /* "ok", "weak", "none" */
