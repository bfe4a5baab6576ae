/* incident.h -- what the looks of an incident responder share: each is audited before it is answered. For server/service only.
 *
 * Owns:    a cn_look owns its reference to the tenant, until cn_look_done().
 * Thread:  one at a time, with the call.
 * Limits:  none of its own. */
#pragma once
#include "server/service/args.h"
#include "server/service/reading.h"

/* As whom is looked: a member with the groups that it is in, a key of the tenant with its own labels, or labels as given. */
typedef struct cn_look_who {
    cn_str name;             /* empty: labels were given */
    cn_principal principal;
    const cn_held *held;     /* of a member: through what it holds each label */
    uint32_t n_held;
} cn_look_who;

typedef struct cn_look {
    cn_tenant *t;
    cn_index_info ix;        /* of those on one index */
    cn_str index, source, doc;
    cn_look_who who;
} cn_look;
#define CN_AUTO_LOOK __attribute__((cleanup(cn_look_done)))
void cn_look_done(cn_look *l);

/* Tenant, `index` (which must be there), `doc` and `source` where the request has them, and then the audit record: method,
 * INDEX/DOC, and `detail` (one map, or empty). */
cn_err cn_look_open(cn_service *s, cn_call *c, cn_str tenant, const char *method, const msgpack_object *p, cn_str detail, cn_look *ret);
/* `principal` or `labels` of the request; without both {public}. */
cn_err cn_look_as(cn_service *s, cn_call *c, const msgpack_object *p, cn_look *io);
/* A text that is looked for is audited by its digest. */
void cn_look_pack_text(cn_buf *out, cn_str text);
void cn_out_through(cn_buf *out, const cn_look_who *who, cn_str label); /* a list, from the principal to the label */
/* Appends {verdict, why, may_read, ...}: how many pairs it has, and they. */
#define CN_OUT_ACCESS_PAIRS 11
cn_err cn_out_access(cn_call *c, const cn_look *l, const cn_explained *x, cn_buf *out);
const char *cn_verdict_name(cn_verdict v);
const char *cn_why_of(cn_call *c, const cn_look *l, const cn_explained *x, uint64_t version); /* one sentence */

typedef cn_err cn_look_fn(cn_service *s, cn_call *c, cn_str tenant, const msgpack_object *p, cn_buf *out);
cn_look_fn cn_m_trace_get, cn_m_exposed, cn_m_explain_access, cn_m_why_not;
