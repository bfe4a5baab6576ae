/* scale.h -- how near a model brings texts. Cosines mean different things in different models, so each is measured once.
 *
 * A few everyday questions, each with a passage that answers it, are embedded: `apart` is the mean cosine of a question to the
 * others' passages, `answering` that to its own. On the scale from the one (0) to the other (1) models compare. Nothing that an
 * index holds is in it.
 * Owns:    nothing.
 * Thread:  any.
 * Limits:  none. */
#pragma once
#include "ingest/embed/embed.h"

typedef struct cn_scale {
    float apart, answering;
} cn_scale;
#define CN_SCALE_USUAL ((cn_scale){.apart = .02f, .answering = .69f}) /* MiniLM's: of vectors whose model is not here */
#define CN_SCALE_LEAST .1f /* between the two; a model that tells less apart counts as usual */

/* The usual one where it is remote (no text is sent for this), or fails. */
cn_scale cn_scale_of(cn_embedder *e, unsigned threads);
static inline float cn_scale_place(const cn_scale *s, float cosine) { return (cosine - s->apart) / (s->answering - s->apart); }
