/* ridge.h -- rows for pieces, so that the sum of a passage's rows comes near the passage's vector: ridge regression.
 *
 * Minimises sum over passages p of |sum over pieces w of x[p][w] W[w] - y[p]|^2, plus penalty |W[w] - prior[w]|^2 for each
 * piece: a piece that no passage holds keeps its prior, one that many hold is free of it. Solved by conjugate gradients with
 * a diagonal preconditioner (Hestenes and Stiefel 1952) over all columns at once, for the normal equations of some ten
 * thousand pieces do not fit memory; the steps are few, and stopping early is a penalty too.
 * Owns:    nothing.
 * Thread:  any; it uses as many as given, and its result has the same bits whatever their number.
 * Limits:  memory of three times W and of the passages' vectors. */
#pragma once
#include "ingest/distill/bags.h"

typedef void cn_ridge_step(void *ctx, uint32_t done, uint32_t all);
/* y[n][dim]; io_w[words][dim]: the prior, then the solution. step may be NULL. */
cn_err cn_ridge(const cn_bags *b, const float *y, uint32_t dim, float penalty, uint32_t steps, unsigned threads, cn_ridge_step *step, void *ctx, float *io_w);
/* out[n][dim] = the sums of the passages' rows. */
void cn_bags_times(const cn_bags *b, const float *w, uint32_t dim, unsigned threads, float *out);
