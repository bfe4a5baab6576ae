#include "ingest/source/meta.h"

#include <stdlib.h>

#include "engine/base/mem.h"

void cn_meta_init(cn_meta *m) {
    *m = (cn_meta){0};
    cn_buf_init(&m->values, 4 * CN_META_MAX);
}

void cn_meta_done(cn_meta *m) {
    cn_buf_done(&m->values);
    cn_free(m->entries);
    m->entries = NULL;
}

void cn_meta_reset(cn_meta *m) {
    cn_buf_reset(&m->values);
    m->n = 0;
}

cn_err cn_meta_key(cn_meta *m, cn_str key) {
    if (key.n == 0 || key.n > CN_META_KEY_MAX)
        return cn_fail(CN_INVALID, "a key of metadata has 1 to %d bytes, not %zu", CN_META_KEY_MAX, key.n);
    if (m->n == CN_META_KEYS)
        return cn_fail(CN_INVALID, "metadata may have %d keys", CN_META_KEYS);
    if (m->n == m->room) {
        uint32_t room = m->room ? m->room * 2 : 16;
        cn_meta_entry *more = cn_realloc(m->entries, room * sizeof *more);
        if (!more)
            return cn_fail_memory();
        m->entries = more;
        m->room = room;
    }
    if (m->n)
        m->entries[m->n - 1].to = m->values.n;
    m->entries[m->n++] = (cn_meta_entry){.key = key, .from = m->values.n};
    return CN_OK;
}

static int by_key(const void *a, const void *b) {
    return cn_str_cmp(((const cn_meta_entry *)a)->key, ((const cn_meta_entry *)b)->key);
}

static cn_err pack(cn_meta *m, cn_buf *out) {
    cn_pack_map(out, m->n);
    for (uint32_t i = 0; i < m->n; i++) {
        const cn_meta_entry *e = &m->entries[i];
        if (i && cn_str_eq(e->key, e[-1].key))
            return cn_fail(CN_INVALID, "the key \"" CN_STR_FMT "\" stands there twice", CN_STR_ARG(e->key));
        cn_pack_str(out, e->key);
        cn_buf_add(out, m->values.p + e->from, e->to - e->from);
    }
    if (out->failed || m->values.failed)
        return cn_fail(CN_INVALID, "metadata is over the limit of %d bytes", CN_META_MAX);
    return CN_OK;
}

cn_err cn_meta_close(cn_meta *m, cn_arena *a, cn_str *ret) {
    if (m->n == 0) {
        *ret = CN_STR("");
        return CN_OK;
    }
    m->entries[m->n - 1].to = m->values.n;
    qsort(m->entries, m->n, sizeof *m->entries, by_key);
    CN_AUTO_BUF cn_buf out;
    cn_buf_init(&out, CN_META_MAX);
    CN_TRY(pack(m, &out));
    cn_str kept = cn_arena_str(a, cn_buf_str(&out));
    if (!kept.p)
        return cn_fail_memory();
    *ret = kept;
    return CN_OK;
}
