#include "server/service/relevance.h"

#include <math.h>

typedef struct constants {
    float of_place, of_words, fixed;
} constants;

static const constants by_both = {4.488f, 1.456f, -3.316f}, by_vectors = {6.787f, 0, -4.158f}, by_words = {0, 4.681f, -2.391f};

float cn_relevance(const cn_grounds *g) {
    const constants *c = g->by_vector && g->by_words ? &by_both : g->by_vector ? &by_vectors : &by_words;
    float x = c->of_place * g->place + c->of_words * g->share * sqrtf(g->words) + c->fixed;
    return 1 / (1 + expf(-x));
}

const char *cn_evidence(float best, bool any) {
    if (!any || best < CN_EVIDENCE_WEAK)
        return "none";
    return best < CN_EVIDENCE_OK ? "weak" : "ok";
}
