#include "index/catalog/live.h"

#include <stdlib.h>

#include "engine/base/mem.h"

#define LISTS_MAX ((size_t)2 << 30)

typedef struct list_entry { /* as it lies in the file */
    cn_seg_id id;
    uint64_t at;
    uint32_t dead, stubs;
} list_entry;
_Static_assert(sizeof(list_entry) == CN_SEG_ID + 16, "an entry is stored as it lies");

/* ---------- reading ---------- */
static cn_err damaged(void) { return cn_fail(CN_DAMAGED, "a version's lists of dead documents cannot be read"); }

static int by_id(const void *a, const void *b) { return memcmp(a, b, CN_SEG_ID); }

static cn_err find_lists(cn_seg *own, const cn_seg_id *segment, cn_str *ret_dead, cn_str *ret_stubs) {
    cn_str all;
    uint32_t head[2];
    list_entry e;
    cn_err err = cn_seg_part(own, CN_PART_DEAD, CN_STR(""), &all);
    if (err != CN_OK)
        return err == CN_NOT_FOUND ? damaged() : err;
    if (all.n < sizeof head)
        return damaged();
    memcpy(head, all.p, sizeof head);
    if (head[0] != 1 || head[1] > (all.n - sizeof head) / sizeof e)
        return damaged();
    const void *found = bsearch(segment, all.p + sizeof head, head[1], sizeof e, by_id);
    if (!found) {
        char name[2 * CN_SEG_ID + 1];
        cn_hex(segment->b, sizeof segment->b, name);
        return cn_fail(CN_DAMAGED, "a version does not say which documents of segment %s are dead", name);
    }
    memcpy(&e, found, sizeof e);
    if (e.at > all.n || (uint64_t)e.dead + e.stubs > all.n - e.at)
        return damaged();
    *ret_dead = (cn_str){all.p + e.at, e.dead};
    *ret_stubs = (cn_str){all.p + e.at + e.dead, e.stubs};
    return CN_OK;
}

cn_err cn_version_tombs(cn_seg *own, const cn_seg_id *segment, cn_str *ret) {
    cn_str stubs;
    return find_lists(own, segment, ret, &stubs);
}

cn_err cn_version_stubs(cn_seg *own, const cn_seg_id *segment, cn_str *ret) {
    cn_str dead;
    CN_TRY(find_lists(own, segment, &dead, ret));
    return ret->n ? CN_OK : CN_NOT_FOUND;
}

static cn_err open_stubs(const cn_part *p, cn_living *l, uint32_t i) {
    cn_str bytes;
    cn_err e = cn_seg_stubs(l->segs[i]) ? cn_version_stubs(l->own, &p->id, &bytes) : CN_NOT_FOUND;
    if (e == CN_OK)
        e = cn_bitmap_read(bytes, "the list of erased documents of a segment", &l->stubs[i]);
    else if (e == CN_NOT_FOUND)
        e = (l->stubs[i] = roaring_bitmap_create()) ? CN_OK : cn_fail_memory();
    CN_TRY(e);
    return roaring_bitmap_is_subset(l->stubs[i], l->dead[i]) ? CN_OK : cn_fail(CN_DAMAGED, "an erased document of a version is not among its dead ones");
}

static cn_err open_part(cn_tenant *t, const cn_part *p, cn_living *l, uint32_t i) {
    cn_str dead;
    CN_TRY(cn_seg_open(t, &p->id, &p->digest, &l->segs[i]));
    l->n = i + 1;
    CN_TRY(cn_version_tombs(l->own, &p->id, &dead));
    CN_TRY(cn_bitmap_read(dead, "the list of dead documents of a segment", &l->dead[i]));
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

cn_err cn_live_copy(const cn_living *l, uint32_t more, cn_living *ret) {
    uint32_t n = l->n;
    *ret = (cn_living){.segs = cn_calloc(n + more, sizeof *ret->segs), .dead = cn_calloc(n + more, sizeof *ret->dead), .stubs = cn_calloc(n + more, sizeof *ret->stubs)};
    if (!ret->segs || !ret->dead || !ret->stubs)
        return cn_fail_memory();
    for (uint32_t i = 0; i < n; i++) {
        ret->segs[i] = cn_seg_ref(l->segs[i]);
        ret->n++;
        ret->dead[i] = roaring_bitmap_copy(l->dead[i]);
        ret->stubs[i] = roaring_bitmap_copy(l->stubs[i]);
        if (!ret->dead[i] || !ret->stubs[i])
            return cn_fail_memory();
    }
    return CN_OK;
}

cn_err cn_live_add(cn_living *l, cn_seg *seg) {
    uint32_t n = l->n++;
    l->segs[n] = cn_seg_ref(seg);
    l->dead[n] = roaring_bitmap_create();
    l->stubs[n] = roaring_bitmap_create();
    return l->dead[n] && l->stubs[n] ? CN_OK : cn_fail_memory();
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

/* ---------- writing ---------- */
void cn_lists_init(cn_lists *l) {
    cn_buf_init(&l->entries, LISTS_MAX);
    cn_buf_init(&l->bytes, LISTS_MAX);
}

void cn_lists_done(cn_lists *l) {
    cn_buf_done(&l->entries);
    cn_buf_done(&l->bytes);
}

static cn_err add_bitmap(cn_buf *out, const roaring_bitmap_t *b, uint32_t *ret_n) {
    size_t n = roaring_bitmap_portable_size_in_bytes(b);
    char *p = cn_buf_take(out, n);
    if (!p)
        return cn_buf_check(out);
    roaring_bitmap_portable_serialize(b, p);
    *ret_n = (uint32_t)n;
    return CN_OK;
}

cn_err cn_lists_add(cn_lists *l, const cn_seg_id *segment, const roaring_bitmap_t *dead, const roaring_bitmap_t *stubs) {
    list_entry e = {.id = *segment, .at = l->bytes.n};
    CN_TRY(add_bitmap(&l->bytes, dead, &e.dead));
    if (!roaring_bitmap_is_empty(stubs))
        CN_TRY(add_bitmap(&l->bytes, stubs, &e.stubs));
    cn_buf_add(&l->entries, &e, sizeof e);
    return cn_buf_check(&l->entries);
}

cn_err cn_lists_put(cn_lists *l, cn_segw *w) {
    uint32_t head[2] = {1, (uint32_t)(l->entries.n / sizeof(list_entry))};
    CN_AUTO_BUF cn_buf all;
    cn_buf_init(&all, LISTS_MAX);
    list_entry *e = (list_entry *)(void *)l->entries.p;
    for (uint32_t i = 0; i < head[1]; i++)
        e[i].at += sizeof head + l->entries.n;
    if (head[1] > 1)
        qsort(e, head[1], sizeof *e, by_id);
    cn_buf_add(&all, head, sizeof head);
    cn_buf_add(&all, l->entries.p, l->entries.n);
    cn_buf_add(&all, l->bytes.p, l->bytes.n);
    CN_TRY(cn_buf_check(&all));
    return cn_segw_put_part(w, CN_PART_DEAD, CN_STR(""), cn_buf_str(&all));
}
