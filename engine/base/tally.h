/* tally.h -- the mean of shares (a recall for each question), and an interval that holds the true one 19 times of 20.
 *
 * The k bits of one question depend on each other: what makes it hard loses several hits at once. So a question, not a hit, is
 * the sample. The interval is Wilson's (1927), for as many independent bits as say no more than these questions do: the
 * effective size n deff^-1 of Korn and Graubard (1998), deff from the variance between questions. That variance says little of
 * few questions or rare failures, and too small a one makes every such interval too narrow (Franco and others, 2019). So it is
 * taken of the sample with two questions of share 0 and two of share 1 more, as Agresti and Coull (1998) do for the mean: where
 * all shares are 0 or 1 that gives Wilson's own interval of n bits, and never a narrower one where nothing has failed yet.
 * Owns:    nothing.
 * Thread:  one at a time.
 * Limits:  none. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

typedef struct cn_tally {
    uint64_t n, bits;     /* questions; hits that were wanted of them, in all */
    double sum, squares;  /* of their shares */
} cn_tally;

typedef struct cn_interval {
    double mean, low, high;
} cn_interval;

void cn_tally_add(cn_tally *t, double share, uint32_t bits); /* share: 0 to 1 */
void cn_tally_join(cn_tally *t, const cn_tally *more);
bool cn_tally_is_sound(const cn_tally *t);        /* could it have been added up? */
cn_interval cn_tally_interval(const cn_tally *t); /* of 95%; of no question: 0, 0 to 1 */
