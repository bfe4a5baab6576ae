/* methods_inside.h -- what the tables of methods are written with. For the files methods_*.c only.
 *
 * Owns:    nothing.
 * Thread:  any.
 * Limits:  none. */
#pragma once
#include "server/service/args.h"

#define METHOD(name) static cn_err name(cn_service *s, cn_call *c, cn_str tenant, const msgpack_object *p, cn_buf *out)

/* Fields of many methods; END ends each list. */
#define INDEX {"index", "str", true, "name of the index"}
#define REASON {"reason", "str", false, "why, for the audit trail"}
#define WHO {"as", "str", false, "the principal asked for, with a key of scope act-as: \"user:ana\""}, \
            {"labels", "list of str", false, "narrows to these of the labels held"}
#define END {NULL, NULL, false, NULL}
