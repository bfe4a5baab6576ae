/* filter.h -- metadata filters: a map on the wire, a text in the command; both become one tree.
 *
 * map:  {and: [{field: "lang", eq: "en"}, {field: "year", gte: 2020}, {not: {field: "draft", eq: true}}]}
 *       eq ne in gt gte lt lte exists, and or not; several comparisons in one map must all hold
 * text: lang = en and year >= 2020 and not draft = true and tag in (a, "b c") and exists owner
 * Equality on a list of strings is membership. Built-in fields: source, id, title, uri, mime, modified; they win over
 * metadata of the same name. Two strings that both are RFC 3339 times are ordered as times, other strings by bytes;
 * values of different kinds are never equal and have no order. `ne` is the opposite of `eq`: it holds for a document
 * that lacks the field too. An empty `and` holds, an empty `or` or `in` does not. A list holds what any element holds.
 * Owns:    a cn_filter lives in the arena it was made in.
 * Thread:  any may evaluate.
 * Limits:  CN_FILTER_LEVELS, CN_FILTER_NODES, CN_FILTER_VALUES; a text of CN_FILTER_TEXT bytes. */
#pragma once
#include "engine/base/arena.h"
#include "engine/base/pack.h"
#include "index/types.h"

#define CN_FILTER_LEVELS 12     /* maps and lists inside each other, so that a request that carries it stays within CN_PACK_DEPTH */
#define CN_FILTER_NODES 1024
#define CN_FILTER_VALUES 10000
#define CN_FILTER_TEXT 65536

typedef struct cn_filter cn_filter;
cn_err cn_filter_from_map(const msgpack_object *map, cn_arena *a, const cn_filter **ret);
/* CN_INVALID with the text, a caret under the place, and what was expected there. Appends the map form to out. */
cn_err cn_filter_parse(cn_str text, cn_buf *out);
bool cn_filter_match(const cn_filter *f, const cn_doc *doc); /* doc without chunks; meta is the packed map */
/* Equal digest: the same question, so that caches may be keyed by it. NULL: zero. */
cn_digest cn_filter_digest(const cn_filter *f);
