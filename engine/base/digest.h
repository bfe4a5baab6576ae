/* digest.h -- SHA-256 (by OpenSSL) and CRC-32C (checksums of blocks).
 *
 * Owns:    nothing; a running digest's state is the caller's, wiped by cn_sha256_end().
 * Thread:  one at a time for a state; the one-shot forms, any.
 * Limits:  none. */
#pragma once
#include <stdint.h>

#include "engine/base/error.h"
#include "engine/base/str.h"

typedef struct cn_digest {
    uint8_t b[32];
} cn_digest;

typedef struct cn_sha256 {
    uint64_t state[14]; /* OpenSSL's SHA256_CTX: on the stack, for a warm query takes nothing from the heap */
} cn_sha256;

void cn_sha256_begin(cn_sha256 *s); /* at the first, and to start anew; OpenSSL only sets the state, so it cannot fail */
void cn_sha256_add(cn_sha256 *s, const void *p, size_t n);
/* Adds a length (u64, little-endian) and then the bytes, so that no two lists of fields share a digest. */
void cn_sha256_field(cn_sha256 *s, cn_str field);
void cn_sha256_u64(cn_sha256 *s, uint64_t v); /* little-endian */
cn_digest cn_sha256_get(cn_sha256 *s);        /* the digest so far; afterwards begin or end */
void cn_sha256_end(cn_sha256 *s);

cn_digest cn_sha256_of(const void *p, size_t n);
static inline bool cn_digest_eq(const cn_digest *a, const cn_digest *b) { return memcmp(a, b, sizeof *a) == 0; }
bool cn_digest_is_zero(const cn_digest *d);
/* To find it by in a table: its own first bytes. */
static inline uint32_t cn_digest_hash(const cn_digest *d) {
    uint32_t h;
    memcpy(&h, d->b, sizeof h);
    return h;
}

#define CN_HEX_TEXT 65
void cn_hex(const uint8_t *p, size_t n, char *text); /* text has 2n+1 bytes */
int cn_unhex(cn_str text, uint8_t *p, size_t n);     /* 0, or -1 unless text is exactly 2n hex digits */

uint32_t cn_crc32c(uint32_t crc, const void *p, size_t n); /* start with 0 */
