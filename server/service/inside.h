/* inside.h -- what the files of server/service share of a cn_service. For server/service only.
 *
 * Owns:    see service.h.
 * Thread:  fields are set at open and only read afterwards, `anonymous` aside (under its lock).
 * Limits:  CN_TENANTS_COUNTED tenants have counters of their own; the rest share one. */
#pragma once
#include <pthread.h>
#include <stdatomic.h>

#include "server/service/args.h"
#include "server/service/busy.h"
#include "server/service/models.h"

#define CN_TENANTS_COUNTED 1024
#define CN_CALL_BLOCK ((size_t)128 << 10)
#define CN_CALL_CAP ((size_t)256 << 20)

typedef struct cn_counter {
    char tenant[CN_NAME_MAX + 1];
    atomic_ullong requests, errors, dropped; /* dropped: request records */
} cn_counter;

struct cn_service {
    cn_data *data;
    cn_service_opts opts;         /* strings live in `arena`; anonymous only under the lock */
    cn_arena arena;
    struct cn_runner *runner;
    struct cn_recorder *recorder; /* NULL: no request records */
    struct cn_upkeep *upkeep;     /* NULL: none */
    struct cn_compactor *compactor; /* likewise */
    struct cn_merger *merger;     /* likewise */
    struct cn_shadow *shadow;     /* likewise */
    cn_busy busy;
    cn_models *models;
    uint64_t start_ns;
    pthread_rwlock_t lock;        /* of anonymous */
    cn_arena anonymous_arena;
    pthread_mutex_t count_lock;   /* to add a tenant to the counters */
    atomic_uint n_counters;
    cn_counter counters[CN_TENANTS_COUNTED];
    atomic_ullong requests, errors;
};

/* access.c: who may call what, on which tenant, with which labels. All of it fails closed. */
/* The caller as of now: a key is looked up again when keys have changed, and its time compared. `room` takes the fresh one. */
cn_err cn_access_refresh(cn_service *s, cn_call *c, cn_caller *room);
/* Scope, tenant and index of the request; *ret_tenant is empty where the method needs none and none is named. */
cn_err cn_access_check(cn_service *s, const cn_call *c, const cn_method *m, const msgpack_object *params, cn_str *ret_tenant);
/* The labels that this request reads with (DESIGN.md section 7, "Who asks"); as, labels: the request's own fields. */
cn_err cn_access_principal(cn_call *c, cn_tenant *t, const msgpack_object *as, const msgpack_object *labels, cn_principal *ret);
/* May this caller hand on the right to read as these labels, or as this principal? A key only what it holds itself. */
cn_err cn_access_may_name(const cn_caller *c, cn_labels labels);
cn_err cn_access_may_act_as(cn_call *c, cn_str principal, cn_str *ret); /* ret: the name in its one form */
bool cn_access_has(const cn_caller *c, unsigned scope); /* the operator has every scope */
/* The one answer for what is not there and what may not be seen. */
cn_err cn_no_tenant(cn_str name);
cn_err cn_no_index(cn_str name);
cn_err cn_no_document(cn_str source, cn_str id);

/* fields.c: a request's fields against the method's table. */
cn_err cn_fields_check(const cn_method *m, const msgpack_object *params);

/* damage.c: a request met CN_DAMAGED, in the file that this thread noted (cn_error_file()). The error's text stays. */
void cn_tell_damage(cn_service *s, cn_str tenant, cn_str index);

/* counters.c */
void cn_count(cn_service *s, cn_str tenant, bool failed);
void cn_count_dropped(cn_service *s, cn_str tenant, uint64_t records);
const cn_counter *cn_counter_of(cn_service *s, cn_str tenant); /* NULL: never seen */
/* chain.c -- after a call: what a key tried to change and may not goes into the chain, whose head goes to the log. Returns err,
 * with its text. */
cn_err cn_chain_after(cn_service *s, cn_call *c, cn_str method, cn_str tenant, const msgpack_object *params, cn_err err);
