#include "index/store/blocks.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "engine/base/spread.h"

#define KEY_BYTES 9
#define KEY_MAX 256
#define VERIFY_THREADS 8
#define VERIFY_ALONE (16u << 20) /* bytes that are not worth a thread */

/* ---------- writing ---------- */

static void put_be(uint8_t *p, uint32_t v) {
    p[0] = (uint8_t)(v >> 24), p[1] = (uint8_t)(v >> 16), p[2] = (uint8_t)(v >> 8), p[3] = (uint8_t)v;
}

static size_t key_of(uint8_t *key, char kind, uint32_t a, uint32_t b, cn_str tail) {
    key[0] = (uint8_t)kind;
    if (tail.p) {
        memcpy(key + 1, tail.p, tail.n);
        return 1 + tail.n;
    }
    put_be(key + 1, a);
    put_be(key + 5, b);
    return KEY_BYTES;
}

static uint32_t head_crc(const cn_block_head *h) {
    cn_block_head plain = *h;
    plain.crc = 0;
    return cn_crc32c(0, &plain, sizeof plain);
}

cn_err cn_block_put(MDB_txn *txn, MDB_dbi dbi, const cn_seg_id *id, char kind, uint32_t a, uint32_t b, cn_str tail, const cn_piece *pieces, unsigned n) {
    uint8_t key[KEY_MAX];
    uint64_t bytes = 0;
    for (unsigned i = 0; i < n; i++)
        bytes += pieces[i].n;
    if (bytes > CN_BLOCK_MAX - CN_BLOCK_HEAD || tail.n > KEY_MAX - 1)
        return cn_fail(CN_INVALID, "%llu bytes are too many for one block of a segment", (unsigned long long)bytes);
    size_t all = CN_BLOCK_HEAD + bytes;
    MDB_val k = {key_of(key, kind, a, b, tail), key}, v = {all < CN_BLOCK_LEAST ? CN_BLOCK_LEAST : all, NULL};
    CN_TRY(cn_mdb(mdb_put(txn, dbi, &k, &v, MDB_RESERVE), "writing a block of a segment"));
    cn_block_head h = {.magic = CN_BLOCK_MAGIC, .kind = (uint8_t)kind, .a = a, .b = b, .bytes = bytes, .id = *id};
    char *p = (char *)v.mv_data + CN_BLOCK_HEAD;
    h.crc = head_crc(&h);
    for (unsigned i = 0; i < n; i++) {
        if (pieces[i].n)
            memcpy(p, pieces[i].p, pieces[i].n);
        h.crc = cn_crc32c(h.crc, pieces[i].p, pieces[i].n);
        p += pieces[i].n;
    }
    memset(p, 0, v.mv_size - all);
    memcpy(v.mv_data, &h, sizeof h);
    return CN_OK;
}

/* ---------- the table ---------- */

static cn_err check_head(const char *path, const cn_seg_id *id, MDB_val k, MDB_val v) {
    uint8_t key[KEY_BYTES];
    cn_block_head h;
    if (v.mv_size < CN_BLOCK_LEAST || (uintptr_t)v.mv_data % 64 != 16 || k.mv_size == 0)
        return cn_fail_file(path, ": a block is too small or not in its place");
    memcpy(&h, v.mv_data, sizeof h);
    uint64_t all = h.bytes + CN_BLOCK_HEAD;
    if (h.magic != CN_BLOCK_MAGIC || h.zero || h.bytes > CN_BLOCK_MAX || v.mv_size != (all < CN_BLOCK_LEAST ? CN_BLOCK_LEAST : all))
        return cn_fail_file(path, ": the head of a block cannot be right");
    if (memcmp(&h.id, id, sizeof *id) != 0)
        return cn_fail_file(path, " holds a block of another segment");
    char kind = *(const char *)k.mv_data;
    key_of(key, kind, h.a, h.b, (cn_str){NULL, 0});
    bool same = h.kind == (uint8_t)kind && (kind == 'p' || (k.mv_size == KEY_BYTES && memcmp(key, k.mv_data, KEY_BYTES) == 0));
    return same ? CN_OK : cn_fail_file(path, ": a block stands under another's key");
}

static cn_err add(cn_blocks *b, uint32_t *room, MDB_val k, MDB_val v) {
    if (!cn_grow(b->v, b->n, *room))
        return cn_fail_memory();
    b->v[b->n++] = (cn_block){.head = v.mv_data, .key = {k.mv_data, k.mv_size}};
    return CN_OK;
}

static cn_err load(cn_blocks *b, const cn_seg_id *id, MDB_cursor *c, cn_sha256 *s) {
    MDB_val k, v;
    uint32_t room = 0;
    int rc;
    while ((rc = cn_cursor_get(c, &k, &v, MDB_NEXT)) == 0) {
        CN_TRY(check_head(b->path, id, k, v));
        CN_TRY(add(b, &room, k, v));
        cn_sha256_field(s, (cn_str){k.mv_data, k.mv_size});
        cn_sha256_add(s, v.mv_data, CN_BLOCK_HEAD);
    }
    if (rc != MDB_NOTFOUND)
        return cn_mdb(rc, "reading %s", b->path);
    b->verified = cn_calloc(b->n / 64 + 1, sizeof *b->verified);
    return b->verified ? CN_OK : cn_fail_memory();
}

/* From the first byte to the last of all blocks, which lie in one map. */
static void watch(cn_blocks *b) {
    const char *from = NULL, *to = NULL;
    for (uint32_t i = 0; i < b->n; i++) {
        const char *p = (const char *)b->v[i].head, *end = p + CN_BLOCK_HEAD + b->v[i].head->bytes;
        from = !from || p < from ? p : from;
        to = end > to ? end : to;
    }
    b->guard = from ? cn_map_watch(from, (size_t)(to - from)) : NULL;
}

void cn_blocks_refuse(const cn_blocks *b) {
    if (b->n)
        cn_map_tear(b->v[0].head);
}

cn_err cn_blocks_sound(const cn_blocks *b) {
    if (!cn_map_torn(b->guard))
        return CN_OK;
    return cn_fail_file(b->path, " was damaged or cut short while it was open; bring it back from a backup, or activate another version");
}

cn_err cn_blocks_load(cn_blocks *b, const char *path, const cn_seg_id *id, MDB_txn *txn, MDB_dbi dbi) {
    MDB_cursor *c;
    cn_sha256 s;
    *b = (cn_blocks){.path = path};
    CN_TRY(cn_mdb(cn_cursor_open(txn, dbi, &c), "reading %s", path));
    cn_sha256_begin(&s);
    _Atomic bool torn = false;
    cn_map_expect(&torn);
    cn_err e = load(b, id, c, &s);
    if (e == CN_OK)
        watch(b); /* reads every head once more */
    cn_map_expect(NULL);
    if (torn)
        e = cn_fail_file(path, " was cut short while it was opened; bring it back from a backup, or activate another version");
    if (e == CN_OK)
        b->digest = cn_sha256_get(&s);
    cn_sha256_end(&s);
    mdb_cursor_close(c);
    if (e != CN_OK)
        cn_blocks_done(b);
    return e;
}

void cn_blocks_done(cn_blocks *b) {
    cn_map_unwatch(b->guard);
    b->guard = NULL;
    cn_free(b->v);
    cn_free((void *)(uintptr_t)b->verified);
    b->v = NULL;
    b->verified = NULL;
    b->n = 0;
}

/* First block whose key is not before `key`. */
static uint32_t lower_bound(const cn_blocks *b, cn_str key) {
    uint32_t lo = 0, hi = b->n;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (cn_str_cmp(b->v[mid].key, key) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

uint32_t cn_blocks_first(const cn_blocks *b, char kind, uint32_t a, uint32_t *ret_n) {
    uint8_t key[KEY_BYTES];
    key_of(key, kind, a, 0, (cn_str){NULL, 0});
    uint32_t from = lower_bound(b, (cn_str){(const char *)key, KEY_BYTES});
    key_of(key, kind, a, UINT32_MAX, (cn_str){NULL, 0});
    *ret_n = lower_bound(b, (cn_str){(const char *)key, KEY_BYTES}) - from;
    return from;
}

/* ---------- verifying ---------- */

cn_err cn_blocks_again(cn_blocks *b, uint32_t i) {
    const cn_block_head *h = b->v[i].head;
    if (cn_crc32c(head_crc(h), h + 1, h->bytes) == h->crc)
        return CN_OK;
    return cn_fail_file(b->path, ": block %c %u %u does not match its checksum", (int)h->kind, h->a, h->b);
}

static cn_err verify(cn_blocks *b, uint32_t i) {
    uint64_t bit = (uint64_t)1 << (i % 64);
    if (cn_map_torn_any())
        CN_TRY(cn_blocks_sound(b)); /* what was verified before may be gone since */
    if (atomic_load_explicit(&b->verified[i / 64], memory_order_relaxed) & bit)
        return CN_OK;
    CN_TRY(cn_blocks_again(b, i));
    atomic_fetch_or_explicit(&b->verified[i / 64], bit, memory_order_relaxed);
    return CN_OK;
}

cn_err cn_blocks_get(cn_blocks *b, uint32_t i, cn_str *ret) {
    CN_ASSERT(i < b->n);
    CN_TRY(verify(b, i));
    *ret = cn_block_raw(b, i);
    return CN_OK;
}

typedef struct verifying {
    cn_blocks *b;
    uint32_t first;
    _Atomic uint32_t bad; /* number of a damaged block, or UINT32_MAX */
} verifying;

static void verify_share(void *ctx, cn_shares *s) {
    verifying *v = ctx;
    for (uint32_t i, to; cn_shares_next(s, &i, &to);)
        if (verify(v->b, v->first + i) != CN_OK) {
            v->bad = v->first + i;
            cn_shares_end(s);
        }
}

static uint64_t bytes_to_verify(const cn_blocks *b, uint32_t i, uint32_t n) {
    uint64_t bytes = 0;
    for (uint32_t j = i; j < i + n; j++)
        if (!(b->verified[j / 64] >> (j % 64) & 1))
            bytes += b->v[j].head->bytes;
    return bytes;
}

cn_err cn_blocks_verify(cn_blocks *b, uint32_t i, uint32_t n) {
    uint64_t bytes = bytes_to_verify(b, i, n);
    unsigned threads = cn_cpus() < VERIFY_THREADS ? cn_cpus() : VERIFY_THREADS;
    if (bytes == 0)
        return CN_OK;
    verifying v = {.b = b, .first = i, .bad = UINT32_MAX};
    cn_spread(bytes < VERIFY_ALONE ? 1 : threads, n, 1, verify_share, &v);
    return v.bad == UINT32_MAX ? CN_OK : verify(b, v.bad); /* once more, for its text on this thread */
}

cn_err cn_blocks_part(cn_blocks *b, cn_str tail, cn_str *ret) {
    uint8_t key[KEY_MAX];
    if (tail.n > KEY_MAX - 1)
        return CN_NOT_FOUND;
    cn_str k = {(const char *)key, key_of(key, 'p', 0, 0, tail)};
    uint32_t i = lower_bound(b, k);
    return i < b->n && cn_str_eq(b->v[i].key, k) ? cn_blocks_get(b, i, ret) : CN_NOT_FOUND;
}
