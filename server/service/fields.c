/* A request's fields against the method's table: unknown ones refused by name, required ones asked for, types compared. */
#include "engine/base/utf8.h"
#include "server/service/inside.h"

#define FIELDS_MAX 64

static bool everywhere(cn_str name) { return cn_str_is(name, "tenant") || cn_str_is(name, "key"); }

static const cn_param *find_param(const cn_method *m, cn_str name) {
    for (const cn_param *p = m->params; p && p->name; p++)
        if (cn_str_is(name, p->name))
            return p;
    return NULL;
}

static bool has_type(const char *type, const msgpack_object *o) {
    bool whole = o->type == MSGPACK_OBJECT_POSITIVE_INTEGER;
    if (strcmp(type, "str") == 0)
        return cn_is_str(o);
    if (strcmp(type, "uint") == 0)
        return whole;
    if (strcmp(type, "int") == 0)
        return whole || o->type == MSGPACK_OBJECT_NEGATIVE_INTEGER;
    if (strcmp(type, "float") == 0)
        return whole || o->type == MSGPACK_OBJECT_NEGATIVE_INTEGER || o->type == MSGPACK_OBJECT_FLOAT32 || o->type == MSGPACK_OBJECT_FLOAT64;
    if (strcmp(type, "bool") == 0)
        return o->type == MSGPACK_OBJECT_BOOLEAN;
    if (strcmp(type, "bin") == 0)
        return cn_is_str(o);
    if (strcmp(type, "map") == 0)
        return o->type == MSGPACK_OBJECT_MAP;
    if (strcmp(type, "list") == 0)
        return o->type == MSGPACK_OBJECT_ARRAY;
    return o->type == MSGPACK_OBJECT_ARRAY || cn_is_str(o); /* "list of str", "vector" */
}

/* Strings of requests end up in records that every client must be able to read; what is no text is a vector. */
static bool is_text(const msgpack_object *o) {
    bool all = true;
    if (cn_is_str(o))
        return cn_utf8_ok(cn_obj_str(o));
    for (uint32_t i = 0; o->type == MSGPACK_OBJECT_ARRAY && all && i < o->via.array.size; i++)
        all = is_text(&o->via.array.ptr[i]);
    for (uint32_t i = 0; o->type == MSGPACK_OBJECT_MAP && all && i < o->via.map.size; i++) {
        const msgpack_object_kv *kv = &o->via.map.ptr[i];
        bool vector = cn_is_str(&kv->key) && cn_str_is(cn_obj_str(&kv->key), "vector");
        all = is_text(&kv->key) && (vector || is_text(&kv->val));
    }
    return all;
}

static cn_err check_one(const cn_method *m, cn_str name, const msgpack_object *value) {
    if (everywhere(name))
        return cn_is_str(value) || value->type == MSGPACK_OBJECT_NIL ? CN_OK
                                                                      : cn_fail(CN_INVALID, "field \"" CN_STR_FMT "\" must be a string", CN_STR_ARG(name));
    const cn_param *p = find_param(m, name);
    if (!p)
        return cn_fail(CN_INVALID, "%s has no field \"" CN_STR_FMT "\"", m->name, CN_STR_ARG(name));
    if (value->type != MSGPACK_OBJECT_NIL && !has_type(p->type, value))
        return cn_fail(CN_INVALID, "field \"%s\" must be of type %s: %s", p->name, p->type, p->help);
    bool by_itself = strcmp(p->name, "queries") == 0; /* each is checked as a query, and fails alone */
    if (strcmp(p->type, "vector") != 0 && strcmp(p->type, "bin") != 0 && !by_itself && !is_text(value))
        return cn_fail(CN_INVALID, "field \"%s\" holds a string that is not valid UTF-8", p->name);
    return CN_OK;
}

cn_err cn_fields_check(const cn_method *m, const msgpack_object *params) {
    uint32_t n = params ? params->via.map.size : 0;
    if (n > FIELDS_MAX)
        return cn_fail(CN_INVALID, "a request of %u fields; %s has no such number", n, m->name);
    for (uint32_t i = 0; i < n; i++) {
        const msgpack_object_kv *kv = &params->via.map.ptr[i];
        if (!cn_is_str(&kv->key))
            return cn_fail(CN_INVALID, "the names of fields must be strings");
        for (uint32_t j = 0; j < i; j++)
            if (cn_str_eq(cn_obj_str(&kv->key), cn_obj_str(&params->via.map.ptr[j].key)))
                return cn_fail(CN_INVALID, "field \"" CN_STR_FMT "\" stands there twice", CN_STR_ARG(cn_obj_str(&kv->key)));
        CN_TRY(check_one(m, cn_obj_str(&kv->key), &kv->val));
    }
    for (const cn_param *p = m->params; p && p->name; p++) {
        const msgpack_object *o = p->required ? cn_get(params, p->name) : NULL;
        if (p->required && (!o || o->type == MSGPACK_OBJECT_NIL))
            return cn_fail(CN_INVALID, "%s needs the field \"%s\": %s", m->name, p->name, p->help);
    }
    return CN_OK;
}
