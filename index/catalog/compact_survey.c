/* compact_survey.c -- the files of an index: what of each is still a retained version's, and what was erased since. */

#include "engine/base/mem.h"
#include "index/catalog/compact_inside.h"
#include "index/catalog/live.h"

#define TOLD_MAX ((size_t)40 << 10) /* the chain keeps 64 KiB of detail */

cn_surveyed *cn_survey_find(const cn_survey *s, const cn_seg_id *id) {
    uint32_t number = cn_segset_find(&s->files, id);
    return number == UINT32_MAX ? NULL : &s->segs[number];
}

static cn_err add(cn_survey *s, const cn_version *v, const cn_part *part, cn_surveyed **ret) {
    if (!cn_grow(s->segs, s->n, s->room))
        return cn_fail_memory();
    CN_TRY(cn_segset_open(&s->files, s->t, part));
    cn_surveyed *x = &s->segs[s->n];
    *x = (cn_surveyed){.part = *part, .seg = s->files.v[s->n++], .kept = roaring_bitmap_create(), .erased = roaring_bitmap_create(), .version = v};
    *ret = x;
    return x->kept && x->erased ? CN_OK : cn_fail_memory();
}

/* What the version holds: all but the dead, and its stubs. */
static cn_err add_kept(cn_surveyed *x, const roaring_bitmap_t *dead, const roaring_bitmap_t *stubs) {
    roaring_bitmap_t *live = roaring_bitmap_flip(dead, 0, cn_seg_docs(x->seg));
    if (!live)
        return cn_fail_memory();
    roaring_bitmap_or_inplace(x->kept, live);
    roaring_bitmap_or_inplace(x->kept, stubs);
    roaring_bitmap_free(live);
    return CN_OK;
}

static cn_err add_version(cn_survey *s, const cn_version *v) {
    cn_living l = {0};
    CN_TRY(cn_live_open(s->t, v, &l));
    cn_err e = CN_OK;
    for (uint32_t i = 0; e == CN_OK && i < l.n; i++) {
        cn_surveyed *x = cn_survey_find(s, &v->parts[i].id);
        if (!x)
            e = add(s, v, &v->parts[i], &x);
        if (e == CN_OK)
            e = add_kept(x, l.dead[i], l.stubs[i]);
    }
    cn_live_close(&l);
    return e;
}

/* ---------- erased documents ---------- */
typedef struct erasing {
    cn_survey *s;
    const cn_policy *p;
} erasing;

static void tell(cn_survey *s, const cn_erasure *e) {
    s->since_us = s->erased++ == 0 || e->at_us < s->since_us ? e->at_us : s->since_us; /* CN_NO_TIME is the least: not known is long ago */
    if (s->told.n + e->source.n + e->id.n + 32 > TOLD_MAX)
        return;
    cn_pack_map(&s->told, 2);
    cn_pack_cstr(&s->told, "source"), cn_pack_str(&s->told, e->source);
    cn_pack_cstr(&s->told, "doc"), cn_pack_str(&s->told, e->id);
    s->n_told++;
}

static cn_err note_erased(void *ctx, const cn_erasure *what) {
    erasing *e = ctx;
    const cn_key *key = &what->key;
    bool any = false;
    for (uint32_t i = 0; i < e->s->n; i++) {
        cn_surveyed *x = &e->s->segs[i];
        uint32_t doc;
        cn_stub stub;
        bool is;
        if (!cn_seg_find(x->seg, key, &doc) || !cn_policy_row_erased(e->p, key, &x->part.id))
            continue;
        CN_TRY(cn_seg_stub(x->seg, doc, &is, &stub));
        if (is)
            continue;
        roaring_bitmap_add(x->erased, doc);
        any = true;
    }
    if (any)
        tell(e->s, what);
    return CN_OK;
}

/* ---------- what may be merged, and sizes ---------- */
uint64_t cn_files_bytes(cn_tenant *t, const cn_seg_id *id) {
    uint64_t bytes = 0;
    cn_seg_files(t, id, &bytes);
    return bytes;
}

static bool same_space(const cn_survey *s, const cn_surveyed *x, const cn_surveyed *y) {
    if (cn_seg_dim(x->seg) != cn_seg_dim(y->seg))
        return false;
    cn_space_key a = cn_space_key_of(s->ix.id, &x->version->recipe), b = cn_space_key_of(s->ix.id, &y->version->recipe);
    return memcmp(&a, &b, sizeof a) == 0;
}

static void finish(cn_survey *s) {
    for (uint32_t i = 0; i < s->n; i++) {
        cn_surveyed *x = &s->segs[i];
        x->bytes = cn_files_bytes(s->t, &x->part.id);
        while (x->space < i && !same_space(s, &s->segs[x->space], x))
            x->space++;
    }
}

static cn_err fill(cn_survey *s, cn_str index, const cn_policy *p) {
    CN_TRY(cn_version_state(s->t, index, s->a, &s->ix, &s->v, &s->n_versions));
    for (uint32_t i = 0; i < s->n_versions; i++)
        if (!cn_version_dropped(&s->v[i]))
            CN_TRY(add_version(s, &s->v[i]));
    erasing e = {s, p};
    CN_TRY(cn_policy_erasures(p, note_erased, &e));
    finish(s);
    return cn_buf_check(&s->told);
}

cn_err cn_survey_open(cn_tenant *t, cn_str index, const cn_policy *p, cn_arena *a, cn_survey *ret) {
    cn_survey s = {.t = t, .a = a, .since_us = CN_NO_TIME};
    cn_buf_init(&s.told, 2 * TOLD_MAX);
    cn_err e = fill(&s, index, p);
    if (e != CN_OK)
        cn_survey_close(&s);
    else
        *ret = s;
    return e;
}

void cn_survey_close(cn_survey *s) {
    for (uint32_t i = 0; i < s->n; i++) {
        cn_surveyed *x = &s->segs[i];
        if (x->kept)
            roaring_bitmap_free(x->kept);
        if (x->erased)
            roaring_bitmap_free(x->erased);
    }
    cn_free(s->segs);
    cn_segset_done(&s->files);
    cn_buf_done(&s->told);
    *s = (cn_survey){0};
}
