#include "index/catalog/carry.h"

#include <stdlib.h>

#include "engine/base/mem.h"
#include "index/catalog/inside.h"

#define ARENA ((size_t)4 << 30)

typedef struct work {
    const cn_carry *c;
    cn_segw *w;
    cn_key *removed; /* in order */
    cn_arena a;      /* of one document */
} work;

static int by_key(const void *a, const void *b) { return memcmp(a, b, sizeof(cn_key)); }

static cn_err sort_removed(work *k) {
    uint64_t n = k->c->seal->n_removed;
    k->removed = cn_alloc((n + 1) * sizeof *k->removed);
    if (!k->removed)
        return cn_fail_memory();
    if (n) {
        memcpy(k->removed, k->c->seal->removed, n * sizeof *k->removed);
        qsort(k->removed, n, sizeof *k->removed, by_key);
    }
    return CN_OK;
}

static bool removed(const work *k, const cn_key *key) { return bsearch(key, k->removed, k->c->seal->n_removed, sizeof *key, by_key); }

static cn_err write_narrowed(work *k, cn_seg *s, uint32_t doc, const cn_triple *left) {
    cn_doc d;
    CN_TRY(cn_seg_doc_full(s, doc, &k->a, &d));
    d.labels = *left;
    d.row = (cn_digest){{0}};
    if (!k->w)
        CN_TRY(cn_segw_new(k->c->t, k->c->seal->recipe->dim, &k->w));
    return cn_segw_add(k->w, &d);
}

static cn_err look(void *ctx, const cn_key *key) {
    work *k = ctx;
    const cn_carry *c = k->c;
    uint32_t part, doc, written;
    cn_triple row, left;
    bool narrowed;
    if ((c->written && cn_seg_find(c->written, key, &written)) || (k->w && cn_segw_has(k->w, key)) || !cn_live_find(c->base, key, &part, &doc) ||
        removed(k, key))
        return CN_OK;
    cn_seg *s = c->base->segs[part];
    if (cn_policy_row_erased(c->policy, key, cn_seg_get_id(s)))
        return CN_OK;
    cn_arena_reset(&k->a);
    CN_TRY(cn_seg_class(s, cn_seg_doc_class(s)[doc], &row));
    CN_TRY(cn_policy_narrowed(c->policy, c->index_id, c->head, key, &row, &k->a, &left, &narrowed));
    return narrowed ? write_narrowed(k, s, doc, &left) : CN_OK;
}

cn_err cn_carry_narrowed(const cn_carry *c, cn_segw **ret_w) {
    work k = {.c = c};
    *ret_w = NULL;
    if (!c->head)
        return CN_OK;
    cn_arena_init(&k.a, 1 << 16, ARENA);
    cn_err err = sort_removed(&k);
    if (err == CN_OK)
        err = cn_policy_list_keys(c->policy, c->index_id, c->head, look, &k);
    cn_free(k.removed);
    cn_arena_done(&k.a);
    *ret_w = k.w;
    return err;
}
