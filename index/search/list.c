/* list.c -- permitted documents of a pinned version by (source, id), a page at a time: each part of it is walked in that order, from
 * where the page before ended, so that a crawl of all pages looks at each document about once. */
#include <stdlib.h>

#include "engine/base/mem.h"
#include "index/search/view_inside.h"

typedef struct listed {
    cn_str source, id;
    cn_seg *seg;
    uint32_t doc;
} listed;

static int by_name(const void *a, const void *b) {
    const listed *x = a, *y = b;
    int c = cn_str_cmp(x->source, y->source);
    return c ? c : cn_str_cmp(x->id, y->id);
}

/* The first `room` by name of all that were added, as a heap with the last of them on top. */
typedef struct first_few {
    listed *v;
    uint32_t n, room;
} first_few;

static void sink(first_few *f) {
    for (uint32_t i = 0, child; (child = 2 * i + 1) < f->n; i = child) {
        child += child + 1 < f->n && by_name(&f->v[child], &f->v[child + 1]) < 0;
        if (by_name(&f->v[i], &f->v[child]) >= 0)
            return;
        listed x = f->v[i];
        f->v[i] = f->v[child];
        f->v[child] = x;
    }
}

static void rise(first_few *f, uint32_t i) {
    for (uint32_t up; i > 0 && by_name(&f->v[up = (i - 1) / 2], &f->v[i]) < 0; i = up) {
        listed x = f->v[i];
        f->v[i] = f->v[up];
        f->v[up] = x;
    }
}

static void add_few(first_few *f, const listed *x) {
    if (f->n < f->room) {
        f->v[f->n] = *x;
        rise(f, f->n++);
    } else if (by_name(x, &f->v[0]) < 0) {
        f->v[0] = *x;
        sink(f);
    }
}

typedef struct lister {
    cn_view *v;
    const cn_principal *who;
    cn_str source;      /* empty: of any */
    listed last;        /* what is listed comes behind it */
    uint64_t deadline_ns;
    first_few few;
} lister;

/* May be read, is of the source and comes behind the last: *ret is it, and *ret_is true. */
static cn_err look_at(lister *l, uint32_t part, uint32_t doc, listed *ret, bool *ret_is) {
    cn_seg *s = l->v->parts[part].seg;
    cn_doc d;
    CN_TRY(cn_permit_doc(l->v, part, doc, l->who, ret_is));
    if (!*ret_is)
        return CN_OK;
    CN_TRY(cn_seg_doc_brief(s, doc, &d));
    *ret = (listed){d.source, d.id, s, doc};
    *ret_is = (!l->source.n || cn_str_eq(l->source, d.source)) && by_name(ret, &l->last) > 0;
    return CN_OK;
}

/* Where those behind the last begin. */
static cn_err begin_at(const lister *l, cn_seg *s, const uint32_t *order, uint32_t n, uint32_t *ret) {
    uint32_t lo = 0, hi = n;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        cn_doc d;
        CN_TRY(cn_seg_doc_brief(s, order[mid], &d));
        if (by_name(&(listed){d.source, d.id, s, order[mid]}, &l->last) > 0)
            hi = mid;
        else
            lo = mid + 1;
    }
    *ret = lo;
    return CN_OK;
}

static cn_err list_part(lister *l, uint32_t part) {
    cn_seg *s = l->v->parts[part].seg;
    const uint32_t *order;
    uint32_t named, docs = cn_seg_docs(s), i;
    bool over = false;
    CN_TRY(cn_seg_by_name(s, &order, &named));
    CN_TRY(begin_at(l, s, order, named, &i));
    for (; i < docs; i = over && i < named ? named : i + 1) {
        bool is;
        listed here = {0};
        CN_TRY(cn_in_time(i, l->deadline_ns));
        CN_TRY(look_at(l, part, order[i], &here, &is));
        if (is)
            add_few(&l->few, &here);
        /* The rest of those in order comes behind this one: too late for the page, or of another source. */
        over = here.seg && (is ? l->few.n == l->few.room && by_name(&here, &l->few.v[0]) >= 0 : by_name(&here, &l->last) > 0);
    }
    return CN_OK;
}

cn_err cn_view_docs(cn_view *v, const cn_principal *who, cn_str source, const cn_place_after *after, uint32_t n, uint64_t deadline_ns,
                    cn_err (*fn)(void *ctx, cn_seg *seg, uint32_t doc), void *ctx) {
    CN_AUTO_FREE listed *list = cn_calloc(n + 1u, sizeof *list);
    const listed begin = {.source = source};
    lister l = {v, who, source, {.source = after->id.n ? after->source : (cn_str){0}, .id = after->id}, deadline_ns, {list, 0, n}};
    if (!list || !n)
        return list ? CN_OK : cn_fail_memory();
    if (by_name(&begin, &l.last) > 0)
        l.last = begin;
    for (uint32_t i = 0; i < v->n_parts; i++)
        CN_TRY(list_part(&l, i));
    CN_TRY(cn_view_sound(v));
    if (l.few.n)
        qsort(list, l.few.n, sizeof *list, by_name);
    for (uint32_t i = 0; i < l.few.n; i++)
        CN_TRY(fn(ctx, list[i].seg, list[i].doc));
    return CN_OK;
}
