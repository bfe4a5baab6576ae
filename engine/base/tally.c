#include "engine/base/tally.h"

#include <math.h>

#define Z 1.959963984540054 /* deviations of a normal distribution that 95% lie within */
#define FAILED 2.0          /* questions of share 0 added for the variance, and as many of share 1 */

void cn_tally_add(cn_tally *t, double share, uint32_t bits) {
    t->n++;
    t->bits += bits;
    t->sum += share;
    t->squares += share * share;
}

void cn_tally_join(cn_tally *t, const cn_tally *more) {
    t->n += more->n;
    t->bits += more->bits;
    t->sum += more->sum;
    t->squares += more->squares;
}

bool cn_tally_is_sound(const cn_tally *t) {
    double most = (double)t->n * (1 + 1e-9);
    return t->n <= t->bits && t->sum >= 0 && t->squares >= 0 && t->sum <= most && t->squares <= t->sum * (1 + 1e-9);
}

/* Of how many independent bits the mean has this variance: not fewer than there are questions, nor more than there are bits. */
static double effective(const cn_tally *t) {
    double n = (double)t->n + 2 * FAILED, mean = (t->sum + FAILED) / n, of_bits = mean * (1 - mean) * n;
    double between = t->squares + FAILED - n * mean * mean;
    double size = between > 0 ? (double)t->n * of_bits / between : (double)t->bits;
    return fmin(fmax(size, (double)t->n), (double)t->bits);
}

cn_interval cn_tally_interval(const cn_tally *t) {
    if (t->n == 0)
        return (cn_interval){0, 0, 1};
    double p = fmin(t->sum / (double)t->n, 1), n = effective(t), zz = Z * Z / n;
    double middle = (p + zz / 2) / (1 + zz), half = Z / (1 + zz) * sqrt(p * (1 - p) / n + zz / (4 * n));
    return (cn_interval){p, fmin(fmax(middle - half, 0), p), fmax(fmin(middle + half, 1), p)};
}
