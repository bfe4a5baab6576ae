/* gate_set.h -- frozen sets: questions with what their answers must show, by which a version is measured (gate.h holds what was
 * measured, and what is asked of it). A set has a name, and the digest of all it says.
 *
 * A question is asked as somebody: with exactly these labels, or as a principal of the tenant's directory; there is no other
 * way. Beside grades of documents (judge.h) it may say which documents must be found, among the first CN_GATE_FIND_WITHIN,
 * and which must not be seen: not read at all by who asks, in whatever rank.
 * control.mdb, database "gate": key = index id and 2^63 + place: record {name, digest, body, by, at, reason}; body: MessagePack
 *   {k, source, queries: [{id, text | vector, [as], labels, relevant: {doc: grade}, must_find: [], must_not_see: []}, ...]}
 * in one form only, so that the same set has the same digest; compared whenever it is read. A set frozen anew under its name,
 * or dropped, takes with it what versions showed of it: results named SET/... .
 * Owns:    strings and arrays live in the arena given.
 * Thread:  any; changes take the control writer.
 * Limits:  CN_GATE_SETS_MAX sets of an index, each CN_GATE_SET_BYTES and CN_GATE_QUESTIONS_MAX questions. */
#pragma once
#include "engine/base/pack.h"
#include "index/catalog/gate.h"
#include "index/policy/labels.h"

#define CN_GATE_SETS_MAX 8
#define CN_GATE_SET_NAME 24
#define CN_GATE_SET_BYTES ((size_t)8 << 20)
#define CN_GATE_QUESTIONS_MAX 10000
#define CN_GATE_DOCS_MAX 10000 /* that a question grades, or names in a list */
#define CN_GATE_K 100          /* documents a question, for measures; at most CN_GATE_K_MAX */
#define CN_GATE_K_MAX 1000
#define CN_GATE_FIND_WITHIN 10

typedef struct cn_gate_grade {
    cn_str doc;
    int64_t grade;
} cn_gate_grade;

typedef struct cn_gate_question {
    cn_str id, text;           /* text.p NULL: the vector */
    const float *vector;
    uint32_t dim;
    cn_str as;                 /* empty: with exactly these labels */
    cn_labels labels;
    cn_gate_grade *grades;     /* by doc */
    cn_str *find, *unseen;     /* as given */
    uint32_t n_grades, n_find, n_unseen;
} cn_gate_question;

typedef struct cn_frozen_set {
    cn_str name, by, reason, source; /* source: of what must not be seen */
    int64_t at_us;
    cn_digest digest;
    uint32_t k;
    cn_gate_question *v;
    uint32_t n;
    uint32_t n_graded, n_find, n_unseen; /* questions with grades; documents to be found, and not to be seen */
} cn_frozen_set;

/* From a map {queries, [k], [source], [as] | [labels]}; as or labels of a question win over the set's, and without either it
 * is asked as {public}. INVALID says which question and what is wrong. */
cn_err cn_gate_set_read(const msgpack_object *map, cn_arena *a, cn_frozen_set *ret);
/* Puts it under set->name, in the place of one of that name. Audited, as refusals are. */
cn_err cn_gate_set_freeze(cn_tenant *t, cn_str index, const cn_frozen_set *set, const cn_actor *who, cn_digest *ret_digest);
cn_err cn_gate_set_drop(cn_tenant *t, cn_str index, cn_str name, const cn_actor *who);
/* All of an index, by name. DAMAGED: one is not what was frozen. */
cn_err cn_gate_sets(cn_tenant *t, cn_str index, cn_arena *a, cn_frozen_set **ret, uint32_t *ret_n);

/* What a run of these sets measured, in the place of earlier results of the same names; audited as "gate.run". against: the
 * active version it was compared with (0: none): results named with a colon count only while that one is active.
 * CONFLICT: a set was frozen anew since. */
cn_err cn_gate_record(cn_tenant *t, cn_str index, uint64_t version, const cn_gate_result *v, uint32_t n, uint64_t against, const cn_frozen_set *sets,
                      uint32_t n_sets, const cn_actor *who);
