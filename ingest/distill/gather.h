/* gather.h -- passages to fit to: from files and folders as an ingest would read them, and from an index's own documents.
 *
 * Owns:    nothing.
 * Thread:  one.
 * Limits:  those of source.h and parse.h. What cannot be read is counted and left out. */
#pragma once
#include "index/store/data.h"
#include "ingest/distill/distill.h"
#include "ingest/distill/sample.h"

#define CN_PASSAGE_TOKENS 64 /* long enough for a meaning, short enough that each word has its part in it */

cn_err cn_gather_paths(const cn_distill_opts *o, cn_embedder *e, cn_sample *s, cn_distill_report *io);
/* The active version's living documents, those aside that the policy has erased or hides. DAMAGED: the policy cannot be read. */
cn_err cn_gather_index(const cn_distill_opts *o, cn_embedder *e, cn_sample *s, cn_distill_report *io);
