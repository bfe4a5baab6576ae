/* The interval of a tally against simulated questions: how often it holds the true mean, where hits of a question fail together,
 * where whole questions fail, and where few were asked. */
#include <CUnit/Basic.h>
#include <CUnit/CUnit.h>
#include <math.h>
#include <stdio.h>

#include "engine/base/tally.h"
#include "tests/count.h"

#define K 10

static uint64_t state;
static double uniform(void) { /* splitmix64 */
    uint64_t x = state += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return (double)((x ^ x >> 31) >> 11) * 0x1p-53;
}

static double hits(double p) {
    uint32_t n = 0;
    for (int i = 0; i < K; i++)
        n += uniform() < p;
    return (double)n / K;
}

/* A world: a question is one of three kinds, each with its own chance for a hit. */
typedef struct world {
    const char *name;
    double share[2], p[3]; /* of the first two kinds; the third has the rest */
} world;

static double ask(const world *w) {
    double u = uniform();
    return hits(u < w->share[0] ? w->p[0] : u < w->share[0] + w->share[1] ? w->p[1] : w->p[2]);
}

static double mean_of(const world *w) { return w->share[0] * w->p[0] + w->share[1] * w->p[1] + (1 - w->share[0] - w->share[1]) * w->p[2]; }

static const world worlds[] = {
    {"hits fail alone, .95", {0, 0}, {0, 0, .95}},
    {"hits fail alone, .99", {0, 0}, {0, 0, .99}},
    {"hits fail alone, .999", {0, 0}, {0, 0, .999}},
    {"hits fail alone, .6", {0, 0}, {0, 0, .6}},
    {"hard and easy ones", {.1, .3}, {.6, .9, 1}},
    {"a few half lost", {.05, 0}, {.4, 0, .99}},
    {"a twentieth lost", {.05, 0}, {0, 0, 1}},
    {"a hundredth lost", {.01, 0}, {0, 0, 1}},
    {"a hundredth lost, others fail alone", {.01, 0}, {0, 0, .97}},
    {"a thousandth lost, others fail alone", {.001, 0}, {0, 0, .999}},
};

/* Of many tallies of n questions: the share whose interval holds the mean, and of those that lie under it, by which effort would
 * be raised for nothing. bits: as if each hit were a question of its own. */
static double covered(const world *w, uint32_t n, bool bits, double *ret_under) {
    unsigned long tries = test_count(1500, 20000), held = 0, under = 0;
    double mean = mean_of(w);
    for (unsigned long i = 0; i < tries; i++) {
        cn_tally t = {0};
        for (uint32_t q = 0; q < n; q++)
            cn_tally_add(&t, ask(w), K);
        if (bits) {
            t.n = t.bits;
            t.sum *= K;
            t.squares = t.sum;
        }
        cn_interval x = cn_tally_interval(&t);
        held += x.low <= mean && mean <= x.high;
        under += x.high < mean;
    }
    *ret_under = (double)under / (double)tries;
    return (double)held / (double)tries;
}

static void test_coverage(void) {
    static const uint32_t sizes[] = {32, 128, 512, 2048};
    double least = 1, sum = 0, under, most_under = 0;
    for (size_t w = 0; w < sizeof worlds / sizeof *worlds; w++)
        for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
            double is = covered(&worlds[w], sizes[s], false, &under);
            if (is < .93 || under > .05)
                printf("\n  %s, %u questions: %.4f held, %.4f under", worlds[w].name, sizes[s], is, under);
            CU_ASSERT(is >= .93); /* what Wilson's has at its worst, where bits are independent */
            CU_ASSERT(under <= .05);
            least = is < least ? is : least;
            most_under = under > most_under ? under : most_under;
            sum += is / (double)(sizeof worlds / sizeof *worlds * (sizeof sizes / sizeof *sizes));
        }
    printf("\n  held %.4f on average, %.4f at least; under the truth %.4f at most ", sum, least, most_under);
    CU_ASSERT(sum >= .95);
}

/* Hits as samples would be too sure of themselves; questions, as they are not, are not much wider where hits fail alone. */
static void test_against_others(void) {
    double under;
    CU_ASSERT(covered(&worlds[6], 512, true, &under) < .6);
    cn_tally t = {0}, bits = {0};
    for (int q = 0; q < 2000; q++) {
        double share = hits(.95);
        cn_tally_add(&t, share, K);
        bits.n += K, bits.bits += K, bits.sum += share * K;
    }
    bits.squares = bits.sum;
    cn_interval x = cn_tally_interval(&t), y = cn_tally_interval(&bits);
    CU_ASSERT(x.high - x.low < 1.4 * (y.high - y.low));
}

static void test_edges(void) {
    cn_tally t = {0}, u = {0}, both;
    cn_interval x = cn_tally_interval(&t);
    CU_ASSERT(x.low == 0 && x.high == 1 && cn_tally_is_sound(&t));
    for (int i = 0; i < 50; i++)
        cn_tally_add(&t, 1, K);
    x = cn_tally_interval(&t);
    CU_ASSERT(x.mean == 1 && x.high == 1);
    CU_ASSERT_DOUBLE_EQUAL(x.low, 50 / (50 + 3.8415), 1e-4); /* Wilson of 50 questions, not of 500 hits */
    for (int i = 0; i < 50; i++)
        cn_tally_add(&u, 0, K);
    x = cn_tally_interval(&u);
    CU_ASSERT(x.mean == 0 && x.low == 0 && x.high < .08);
    both = t;
    cn_tally_join(&both, &u);
    x = cn_tally_interval(&both);
    CU_ASSERT(both.n == 100 && both.bits == 1000 && x.mean == .5);
    CU_ASSERT_DOUBLE_EQUAL(x.high - x.low, 2 * 1.96 * .5 / sqrt(103.84), 1e-3); /* shares of 0 and 1: n bits */
    CU_ASSERT(cn_tally_is_sound(&both));
    both.sum = 101;
    CU_ASSERT(!cn_tally_is_sound(&both));
    both.sum = NAN;
    CU_ASSERT(!cn_tally_is_sound(&both));
}

int main(void) {
    state = test_seed(1);
    CU_initialize_registry();
    CU_pSuite s = CU_add_suite("tally", NULL, NULL);
    CU_add_test(s, "coverage", test_coverage);
    CU_add_test(s, "against others", test_against_others);
    CU_add_test(s, "edges", test_edges);
    CU_basic_run_tests();
    unsigned failed = CU_get_number_of_failures(), ran = CU_get_number_of_tests_run();
    CU_cleanup_registry();
    return failed || !ran;
}
