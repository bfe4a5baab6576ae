/* answers.h -- the settings that change answers (DESIGN.md section 8): default mode, fusion, analyser. They are a version's own.
 *
 * A version keeps mode and fusion in its answer settings, a MessagePack map {mode, fusion (absent: scores)}, and the analyser in
 * its recipe; its root says all three. The index's record says what its first version takes; each later one goes on with those
 * of the version it is made from, unless index.set changes them.
 * Owns:    nothing.
 * Thread:  any.
 * Limits:  none of its own. */
#pragma once
#include "index/catalog/index.h"

bool cn_answers_same(const cn_index_settings *a, const cn_index_settings *b);
/* A version's in place of the index's; they borrow from it. CN_DAMAGED. */
cn_err cn_answers_of(const cn_version *v, cn_index_settings *io);
/* The index's settings, as a version finds them that is made from `of` (NULL: none) and changes them by `edit` (NULL: not). */
cn_err cn_answers_next(const cn_version *of, cn_index_edit_fn *edit, void *ctx, cn_index_settings *io);
/* The other way round: what a version to be sealed says of them, in the arena. */
cn_err cn_answers_put(const cn_index_settings *s, cn_arena *a, cn_version *io);
