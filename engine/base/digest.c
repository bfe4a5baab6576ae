#include "engine/base/digest.h"

/* The plain calls of OpenSSL, which it would rather have us make through EVP: that allocates at each digest. */
#define OPENSSL_SUPPRESS_DEPRECATED
#include <openssl/crypto.h>
#include <openssl/sha.h>

_Static_assert(sizeof(SHA256_CTX) <= sizeof(cn_sha256) && _Alignof(SHA256_CTX) <= _Alignof(cn_sha256), "a cn_sha256 holds OpenSSL's state");

static SHA256_CTX *state(cn_sha256 *s) { return (SHA256_CTX *)(void *)s->state; }

/* None of these can fail in OpenSSL: they look up nothing and take no memory. */
void cn_sha256_begin(cn_sha256 *s) { CN_ASSERT(SHA256_Init(state(s)) == 1); }
void cn_sha256_add(cn_sha256 *s, const void *p, size_t n) { CN_ASSERT(SHA256_Update(state(s), p, n) == 1); }

void cn_sha256_u64(cn_sha256 *s, uint64_t v) {
    uint8_t b[8];
    for (int i = 0; i < 8; i++)
        b[i] = (uint8_t)(v >> (8 * i));
    cn_sha256_add(s, b, sizeof b);
}

void cn_sha256_field(cn_sha256 *s, cn_str field) {
    cn_sha256_u64(s, field.n);
    cn_sha256_add(s, field.p, field.n);
}

cn_digest cn_sha256_get(cn_sha256 *s) {
    cn_digest d;
    CN_ASSERT(SHA256_Final(d.b, state(s)) == 1);
    return d;
}

void cn_sha256_end(cn_sha256 *s) {
    OPENSSL_cleanse(s, sizeof *s);
}

cn_digest cn_sha256_of(const void *p, size_t n) {
    cn_sha256 s;
    cn_sha256_begin(&s);
    cn_sha256_add(&s, p, n);
    cn_digest d = cn_sha256_get(&s);
    cn_sha256_end(&s);
    return d;
}

bool cn_digest_is_zero(const cn_digest *d) {
    uint8_t any = 0;
    for (size_t i = 0; i < sizeof d->b; i++)
        any |= d->b[i];
    return any == 0;
}

void cn_hex(const uint8_t *p, size_t n, char *text) {
    static const char hex[] = "0123456789abcdef";
    for (size_t i = 0; i < n; i++) {
        text[2 * i] = hex[p[i] >> 4];
        text[2 * i + 1] = hex[p[i] & 15];
    }
    text[2 * n] = 0;
}

static int hex_value(char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

int cn_unhex(cn_str text, uint8_t *p, size_t n) {
    if (text.n != 2 * n)
        return -1;
    for (size_t i = 0; i < n; i++) {
        int hi = hex_value(text.p[2 * i]), lo = hex_value(text.p[2 * i + 1]);
        if (hi < 0 || lo < 0)
            return -1;
        p[i] = (uint8_t)(hi << 4 | lo);
    }
    return 0;
}

/* Eight tables, eight bytes a step ("slicing by 8", Kounavis and Berry 2005); x86-64's instruction where there is one. That
 * takes one step a cycle and tells its result after three, so three lanes go side by side; a checksum is linear, so the first
 * lane's is carried over the second by what LANE zero bytes would make of it, which a table has for each of its bytes. */
#define LANE 4096u
static uint32_t tables[8][256];
static uint32_t over_lane[4][256];

__attribute__((constructor)) static void make_tables(void) {
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int k = 0; k < 8; k++)
            c = c & 1 ? c >> 1 ^ 0x82f63b78u : c >> 1;
        tables[0][i] = c;
    }
    for (uint32_t i = 0; i < 256; i++)
        for (int t = 1; t < 8; t++)
            tables[t][i] = tables[t - 1][i] >> 8 ^ tables[0][tables[t - 1][i] & 255];
    uint32_t bit[32]; /* a bit, carried over a lane */
    for (int k = 0; k < 32; k++) {
        uint32_t c = 1u << k;
        for (uint32_t i = 0; i < LANE; i++)
            c = c >> 8 ^ tables[0][c & 255];
        bit[k] = c;
    }
    for (int t = 0; t < 4; t++)
        for (uint32_t i = 0; i < 256; i++)
            for (int k = 0; k < 8; k++)
                over_lane[t][i] ^= i >> k & 1 ? bit[8 * t + k] : 0;
}

static uint32_t crc_tables(uint32_t c, const uint8_t *p, size_t n) {
    for (; n >= 8; p += 8, n -= 8) {
        uint64_t v;
        memcpy(&v, p, 8);
        v ^= c;
        c = 0;
        for (int t = 0; t < 8; t++)
            c ^= tables[7 - t][v >> (8 * t) & 255];
    }
    for (; n; p++, n--)
        c = c >> 8 ^ tables[0][(c ^ *p) & 255];
    return c;
}

#if defined(__x86_64__)
#include <nmmintrin.h>
static uint64_t carried(uint64_t c) {
    return over_lane[0][c & 255] ^ over_lane[1][c >> 8 & 255] ^ over_lane[2][c >> 16 & 255] ^ over_lane[3][c >> 24 & 255];
}

static uint64_t word(const uint8_t *p) {
    uint64_t v;
    memcpy(&v, p, 8);
    return v;
}

__attribute__((target("sse4.2"))) static uint64_t three_lanes(uint64_t a, const uint8_t *p) {
    uint64_t b = 0, c = 0;
    for (const uint8_t *end = p + LANE; p < end; p += 8) {
        a = _mm_crc32_u64(a, word(p));
        b = _mm_crc32_u64(b, word(p + LANE));
        c = _mm_crc32_u64(c, word(p + 2 * LANE));
    }
    return carried(carried(a) ^ b) ^ c;
}

__attribute__((target("sse4.2"))) static uint32_t crc_sse42(uint32_t crc, const uint8_t *p, size_t n) {
    uint64_t c = crc;
    for (; n >= 3 * LANE; p += 3 * LANE, n -= 3 * LANE)
        c = three_lanes(c, p);
    for (; n >= 8; p += 8, n -= 8)
        c = _mm_crc32_u64(c, word(p));
    uint32_t c32 = (uint32_t)c;
    for (; n; p++, n--)
        c32 = _mm_crc32_u8(c32, *p);
    return c32;
}
#endif

uint32_t cn_crc32c(uint32_t crc, const void *p, size_t n) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("sse4.2"))
        return ~crc_sse42(~crc, p, n);
#endif
    return ~crc_tables(~crc, p, n);
}
