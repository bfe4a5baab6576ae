/* reading.h -- what every method that reads documents needs first: tenant, version, labels. For server/service only.
 *
 * Owns:    a reference to the tenant and to the view, until cn_reading_done().
 * Thread:  one at a time, with the call.
 * Limits:  none. */
#pragma once
#include "index/search/search.h"
#include "server/service/inside.h"

typedef struct cn_reading {
    cn_tenant *t;
    cn_view *view;
    const cn_version *version;
    const cn_index_info *index;
    cn_principal who;      /* asking with no label: nothing may be read */
} cn_reading;

typedef struct cn_reading_opts {
    cn_str tenant, index;
    uint64_t version, min_version;      /* 0: the active one; 0: any */
    bool else_active;                   /* without the scope for `version`, the active one is read instead */
    const msgpack_object *as, *labels;  /* NULL: not given */
    const cn_principal *who;            /* of a look by the audit scope: as whom, at any version; as and labels then do not count */
} cn_reading_opts;

/* DENIED: another version than the active one needs the scope versions, a suspect one audit too. UNAVAILABLE: min_version
 * is not active yet. */
cn_err cn_reading_open(cn_service *s, cn_call *c, const cn_reading_opts *o, cn_reading *ret);
void cn_reading_done(cn_reading *r);
#define CN_AUTO_READING __attribute__((cleanup(cn_reading_done)))

const msgpack_object *cn_given(const msgpack_object *map, const char *name); /* NULL when absent or nil */
