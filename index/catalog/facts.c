#include "index/catalog/facts.h"

#include <stdlib.h>

#include "index/catalog/compact_inside.h"
#include "index/catalog/live.h"

#define LOOK 256 /* documents between two questions whether to go on */

static cn_err may_go_on(cn_go_on_fn *go_on, void *ctx, uint64_t documents) { return go_on && documents % LOOK == 0 ? go_on(ctx) : CN_OK; }

/* ---------- by itself ---------- */
typedef struct contents {
    cn_go_on_fn *go_on;
    void *ctx;
    uint64_t *v; /* the first bytes of each document's content digest; equal ones are one content, or, rarely, a chance */
    uint64_t n, room;
} contents;

static cn_err add_part(const cn_living *l, uint32_t part, contents *io) {
    cn_seg *seg = l->segs[part];
    for (uint32_t doc = 0; doc < cn_seg_docs(seg); doc++) {
        cn_doc d;
        if (roaring_bitmap_contains(l->dead[part], doc))
            continue;
        CN_TRY(may_go_on(io->go_on, io->ctx, doc));
        if (io->n == io->room)
            return cn_fail(CN_DAMAGED, "a version has more documents than its record says");
        CN_TRY(cn_seg_doc_brief(seg, doc, &d));
        memcpy(&io->v[io->n++], d.content.b, sizeof *io->v);
    }
    return cn_seg_sound(seg);
}

static int by_value(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static cn_err count_duplicates(const cn_living *l, uint64_t documents, cn_go_on_fn *go_on, void *ctx, uint64_t *ret) {
    CN_AUTO_FREE uint64_t *room = cn_alloc((documents + 1) * sizeof *room);
    contents c = {go_on, ctx, room, 0, documents};
    uint64_t twice = 0;
    if (!room)
        return cn_fail_memory();
    for (uint32_t p = 0; p < l->n; p++)
        CN_TRY(add_part(l, p, &c));
    if (c.n > 1)
        qsort(c.v, c.n, sizeof *c.v, by_value);
    for (uint64_t i = 1; i < c.n; i++)
        twice += c.v[i] == c.v[i - 1];
    *ret = twice;
    return CN_OK;
}

cn_err cn_version_facts(cn_tenant *t, cn_str index, uint64_t number, cn_go_on_fn *go_on, void *ctx, cn_facts *ret) {
    CN_CATALOG_ARENA(a);
    cn_version v;
    cn_living l = {0};
    CN_TRY(cn_version_get(t, index, number, &a, &v));
    cn_facts f = {.documents = v.counts.documents, .chunks = v.counts.chunks, .unlabelled = v.counts.unlabelled, .bytes = cn_files_bytes(t, &v.own)};
    for (uint32_t p = 0; p < v.n_parts; p++)
        f.bytes += cn_files_bytes(t, &v.parts[p].id);
    CN_TRY(cn_live_open(t, &v, &l));
    cn_err err = count_duplicates(&l, v.counts.documents, go_on, ctx, &f.duplicates);
    cn_live_close(&l);
    if (err == CN_OK)
        *ret = f;
    return err;
}

/* ---------- two of them ---------- */
static bool gives_more(const cn_triple *than, const cn_triple *x) {
    return !cn_labels_within(x->allow, than->allow) || !cn_labels_within(than->deny, x->deny) || !cn_labels_within(than->require, x->require);
}

typedef struct counting {
    cn_change c;
    cn_go_on_fn *go_on;
    void *ctx;
    uint64_t n;
} counting;

static cn_err count(void *ctx, enum cn_diff_kind kind, cn_str source, cn_str id, const cn_triple *before, const cn_triple *after) {
    counting *x = ctx;
    cn_change *c = &x->c;
    (void)source, (void)id;
    CN_TRY(may_go_on(x->go_on, x->ctx, x->n++));
    c->added += kind == CN_DIFF_ADDED;
    c->deleted += kind == CN_DIFF_DELETED;
    c->changed += kind == CN_DIFF_CHANGED;
    if (kind == CN_DIFF_CHANGED || kind == CN_DIFF_RELABELLED) {
        c->widened += gives_more(before, after);
        c->narrowed += gives_more(after, before);
    }
    return CN_OK;
}

cn_err cn_version_change(cn_tenant *t, cn_str index, uint64_t from, uint64_t to, cn_go_on_fn *go_on, void *ctx, cn_change *ret) {
    counting x = {.go_on = go_on, .ctx = ctx};
    CN_TRY(cn_version_diff(t, index, from, to, count, &x));
    *ret = x.c;
    return CN_OK;
}
