#include "index/catalog/holding.h"

#include <stdio.h>
#include <stdlib.h>

#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "index/catalog/index.h"
#include "index/catalog/live.h"
#include "index/control/records.h"
#include "index/policy/glob.h"

#define LOOK 256 /* documents between two looks at the clock */

/* ---------- what could not be looked at ---------- */
static void note(cn_holding *h, cn_err e) {
    if (e != CN_OK && !h->why[0])
        snprintf(h->why, sizeof h->why, "%s", cn_error_detail());
    h->over |= e == CN_DEADLINE || e == CN_OVERLOADED;
}

static bool over(cn_holding *h) {
    if (!h->over && cn_mono_ns() > h->deadline_ns)
        note(h, cn_fail(CN_DEADLINE, "the time for looking was up"));
    return h->over;
}

/* ---------- opening ---------- */
static cn_holding_part *part_of(cn_holding *h, const cn_seg *seg) {
    for (uint32_t i = h->n; i-- > 0;)
        if (h->v[i].seg == seg)
            return &h->v[i];
    return NULL;
}

static cn_err add_part(cn_holding *h, cn_seg *seg, const roaring_bitmap_t *dead) {
    cn_holding_part *p = part_of(h, seg);
    if (p) {
        roaring_bitmap_and_inplace(p->dead, dead);
        return CN_OK;
    }
    if (!cn_grow(h->v, h->n, h->room))
        return cn_fail_memory();
    roaring_bitmap_t *copy = roaring_bitmap_copy(dead);
    if (!copy)
        return cn_fail_memory();
    h->v[h->n++] = (cn_holding_part){cn_seg_ref(seg), copy};
    return CN_OK;
}

static cn_err add_version(cn_holding *h, cn_tenant *t, const cn_version *v) {
    cn_living live = {0};
    CN_TRY(cn_live_open(t, v, &live));
    cn_err e = CN_OK;
    for (uint32_t i = 0; e == CN_OK && i < live.n; i++)
        e = add_part(h, live.segs[i], live.dead[i]);
    cn_live_close(&live);
    return e;
}

static cn_err add_index(cn_holding *h, cn_tenant *t, cn_str index) {
    CN_CATALOG_ARENA(a);
    cn_version *v;
    uint32_t n;
    CN_TRY(cn_version_list(t, index, &a, &v, &n));
    for (uint32_t i = n; i-- > 0 && !over(h);) { /* the newest first, should the time be up */
        cn_err e = cn_version_dropped(&v[i]) ? CN_OK : add_version(h, t, &v[i]);
        if (e != CN_OK)
            note(h, cn_wrap(e, "version %llu of " CN_STR_FMT, (unsigned long long)v[i].number, CN_STR_ARG(index)));
    }
    return CN_OK;
}

void cn_holding_open(cn_tenant *t, uint64_t deadline_ns, cn_holding *ret) {
    CN_CATALOG_ARENA(a);
    cn_index_info *ix;
    uint32_t n = 0;
    *ret = (cn_holding){.deadline_ns = deadline_ns};
    note(ret, cn_index_list(t, &a, &ix, &n));
    for (uint32_t i = 0; i < n && !over(ret); i++)
        note(ret, add_index(ret, t, ix[i].name));
}

void cn_holding_done(cn_holding *h) {
    for (uint32_t i = 0; i < h->n; i++) {
        cn_seg_close(h->v[i].seg);
        roaring_bitmap_free(h->v[i].dead);
    }
    cn_free(h->v);
    cn_free(h->met);
    *h = (cn_holding){0};
}

/* ---------- asking ---------- */
static cn_err meet(cn_holding *h, const cn_key *key) {
    if (!cn_grow(h->met, h->n_met, h->room_met))
        return cn_fail_memory();
    memcpy(&h->met[h->n_met++], key, sizeof *h->met);
    return CN_OK;
}

static bool has(const cn_holding_part *p, const cn_key *key) {
    uint32_t doc;
    return cn_seg_find(p->seg, key, &doc) && !roaring_bitmap_contains(p->dead, doc);
}

bool cn_holding_doc(cn_holding *h, cn_str source, cn_str id) {
    cn_key key = cn_key_of(source, id);
    bool any = false;
    for (uint32_t i = 0; i < h->n && !over(h); i++) {
        if (!has(&h->v[i], &key)) {
            note(h, cn_seg_sound(h->v[i].seg)); /* one cut short may have held it */
            continue;
        }
        any = true;
        note(h, meet(h, &key));
    }
    return any;
}

static bool has_source(const cn_seg *seg, cn_str source) {
    bool any = source.n == 0;
    for (uint32_t i = 0; !any && i < cn_seg_sources(seg); i++)
        any = cn_str_eq(cn_seg_source(seg, i), source);
    return any;
}

static cn_err look_at(cn_holding *h, const cn_holding_part *p, uint32_t doc, const cn_pattern *x, bool *io_any) {
    cn_doc d;
    cn_digest leaf;
    cn_key key;
    CN_TRY(cn_seg_doc_brief(p->seg, doc, &d));
    if ((x->source.n && !cn_str_eq(x->source, d.source)) || (x->glob.p && !cn_glob_match(x->glob, d.id)))
        return CN_OK;
    CN_TRY(cn_seg_leaf(p->seg, doc, &key, &leaf));
    CN_TRY(meet(h, &key));
    *io_any = true;
    return CN_OK;
}

static cn_err look_through(cn_holding *h, const cn_holding_part *p, const cn_pattern *x, bool *io_any) {
    for (uint32_t doc = 0; doc < cn_seg_docs(p->seg); doc++) {
        if (doc % LOOK == 0 && over(h))
            return CN_OK;
        if (!roaring_bitmap_contains(p->dead, doc))
            CN_TRY(look_at(h, p, doc, x, io_any));
    }
    return cn_seg_sound(p->seg);
}

bool cn_holding_pattern(cn_holding *h, const cn_pattern *p) {
    bool any = false;
    for (uint32_t i = 0; i < h->n && !over(h); i++)
        if (has_source(h->v[i].seg, p->source))
            note(h, look_through(h, &h->v[i], p, &any));
    return any;
}

static bool among(const cn_str *v, uint32_t n, cn_str s) {
    bool found = false;
    for (uint32_t i = 0; !found && i < n; i++)
        found = cn_str_eq(v[i], s);
    return found;
}

uint32_t cn_holding_sources(cn_holding *h, cn_str source, cn_str id, cn_str *ret, uint32_t most) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < h->n && !over(h); i++)
        for (uint32_t s = 0; s < cn_seg_sources(h->v[i].seg) && n < most; s++) {
            cn_str other = cn_seg_source(h->v[i].seg, s);
            cn_key key = cn_key_of(other, id);
            if (!cn_str_eq(other, source) && !among(ret, n, other) && has(&h->v[i], &key))
                ret[n++] = other;
        }
    return n;
}

static int by_value(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

uint64_t cn_holding_count(cn_holding *h) {
    uint64_t n = h->n_met > 0;
    if (h->n_met > 1)
        qsort(h->met, h->n_met, sizeof *h->met, by_value);
    for (size_t i = 1; i < h->n_met; i++)
        n += h->met[i] != h->met[i - 1];
    return n;
}
