#include "ingest/job/keyset.h"

#include <string.h>

#include "engine/base/mem.h"

#define ROOM_MIN 1024u

/* The key's place, or the free one where it would stand. There is always a free one. */
static uint64_t place(const cn_keyset *s, const cn_key *key) {
    uint64_t at;
    memcpy(&at, key->b, sizeof at); /* a digest's bytes are as good as any hash of them */
    for (at &= s->room - 1; !cn_digest_is_zero(&s->v[at]) && !cn_digest_eq(&s->v[at], key);)
        at = (at + 1) & (s->room - 1);
    return at;
}

bool cn_keyset_has(const cn_keyset *s, const cn_key *key) { return s->n && !cn_digest_is_zero(&s->v[place(s, key)]); }

static cn_err grow(cn_keyset *s) {
    cn_keyset more = {.n = s->n, .room = s->room ? 2 * s->room : ROOM_MIN};
    more.v = cn_calloc(more.room, sizeof *more.v);
    if (!more.v)
        return cn_fail_memory();
    for (uint64_t i = 0; i < s->room; i++)
        if (!cn_digest_is_zero(&s->v[i]))
            more.v[place(&more, &s->v[i])] = s->v[i];
    cn_free(s->v);
    *s = more;
    return CN_OK;
}

cn_err cn_keyset_add(cn_keyset *s, const cn_key *key) {
    if (s->n >= s->room / 4 * 3)
        CN_TRY(grow(s));
    s->v[place(s, key)] = *key;
    s->n++;
    return CN_OK;
}

void cn_keyset_done(cn_keyset *s) {
    cn_free(s->v);
    *s = (cn_keyset){0};
}
