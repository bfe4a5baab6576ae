#include "index/catalog/live.h"

#include "engine/base/mem.h"
#include "index/policy/policy.h"

static void hex_id(const cn_seg_id *id, char text[2 * CN_SEG_ID + 1]) { cn_hex(id->b, sizeof id->b, text); }

cn_err cn_version_tombs(cn_seg *own, const cn_seg_id *segment, cn_str *ret) {
    char name[2 * CN_SEG_ID + 1];
    hex_id(segment, name);
    cn_err e = cn_seg_part(own, CN_PART_TOMBS, cn_str_of(name), ret);
    return e == CN_NOT_FOUND ? cn_fail(CN_DAMAGED, "a version does not say which documents of segment %s are dead", name) : e;
}

static cn_err open_part(cn_tenant *t, const cn_part *p, cn_living *l, uint32_t i) {
    cn_str dead;
    CN_TRY(cn_seg_open(t, &p->id, &p->digest, &l->segs[i]));
    l->n = i + 1;
    CN_TRY(cn_version_tombs(l->own, &p->id, &dead));
    l->dead[i] = roaring_bitmap_portable_deserialize_safe(dead.p, dead.n);
    if (!l->dead[i])
        return cn_fail(CN_DAMAGED, "the list of dead documents of a segment cannot be read");
    if (!roaring_bitmap_is_empty(l->dead[i]) && roaring_bitmap_maximum(l->dead[i]) >= cn_seg_docs(l->segs[i]))
        return cn_fail(CN_DAMAGED, "the list of dead documents of a segment names one that it does not have");
    return CN_OK;
}

cn_err cn_live_open(cn_tenant *t, const cn_version *v, cn_living *ret) {
    cn_living l = {0};
    cn_err e = CN_OK;
    if (v) {
        l.segs = cn_calloc(v->n_parts + 1u, sizeof *l.segs);
        l.dead = cn_calloc(v->n_parts + 1u, sizeof *l.dead);
        e = l.segs && l.dead ? cn_seg_open(t, &v->own, &v->own_digest, &l.own) : cn_fail_memory();
        for (uint32_t i = 0; e == CN_OK && i < v->n_parts; i++)
            e = open_part(t, &v->parts[i], &l, i);
    }
    if (e != CN_OK)
        cn_live_close(&l);
    else
        *ret = l;
    return e;
}

void cn_live_close(cn_living *l) {
    for (uint32_t i = 0; i < l->n; i++) {
        cn_seg_close(l->segs[i]);
        if (l->dead[i])
            roaring_bitmap_free(l->dead[i]);
    }
    if (l->own)
        cn_seg_close(l->own);
    cn_free(l->segs);
    cn_free(l->dead);
    *l = (cn_living){0};
}

bool cn_live_find(const cn_living *l, const cn_key *key, uint32_t *ret_part, uint32_t *ret_doc) {
    for (uint32_t i = l->n; i-- > 0;) {
        uint32_t doc;
        if (cn_seg_find(l->segs[i], key, &doc) && !roaring_bitmap_contains(l->dead[i], doc)) {
            *ret_part = i;
            *ret_doc = doc;
            return true;
        }
    }
    return false;
}
