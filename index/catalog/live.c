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

cn_err cn_version_stubs(cn_seg *own, const cn_seg_id *segment, cn_str *ret) {
    char name[2 * CN_SEG_ID + 1];
    hex_id(segment, name);
    return cn_seg_part(own, CN_PART_STUBS, cn_str_of(name), ret);
}

static cn_err open_stubs(const cn_part *p, cn_living *l, uint32_t i) {
    cn_str bytes;
    cn_err e = cn_seg_stubs(l->segs[i]) ? cn_version_stubs(l->own, &p->id, &bytes) : CN_NOT_FOUND;
    if (e != CN_NOT_FOUND)
        CN_TRY(e);
    l->stubs[i] = e == CN_OK ? roaring_bitmap_portable_deserialize_safe(bytes.p, bytes.n) : roaring_bitmap_create();
    if (!l->stubs[i])
        return cn_fail(CN_DAMAGED, "the list of erased documents of a segment cannot be read");
    return roaring_bitmap_is_subset(l->stubs[i], l->dead[i]) ? CN_OK : cn_fail(CN_DAMAGED, "an erased document of a version is not among its dead ones");
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
    return open_stubs(p, l, i);
}

cn_err cn_live_open(cn_tenant *t, const cn_version *v, cn_living *ret) {
    cn_living l = {0};
    cn_err e = CN_OK;
    if (v) {
        l.segs = cn_calloc(v->n_parts + 1u, sizeof *l.segs);
        l.dead = cn_calloc(v->n_parts + 1u, sizeof *l.dead);
        l.stubs = cn_calloc(v->n_parts + 1u, sizeof *l.stubs);
        e = l.segs && l.dead && l.stubs ? cn_seg_open(t, &v->own, &v->own_digest, &l.own) : cn_fail_memory();
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
        if (l->stubs[i])
            roaring_bitmap_free(l->stubs[i]);
    }
    if (l->own)
        cn_seg_close(l->own);
    cn_free(l->segs);
    cn_free(l->dead);
    cn_free(l->stubs);
    *l = (cn_living){0};
}

static bool find(const cn_living *l, const cn_key *key, bool stub, uint32_t *ret_part, uint32_t *ret_doc) {
    for (uint32_t i = l->n; i-- > 0;) {
        uint32_t doc;
        if (!cn_seg_find(l->segs[i], key, &doc) || (stub ? !roaring_bitmap_contains(l->stubs[i], doc) : roaring_bitmap_contains(l->dead[i], doc)))
            continue;
        *ret_part = i;
        *ret_doc = doc;
        return true;
    }
    return false;
}

bool cn_live_find(const cn_living *l, const cn_key *key, uint32_t *ret_part, uint32_t *ret_doc) { return find(l, key, false, ret_part, ret_doc); }
bool cn_live_find_stub(const cn_living *l, const cn_key *key, uint32_t *ret_part, uint32_t *ret_doc) { return find(l, key, true, ret_part, ret_doc); }

cn_err cn_live_roots(const cn_living *l, uint32_t i, cn_arena *a, cn_str *ret) {
    roaring_bitmap_t *gone = roaring_bitmap_andnot(l->dead[i], l->stubs[i]);
    char *p = gone ? cn_arena_alloc(a, roaring_bitmap_portable_size_in_bytes(gone)) : NULL;
    if (p)
        *ret = (cn_str){p, roaring_bitmap_portable_serialize(gone, p)};
    if (gone)
        roaring_bitmap_free(gone);
    return p ? CN_OK : cn_fail_memory();
}

static cn_err put_one(cn_segw *w, char part, const char *name, const roaring_bitmap_t *b) {
    size_t n = roaring_bitmap_portable_size_in_bytes(b);
    CN_AUTO_FREE char *p = cn_alloc(n + 1);
    return p ? cn_segw_put_part(w, part, cn_str_of(name), (cn_str){p, roaring_bitmap_portable_serialize(b, p)}) : cn_fail_memory();
}

cn_err cn_live_put(cn_segw *w, const cn_seg_id *segment, const roaring_bitmap_t *dead, const roaring_bitmap_t *stubs) {
    char name[2 * CN_SEG_ID + 1];
    hex_id(segment, name);
    CN_TRY(put_one(w, CN_PART_TOMBS, name, dead));
    return roaring_bitmap_is_empty(stubs) ? CN_OK : put_one(w, CN_PART_STUBS, name, stubs);
}
