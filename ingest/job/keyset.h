/* keyset.h -- the keys that a dry run would have written, so that it tells ids that come twice as the job itself does.
 *
 * Owns:    its table, until cn_keyset_done().
 * Thread:  one at a time.
 * Limits:  memory: 43 to 86 bytes a key. */
#pragma once
#include "index/types.h"

typedef struct cn_keyset {
    cn_key *v;        /* 0: free; a digest of all zeros is never met */
    uint64_t n, room; /* room: a power of two, or 0 */
} cn_keyset;

bool cn_keyset_has(const cn_keyset *s, const cn_key *key);
cn_err cn_keyset_add(cn_keyset *s, const cn_key *key); /* one that is not in it */
void cn_keyset_done(cn_keyset *s);
