/* front.h -- labels out of a Markdown document's front matter, where the job trusts its authors (--trust front-matter).
 *
 * Read are the keys labels, deny and require of a YAML-like head: `labels: a, b`, `labels: [a, "b"]`, or lines `- a`
 * below `labels:`. Everything else there is passed over.
 * Owns:    results live in the arena given.
 * Thread:  any.
 * Limits:  CN_LABELS_MAX labels a key. */
#pragma once
#include "engine/base/arena.h"
#include "index/types.h"

/* A key that is there replaces that set of *io; one that is absent leaves it. CN_INVALID: a label of wrong form. */
cn_err cn_front_labels(cn_str front, cn_arena *a, cn_triple *io);
