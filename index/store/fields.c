#include "index/store/fields.h"

#include "engine/base/pack.h"

#define RECORD_FORMAT 1
#define RECORD_MAX ((size_t)64 << 20)

static void pack_field(cn_buf *b, const cn_field *f) {
    cn_pack_cstr(b, f->name);
    switch (f->kind) {
    case CN_F_U64: cn_pack_uint(b, *(const uint64_t *)f->at); break;
    case CN_F_U32: cn_pack_uint(b, *(const uint32_t *)f->at); break;
    case CN_F_I64: cn_pack_int(b, *(const int64_t *)f->at); break;
    case CN_F_BOOL: cn_pack_bool(b, *(const bool *)f->at); break;
    case CN_F_STR: cn_pack_str(b, *(const cn_str *)f->at); break;
    case CN_F_BIN: cn_pack_bin(b, ((const cn_str *)f->at)->p, ((const cn_str *)f->at)->n); break;
    case CN_F_FIXED: cn_pack_bin(b, f->at, f->n); break;
    }
}

cn_err cn_fields_put(MDB_txn *txn, MDB_dbi dbi, cn_str key, const cn_field *f, unsigned n) {
    CN_AUTO_BUF cn_buf b;
    cn_buf_init(&b, RECORD_MAX);
    size_t at = cn_record_open(&b, RECORD_FORMAT);
    cn_pack_map(&b, n);
    for (unsigned i = 0; i < n; i++)
        pack_field(&b, &f[i]);
    cn_record_close(&b, at);
    CN_TRY(cn_buf_check(&b));
    return cn_db_put(txn, dbi, key, cn_buf_str(&b));
}

static cn_err read_bytes(const msgpack_object *o, cn_arena *a, const cn_field *f) {
    cn_str s = cn_obj_str(o);
    if (f->kind == CN_F_FIXED) {
        if (s.n != f->n)
            return cn_fail(CN_INVALID, "field \"%s\" has %zu bytes", f->name, s.n);
        memcpy(f->at, s.p, f->n);
        return CN_OK;
    }
    cn_str copy = a ? cn_arena_str(a, s) : s;
    if (!copy.p)
        return cn_fail_memory();
    *(cn_str *)f->at = copy;
    return CN_OK;
}

static cn_err read_field(const msgpack_object *map, cn_arena *a, const cn_field *f) {
    const msgpack_object *o = cn_get(map, f->name);
    uint64_t v = 0;
    if (!o || o->type == MSGPACK_OBJECT_NIL || (f->kind >= CN_F_STR && !cn_is_str(o)))
        return cn_fail(CN_INVALID, "field \"%s\" is not there", f->name);
    switch (f->kind) {
    case CN_F_U64: return cn_get_uint(map, f->name, 0, UINT64_MAX, f->at);
    case CN_F_U32: CN_TRY(cn_get_uint(map, f->name, 0, UINT32_MAX, &v)); *(uint32_t *)f->at = (uint32_t)v; return CN_OK;
    case CN_F_I64: return cn_get_int(map, f->name, f->at);
    case CN_F_BOOL: return cn_get_bool(map, f->name, f->at);
    default: return read_bytes(o, a, f);
    }
}

cn_err cn_fields_read(cn_str value, const char *what, cn_arena *a, const cn_field *f, unsigned n) {
    CN_AUTO_UNPACKED cn_unpacked u = {0};
    CN_TRY(cn_record_read(&u, value, RECORD_FORMAT, what));
    if (u.o.type != MSGPACK_OBJECT_MAP || u.o.via.map.size != n)
        return cn_fail(CN_DAMAGED, "%s: not the %u fields of its format", what, n);
    for (unsigned i = 0; i < n; i++) {
        cn_err err = read_field(&u.o, a, &f[i]);
        if (err == CN_INVALID)
            return cn_wrap(CN_DAMAGED, "%s", what);
        if (err != CN_OK)
            return err;
    }
    return CN_OK;
}
