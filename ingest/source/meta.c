#include "ingest/source/meta.h"

#include <stdlib.h>

#include "engine/base/mem.h"
#include "engine/base/utf8.h"
#include "ingest/source/source.h"

void cn_meta_init(cn_meta *m) {
    *m = (cn_meta){0};
    cn_buf_init(&m->values, 4 * CN_META_MAX);
}

void cn_meta_done(cn_meta *m) {
    cn_buf_done(&m->values);
    cn_free(m->entries);
    m->entries = NULL;
}

void cn_meta_reset(cn_meta *m) {
    cn_buf_reset(&m->values);
    m->n = 0;
}

cn_err cn_meta_key(cn_meta *m, cn_str key) {
    if (key.n == 0 || key.n > CN_META_KEY_MAX)
        return cn_fail(CN_INVALID, "a key of metadata has 1 to %d bytes, not %zu", CN_META_KEY_MAX, key.n);
    if (m->n == CN_META_KEYS)
        return cn_fail(CN_INVALID, "metadata may have %d keys", CN_META_KEYS);
    if (!cn_grow(m->entries, m->n, m->room))
        return cn_fail_memory();
    if (m->n)
        m->entries[m->n - 1].to = m->values.n;
    m->entries[m->n++] = (cn_meta_entry){.key = key, .from = m->values.n};
    return CN_OK;
}

static int by_key(const void *a, const void *b) {
    return cn_str_cmp(((const cn_meta_entry *)a)->key, ((const cn_meta_entry *)b)->key);
}

static cn_err pack(cn_meta *m, cn_buf *out) {
    cn_pack_map(out, m->n);
    for (uint32_t i = 0; i < m->n; i++) {
        const cn_meta_entry *e = &m->entries[i];
        if (i && cn_str_eq(e->key, e[-1].key))
            return cn_fail(CN_INVALID, "a key of metadata stands there twice");
        cn_pack_str(out, e->key);
        cn_buf_add(out, m->values.p + e->from, e->to - e->from);
    }
    if (out->failed || m->values.failed)
        return cn_fail(CN_INVALID, "metadata is over the limit of %d bytes", CN_META_MAX);
    return CN_OK;
}

cn_err cn_meta_close(cn_meta *m, cn_arena *a, cn_str *ret) {
    if (m->n == 0) {
        *ret = CN_STR("");
        return CN_OK;
    }
    m->entries[m->n - 1].to = m->values.n;
    qsort(m->entries, m->n, sizeof *m->entries, by_key);
    CN_AUTO_BUF cn_buf out;
    cn_buf_init(&out, CN_META_MAX);
    CN_TRY(pack(m, &out));
    cn_str kept = cn_arena_str(a, cn_buf_str(&out));
    if (!kept.p)
        return cn_fail_memory();
    *ret = kept;
    return CN_OK;
}

static bool text_ok(const msgpack_object *o) { return cn_is_str(o) && cn_utf8_ok(cn_obj_str(o)); }

static cn_err pack_object(cn_buf *b, const msgpack_object *o) {
    bool list = o->type == MSGPACK_OBJECT_ARRAY;
    for (uint32_t i = 0; list && i < o->via.array.size; i++)
        if (!text_ok(&o->via.array.ptr[i]))
            return cn_fail(CN_INVALID, "a list in metadata holds strings only");
    bool number = o->type == MSGPACK_OBJECT_POSITIVE_INTEGER || o->type == MSGPACK_OBJECT_NEGATIVE_INTEGER;
    bool real = o->type == MSGPACK_OBJECT_FLOAT32 || o->type == MSGPACK_OBJECT_FLOAT64;
    if (real && o->via.f64 - o->via.f64 != 0)
        return cn_fail(CN_INVALID, "a number is infinite or none");
    if (!list && !number && !real && o->type != MSGPACK_OBJECT_BOOLEAN && !text_ok(o))
        return cn_fail(CN_INVALID, "metadata is flat: strings in UTF-8, numbers, booleans and lists of strings");
    if (cn_is_str(o)) {
        cn_pack_str(b, cn_obj_str(o));
    } else if (list) {
        cn_pack_array(b, o->via.array.size);
        for (uint32_t i = 0; i < o->via.array.size; i++)
            cn_pack_str(b, cn_obj_str(&o->via.array.ptr[i]));
    } else if (real) {
        cn_pack_f64(b, o->via.f64);
    } else {
        cn_pack_object(b, o);
    }
    return CN_OK;
}

static cn_err pack_map(cn_meta *m, const msgpack_object *map) {
    for (uint32_t i = 0; i < map->via.map.size; i++) {
        const msgpack_object_kv *kv = &map->via.map.ptr[i];
        if (!text_ok(&kv->key))
            return cn_fail(CN_INVALID, "a key of metadata is a string in UTF-8");
        if (kv->val.type == MSGPACK_OBJECT_NIL)
            continue;
        CN_TRY(cn_meta_key(m, cn_obj_str(&kv->key)));
        cn_err e = pack_object(&m->values, &kv->val);
        if (e != CN_OK)
            return cn_wrap(e, "entry %u", i + 1);
    }
    return CN_OK;
}

cn_err cn_raw_meta(cn_arena *a, const msgpack_object *map, cn_str *ret) {
    if (map->type != MSGPACK_OBJECT_MAP)
        return cn_fail(CN_INVALID, "metadata is a map");
    cn_meta m;
    cn_meta_init(&m);
    cn_err e = pack_map(&m, map);
    if (e == CN_OK)
        e = cn_meta_close(&m, a, ret);
    cn_meta_done(&m);
    return e;
}
