/* meta.h -- one document's metadata in its canonical form: a packed map with its keys sorted bytewise.
 *
 * Owns:    its buffers, until cn_meta_done(); used again for each document.
 * Thread:  one at a time.
 * Limits:  CN_META_MAX bytes in all, CN_META_KEYS keys of 1 to CN_META_KEY_MAX bytes. */
#pragma once
#include "engine/base/arena.h"
#include "engine/base/pack.h"
#include "index/types.h"

#define CN_META_KEYS 1024
#define CN_META_KEY_MAX 256

typedef struct cn_meta_entry {
    cn_str key;            /* borrowed until cn_meta_close() */
    size_t from, to;       /* of the packed value in values */
} cn_meta_entry;
typedef struct cn_meta {
    cn_buf values;
    cn_meta_entry *entries;
    uint32_t n, room;
} cn_meta;

void cn_meta_init(cn_meta *m);
void cn_meta_done(cn_meta *m);
void cn_meta_reset(cn_meta *m);
/* Then pack one value into m->values. CN_INVALID: a wrong key, or too many. */
cn_err cn_meta_key(cn_meta *m, cn_str key);
/* An empty string when there are no keys. CN_INVALID: a key twice, or over CN_META_MAX. */
cn_err cn_meta_close(cn_meta *m, cn_arena *a, cn_str *ret);
