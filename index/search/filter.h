/* filter.h -- metadata filters: a map on the wire, a text in the command; both become one tree.
 *
 * map:  {and: [{field: "lang", eq: "en"}, {field: "year", gte: 2020}, {not: {field: "draft", eq: true}}]}
 *       eq ne in gt gte lt lte exists, and or not
 * text: lang = en and year >= 2020 and not draft = true and tag in (a, "b c") and exists owner
 * Equality on a list of strings is membership. Built-in fields: source, id, title, uri, mime, modified.
 * Owns:    a cn_filter lives in the arena it was made in.
 * Thread:  any may evaluate.
 * Limits:  depth 16, 1,024 nodes, 10,000 values. */
#pragma once
#include "engine/base/arena.h"
#include "engine/base/pack.h"
#include "index/types.h"

typedef struct cn_filter cn_filter;
cn_err cn_filter_from_map(const msgpack_object *map, cn_arena *a, const cn_filter **ret);
/* CN_INVALID with the text, a caret under the place, and what was expected there. Appends the map form to out. */
cn_err cn_filter_parse(cn_str text, cn_buf *out);
bool cn_filter_match(const cn_filter *f, const cn_doc *doc); /* doc without chunks; meta is the packed map */
cn_digest cn_filter_digest(const cn_filter *f); /* equal filters, equal digest: what caches are keyed by; NULL: zero */
