#include "server/service/args.h"

cn_err cn_arg_str(const msgpack_object *params, const char *name, cn_str *ret) {
    cn_str s = {NULL, 0};
    CN_TRY(cn_get_str(params, name, &s));
    if (!s.p)
        return cn_fail(CN_INVALID, "field \"%s\" is missing", name);
    *ret = s;
    return CN_OK;
}

cn_err cn_arg_version(const msgpack_object *params, const char *name, uint64_t *ret) {
    uint64_t v = 0;
    CN_TRY(cn_get_uint(params, name, 1, INT64_MAX, &v));
    if (!v)
        return cn_fail(CN_INVALID, "field \"%s\" is missing: which version?", name);
    *ret = v;
    return CN_OK;
}

static cn_err list_entry(const msgpack_object *o, const char *name, cn_str *ret) {
    if (!cn_is_str(o))
        return cn_fail(CN_INVALID, "field \"%s\" must be a list of strings", name);
    *ret = cn_obj_str(o);
    return CN_OK;
}

cn_err cn_arg_list(cn_arena *a, const msgpack_object *params, const char *name, cn_str **ret, uint32_t *ret_n) {
    const msgpack_object *o = cn_get(params, name);
    bool absent = !o || o->type == MSGPACK_OBJECT_NIL, many = o && o->type == MSGPACK_OBJECT_ARRAY;
    uint32_t n = absent ? 0 : many ? o->via.array.size : 1;
    if (n > CN_ARG_LIST_MAX)
        return cn_fail(CN_INVALID, "field \"%s\" has %u entries; at most %d are taken at once", name, n, CN_ARG_LIST_MAX);
    cn_str *v = cn_arena_zalloc(a, n ? n : 1, sizeof *v);
    if (!v)
        return cn_fail_memory();
    for (uint32_t i = 0; i < n; i++)
        CN_TRY(list_entry(many ? &o->via.array.ptr[i] : o, name, &v[i]));
    *ret = v;
    *ret_n = n;
    return CN_OK;
}

cn_err cn_arg_labels(cn_arena *a, const msgpack_object *params, const char *name, cn_labels *ret) {
    cn_str *v;
    uint32_t n;
    CN_TRY(cn_arg_list(a, params, name, &v, &n));
    cn_err err = cn_labels_make(a, v, n, ret);
    return err == CN_OK ? CN_OK : cn_wrap(err, "field \"%s\"", name);
}

void cn_out_time(cn_buf *b, const char *key, int64_t us) {
    char text[CN_TIME_TEXT];
    if (us != CN_NO_TIME)
        cn_time_text(us, text);
    cn_out_cstr(b, key, us == CN_NO_TIME ? NULL : text);
}

void cn_out_hex(cn_buf *b, const char *key, const uint8_t *p, size_t n) {
    char text[CN_HEX_TEXT];
    CN_ASSERT(2 * n < sizeof text);
    cn_hex(p, n, text);
    cn_out_cstr(b, key, text);
}

void cn_out_labels(cn_buf *b, const char *key, cn_labels v) {
    cn_pack_cstr(b, key);
    cn_pack_array(b, v.n);
    for (uint32_t i = 0; i < v.n; i++)
        cn_pack_str(b, v.v[i]);
}

void cn_out_triple(cn_buf *b, const char *key, const cn_triple *t) {
    cn_pack_cstr(b, key);
    cn_pack_map(b, 3);
    cn_out_labels(b, "allow", t->allow);
    cn_out_labels(b, "deny", t->deny);
    cn_out_labels(b, "require", t->require);
}

void cn_out_counts(cn_buf *b, const char *key, const cn_counts *n) {
    cn_pack_cstr(b, key);
    cn_pack_map(b, 11);
    cn_out_uint(b, "read", n->read);
    cn_out_uint(b, "added", n->added);
    cn_out_uint(b, "unchanged", n->unchanged);
    cn_out_uint(b, "changed", n->changed);
    cn_out_uint(b, "relabelled", n->relabelled);
    cn_out_uint(b, "rejected", n->rejected);
    cn_out_uint(b, "deleted", n->deleted);
    cn_out_uint(b, "documents", n->documents);
    cn_out_uint(b, "chunks", n->chunks);
    cn_out_uint(b, "unlabelled", n->unlabelled);
    cn_out_uint(b, "skipped", n->skipped);
}

static bool is_blank(cn_str s) {
    size_t i = 0;
    while (i < s.n && (unsigned char)s.p[i] <= ' ')
        i++;
    return i == s.n;
}

/* A reason of blanks is none. */
cn_err cn_arg_actor(const cn_call *c, const msgpack_object *params, cn_actor *ret) {
    cn_str reason = {NULL, 0};
    CN_TRY(cn_get_str(params, "reason", &reason));
    if (reason.n > CN_REASON_MAX)
        return cn_fail(CN_INVALID, "the reason has %zu bytes; at most %d are kept", reason.n, CN_REASON_MAX);
    *ret = (cn_actor){cn_str_of(c->caller->who), cn_str_of(c->caller->via), is_blank(reason) ? (cn_str){NULL, 0} : reason};
    return CN_OK;
}

cn_err cn_call_tenant(cn_service *s, cn_str tenant, cn_tenant **ret) { return cn_tenant_open(cn_service_data(s), tenant, ret); }

void cn_tenant_unref_p(cn_tenant **t) {
    if (*t)
        cn_tenant_unref(*t);
}

void cn_out_scopes(cn_buf *out, unsigned scopes) {
    char text[128];
    cn_pack_cstr(out, "scopes");
    size_t at = cn_pack_array_open(out);
    uint32_t n = 0;
    for (unsigned bit = 0; bit < CN_SCOPE_COUNT; bit++)
        if (scopes >> bit & 1) {
            cn_scopes_text(1u << bit, text);
            cn_pack_cstr(out, text);
            n++;
        }
    cn_pack_array_close(out, at, n);
}
