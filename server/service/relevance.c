#include "server/service/relevance.h"

#include <math.h>

/* What is usual of sentence encoders, in the weight of so many rows. */
#define USUAL_ROWS 8.0f
#define USUAL_MIDDLE 0.1f
#define USUAL_SPREAD 0.1f
#define LEAST_SPREAD 0.02f

float cn_above(const cn_background *b, float cosine) {
    float n = (float)b->n, all = n + USUAL_ROWS;
    float middle = (n * b->middle + USUAL_ROWS * USUAL_MIDDLE) / all, spread = (n * b->spread + USUAL_ROWS * USUAL_SPREAD) / all;
    float above = (cosine - middle) / (spread > LEAST_SPREAD ? spread : LEAST_SPREAD);
    return above < -CN_ABOVE_MAX ? -CN_ABOVE_MAX : above > CN_ABOVE_MAX ? CN_ABOVE_MAX : above;
}

typedef struct constants {
    float of_cosine, of_above, of_score, of_share, of_known, fixed;
} constants;

static const constants by_both = {6, .5f, .5f, 3, 2, -7}, by_vectors = {6, .5f, 0, 0, 0, -5}, by_words = {0, 0, 1, 3, 2, -5};

float cn_relevance(const cn_grounds *g) {
    const constants *c = g->by_vector && g->by_words ? &by_both : g->by_vector ? &by_vectors : &by_words;
    float x = c->of_cosine * g->cosine + c->of_above * g->above + c->of_score * log1pf(g->score) + c->of_share * g->share + c->of_known * g->known + c->fixed;
    return 1 / (1 + expf(-x));
}

const char *cn_evidence(float best, bool any) {
    if (!any || best < CN_EVIDENCE_WEAK)
        return "none";
    return best < CN_EVIDENCE_OK ? "weak" : "ok";
}
