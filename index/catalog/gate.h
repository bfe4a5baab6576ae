/* gate.h -- what a version's stored results must show before it may become active (DESIGN.md section 8).
 *
 * control.mdb, database "gate": key = index id and 0 (two u64, big-endian): the index's requirements, record (pack.h) format 1:
 * {requirements: [text, ...], by, at, reason}; key = index id and version: that version's results, {results: [[name, value, by,
 * at, against, epoch], ...]}. A requirement is a name, one of >= <= > <, and a number: "recall@10>=0.95". A result is what somebody measured,
 * handed in under that name, or by a run of the index's frozen sets (frozen.h); a later one of the same name takes its place.
 * Each of the two has places of its own: a run always finds room for what it measured, and what it measures is not handed in.
 * recall_live@0.95 (and 0.9, 0.98, 0.99, 0.999) is measured while the version serves, of questions that ask for that recall, and
 * stored when it was found below it, and when it no longer is: nobody can hand it in, and only such a result does not meet a
 * requirement, not that none is stored yet. So a version whose recall was low is barred, and a new one is not.
 * against: the version that was active when it was compared with that: while another one is, such a result is stale, and
 * meets nothing. epoch: of what nobody may see, the policy's when it was measured: once the policy was widened since, it is stale too.
 * No record: nothing is required.
 *
 * Asked inside the flip's transaction, of jobs and of persons, when a version is activated that is not active. A rollback is
 * asked only where it goes to a version that was never active. What cannot be read is an error, and no activation.
 * Owns:    strings and arrays live in the arena given.
 * Thread:  any; changes take the control writer.
 * Limits:  CN_GATE_MAX requirements, CN_GATE_RESULTS_MAX results of a version, CN_GATE_HANDED_MAX of them handed in, CN_GATE_NAME
 *          bytes of a name. */
#pragma once
#include "index/catalog/version.h"

#define CN_GATE_MAX 32
#define CN_GATE_RESULTS_MAX 256
#define CN_GATE_HANDED_MAX 100
#define CN_GATE_OWN_RESULTS 15 /* of a run: of the version itself, and of each frozen set */
#define CN_GATE_LIVE_RESULTS 5 /* of serving */
#define CN_FROZEN_RESULTS 17
#define CN_FROZEN_SETS_MAX 8
#define CN_GATE_NAME 64
#define CN_GATE_NONE UINT64_MAX

typedef enum cn_gate_by { CN_GATE_BY_HAND = 1, CN_GATE_BY_RUN = 2, CN_GATE_BY_SERVING = 4 } cn_gate_by; /* who measures a result; bits of a set */
typedef enum cn_gate_op { CN_GATE_LEAST, CN_GATE_MOST, CN_GATE_OVER, CN_GATE_UNDER } cn_gate_op;
typedef struct cn_requirement {
    cn_str text, name; /* text: as it was given, without white space */
    cn_gate_op op;
    double bound;
} cn_requirement;

typedef struct cn_gate {
    cn_requirement *v;
    uint32_t n;      /* 0: none */
    cn_str by, reason;
    int64_t at_us;   /* CN_NO_TIME: never set */
} cn_gate;

typedef struct cn_gate_result {
    cn_str name;
    double value;
    cn_str by;
    int64_t at_us;
    uint64_t against; /* it says how the version differs from this one (CN_GATE_NONE: there was none); 0: it compares nothing */
    uint64_t epoch;   /* 0: it does not depend on the policy */
    bool stale;       /* another is active now, and it is not the version itself; or: */
    bool widened;     /* the policy was, after this epoch */
} cn_gate_result;

typedef struct cn_gate_results {
    cn_gate_result *v; /* by name */
    uint32_t n;
} cn_gate_results;

cn_err cn_gate_get(cn_tenant *t, cn_str index, cn_arena *a, cn_gate *ret);
/* n 0: nothing is required any more. CN_INVALID: what is no requirement. Audited, as refusals are. */
cn_err cn_gate_require(cn_tenant *t, cn_str index, const cn_str *requirements, uint32_t n, const cn_actor *who);
cn_err cn_gate_results_of(cn_tenant *t, cn_str index, uint64_t version, cn_arena *a, cn_gate_results *ret);
/* By hand: by and at are who's and now. REFUSED: a name that is a run's. Likewise audited. */
cn_err cn_gate_submit(cn_tenant *t, cn_str index, uint64_t version, const cn_gate_result *v, uint32_t n, const cn_actor *who);
/* What recall_live of this aim (recall.h) was measured to be; audited as "gate.run". */
cn_err cn_gate_live(cn_tenant *t, cn_str index, uint64_t version, uint32_t aim, double recall, const cn_actor *who);
/* All of them, or none: CN_NOT_FOUND. Likewise audited. */
cn_err cn_gate_forget_results(cn_tenant *t, cn_str index, uint64_t version, const cn_str *names, uint32_t n, const cn_actor *who);

const cn_gate_result *cn_gate_find(const cn_gate_results *r, cn_str name); /* NULL: none is stored */
bool cn_gate_meets(const cn_requirement *r, const cn_gate_result *x);       /* x NULL: it does not, but see recall_live */
bool cn_gate_met(const cn_gate *g, const cn_gate_results *r);
