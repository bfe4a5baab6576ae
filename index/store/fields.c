#include "index/store/fields.h"

#include "engine/base/pack.h"

#define RECORD_FORMAT 1
#define RECORD_MAX ((size_t)64 << 20)

static enum cn_field_kind kind_of(const cn_field *f) { return (enum cn_field_kind)(f->kind & ~(unsigned)CN_F_MAYBE); }
static bool may_be_missing(const cn_field *f) { return f->kind & CN_F_MAYBE; }

static size_t size_of(const cn_field *f) {
    static const size_t sizes[] = {[CN_F_U64] = sizeof(uint64_t), [CN_F_U32] = sizeof(uint32_t), [CN_F_I64] = sizeof(int64_t), [CN_F_BOOL] = sizeof(bool), [CN_F_STR] = sizeof(cn_str), [CN_F_BIN] = sizeof(cn_str)};
    return kind_of(f) == CN_F_FIXED ? f->n : sizes[kind_of(f)];
}

static bool is_zero(const cn_field *f) {
    if (kind_of(f) == CN_F_STR || kind_of(f) == CN_F_BIN)
        return ((const cn_str *)f->at)->n == 0;
    const uint8_t *p = f->at;
    for (size_t i = 0, n = size_of(f); i < n; i++)
        if (p[i])
            return false;
    return true;
}

static bool is_written(const cn_field *f) { return !may_be_missing(f) || !is_zero(f); }

static uint32_t count_written(const cn_field *f, unsigned n) {
    uint32_t count = 0;
    for (unsigned i = 0; i < n; i++) {
        CN_ASSERT(i == 0 || !may_be_missing(&f[i - 1]) || may_be_missing(&f[i]));
        count += is_written(&f[i]);
    }
    return count;
}

static void pack_field(cn_buf *b, const cn_field *f) {
    cn_pack_cstr(b, f->name);
    switch (kind_of(f)) {
    case CN_F_U64: cn_pack_uint(b, *(const uint64_t *)f->at); break;
    case CN_F_U32: cn_pack_uint(b, *(const uint32_t *)f->at); break;
    case CN_F_I64: cn_pack_int(b, *(const int64_t *)f->at); break;
    case CN_F_BOOL: cn_pack_bool(b, *(const bool *)f->at); break;
    case CN_F_STR: cn_pack_str(b, *(const cn_str *)f->at); break;
    case CN_F_BIN: cn_pack_bin(b, ((const cn_str *)f->at)->p, ((const cn_str *)f->at)->n); break;
    case CN_F_FIXED: cn_pack_bin(b, f->at, f->n); break;
    case CN_F_MAYBE: break;
    }
}

static cn_err put(MDB_txn *txn, MDB_dbi dbi, cn_str key, const cn_field *f, unsigned n, bool of) {
    CN_AUTO_BUF cn_buf b;
    cn_buf_init(&b, RECORD_MAX);
    size_t at = cn_record_open(&b, RECORD_FORMAT);
    cn_pack_map(&b, count_written(f, n) + of);
    for (unsigned i = 0; i < n; i++)
        if (is_written(&f[i]))
            pack_field(&b, &f[i]);
    if (of)
        cn_pack_cstr(&b, CN_FIELD_OF), cn_pack_bin(&b, key.p, key.n);
    cn_record_close(&b, at);
    CN_TRY(cn_buf_check(&b));
    return cn_db_put(txn, dbi, key, cn_buf_str(&b));
}

cn_err cn_fields_put(MDB_txn *txn, MDB_dbi dbi, cn_str key, const cn_field *f, unsigned n) { return put(txn, dbi, key, f, n, false); }
cn_err cn_fields_put_of(MDB_txn *txn, MDB_dbi dbi, cn_str key, const cn_field *f, unsigned n) { return put(txn, dbi, key, f, n, true); }

cn_err cn_fields_in_place(cn_str key, cn_str value, const char *field) {
    CN_AUTO_UNPACKED cn_unpacked u = {0};
    if (cn_record_read(&u, value, RECORD_FORMAT, "a record") != CN_OK)
        return CN_OK;
    const msgpack_object *of = u.o.type == MSGPACK_OBJECT_MAP ? cn_get(&u.o, field) : NULL;
    return !of || cn_str_eq(cn_obj_str(of), key) ? CN_OK : cn_fail(CN_DAMAGED, "a record lies under another key than its own");
}

static cn_err read_bytes(const msgpack_object *o, cn_arena *a, const cn_field *f) {
    cn_str s = cn_obj_str(o);
    if (kind_of(f) == CN_F_FIXED) {
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
    if (!o || o->type == MSGPACK_OBJECT_NIL || (kind_of(f) >= CN_F_STR && !cn_is_str(o)))
        return cn_fail(CN_INVALID, "field \"%s\" is not there", f->name);
    switch (kind_of(f)) {
    case CN_F_U64: return cn_get_uint(map, f->name, 0, UINT64_MAX, f->at);
    case CN_F_U32: CN_TRY(cn_get_uint(map, f->name, 0, UINT32_MAX, &v)); *(uint32_t *)f->at = (uint32_t)v; return CN_OK;
    case CN_F_I64: return cn_get_int(map, f->name, f->at);
    case CN_F_BOOL: return cn_get_bool(map, f->name, f->at);
    default: return read_bytes(o, a, f);
    }
}

static bool there(const msgpack_object *map, const cn_field *f) { return !may_be_missing(f) || cn_get(map, f->name); }

static cn_err read_all(const msgpack_object *map, cn_arena *a, const cn_field *f, unsigned n, unsigned *ret_read) {
    unsigned read = 0;
    for (unsigned i = 0; i < n; i++) {
        if (!there(map, &f[i])) {
            memset(f[i].at, 0, size_of(&f[i]));
            continue;
        }
        CN_TRY(read_field(map, a, &f[i]));
        read++;
    }
    *ret_read = read;
    return CN_OK;
}

cn_err cn_fields_read(cn_str value, const char *what, cn_arena *a, const cn_field *f, unsigned n) {
    CN_AUTO_UNPACKED cn_unpacked u = {0};
    unsigned read = 0;
    CN_TRY(cn_record_read(&u, value, RECORD_FORMAT, what));
    cn_err err = u.o.type == MSGPACK_OBJECT_MAP ? read_all(&u.o, a, f, n, &read) : CN_OK;
    if (err == CN_INVALID)
        return cn_wrap(CN_DAMAGED, "%s", what);
    CN_TRY(err);
    return read && read + (cn_get(&u.o, CN_FIELD_OF) != NULL) == u.o.via.map.size ? CN_OK : cn_fail(CN_DAMAGED, "%s: not the %u fields of its format", what, n);
}
