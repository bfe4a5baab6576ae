#include "engine/base/pack.h"

#include <stdatomic.h>
#include <stdio.h>

#include "engine/base/digest.h"

/* --- writing --- */
static int write_buf(void *data, const char *p, size_t n) {
    cn_buf *b = data;
    cn_buf_add(b, p, n);
    return b->failed ? -1 : 0;
}

static msgpack_packer packer(cn_buf *b) {
    msgpack_packer pk;
    msgpack_packer_init(&pk, b, write_buf);
    return pk;
}

#define PACK(b, call)                  \
    do {                               \
        msgpack_packer pk = packer(b); \
        call;                          \
    } while (0)

void cn_pack_map(cn_buf *b, uint32_t n) { PACK(b, msgpack_pack_map(&pk, n)); }
void cn_pack_array(cn_buf *b, uint32_t n) { PACK(b, msgpack_pack_array(&pk, n)); }
void cn_pack_str_head(cn_buf *b, size_t n) { PACK(b, msgpack_pack_str(&pk, n)); }
void cn_pack_bin(cn_buf *b, const void *p, size_t n) {
    PACK(b, msgpack_pack_bin(&pk, n));
    cn_buf_add(b, p, n);
}
void cn_pack_uint(cn_buf *b, uint64_t v) { PACK(b, msgpack_pack_uint64(&pk, v)); }
void cn_pack_int(cn_buf *b, int64_t v) { PACK(b, msgpack_pack_int64(&pk, v)); }
void cn_pack_bool(cn_buf *b, bool v) { PACK(b, v ? msgpack_pack_true(&pk) : msgpack_pack_false(&pk)); }
void cn_pack_nil(cn_buf *b) { PACK(b, msgpack_pack_nil(&pk)); }
void cn_pack_f64(cn_buf *b, double v) { PACK(b, msgpack_pack_double(&pk, v)); }
void cn_pack_f32(cn_buf *b, float v) { PACK(b, msgpack_pack_float(&pk, v)); }
void cn_pack_object(cn_buf *b, const msgpack_object *o) { PACK(b, msgpack_pack_object(&pk, *o)); }

static size_t open_as(cn_buf *b, unsigned char head) {
    size_t at = b->n;
    unsigned char room[5] = {head, 0, 0, 0, 0};
    cn_buf_add(b, room, sizeof room);
    return at;
}

static void close_with(cn_buf *b, size_t at, uint32_t n) {
    if (b->failed)
        return;
    for (int i = 0; i < 4; i++)
        b->p[at + 1 + (size_t)i] = (char)(n >> (24 - 8 * i));
}

size_t cn_pack_map_open(cn_buf *b) { return open_as(b, 0xdf); }
void cn_pack_map_close(cn_buf *b, size_t at, uint32_t n) { close_with(b, at, n); }
size_t cn_pack_array_open(cn_buf *b) { return open_as(b, 0xdd); }
void cn_pack_array_close(cn_buf *b, size_t at, uint32_t n) { close_with(b, at, n); }

/* --- checking --- */
typedef struct head {
    size_t head, body;   /* bytes of the head; bytes of text behind it */
    uint64_t children;   /* objects behind it */
    bool reserved;
} head;

static uint64_t big_endian(const uint8_t *p, size_t n) {
    uint64_t v = 0;
    for (size_t i = 0; i < n; i++)
        v = v << 8 | p[i];
    return v;
}

/* Bytes of the length field behind a leading byte of 0xc0 to 0xdf; the MessagePack specification's table. */
static head head_of(const uint8_t *p, size_t n) {
    static const uint8_t len_bytes[32] = {
        [0xc4 - 0xc0] = 1, [0xc5 - 0xc0] = 2, [0xc6 - 0xc0] = 4, [0xc7 - 0xc0] = 1, [0xc8 - 0xc0] = 2, [0xc9 - 0xc0] = 4,
        [0xd9 - 0xc0] = 1, [0xda - 0xc0] = 2, [0xdb - 0xc0] = 4, [0xdc - 0xc0] = 2, [0xdd - 0xc0] = 4,
        [0xde - 0xc0] = 2, [0xdf - 0xc0] = 4};
    static const uint8_t fixed[32] = {
        [0xca - 0xc0] = 4, [0xcb - 0xc0] = 8, [0xcc - 0xc0] = 1, [0xcd - 0xc0] = 2, [0xce - 0xc0] = 4, [0xcf - 0xc0] = 8,
        [0xd0 - 0xc0] = 1, [0xd1 - 0xc0] = 2, [0xd2 - 0xc0] = 4, [0xd3 - 0xc0] = 8, [0xd4 - 0xc0] = 2, [0xd5 - 0xc0] = 3,
        [0xd6 - 0xc0] = 5, [0xd7 - 0xc0] = 9, [0xd8 - 0xc0] = 17};
    uint8_t c = p[0];
    head h = {.head = 1};
    if (c < 0x80 || c >= 0xe0)
        return h;
    if (c < 0x90)
        h.children = 2u * (c & 15u);
    else if (c < 0xa0)
        h.children = c & 15u;
    else if (c < 0xc0)
        h.body = c & 31u;
    else if (c == 0xc1)
        h.reserved = true;
    else {
        size_t len = len_bytes[c - 0xc0];
        h.head = 1 + len;
        h.body = fixed[c - 0xc0];
        if (len && n >= h.head) {
            uint64_t v = big_endian(p + 1, len);
            if (c >= 0xdc)
                h.children = c >= 0xde ? 2 * v : v;
            else
                h.body = (size_t)v + (c >= 0xc7 && c <= 0xc9 ? 1 : 0);
        }
    }
    return h;
}

void cn_pack_scan_start(cn_pack_scan *s) { *s = (cn_pack_scan){.left = {1}, .need = 1}; }

/* One value: its head, and the bytes of its body. */
static cn_err scan_value(cn_pack_scan *s, const uint8_t *p, size_t n) {
    if (s->at >= n)
        return cn_fail(CN_UNAVAILABLE, "the message ends early, at byte %zu", n);
    head h = head_of(p + s->at, n - s->at);
    if (h.reserved)
        return cn_fail(CN_INVALID, "byte %zu is 0xc1, which MessagePack never uses", s->at);
    if (s->nodes >= CN_PACK_NODES || h.children > CN_PACK_NODES)
        return cn_fail(CN_INVALID, "the message holds more than %u values", CN_PACK_NODES);
    size_t end = s->at + h.head + h.body;
    s->need = end + h.children;
    if (n < end)
        return cn_fail(CN_UNAVAILABLE, "the message ends early, at byte %zu", n);
    if (h.children && s->depth == CN_PACK_DEPTH)
        return cn_fail(CN_INVALID, "the message is nested more than %d levels deep", CN_PACK_DEPTH);
    s->at = end;
    s->nodes++;
    s->left[s->depth]--;
    if (h.children)
        s->left[++s->depth] = h.children;
    return CN_OK;
}

cn_err cn_pack_scan_more(cn_pack_scan *s, const void *p, size_t n, size_t *ret_n) {
    while (s->depth >= 0) {
        if (s->left[s->depth] == 0)
            s->depth--;
        else
            CN_TRY(scan_value(s, p, n));
    }
    *ret_n = s->at;
    return CN_OK;
}

cn_err cn_pack_check(const void *p, size_t n, size_t *ret_n) {
    cn_pack_scan s;
    cn_pack_scan_start(&s);
    return cn_pack_scan_more(&s, p, n, ret_n);
}

/* --- reading --- */
#define ZONE_BYTES 16384

/* A few cleared zones, for whoever decodes a small record during a query: so that it takes nothing from the heap. */
static _Atomic(msgpack_zone *) spare_zones[16];
#define SPARE_ZONES (sizeof spare_zones / sizeof *spare_zones)

static msgpack_zone *take_zone(void) {
    for (size_t i = 0; i < SPARE_ZONES; i++) {
        msgpack_zone *z = atomic_load_explicit(&spare_zones[i], memory_order_relaxed) ? atomic_exchange(&spare_zones[i], NULL) : NULL;
        if (z)
            return z;
    }
    return msgpack_zone_new(ZONE_BYTES);
}

static void give_zone(msgpack_zone *z) {
    msgpack_zone_clear(z);
    for (size_t i = 0; i < SPARE_ZONES; i++) {
        msgpack_zone *none = NULL;
        if (atomic_compare_exchange_strong(&spare_zones[i], &none, z))
            return;
    }
    msgpack_zone_free(z);
}

cn_err cn_unpack(cn_unpacked *u, const void *p, size_t n) {
    size_t whole;
    cn_err err = cn_pack_check(p, n, &whole);
    if (err != CN_OK)
        return err == CN_UNAVAILABLE ? CN_INVALID : err;
    if (whole != n)
        return cn_fail(CN_INVALID, "%zu bytes follow the end of the message", n - whole);
    if (u->zone)
        msgpack_zone_clear(u->zone);
    else if (!(u->zone = take_zone()))
        return cn_fail_memory();
    size_t off = 0;
    if (msgpack_unpack(p, n, &off, u->zone, &u->o) != MSGPACK_UNPACK_SUCCESS)
        return cn_fail_memory();
    return CN_OK;
}

void cn_unpacked_done(cn_unpacked *u) {
    if (u->zone)
        give_zone(u->zone);
    *u = (cn_unpacked){0};
}

bool cn_is_str(const msgpack_object *o) {
    return o && (o->type == MSGPACK_OBJECT_STR || o->type == MSGPACK_OBJECT_BIN);
}

cn_str cn_obj_str(const msgpack_object *o) {
    if (!cn_is_str(o))
        return (cn_str){NULL, 0};
    return o->type == MSGPACK_OBJECT_STR ? (cn_str){o->via.str.ptr, o->via.str.size} : (cn_str){o->via.bin.ptr, o->via.bin.size};
}

const msgpack_object *cn_get(const msgpack_object *map, const char *key) {
    if (!map || map->type != MSGPACK_OBJECT_MAP)
        return NULL;
    size_t len = strlen(key);
    for (uint32_t i = 0; i < map->via.map.size; i++) {
        cn_str k = cn_obj_str(&map->via.map.ptr[i].key);
        if (k.n == len && k.p && memcmp(k.p, key, len) == 0)
            return &map->via.map.ptr[i].val;
    }
    return NULL;
}

static const msgpack_object *present(const msgpack_object *map, const char *key) {
    const msgpack_object *o = cn_get(map, key);
    return o && o->type != MSGPACK_OBJECT_NIL ? o : NULL;
}

static cn_err wrong(const char *key, const char *wants) { return cn_fail(CN_INVALID, "field \"%s\" must be %s", key, wants); }

cn_err cn_get_str(const msgpack_object *map, const char *key, cn_str *ret) {
    const msgpack_object *o = present(map, key);
    if (!o)
        return CN_OK;
    if (!cn_is_str(o))
        return wrong(key, "a string");
    *ret = cn_obj_str(o);
    return CN_OK;
}

cn_err cn_get_uint(const msgpack_object *map, const char *key, uint64_t min, uint64_t max, uint64_t *ret) {
    const msgpack_object *o = present(map, key);
    if (!o)
        return CN_OK;
    char value[32] = "", bounds[64];
    if (o->type == MSGPACK_OBJECT_POSITIVE_INTEGER && o->via.u64 >= min && o->via.u64 <= max) {
        *ret = o->via.u64;
        return CN_OK;
    }
    if (o->type == MSGPACK_OBJECT_POSITIVE_INTEGER)
        snprintf(value, sizeof value, "is %llu; it ", (unsigned long long)o->via.u64);
    if (max >= INT64_MAX)
        snprintf(bounds, sizeof bounds, "of %llu or more", (unsigned long long)min);
    else
        snprintf(bounds, sizeof bounds, "from %llu to %llu", (unsigned long long)min, (unsigned long long)max);
    return cn_fail(CN_INVALID, "field \"%s\" %smust be a whole number %s", key, value, bounds);
}

cn_err cn_get_int(const msgpack_object *map, const char *key, int64_t *ret) {
    const msgpack_object *o = present(map, key);
    if (!o)
        return CN_OK;
    if (o->type == MSGPACK_OBJECT_NEGATIVE_INTEGER)
        *ret = o->via.i64;
    else if (o->type == MSGPACK_OBJECT_POSITIVE_INTEGER && o->via.u64 <= INT64_MAX)
        *ret = (int64_t)o->via.u64;
    else
        return wrong(key, "a whole number");
    return CN_OK;
}

cn_err cn_get_f64(const msgpack_object *map, const char *key, double *ret) {
    const msgpack_object *o = present(map, key);
    if (!o)
        return CN_OK;
    if (o->type == MSGPACK_OBJECT_FLOAT64 || o->type == MSGPACK_OBJECT_FLOAT32)
        *ret = o->via.f64;
    else if (o->type == MSGPACK_OBJECT_POSITIVE_INTEGER)
        *ret = (double)o->via.u64;
    else if (o->type == MSGPACK_OBJECT_NEGATIVE_INTEGER)
        *ret = (double)o->via.i64;
    else
        return wrong(key, "a number");
    return CN_OK;
}

cn_err cn_get_bool(const msgpack_object *map, const char *key, bool *ret) {
    const msgpack_object *o = present(map, key);
    if (!o)
        return CN_OK;
    if (o->type != MSGPACK_OBJECT_BOOLEAN)
        return wrong(key, "true or false");
    *ret = o->via.boolean;
    return CN_OK;
}

cn_err cn_get_digest32(const msgpack_object *map, const char *key, uint8_t ret[32]) {
    const msgpack_object *o = present(map, key);
    if (!o)
        return CN_OK;
    cn_str s = cn_obj_str(o);
    if (s.n != 32)
        return wrong(key, "32 bytes");
    memcpy(ret, s.p, 32);
    return CN_OK;
}

cn_err cn_only_fields(const msgpack_object *map, const char *const *names) {
    if (!map || map->type != MSGPACK_OBJECT_MAP)
        return cn_fail(CN_INVALID, "the parameters must be one map");
    for (uint32_t i = 0; i < map->via.map.size; i++) {
        cn_str k = cn_obj_str(&map->via.map.ptr[i].key);
        const char *const *name = names;
        while (*name && !cn_str_is(k, *name))
            name++;
        if (!*name)
            return cn_fail(CN_INVALID, "unknown field \"" CN_STR_FMT "\"", CN_STR_ARG(k));
    }
    return CN_OK;
}

/* --- records --- */
size_t cn_record_open(cn_buf *b, uint8_t format) {
    size_t at = b->n;
    uint8_t start[CN_RECORD_HEAD] = {format};
    cn_buf_add(b, start, sizeof start);
    return at;
}

void cn_record_close(cn_buf *b, size_t at) {
    if (b->failed)
        return;
    uint32_t crc = cn_crc32c(0, b->p + at + CN_RECORD_HEAD, b->n - at - CN_RECORD_HEAD);
    for (int i = 0; i < 4; i++)
        b->p[at + 1 + (size_t)i] = (char)(crc >> (8 * i));
}

bool cn_record_holds(cn_str bytes) {
    const uint8_t *p = (const uint8_t *)bytes.p;
    if (bytes.n < CN_RECORD_HEAD)
        return false;
    uint32_t crc = (uint32_t)p[1] | (uint32_t)p[2] << 8 | (uint32_t)p[3] << 16 | (uint32_t)p[4] << 24;
    return cn_crc32c(0, p + CN_RECORD_HEAD, bytes.n - CN_RECORD_HEAD) == crc;
}

cn_err cn_record_read(cn_unpacked *u, cn_str bytes, uint8_t format, const char *what) {
    if (bytes.n < CN_RECORD_HEAD)
        return cn_fail(CN_DAMAGED, "%s: only %zu bytes", what, bytes.n);
    const uint8_t *p = (const uint8_t *)bytes.p;
    if (p[0] != format)
        return cn_fail(CN_DAMAGED, "%s: format %u, this cairn reads %u", what, p[0], format);
    if (!cn_record_holds(bytes))
        return cn_fail(CN_DAMAGED, "%s: its checksum does not hold", what);
    cn_err err = cn_unpack(u, p + CN_RECORD_HEAD, bytes.n - CN_RECORD_HEAD);
    return err == CN_INVALID ? cn_wrap(CN_DAMAGED, "%s", what) : err;
}
