/* methods.h -- the table of methods: from it come the checks of fields, api.describe, the client's reference and the
 * command's own calls. Results are listed in METHODS.md beside this file.
 *
 * Owns:    constant data.
 * Thread:  any.
 * Limits:  none. */
#pragma once
#include "server/service/service.h"

typedef struct cn_param {
    const char *name;
    const char *type;     /* "str", "uint", "int", "float", "bool", "bin", "map", "list", "list of str", "vector" */
    bool required;
    const char *help;
} cn_param;

typedef cn_err cn_method_fn(cn_service *s, cn_call *c, cn_str tenant, const msgpack_object *params, cn_buf *out);

enum { CN_METHOD_OPEN = 1, /* needs no credentials */ CN_METHOD_HOST = 2, /* the host's: operator and host keys only */
       CN_METHOD_DEAR = 4, /* may run long */ CN_METHOD_OWN_TIME = 128, /* and as long as gate_timeout says, until whoever asked is gone */ CN_METHOD_ANYONE = 8, /* also without credentials, where the tenant allows that */
       CN_METHOD_NO_TENANT = 16 /* a tenant need not be named */,
       CN_METHOD_CHANGES = 64 /* changes the tenant or the host, and is audited, refused attempts too; where it is not DEAR it takes the one writer for a moment only */,
       CN_METHOD_PART = 32 /* names no index, but shows a key limited to some indexes only its part; without this such a key is refused */ };

typedef struct cn_method {
    const char *name;
    unsigned scope;       /* all of these CN_SCOPE bits; 0: any credentials */
    unsigned flags;
    const char *help;
    const cn_param *params; /* ended by a NULL name */
    cn_method_fn *fn;
} cn_method;

/* One table for each group, ended by a NULL name; cn_methods lists the tables, ended by NULL. */
extern const cn_method cn_methods_query[], cn_methods_versions[], cn_methods_gate[], cn_methods_eval[], cn_methods_policy[], cn_methods_member[], cn_methods_audit[], cn_methods_ingest[], cn_methods_incident[], cn_methods_operate[], cn_methods_recall[],
    cn_methods_admin[];
extern const cn_method *const cn_methods[];
const cn_method *cn_method_find(cn_str name);
