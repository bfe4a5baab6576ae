/* labels.h -- permission tokens: their form, and sorted sets of them.
 *
 * `public`, or kind:name with kind [a-z][a-z0-9_-]* and a name of 1 to 200 characters without comma or white space, NFC.
 * Owns:    nothing.
 * Thread:  any.
 * Limits:  CN_LABEL_MAX bytes a label, CN_LABELS_MAX a set. */
#pragma once
#include "engine/base/arena.h"
#include "engine/base/buf.h"
#include "index/types.h"

#define CN_PUBLIC CN_STR("public")
extern const cn_labels cn_labels_public; /* that one alone */

cn_err cn_label_check(cn_str label);                   /* CN_INVALID: what is wrong, and the right form */
/* One label, checked, in NFC, as a copy in the arena. Whoever looks a name up or compares it makes it first. */
cn_err cn_label_make(cn_arena *a, cn_str label, cn_str *ret);
/* Checks, normalises to NFC, sorts, removes doubles; copies into the arena. */
cn_err cn_labels_make(cn_arena *a, const cn_str *v, uint32_t n, cn_labels *ret);
cn_err cn_labels_parse(cn_arena *a, cn_str commas, cn_labels *ret); /* "group:hr,public" */
void cn_labels_text(cn_buf *out, cn_labels set);       /* appends them as that reads them */
void cn_labels_pack(cn_buf *out, cn_labels set);       /* as a MessagePack array */
void cn_labels_pack_field(cn_buf *out, const char *name, cn_labels set); /* its name first */
cn_err cn_labels_copy(cn_arena *a, cn_labels set, cn_labels *ret);
cn_err cn_triple_copy(cn_arena *a, const cn_triple *t, cn_triple *ret);
bool cn_labels_has(cn_labels set, cn_str label);
bool cn_labels_eq(cn_labels a, cn_labels b);
bool cn_labels_meet(cn_labels a, cn_labels b);         /* any in both */
bool cn_labels_within(cn_labels a, cn_labels b);       /* all of a in b */
cn_err cn_labels_union(cn_arena *arena, cn_labels a, cn_labels b, cn_labels *ret);
cn_err cn_labels_minus(cn_arena *arena, cn_labels a, cn_labels b, cn_labels *ret);
cn_digest cn_labels_digest(cn_labels set);
static inline cn_principal cn_principal_of(cn_labels all) { return (cn_principal){all, all}; }
/* The rule of permission on one document: its allow meets what the principal asks with and its require is within that; its
 * deny meets nothing the principal holds. */
bool cn_triple_permits(const cn_triple *row, const cn_principal *who);
