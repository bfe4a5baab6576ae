#include "ingest/distill/sample.h"

#include <stdlib.h>

#include "engine/base/mem.h"

cn_err cn_sample_init(cn_sample *s, uint32_t most) {
    CN_ASSERT(most > 0 && most <= UINT32_MAX / 2);
    *s = (cn_sample){.most = most, .room = most * 2};
    s->v = cn_calloc(s->room, sizeof *s->v);
    return s->v ? CN_OK : cn_fail_memory();
}

static void drop(cn_sampled *x) {
    cn_free((void *)(uintptr_t)x->text.p);
    x->text.p = NULL;
}

void cn_sample_done(cn_sample *s) {
    for (uint32_t i = 0; i < s->n; i++)
        drop(&s->v[i]);
    cn_free(s->v);
    *s = (cn_sample){0};
}

static int by_digest(const void *a, const void *b) { return memcmp(a, b, sizeof(cn_digest)); }

void cn_sample_close(cn_sample *s) {
    uint32_t kept = 0;
    qsort(s->v, s->n, sizeof *s->v, by_digest);
    for (uint32_t i = 0; i < s->n; i++) {
        if (kept == s->most || (kept && cn_digest_eq(&s->v[i].digest, &s->v[kept - 1].digest)))
            drop(&s->v[i]);
        else
            s->v[kept++] = s->v[i];
    }
    s->n = kept;
    s->full = kept == s->most;
    if (s->full)
        s->bar = s->v[kept - 1].digest;
}

cn_err cn_sample_add(cn_sample *s, cn_str text) {
    cn_digest d = cn_sha256_of(text.p, text.n);
    s->offered++;
    if (s->full && memcmp(&d, &s->bar, sizeof d) >= 0)
        return CN_OK;
    if (s->n == s->room)
        cn_sample_close(s);
    char *copy = cn_strdup_n(text.p, text.n);
    if (!copy)
        return cn_fail_memory();
    s->v[s->n++] = (cn_sampled){d, {copy, text.n}};
    return CN_OK;
}

cn_digest cn_sample_digest(const cn_sample *s) {
    cn_sha256 sha;
    cn_sha256_begin(&sha);
    cn_sha256_field(&sha, CN_STR("cairn passages/1"));
    for (uint32_t i = 0; i < s->n; i++)
        cn_sha256_add(&sha, s->v[i].digest.b, sizeof s->v[i].digest.b);
    cn_digest digest = cn_sha256_get(&sha);
    cn_sha256_end(&sha);
    return digest;
}
