/* compact_pick.c -- which files belong into one: the rule that compact.h states, on numbers alone. */
#include <stdlib.h>

#include "engine/base/mem.h"
#include "index/catalog/compact_inside.h"
#include "index/store/segment_format.h"

typedef struct group {
    cn_candidate sum;
    uint32_t members, first; /* first: the candidate that it began with */
    uint64_t *keys;      /* sorted */
    uint64_t n_keys;
} group;

typedef struct picking {
    const cn_candidate *c;
    bool tiers;
    group *groups;
    uint32_t n_groups;
} picking;

static int by_size(const void *a, const void *b, void *ctx) {
    const cn_candidate *c = ctx, *x = &c[*(const uint32_t *)a], *y = &c[*(const uint32_t *)b];
    if (x->bytes != y->bytes)
        return x->bytes < y->bytes ? -1 : 1;
    return *(const uint32_t *)a < *(const uint32_t *)b ? -1 : 1;
}

/* Of 1 to 7 rows the lowest, then of 8 to 63, and so on. */
static unsigned tier(uint32_t rows) {
    unsigned t = 0;
    for (; rows >= CN_COMPACT_TIER; rows /= CN_COMPACT_TIER)
        t++;
    return t;
}

static bool is_alike(const picking *p, const group *g, const cn_candidate *c) {
    if (p->tiers)
        return tier(p->c[g->first].rows) == tier(c->rows);
    return c->bytes <= CN_COMPACT_SMALL || c->bytes <= 2 * g->sum.bytes;
}

static bool fits(const picking *p, const group *g, const cn_candidate *c) {
    const cn_candidate *s = &g->sum;
    return s->space == c->space && is_alike(p, g, c) && s->bytes + c->bytes <= CN_COMPACT_MOST &&
           (uint64_t)s->docs + c->docs <= CN_SEGMENT_ROWS_MAX && (uint64_t)s->rows + c->rows <= CN_SEGMENT_ROWS_MAX &&
           s->sources + c->sources <= CN_SOURCES_MAX && s->class_bytes + c->class_bytes <= CN_CLASS_BYTES_MAX;
}

static bool disjoint(const group *g, const uint64_t *v, uint32_t n) {
    uint64_t i = 0;
    for (uint32_t j = 0; j < n && i < g->n_keys; j++) {
        while (i < g->n_keys && g->keys[i] < v[j])
            i++;
        if (i < g->n_keys && g->keys[i] == v[j])
            return false;
    }
    return true;
}

/* From the back, so that it needs no second place. */
static cn_err add_keys(group *g, const uint64_t *v, uint32_t n) {
    uint64_t i = g->n_keys, j = n, out = g->n_keys + n;
    if (!cn_resize(g->keys, out + 1))
        return cn_fail_memory();
    uint64_t *all = g->keys;
    g->n_keys = out;
    while (j > 0)
        all[--out] = i > 0 && all[i - 1] > v[j - 1] ? all[--i] : v[--j];
    return CN_OK;
}

static cn_err join(group *g, const cn_candidate *c, const uint64_t *v, uint32_t n) {
    CN_TRY(add_keys(g, v, n));
    g->sum.bytes += c->bytes;
    g->sum.class_bytes += c->class_bytes;
    g->sum.docs += c->docs;
    g->sum.rows += c->rows;
    g->sum.sources += c->sources;
    g->sum.space = c->space;
    g->sum.must |= c->must;
    g->members++;
    return CN_OK;
}

static cn_err place(picking *p, uint32_t i, const uint64_t *v, uint32_t n, uint32_t *ret) {
    uint32_t g = 0;
    while (g < p->n_groups && !(fits(p, &p->groups[g], &p->c[i]) && disjoint(&p->groups[g], v, n)))
        g++;
    if (g == p->n_groups)
        p->groups[g].first = i;
    CN_TRY(join(&p->groups[g], &p->c[i], v, n));
    p->n_groups += g == p->n_groups;
    *ret = g;
    return CN_OK;
}

/* Neither to be rewritten alone nor one of enough that are alike: its keys, which may be many, need not be read. */
static bool stays(const picking *p, uint32_t n, uint32_t i) {
    const cn_candidate *c = p->c;
    uint32_t alike = 0;
    for (uint32_t k = 0; p->tiers && k < n; k++)
        alike += !c[k].stays && c[k].space == c[i].space && tier(c[k].rows) == tier(c[i].rows);
    return c[i].stays || (p->tiers && !c[i].must && alike < CN_COMPACT_TIER);
}

/* Numbers the groups that are made, and lets the others stay as they are. */
static uint32_t number(const picking *p, uint32_t n, uint32_t *group_of) {
    uint32_t made = 0;
    for (uint32_t g = 0; g < p->n_groups; g++) {
        bool is = p->groups[g].members >= (p->tiers ? CN_COMPACT_TIER : 2) || p->groups[g].sum.must;
        for (uint32_t i = 0; i < n; i++)
            if (group_of[i] == n + g)
                group_of[i] = is ? made : CN_STAYS;
        made += is;
    }
    return made;
}

cn_err cn_compact_pick(const cn_candidate *c, uint32_t n, bool tiers, cn_keys_fn *keys, void *ctx, uint32_t *ret_group, uint32_t *ret_groups) {
    CN_AUTO_FREE uint32_t *order = cn_calloc(n + 1ull, sizeof *order);
    CN_AUTO_FREE group *groups = cn_calloc(n + 1ull, sizeof *groups);
    picking p = {c, tiers, groups, 0};
    if (!order || !groups)
        return cn_fail_memory();
    for (uint32_t i = 0; i < n; i++)
        order[i] = i;
    if (n > 1)
        qsort_r(order, n, sizeof *order, by_size, (void *)(uintptr_t)c);
    cn_err e = CN_OK;
    for (uint32_t i = 0; e == CN_OK && i < n; i++) {
        CN_AUTO_FREE uint64_t *v = NULL;
        uint32_t n_keys = 0;
        ret_group[order[i]] = CN_STAYS;
        if (stays(&p, n, order[i]))
            continue;
        e = keys(ctx, order[i], &v, &n_keys);
        if (e == CN_OK)
            e = place(&p, order[i], v, n_keys, &ret_group[order[i]]);
        ret_group[order[i]] += n; /* apart from the numbers given in the end */
    }
    for (uint32_t g = 0; g < n; g++)
        cn_free(groups[g].keys);
    CN_TRY(e);
    *ret_groups = number(&p, n, ret_group);
    return CN_OK;
}
