/* codes.h -- what is derived from the vectors of a segment that is about to be named: its codes, and its cells or its FAISS
 * index where the index is of such a kind.
 *
 * Owns:    the derived files, which lie beside the segment's.
 * Thread:  any; freezing the index's mean takes the control writer.
 * Limits:  none of its own. */
#pragma once
#include "index/catalog/version.h"

/* Freezes the mean of the index's vectors where these are the first. Nothing for a segment without vectors. */
cn_err cn_codes_make(cn_tenant *t, cn_str index, const cn_recipe *recipe, cn_seg *fresh);
