/* policy.c -- what the policy says of one document in one version. */
#include "index/policy/policy_inside.h"
#include "index/policy/glob.h"

static const cn_policy_doc *find_in(const cn_policy_block *b, const cn_key *key) {
    uint32_t lo = 0, hi = b ? b->n : 0;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        int c = memcmp(&b->v[mid].key, key, sizeof *key);
        if (c == 0)
            return &b->v[mid];
        if (c < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return NULL;
}

const cn_policy_doc *cn_policy_find(const cn_policy *p, const cn_key *key) { return find_in(p->blocks[key->b[0]], key); }

static const cn_gone *find_gone(const cn_gone_list *l, const cn_key *key) {
    uint32_t lo = 0, hi = l->n;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        int c = memcmp(&l->v[mid].key, key, sizeof *key);
        if (c == 0)
            return &l->v[mid];
        if (c < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return NULL;
}

/* A version's own list says nothing that its rows do not. */
static bool counts_for(const cn_gone_list *l, uint64_t index_id, const cn_version *v) {
    return v && l->index_id == index_id && l->number > v->lists_after && l->number != v->number;
}

/* What a list that cannot be read takes away is not known: the versions that it counts for are not shown. */
static cn_err all_whole(const cn_policy *p, uint64_t index_id, const cn_version *v) {
    for (uint32_t i = 0; p->n_broken && i < p->n_lists; i++)
        if (p->lists[i]->broken.n && counts_for(p->lists[i], index_id, v))
            return cn_fail(CN_DAMAGED, CN_STR_FMT, CN_STR_ARG(p->lists[i]->broken));
    return CN_OK;
}

static bool row_erased(const cn_policy_doc *d, const cn_seg_id *segment) {
    for (uint32_t i = 0; i < d->n_rows; i++)
        if (memcmp(&d->rows[i], segment, sizeof *segment) == 0)
            return true;
    return d->erased;
}

bool cn_policy_has_patterns(const cn_policy *p) { return p->n_patterns > 0; }

bool cn_policy_same_patterns(const cn_policy *p, const cn_policy *q) { /* both in the order of their keys */
    for (uint32_t i = 0; p->n_patterns == q->n_patterns && i < p->n_patterns; i++) {
        const cn_pattern *x = &p->patterns[i], *y = &q->patterns[i];
        if (!cn_str_eq(x->source, y->source) || !cn_str_eq(x->glob, y->glob) || (x->glob.p == NULL) != (y->glob.p == NULL))
            return false;
    }
    return p->n_patterns == q->n_patterns;
}

bool cn_pattern_fits(const cn_pattern *x, cn_str source, cn_str id) {
    return (x->source.n == 0 || cn_str_eq(x->source, source)) && (!x->glob.p || cn_glob_match(x->glob, id));
}

bool cn_policy_pattern_hides(const cn_policy *p, cn_str source, cn_str id) {
    for (uint32_t i = 0; i < p->n_patterns; i++)
        if (cn_pattern_fits(&p->patterns[i], source, id))
            return true;
    return false;
}

bool cn_policy_erased(const cn_policy *p, const cn_key *key) {
    const cn_policy_doc *d = cn_policy_find(p, key);
    return d && d->erased;
}

bool cn_policy_row_erased(const cn_policy *p, const cn_key *key, const cn_seg_id *segment) {
    const cn_policy_doc *d = cn_policy_find(p, key);
    return d && row_erased(d, segment);
}

cn_err cn_policy_doc_erased(const cn_policy *p, cn_seg *seg, uint32_t doc, bool *ret) {
    cn_key key;
    cn_digest leaf;
    cn_stub stub;
    CN_TRY(cn_seg_stub(seg, doc, ret, &stub));
    if (*ret)
        return CN_OK;
    CN_TRY(cn_seg_leaf(seg, doc, &key, &leaf));
    *ret = cn_policy_row_erased(p, &key, cn_seg_get_id(seg));
    return CN_OK;
}

static cn_err revoke(const cn_gone *g, cn_arena *a, cn_triple *t) {
    CN_TRY(cn_labels_minus(a, t->allow, g->gone.allow, &t->allow));
    CN_TRY(cn_labels_union(a, t->deny, g->gone.deny, &t->deny));
    return cn_labels_union(a, t->require, g->gone.require, &t->require);
}

/* Labels and state by the policy's own record of the document. */
static cn_err apply_doc(const cn_policy_doc *d, const cn_seg_id *segment, cn_arena *a, cn_effect *f, cn_said *said) {
    CN_TRY(cn_labels_union(a, f->labels.allow, d->granted, &f->labels.allow));
    CN_TRY(cn_labels_union(a, f->labels.deny, d->denied, &f->labels.deny));
    f->dead = d->hidden || row_erased(d, segment);
    f->touched = true;
    if (!said)
        return CN_OK;
    said->granted = d->granted;
    said->denied = d->denied;
    said->hidden = d->hidden;
    said->erased = d->erased;
    said->row_erased = !d->erased && row_erased(d, segment);
    return CN_OK;
}

/* said NULL: nobody wants to know why. */
static cn_err work_out(const cn_policy *p, uint64_t index_id, const cn_version *v, const cn_key *key, cn_str source, cn_str id, const cn_triple *row,
                       const cn_seg_id *segment, cn_arena *a, cn_effect *ret, cn_said *said) {
    cn_effect f = {.labels = *row};
    CN_TRY(all_whole(p, index_id, v));
    for (uint32_t i = 0; i < p->n_lists; i++) {
        const cn_gone *g = counts_for(p->lists[i], index_id, v) ? find_gone(p->lists[i], key) : NULL;
        if (g)
            CN_TRY(revoke(g, a, &f.labels));
        if (g && said)
            said->lists[said->n_lists++] = (cn_said_list){p->lists[i]->number, &g->gone};
        f.touched |= g != NULL;
    }
    const cn_policy_doc *d = cn_policy_find(p, key);
    if (d)
        CN_TRY(apply_doc(d, segment, a, &f, said));
    if (cn_policy_pattern_hides(p, source, id))
        f.dead = f.touched = true;
    *ret = f;
    return CN_OK;
}

cn_err cn_policy_effect(const cn_policy *p, uint64_t index_id, const cn_version *v, const cn_key *key, cn_str source, cn_str id,
                        const cn_triple *row, const cn_seg_id *segment, cn_arena *a, cn_effect *ret) {
    return work_out(p, index_id, v, key, source, id, row, segment, a, ret, NULL);
}

cn_err cn_policy_explain(const cn_policy *p, uint64_t index_id, const cn_version *v, const cn_key *key, cn_str source, cn_str id,
                         const cn_triple *row, const cn_seg_id *segment, cn_arena *a, cn_effect *ret, cn_said *ret_said) {
    cn_said said = {.lists = cn_arena_zalloc(a, p->n_lists + 1u, sizeof *said.lists),
                    .patterns = cn_arena_zalloc(a, p->n_patterns + 1u, sizeof *said.patterns)};
    if (!said.lists || !said.patterns)
        return cn_fail_memory();
    CN_TRY(work_out(p, index_id, v, key, source, id, row, segment, a, ret, &said));
    for (uint32_t i = 0; i < p->n_patterns; i++)
        if (cn_pattern_fits(&p->patterns[i], source, id))
            said.patterns[said.n_patterns++] = &p->patterns[i];
    *ret_said = said;
    return CN_OK;
}

/* ---------- all documents ---------- */
typedef cn_err doc_fn(void *ctx, const cn_policy_doc *d);

static cn_err each_in(const cn_policy_block *b, doc_fn *fn, void *ctx) {
    for (uint32_t i = 0; b && i < b->n; i++)
        CN_TRY(fn(ctx, &b->v[i]));
    return CN_OK;
}

static cn_err each_doc(const cn_policy *p, doc_fn *fn, void *ctx) {
    for (uint32_t b = 0; b < CN_POLICY_BLOCKS; b++)
        CN_TRY(each_in(p->blocks[b], fn, ctx));
    return CN_OK;
}

typedef struct erasures {
    const cn_policy *before;
    cn_erasure_fn *fn;
    void *ctx;
} erasures;

static cn_err erasure(void *ctx, const cn_policy_doc *d) {
    const erasures *e = ctx;
    return d->erased || d->n_rows ? e->fn(e->ctx, &(cn_erasure){d->key, d->source, d->id, d->erased, d->erased_us}) : CN_OK;
}

cn_err cn_policy_erasures(const cn_policy *p, cn_erasure_fn *fn, void *ctx) { return each_doc(p, erasure, &(erasures){.fn = fn, .ctx = ctx}); }

static bool same_rows(const cn_policy_doc *a, const cn_policy_doc *b) {
    return a->n_rows == b->n_rows && (a->n_rows == 0 || memcmp(a->rows, b->rows, a->n_rows * sizeof *a->rows) == 0);
}

static bool same_erasure(const cn_policy_doc *a, const cn_policy_doc *b) {
    if (a->erased != b->erased || a->erased_us != b->erased_us)
        return false;
    return a->erased_us != CN_NO_TIME || same_rows(a, b); /* a version sealed later may have added rows to one and the same */
}

static cn_err restored(void *ctx, const cn_policy_doc *d) {
    const erasures *e = ctx;
    const cn_policy_doc *was = e->before ? cn_policy_find(e->before, &d->key) : NULL;
    if (d->erased || (d->n_rows == 0 && d->erased_us == CN_NO_TIME) || (was && same_erasure(was, d)))
        return CN_OK;
    return e->fn(e->ctx, &(cn_erasure){d->key, d->source, d->id, false, d->erased_us});
}

cn_err cn_policy_restored_since(const cn_policy *now, const cn_policy *before, cn_erasure_fn *fn, void *ctx) {
    return before && cn_sum_same(&now->sum, &before->sum) ? CN_OK : each_doc(now, restored, &(erasures){before, fn, ctx});
}

/* ---------- what came between two policies ---------- */
/* The next list from i on that counts for the version; NULL: no more. */
static const cn_gone_list *next_list(const cn_policy *p, uint32_t *i, uint64_t index_id, const cn_version *v) {
    while (*i < p->n_lists && !counts_for(p->lists[*i], index_id, v))
        ++*i;
    return *i < p->n_lists ? p->lists[(*i)++] : NULL;
}

cn_digest cn_policy_lists(const cn_policy *p, uint64_t index_id, const cn_version *v) {
    cn_sha256 s;
    cn_sha256_begin(&s);
    const cn_gone_list *x;
    for (uint32_t i = 0; (x = next_list(p, &i, index_id, v));) /* what it says is its version's, wherever compaction has put it */
        cn_sha256_add(&s, &x->number, sizeof x->number);
    cn_digest d = cn_sha256_get(&s);
    cn_sha256_end(&s);
    return d;
}

bool cn_policy_follows(const cn_policy *now, const cn_policy *before, uint64_t index_id, const cn_version *v) {
    const cn_gone_list *x, *y;
    uint32_t i = 0, k = 0;
    if (!cn_policy_same_patterns(now, before))
        return false;
    do {
        x = next_list(now, &i, index_id, v);
        y = next_list(before, &k, index_id, v);
    } while (x && x == y && !x->broken.n);
    return !x && !y;
}

static bool same_doc(const cn_policy_doc *a, const cn_policy_doc *b) {
    return a->hidden == b->hidden && a->erased == b->erased && same_rows(a, b) && cn_labels_eq(a->granted, b->granted) && cn_labels_eq(a->denied, b->denied);
}

typedef struct compare {
    const cn_policy_block *other;
    bool lacking;          /* only those that the other lacks */
    cn_policy_key_fn *fn;
    void *ctx;
} compare;

static cn_err differs(void *ctx, const cn_policy_doc *d) {
    const compare *c = ctx;
    const cn_policy_doc *o = find_in(c->other, &d->key);
    return o && (c->lacking || same_doc(o, d)) ? CN_OK : c->fn(c->ctx, &d->key);
}

cn_err cn_policy_changed(const cn_policy *now, const cn_policy *before, cn_policy_key_fn *fn, void *ctx) {
    for (uint32_t b = 0; b < CN_POLICY_BLOCKS; b++) {
        const cn_policy_block *x = now->blocks[b], *y = before->blocks[b];
        if (x == y)
            continue;
        CN_TRY(each_in(x, differs, &(compare){y, false, fn, ctx}));
        CN_TRY(each_in(y, differs, &(compare){x, true, fn, ctx}));
    }
    return CN_OK;
}

cn_digest cn_policy_digest(const cn_policy *p) { return p->sum.digest; }

cn_err cn_policy_current(const cn_policy *p, MDB_txn *txn, MDB_dbi policy, bool *ret) {
    cn_sum now;
    CN_TRY(cn_sum_get(txn, policy, CN_POLICY_WHAT, &now));
    *ret = cn_sum_same(&now, &p->sum);
    return CN_OK;
}

static cn_err may_erase(void *ctx, cn_str key, cn_str value, bool *stop) {
    CN_CLEANUP(cn_arena_done) cn_arena a;
    cn_policy_doc d;
    cn_key k;
    cn_arena_init(&a, 1024, (size_t)1 << 30);
    bool read = key.n == 1 + sizeof k && cn_policy_doc_read(value, memcpy(&k, key.p + 1, sizeof k), &a, &d) == CN_OK;
    *(bool *)ctx = *stop = !read || d.erased || d.erased_us != CN_NO_TIME || d.n_rows;
    return CN_OK;
}

cn_err cn_policy_may_erase(MDB_txn *txn, MDB_dbi policy, bool *ret) {
    bool any = false;
    CN_TRY(cn_db_each(txn, policy, CN_STR("d"), may_erase, &any));
    *ret = any;
    return CN_OK;
}

cn_err cn_policy_narrowed(const cn_policy *p, uint64_t index_id, const cn_version *v, const cn_key *key, const cn_triple *row, cn_arena *a, cn_triple *ret,
                          bool *ret_narrowed) {
    cn_triple left = *row;
    CN_TRY(all_whole(p, index_id, v));
    for (uint32_t i = 0; i < p->n_lists; i++) {
        const cn_gone *g = counts_for(p->lists[i], index_id, v) ? find_gone(p->lists[i], key) : NULL;
        if (g)
            CN_TRY(revoke(g, a, &left));
    }
    *ret_narrowed = left.allow.n != row->allow.n || left.deny.n != row->deny.n || left.require.n != row->require.n;
    *ret = left;
    return CN_OK;
}

cn_err cn_policy_list_keys(const cn_policy *p, uint64_t index_id, const cn_version *v, cn_policy_key_fn *fn, void *ctx) {
    CN_TRY(all_whole(p, index_id, v));
    for (uint32_t i = 0; i < p->n_lists; i++)
        for (uint32_t k = 0; counts_for(p->lists[i], index_id, v) && k < p->lists[i]->n; k++)
            CN_TRY(fn(ctx, &p->lists[i]->v[k].key));
    return CN_OK;
}

typedef struct keys {
    cn_policy_key_fn *fn;
    void *ctx;
} keys;

static cn_err key_of(void *ctx, const cn_policy_doc *d) {
    const keys *k = ctx;
    return k->fn(k->ctx, &d->key);
}

cn_err cn_policy_keys(const cn_policy *p, uint64_t index_id, const cn_version *v, cn_policy_key_fn *fn, void *ctx) {
    CN_TRY(each_doc(p, key_of, &(keys){fn, ctx}));
    return cn_policy_list_keys(p, index_id, v, fn, ctx);
}
