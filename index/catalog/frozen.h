/* frozen.h -- frozen sets: questions with what their answers must show, by which a version is measured (gate.h holds what was
 * measured, and what is asked of it). A set has a name, and the digest of all it says.
 *
 * A question is asked as somebody: with exactly these labels, or as a principal of the tenant's directory; there is no other
 * way. Beside grades of documents (judge.h) it may say which documents must be found, among the first CN_FROZEN_FIND_WITHIN,
 * and which must not be seen: not read at all by who asks, in whatever rank. A document is named with its source, or without:
 * then one of any source is found, and none of whatever source may be seen.
 *
 * control.mdb, database "gate": key = index id and 2^63 + place: record {name, digest, by, at, reason}. work.mdb, database
 * "frozen": key = SHA-256 of a body, record {at, body}: what the digest is of, so that a body that was changed is refused, and
 * control.mdb stays small. The body is written before a record names it; one that none names goes with a sweep, an hour later.
 *   body: MessagePack {k, queries: [{id, text | vector, as | labels, [source], relevant: {doc: grade}, must_find: [],
 *   must_not_see: []}, ...]}, documents as "id" or {doc, source}, in one form only, so that the same set has the same digest
 * A set frozen anew under its name, or dropped, takes with it what versions showed of it: results named SET/... .
 * Owns:    strings and arrays live in the arena given.
 * Thread:  any; changes take the writer of work.mdb, then the control writer for a moment.
 * Limits:  CN_FROZEN_SETS_MAX sets of an index, each CN_FROZEN_BYTES and CN_FROZEN_QUESTIONS_MAX questions. */
#pragma once
#include "engine/base/pack.h"
#include "index/catalog/gate.h"
#include "index/policy/labels.h"

#define CN_FROZEN_NAME 24
#define CN_FROZEN_BYTES ((size_t)8 << 20)
#define CN_FROZEN_QUESTIONS_MAX 10000
#define CN_FROZEN_DOCS_MAX 10000 /* that a question grades, or names in a list */
#define CN_FROZEN_K 100          /* documents a question, for measures; at most CN_FROZEN_K_MAX */
#define CN_FROZEN_K_MAX 1000
#define CN_FROZEN_FIND_WITHIN 10

typedef struct cn_frozen_doc {
    cn_str id, source; /* source empty: any, or every one */
} cn_frozen_doc;

typedef struct cn_frozen_grade {
    cn_str doc;
    int64_t grade;
} cn_frozen_grade;

typedef struct cn_frozen_question {
    cn_str id, text;             /* text.p NULL: the vector */
    cn_str where;                /* as a request said it was written, "cases.jsonl:3", for errors; no part of the set */
    const float *vector;
    uint32_t dim;
    cn_str as;                   /* empty: with exactly these labels */
    cn_labels labels;
    cn_str source;               /* of what is graded; empty: any */
    cn_frozen_grade *grades;     /* by doc */
    cn_frozen_doc *find, *unseen; /* as given */
    uint32_t n_grades, n_find, n_unseen;
} cn_frozen_question;

typedef struct cn_frozen_set {
    cn_str name, by, reason;
    int64_t at_us;
    cn_digest digest;
    uint32_t k;
    cn_frozen_question *v;
    uint32_t n;
    uint32_t n_graded, n_find, n_unseen; /* questions with grades; documents to be found, and not to be seen */
} cn_frozen_set;

/* From a map {queries, [k], [source], [as] | [labels]}; source, as or labels of a question win over the set's, the source of a
 * document over both, and without as and labels it is asked as {public}. INVALID says which question and what is wrong; also
 * where no answer could show what it asks for. */
cn_err cn_frozen_set_read(const msgpack_object *map, cn_arena *a, cn_frozen_set *ret);
/* Before the detail of err: which question of a set it is about. */
cn_err cn_frozen_blame(cn_err err, uint32_t number, const cn_frozen_question *q);
/* Puts it under set->name, in the place of one of that name. Audited, as refusals are. */
cn_err cn_frozen_set_put(cn_tenant *t, cn_str index, const cn_frozen_set *set, const cn_actor *who, cn_digest *ret_digest);
cn_err cn_frozen_set_drop(cn_tenant *t, cn_str index, cn_str name, const cn_actor *who);
/* All of an index, by name. DAMAGED: one is not what was frozen. REFUSED: one has the form of a build before the first release. */
cn_err cn_frozen_sets(cn_tenant *t, cn_str index, cn_arena *a, cn_frozen_set **ret, uint32_t *ret_n);

/* What a run of these sets measured, in the place of earlier results of the same names; audited as "gate.run". against: the
 * active version it was compared with (0: none): results named with a colon count only while that one is active.
 * CONFLICT: a set was frozen anew since. */
cn_err cn_gate_record(cn_tenant *t, cn_str index, uint64_t version, const cn_gate_result *v, uint32_t n, uint64_t against, const cn_frozen_set *sets,
                      uint32_t n_sets, const cn_actor *who);
