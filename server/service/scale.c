#include "server/service/scale.h"

#include "engine/base/mem.h"
#include "engine/flat/flat.h"

static const char *const questions[] = {
    "How long do I have to boil an egg until the yolk is hard?", "Why is the sky blue?", "When does the last train to the airport leave?",
    "How do I return a pair of shoes that does not fit?", "Which vaccinations does a puppy need?", "What is the interest on my savings account?",
    "How can I stop my tap from dripping?", "Who painted the ceiling of the chapel?"};
static const char *const passages[] = {
    "Put the eggs into boiling water. After ten minutes both white and yolk are firm; for a soft yolk take them out after five.",
    "Air scatters short waves of sunlight far more than long ones, so blue light reaches the eye from every part of the sky.",
    "Trains to the airport run every half hour. The last departure from the central station is at 23:40 on all days.",
    "Shoes can be sent back within thirty days. Print the label, put them into their box unworn, and hand the parcel in at a post office.",
    "Puppies are vaccinated against distemper, parvovirus and hepatitis at eight and at twelve weeks; rabies follows later.",
    "Savings earn two per cent a year. Interest is added to the account on the last day of December.",
    "A dripping tap nearly always needs a new washer: turn off the water, unscrew the handle and replace the rubber ring.",
    "The ceiling was painted by Michelangelo between 1508 and 1512, lying on a scaffold of his own design."};
#define PAIRS (sizeof questions / sizeof *questions)
_Static_assert(sizeof passages / sizeof *passages == PAIRS, "a passage for each question");

static cn_scale measure(const float *q, const float *p, uint32_t dim) {
    float own = 0, other = 0;
    for (size_t i = 0; i < PAIRS; i++)
        for (size_t j = 0; j < PAIRS; j++)
            *(i == j ? &own : &other) += cn_score(CN_COSINE, q + i * dim, p + j * dim, dim);
    cn_scale s = {.apart = other / (PAIRS * (PAIRS - 1)), .answering = own / PAIRS};
    return s.answering - s.apart >= CN_SCALE_LEAST ? s : CN_SCALE_USUAL; /* not a number: usual, too */
}

cn_scale cn_scale_of(cn_embedder *e, unsigned threads) {
    cn_str texts[2 * PAIRS];
    cn_scale ret = CN_SCALE_USUAL;
    uint32_t dim = cn_embedder_dim(e);
    float *v = cn_embedder_is_remote(e) ? NULL : cn_alloc(2 * PAIRS * dim * sizeof *v);
    for (size_t i = 0; i < PAIRS; i++) {
        texts[i] = cn_str_of(questions[i]);
        texts[PAIRS + i] = cn_str_of(passages[i]);
    }
    if (v && cn_embed(e, texts, 2 * PAIRS, threads, v, NULL) == CN_OK)
        ret = measure(v, v + PAIRS * dim, dim);
    cn_free(v);
    return ret;
}
