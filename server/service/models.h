/* models.h -- embedders in use by this process, and the vectors of texts asked lately.
 *
 * Owns:    one reference to each embedder opened; the cache.
 * Thread:  any.
 * Limits:  CN_MODELS_MAX embedders, the one asked for longest ago makes room; CN_QUESTIONS_KEPT vectors, the least recently used goes first. */
#pragma once
#include "server/service/scale.h"

#define CN_MODELS_MAX 32
#define CN_QUESTIONS_KEPT 2048
#define CN_QUESTION_BYTES 65536 /* of one question's text */

typedef struct cn_models cn_models;
cn_err cn_models_new(const char *data_dir, cn_models **ret);
void cn_models_free(cn_models *m);
/* The embedder a version was made with: same name, precision and digest; counted for the caller. INVALID: the version has none;
 * UNAVAILABLE: it is not here, or another model stands under its name. A service elsewhere whose description was replaced
 * (cn_model_add_http) is opened anew, and so is a folder that was, where a version needs what is in it now. */
cn_err cn_models_get(cn_models *m, const cn_recipe *recipe, cn_embedder **ret);

/* Measured once for each embedder in use. threads: as for embedding. */
cn_scale cn_models_scale(cn_models *m, cn_embedder *e, unsigned threads);

typedef struct cn_question_text {
    cn_str text;
    float *vector;   /* room for dim floats, filled */
    bool cut;        /* the text was longer than the model reads */
} cn_question_text;
cn_err cn_models_check_text(cn_str text); /* INVALID: empty, no UTF-8, too long */
/* Texts checked before. Embeds what the tenant did not ask lately, all in one call of the embedder; w: for how long a remote one
 * is waited for. */
cn_err cn_models_embed(cn_models *m, cn_str tenant, cn_embedder *e, cn_question_text *q, uint32_t n, unsigned threads, const cn_embed_wait *w, cn_arena *a);
