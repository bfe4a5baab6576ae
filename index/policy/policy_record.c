/* policy_record.c -- the policy's records. */
#include "index/policy/policy_inside.h"

/* ---------- one document ---------- */
void cn_policy_doc_pack(cn_buf *b, const cn_policy_doc *d) {
    size_t at = cn_record_open(b, CN_POLICY_FORMAT);
    bool noted = d->erased_us != CN_NO_TIME;
    cn_pack_map(b, 7u + noted);
    cn_pack_cstr(b, "source");
    cn_pack_str(b, d->source);
    cn_pack_cstr(b, "id");
    cn_pack_str(b, d->id);
    cn_labels_pack_field(b, "granted", d->granted);
    cn_labels_pack_field(b, "denied", d->denied);
    cn_pack_cstr(b, "hidden");
    cn_pack_bool(b, d->hidden);
    cn_pack_cstr(b, "erased");
    cn_pack_bool(b, d->erased);
    if (noted)
        cn_pack_cstr(b, "erased_at"), cn_pack_int(b, d->erased_us);
    cn_pack_cstr(b, "rows");
    cn_pack_bin(b, d->rows, d->n_rows * sizeof *d->rows);
    cn_record_close(b, at);
}

static cn_err read_labels(const msgpack_object *map, const char *key, cn_arena *a, cn_labels *ret) {
    const msgpack_object *o = cn_get(map, key);
    if (!o || o->type != MSGPACK_OBJECT_ARRAY || o->via.array.size > CN_LABELS_MAX)
        return cn_fail(CN_DAMAGED, "its field %s is no list of labels", key);
    cn_str *v = cn_arena_zalloc(a, o->via.array.size + 1u, sizeof *v);
    if (!v)
        return cn_fail_memory();
    for (uint32_t i = 0; i < o->via.array.size; i++) {
        v[i] = cn_arena_str(a, cn_obj_str(&o->via.array.ptr[i]));
        if (!v[i].p)
            return cn_fail_memory();
    }
    return cn_labels_make(a, v, o->via.array.size, ret);
}

static cn_err read_rows(const msgpack_object *map, cn_arena *a, cn_policy_doc *d) {
    cn_str bytes = {NULL, 0};
    CN_TRY(cn_get_str(map, "rows", &bytes));
    if (bytes.n % sizeof *d->rows)
        return cn_fail(CN_DAMAGED, "its field rows has %zu bytes", bytes.n);
    cn_seg_id *v = cn_arena_alloc(a, bytes.n + 1);
    if (!v)
        return cn_fail_memory();
    if (bytes.n)
        memcpy(v, bytes.p, bytes.n);
    d->rows = v;
    d->n_rows = (uint32_t)(bytes.n / sizeof *v);
    return CN_OK;
}

static cn_err read_doc(const msgpack_object *m, cn_arena *a, cn_policy_doc *d) {
    CN_TRY(cn_get_str(m, "source", &d->source));
    CN_TRY(cn_get_str(m, "id", &d->id));
    d->source = cn_arena_str(a, d->source);
    d->id = cn_arena_str(a, d->id);
    if (!d->source.p || !d->id.p)
        return cn_fail_memory();
    CN_TRY(read_labels(m, "granted", a, &d->granted));
    CN_TRY(read_labels(m, "denied", a, &d->denied));
    CN_TRY(cn_get_bool(m, "hidden", &d->hidden));
    CN_TRY(cn_get_bool(m, "erased", &d->erased));
    CN_TRY(cn_get_int(m, "erased_at", &d->erased_us));
    return read_rows(m, a, d);
}

cn_err cn_policy_doc_read(cn_str value, const cn_key *key, cn_arena *a, cn_policy_doc *ret) {
    CN_AUTO_UNPACKED cn_unpacked u = {0};
    cn_policy_doc d = {.key = *key, .erased_us = CN_NO_TIME};
    CN_TRY(cn_record_read(&u, value, CN_POLICY_FORMAT, "a record of the policy"));
    cn_err e = read_doc(&u.o, a, &d);
    if (e != CN_OK)
        return e == CN_INVALID || e == CN_DAMAGED ? cn_wrap(CN_DAMAGED, "a record of the policy") : e;
    *ret = d;
    return CN_OK;
}
