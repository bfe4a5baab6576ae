/* args.h -- what method groups share: fields of a request, fields of an answer, who acts. For server/service only.
 *
 * Owns:    nothing; what is returned lives in the call's arena or in the request.
 * Thread:  one at a time, with the call.
 * Limits:  CN_ARG_LIST_MAX entries in a list. */
#pragma once
#include "engine/base/os.h"
#include "index/catalog/version.h"
#include "server/service/methods.h"

#define CN_ARG_LIST_MAX 100000

/* May this caller know of the index? A key limited to some indexes does not see the others. */
bool cn_call_reaches(const cn_call *c, cn_str index);
static inline bool cn_call_limited(const cn_call *c) { return c->caller->kind == CN_CALLER_KEY && c->caller->key.index.n > 0; }

/* Required fields: CN_INVALID naming the field when it is absent. */
cn_err cn_arg_str(const msgpack_object *params, const char *name, cn_str *ret);
cn_err cn_arg_version(const msgpack_object *params, const char *name, uint64_t *ret);
/* Optional: a list of strings, or one string; *ret_n 0 when absent. */
cn_err cn_arg_list(cn_arena *a, const msgpack_object *params, const char *name, cn_str **ret, uint32_t *ret_n);
cn_err cn_arg_labels(cn_arena *a, const msgpack_object *params, const char *name, cn_labels *ret);

static inline void cn_out_str(cn_buf *b, const char *key, cn_str value) { cn_pack_cstr(b, key), cn_pack_str(b, value); }
static inline void cn_out_cstr(cn_buf *b, const char *key, const char *value) { cn_pack_cstr(b, key), cn_pack_cstr(b, value); }
static inline void cn_out_uint(cn_buf *b, const char *key, uint64_t value) { cn_pack_cstr(b, key), cn_pack_uint(b, value); }
static inline void cn_out_f64(cn_buf *b, const char *key, double value) { cn_pack_cstr(b, key), cn_pack_f64(b, value); }
static inline void cn_out_bool(cn_buf *b, const char *key, bool value) { cn_pack_cstr(b, key), cn_pack_bool(b, value); }
void cn_out_time(cn_buf *b, const char *key, int64_t us);               /* CN_NO_TIME: nil */
void cn_out_hex(cn_buf *b, const char *key, const uint8_t *p, size_t n);
void cn_out_labels(cn_buf *b, const char *key, cn_labels v);
void cn_out_triple(cn_buf *b, const char *key, const cn_triple *t);
void cn_out_scopes(cn_buf *b, unsigned scopes); /* "scopes" and their names */
void cn_out_counts(cn_buf *b, const char *key, const cn_counts *n);

const char *cn_version_state_name(const cn_version *v, const cn_index_info *ix); /* dropped, active, idle, sealed */
void cn_out_marks(cn_buf *b, unsigned marks);

/* The caller as the audit chain names it; reason from the request's `reason`. */
cn_err cn_arg_actor(const cn_call *c, const msgpack_object *params, cn_actor *ret);

/* An open tenant for one method: `CN_AUTO_TENANT cn_tenant *t = NULL; CN_TRY(cn_call_tenant(s, tenant, &t));` */
cn_err cn_call_tenant(cn_service *s, cn_str tenant, cn_tenant **ret);
void cn_tenant_unref_p(cn_tenant **t);
#define CN_AUTO_TENANT __attribute__((cleanup(cn_tenant_unref_p)))

struct cn_runner *cn_service_runner(cn_service *s);
const cn_service_opts *cn_service_options(const cn_service *s);
