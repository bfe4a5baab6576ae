#include "server/service/relevance.h"

#include <math.h>

typedef struct constants {
    float of_place, of_share, of_known, of_terms, fixed; /* of_terms: of ln(1 + terms) */
} constants;

static const constants by_both = {5.944f, 1.881f, .895f, 0, -4.857f}, by_vectors = {6.768f, 0, 0, 0, -4.128f}, by_words = {0, 10.28f, 1.178f, 2.274f, -7.57f};

float cn_relevance(const cn_grounds *g) {
    const constants *c = g->by_vector && g->by_words ? &by_both : g->by_vector ? &by_vectors : &by_words;
    float x = c->of_place * g->place + c->of_share * g->share + c->of_known * g->known + c->of_terms * log1pf(g->terms) + c->fixed;
    return 1 / (1 + expf(-x));
}

const char *cn_evidence(float best, bool any) {
    if (!any || best < CN_EVIDENCE_WEAK)
        return "none";
    return best < CN_EVIDENCE_OK ? "weak" : "ok";
}
