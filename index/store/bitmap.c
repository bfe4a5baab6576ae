/* The format (github.com/RoaringBitmap/RoaringFormatSpec), little-endian:
 *
 *   u32 12346 | u32 containers                            none of runs
 *   u16 12347 | u16 containers - 1 | a bit a container    whether it is of runs
 *   then for each: u16 key | u16 cardinality - 1          keys grow
 *   u32 where each begins                                 not with runs in fewer than 4
 *   array, up to 4096 numbers: u16[] that grow | bitset: u64[1024] | runs: u16 count, then u16 first | u16 length - 1 each
 */
#include "index/store/bitmap.h"

#define NO_RUNS 12346u
#define SOME_RUNS 12347u
#define CONTAINERS_MAX 65536u
#define ARRAY_MAX 4096u
#define BITSET_BYTES 8192u
#define OFFSETS_FROM 4u

typedef struct reading {
    const uint8_t *p, *end;
} reading;

/* The next n bytes; NULL: there are not so many. */
static const uint8_t *take(reading *r, size_t n) {
    const uint8_t *p = r->p;
    if ((size_t)(r->end - p) < n)
        return NULL;
    r->p += n;
    return p;
}

static uint32_t u16(const uint8_t *p) { return (uint32_t)p[0] | (uint32_t)p[1] << 8; }
static uint32_t u32(const uint8_t *p) { return u16(p) | u16(p + 2) << 16; }

static bool sound_array(reading *r, uint32_t n) {
    const uint8_t *p = take(r, 2 * (size_t)n);
    for (uint32_t i = 1; p && i < n; i++)
        if (u16(p + 2 * i) <= u16(p + 2 * i - 2))
            return false;
    return p;
}

static bool sound_bitset(reading *r, uint32_t n) {
    const uint8_t *p = take(r, BITSET_BYTES);
    uint32_t bits = 0;
    for (uint32_t i = 0; p && i < BITSET_BYTES; i++)
        bits += (uint32_t)__builtin_popcount(p[i]);
    return p && bits == n;
}

static bool sound_runs(reading *r, uint32_t n) {
    const uint8_t *head = take(r, 2), *p = head ? take(r, 4 * (size_t)u16(head)) : NULL;
    uint32_t all = 0, free_from = 0;
    for (uint32_t i = 0; p && i < u16(head); i++) {
        uint32_t first = u16(p + 4 * i), more = u16(p + 4 * i + 2);
        if (first < free_from || first + more > UINT16_MAX)
            return false;
        all += more + 1;
        free_from = first + more + 1;
    }
    return p && all == n;
}

static bool sound_container(reading *r, bool runs, uint32_t n) { return runs ? sound_runs(r, n) : n <= ARRAY_MAX ? sound_array(r, n) : sound_bitset(r, n); }

static bool sound_containers(reading *r, const uint8_t *begin, uint32_t n, const uint8_t *run_bits) {
    const uint8_t *keys = take(r, 4 * (size_t)n);
    bool placed = !run_bits || n >= OFFSETS_FROM;
    const uint8_t *places = keys && placed ? take(r, 4 * (size_t)n) : NULL;
    if (!keys || (placed && !places))
        return false;
    for (uint32_t i = 0; i < n; i++) {
        if (i && u16(keys + 4 * i) <= u16(keys + 4 * i - 4))
            return false;
        if (placed && u32(places + 4 * i) != (size_t)(r->p - begin))
            return false;
        if (!sound_container(r, run_bits && run_bits[i / 8] >> (i % 8) & 1, u16(keys + 4 * i + 2) + 1))
            return false;
    }
    return r->p == r->end;
}

static bool sound(cn_str bytes) {
    const uint8_t *begin = (const uint8_t *)bytes.p;
    reading r = {begin, begin + bytes.n};
    const uint8_t *head = bytes.n ? take(&r, 4) : NULL, *p;
    if (!head)
        return false;
    if (u16(head) == SOME_RUNS) {
        uint32_t n = u16(head + 2) + 1;
        p = take(&r, (n + 7) / 8);
        return p && sound_containers(&r, begin, n, p);
    }
    p = u32(head) == NO_RUNS ? take(&r, 4) : NULL;
    return p && u32(p) <= CONTAINERS_MAX && sound_containers(&r, begin, u32(p), NULL);
}

cn_err cn_bitmap_read(cn_str bytes, const char *what, roaring_bitmap_t **ret) {
    if (!sound(bytes))
        return cn_fail(CN_DAMAGED, "%s cannot be read", what);
    roaring_bitmap_t *b = roaring_bitmap_portable_deserialize_safe(bytes.p, bytes.n);
    if (!b)
        return cn_fail_memory();
    *ret = b;
    return CN_OK;
}
