/* The catalog against the model: pointer, hold and marks of each version, and what two versions differ in. */
#include <stdio.h>

#include "tests/index/world.h"

#define MARKS (CN_MARK_SUSPECT | CN_MARK_QUARANTINED | CN_MARK_PINNED | CN_MARK_DROPPED | CN_MARK_EVER_ACTIVE)

static void look_at_versions(w_world *w, const w_index *ix) {
    cn_index_info info;
    cn_version *v, head;
    uint32_t n, good = 0;
    if (cn_index_get(w->t, cn_str_of(ix->name), &w->a, &info) != CN_OK || cn_version_list(w->t, cn_str_of(ix->name), &w->a, &v, &n) != CN_OK) {
        w_wrong(w, "the catalog: %s", cn_error_detail());
        return;
    }
    if (info.active != ix->active || info.newest != ix->n || info.hold != ix->hold || n != ix->n)
        w_wrong(w, "active %llu, newest %llu, hold %d; the model says %u, %u, %d", (unsigned long long)info.active, (unsigned long long)info.newest,
                info.hold, ix->active, ix->n, ix->hold);
    for (uint32_t i = 0; i < n && n == ix->n; i++) {
        const w_version *m = &ix->v[i + 1];
        uint64_t docs = 0;
        for (uint32_t d = 0; d < W_DOCS; d++)
            docs += m->row[d] != NULL;
        if ((v[i].marks & MARKS) != (m->marks & MARKS) || v[i].before_active != m->before || v[i].counts.documents != docs)
            w_wrong(w, "version %u: marks %x before %llu documents %llu; the model says %x, %u, %llu", i + 1, v[i].marks,
                    (unsigned long long)v[i].before_active, (unsigned long long)v[i].counts.documents, m->marks, m->before, (unsigned long long)docs);
        if (!(m->marks & (CN_MARK_SUSPECT | CN_MARK_QUARANTINED | CN_MARK_DROPPED)))
            good = i + 1;
    }
    cn_err e = cn_version_head(w->t, cn_str_of(ix->name), &w->a, &head);
    if (good ? e != CN_OK || head.number != good : e != CN_NOT_FOUND)
        w_wrong(w, "the head is not version %u", good);
}

typedef struct differ {
    w_world *w;
    const w_version *from, *to;
    bool seen[W_DOCS];
} differ;

static enum cn_diff_kind kind_of(const w_row *x, const w_row *y) {
    if (!x || !y)
        return x ? CN_DIFF_DELETED : CN_DIFF_ADDED;
    o_doc d = y->d;
    d.allow = x->d.allow, d.deny = x->d.deny, d.require = x->d.require;
    return memcmp(&d, &x->d, sizeof d) == 0 ? CN_DIFF_RELABELLED : CN_DIFF_CHANGED;
}

static cn_err differs(void *ctx, enum cn_diff_kind kind, cn_str source, cn_str id, const cn_triple *before, const cn_triple *after) {
    differ *d = ctx;
    uint32_t doc = w_number(id);
    const w_row *x = w_whole(d->from->row[doc]), *y = w_whole(d->to->row[doc]);
    (void)source;
    if (d->seen[doc] || (!x && !y) || kind != kind_of(x, y))
        w_wrong(d->w, "document %u is told as %d", doc, kind);
    else if (before->allow.n != (x ? (uint32_t)__builtin_popcount(x->d.allow) : 0) || after->deny.n != (y ? (uint32_t)__builtin_popcount(y->d.deny) : 0))
        w_wrong(d->w, "document %u: its labels are told wrong", doc);
    d->seen[doc] = true;
    return CN_OK;
}

/* day and modified are in no digest of the model's rows but the leaf's metadata: rows that differ in nothing else stay equal. */
static bool leaf_differs(const w_row *x, const w_row *y) {
    if (!x || !y)
        return x != y;
    o_doc a = x->d, b = y->d;
    a.day = b.day = 0;
    return memcmp(&a, &b, sizeof a) != 0;
}

static void look_at_diff(w_world *w, const w_index *ix) {
    uint32_t m = 1 + o_below(&w->r, ix->n), n = 1 + o_below(&w->r, ix->n);
    differ d = {.w = w, .from = &ix->v[m], .to = &ix->v[n]};
    bool gone = (d.from->marks | d.to->marks) & CN_MARK_DROPPED;
    cn_err e = cn_version_diff(w->t, cn_str_of(ix->name), m, n, differs, &d);
    if (e != (gone ? CN_NOT_FOUND : CN_OK))
        w_wrong(w, "diff of %u and %u: %s %s", m, n, cn_err_name(e), cn_error_detail());
    for (uint32_t i = 0; !gone && i < W_DOCS; i++)
        if (leaf_differs(d.from->row[i], d.to->row[i]) && (w_whole(d.from->row[i]) || w_whole(d.to->row[i])) && !d.seen[i])
            w_wrong(w, "diff of %u and %u leaves out document %u", m, n, i);
}

void w_look_catalog(w_world *w) {
    const w_index *ix = &w->ix[o_below(&w->r, W_INDEXES)];
    cn_arena_reset(&w->a);
    look_at_versions(w, ix);
    if (ix->n)
        look_at_diff(w, ix);
}
