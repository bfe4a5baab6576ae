#include "index/catalog/carry.h"

#include "index/catalog/inside.h"
#include "index/catalog/live.h"
#include "index/policy/policy.h"

#define ARENA ((size_t)4 << 30)

typedef struct carry {
    cn_tenant *t;
    const cn_seal *o;
    cn_segw **w;
    cn_policy *policy;
    const cn_index_info *ix;
    const cn_version *head;
    cn_living live;
    cn_arena a; /* of one document */
    uint32_t n;
} carry;

static bool removed(const cn_seal *o, const cn_key *key) {
    for (uint64_t i = 0; i < o->n_removed; i++)
        if (memcmp(&o->removed[i], key, sizeof *key) == 0)
            return true;
    return false;
}

static cn_err write_narrowed(carry *c, cn_seg *s, uint32_t doc, const cn_triple *left) {
    cn_doc d;
    CN_TRY(cn_seg_doc_full(s, doc, &c->a, &d));
    d.labels = *left;
    d.row = (cn_digest){{0}};
    if (!*c->w)
        CN_TRY(cn_segw_new(c->t, c->o->recipe->dim, c->w));
    CN_TRY(cn_segw_add(*c->w, &d));
    c->n++;
    return CN_OK;
}

static cn_err look(void *ctx, const cn_key *key) {
    carry *c = ctx;
    uint32_t part, doc;
    cn_triple row, left;
    bool narrowed;
    if ((*c->w && cn_segw_has(*c->w, key)) || !cn_live_find(&c->live, key, &part, &doc) || removed(c->o, key))
        return CN_OK;
    cn_seg *s = c->live.segs[part];
    if (cn_policy_row_erased(c->policy, key, cn_seg_get_id(s)))
        return CN_OK;
    cn_arena_reset(&c->a);
    CN_TRY(cn_seg_class(s, cn_seg_doc_class(s)[doc], &row));
    CN_TRY(cn_policy_narrowed(c->policy, c->ix->id, c->head->number, key, &row, &c->a, &left, &narrowed));
    return narrowed ? write_narrowed(c, s, doc, &left) : CN_OK;
}

static cn_err all(carry *c) {
    CN_TRY(cn_live_open(c->t, c->head, &c->live));
    cn_arena_init(&c->a, 1 << 16, ARENA);
    cn_err err = cn_policy_list_keys(c->policy, c->ix->id, c->head->number, look, c);
    cn_arena_done(&c->a);
    cn_live_close(&c->live);
    return err;
}

cn_err cn_carry_narrowed(cn_tenant *t, const cn_seal *o, cn_segw **io_w, uint32_t *ret_n, uint64_t *ret_head) {
    CN_CATALOG_ARENA(a);
    cn_index_info ix;
    cn_version *v;
    uint32_t n;
    CN_TRY(cn_version_state(t, o->index, &a, &ix, &v, &n));
    carry c = {.t = t, .o = o, .w = io_w, .ix = &ix, .head = cn_version_head_of(v, n)};
    *ret_n = 0;
    *ret_head = c.head ? c.head->number : 0;
    if (!c.head)
        return CN_OK;
    CN_TRY(cn_policy_load(t, &c.policy));
    cn_err err = all(&c);
    cn_policy_unref(c.policy);
    *ret_n = c.n;
    return err;
}
