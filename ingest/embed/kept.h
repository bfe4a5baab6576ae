/* kept.h -- models and the versions made with them: a model stays as long as a kept version names it.
 *
 * Owns:    nothing; an embedder that is opened is the caller's.
 * Thread:  any.
 * Limits:  none of its own. */
#pragma once
#include "index/store/data.h"
#include "index/store/root.h"
#include "ingest/embed/embed.h"

/* CN_UNAVAILABLE: e is not what this recipe's rows were made with, though it has the name; or it is, and computes otherwise. */
cn_err cn_embedder_fits(const cn_embedder *e, const cn_recipe *r);
/* Opens what the recipe's rows were made with; *io (NULL: none) is kept where it is of that name and precision, else replaced.
 * CN_NOT_FOUND, CN_DAMAGED, or as above: then *io may be the other one. */
cn_err cn_model_of(const char *data_dir, const cn_recipe *r, cn_embedder **io);
/* Takes a model's folder away. CN_REFUSED names a version that needs its files, whatever computed with them then, or an index without any that was made for it;
 * CN_CONFLICT: a job or a new index works with it now. One that is damaged is of use to nobody, and goes. */
cn_err cn_model_remove(cn_data *d, cn_str name);
