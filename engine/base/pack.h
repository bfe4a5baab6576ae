/* pack.h -- MessagePack for records on disk and maps on the wire: a writer, a structural check, a reader.
 *
 * Bytes from outside go through cn_pack_check() first: it allocates nothing and proves that a whole object of bounded
 * depth and size lies there; only then may msgpack-c decode it (FACTS.md section 1: msgpack-c itself trusts counts).
 * Owns:    cn_unpacked owns its zone; the object points into the zone and into the bytes decoded.
 * Thread:  one at a time.
 * Limits:  CN_PACK_DEPTH levels, CN_PACK_NODES objects. */
#pragma once
#include <msgpack.h>

#include "engine/base/buf.h"

#define CN_PACK_DEPTH 16
#define CN_PACK_NODES (4u << 20)

/* --- writing: maps are written as a count and then key, value, key, value ... --- */
void cn_pack_map(cn_buf *b, uint32_t n);
void cn_pack_array(cn_buf *b, uint32_t n);
void cn_pack_bin(cn_buf *b, const void *p, size_t n);
void cn_pack_uint(cn_buf *b, uint64_t v);
void cn_pack_int(cn_buf *b, int64_t v);
void cn_pack_bool(cn_buf *b, bool v);
void cn_pack_nil(cn_buf *b);
void cn_pack_f64(cn_buf *b, double v);
void cn_pack_f32(cn_buf *b, float v);
void cn_pack_object(cn_buf *b, const msgpack_object *o);
void cn_pack_str_head(cn_buf *b, size_t n); /* of a string whose n bytes follow */
/* Inline, for an answer is mostly the names of its fields: their lengths are known where they stand. */
static inline void cn_pack_str(cn_buf *b, cn_str s) {
    if (s.n < 32)
        cn_buf_add(b, &(char){(char)(0xa0 | s.n)}, 1);
    else
        cn_pack_str_head(b, s.n);
    cn_buf_add(b, s.p, s.n);
}
static inline void cn_pack_cstr(cn_buf *b, const char *z) { /* NULL: nil */
    if (z)
        cn_pack_str(b, cn_str_of(z));
    else
        cn_pack_nil(b);
}
/* A map whose count is not known beforehand: open, write any number of pairs, close with how many there were. */
size_t cn_pack_map_open(cn_buf *b);
void cn_pack_map_close(cn_buf *b, size_t at, uint32_t n);
size_t cn_pack_array_open(cn_buf *b);
void cn_pack_array_close(cn_buf *b, size_t at, uint32_t n);

/* --- checking --- */
/* CN_OK and the bytes of the first object in *ret_n; CN_UNAVAILABLE when more bytes are needed; CN_INVALID with a text
 * when no bytes could make it right (too deep, too many, a reserved byte). Strings need not be UTF-8 here. */
cn_err cn_pack_check(const void *p, size_t n, size_t *ret_n);

/* The same for bytes that come bit by bit: a scan keeps its place, so that no byte is looked at twice. */
typedef struct cn_pack_scan {
    uint64_t left[CN_PACK_DEPTH + 1]; /* values still to come at each level */
    size_t at;                        /* bytes of whole values passed */
    size_t need;                      /* the object has at least so many bytes: known before they are there */
    uint32_t nodes;
    int depth;
} cn_pack_scan;
void cn_pack_scan_start(cn_pack_scan *s);
/* p: the object's bytes from its first on, n of them here by now. As cn_pack_check(); after CN_UNAVAILABLE call again with more. */
cn_err cn_pack_scan_more(cn_pack_scan *s, const void *p, size_t n, size_t *ret_n);

/* --- reading --- */
typedef struct cn_unpacked {
    msgpack_zone *zone;
    msgpack_object o;
} cn_unpacked;

/* Checks that exactly one object fills the bytes and decodes it. A zone already there is used again (no heap when warm). */
cn_err cn_unpack(cn_unpacked *u, const void *p, size_t n);
void cn_unpacked_done(cn_unpacked *u);
#define CN_AUTO_UNPACKED __attribute__((cleanup(cn_unpacked_done)))

/* The value under `key`, NULL when there is none. `map` may be NULL or no map: then NULL. Keys as str or bin. */
const msgpack_object *cn_get(const msgpack_object *map, const char *key);
bool cn_is_str(const msgpack_object *o); /* str or bin */
cn_str cn_obj_str(const msgpack_object *o); /* the bytes of a str or bin; {NULL,0} else */

/* Typed fields: CN_OK with *ret untouched when the field is absent or nil; CN_INVALID naming the field when its type or range is wrong. */
cn_err cn_get_str(const msgpack_object *map, const char *key, cn_str *ret);
cn_err cn_get_uint(const msgpack_object *map, const char *key, uint64_t min, uint64_t max, uint64_t *ret);
cn_err cn_get_int(const msgpack_object *map, const char *key, int64_t *ret);
cn_err cn_get_f64(const msgpack_object *map, const char *key, double *ret);
cn_err cn_get_bool(const msgpack_object *map, const char *key, bool *ret);
cn_err cn_get_digest32(const msgpack_object *map, const char *key, uint8_t ret[32]); /* bin of 32 */
/* CN_INVALID naming the first field that is not in the NULL-ended list. */
cn_err cn_only_fields(const msgpack_object *map, const char *const *names);

/* --- records on disk: [u8 format][u32 crc32c of the payload, little-endian][payload: one msgpack object] --- */
#define CN_RECORD_HEAD 5
size_t cn_record_open(cn_buf *b, uint8_t format);      /* leaves room for the head; returns its place */
void cn_record_close(cn_buf *b, size_t at);            /* fills in the checksum of all that follows the head */
bool cn_record_holds(cn_str bytes);                    /* there is a head, and its checksum is right */
/* CN_DAMAGED (with `what` in the text) unless format is known, the checksum holds and the payload is one object. */
cn_err cn_record_read(cn_unpacked *u, cn_str bytes, uint8_t format, const char *what);
