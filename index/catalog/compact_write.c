/* compact_write.c -- one new segment file of the kept documents of some old ones, in their order. */
#include <unistd.h>

#include "engine/base/log.h"
#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "index/catalog/compact_inside.h"
#include "index/catalog/needed.h"
#include "index/store/dir.h"
#include "index/store/segw_inside.h"

#define DOC_ARENA ((size_t)1 << 30)
#define SMALL 256 /* bytes of a document beside its text and vectors, or of a stub, about */

/* ---------- copying ---------- */
static cn_err stub_of(cn_surveyed *x, uint32_t doc, cn_stub *ret) {
    cn_doc d;
    CN_TRY(cn_seg_doc_brief(x->seg, doc, &d));
    *ret = (cn_stub){d.source, d.n_chunks, d.labels.allow.n == 0};
    return CN_OK;
}

/* About what is read and written for it: its text, its vectors, what lies around them. */
static uint64_t size_of(const cn_doc *d, uint32_t dim) { return d->text.n + d->meta.n + (uint64_t)d->n_chunks * dim * sizeof(float) + SMALL; }

static cn_err stopped(void) { return cn_fail(CN_UNAVAILABLE, "the compaction was stopped; nothing was changed, and the next one begins anew"); }
static cn_err wait_for(const cn_compact_opts *o, uint64_t bytes) { return !o->pace || o->pace(o->pace_ctx, bytes) ? CN_OK : stopped(); }

static cn_err copy_doc(cn_segw *w, cn_surveyed *x, uint32_t doc, const cn_compact_opts *o, cn_arena *a) {
    cn_key key;
    cn_digest leaf;
    cn_stub stub;
    cn_doc d;
    bool is;
    CN_TRY(cn_seg_leaf(x->seg, doc, &key, &leaf));
    CN_TRY(cn_seg_stub(x->seg, doc, &is, &stub));
    if (!is && roaring_bitmap_contains(x->erased, doc)) {
        CN_TRY(stub_of(x, doc, &stub));
        is = true;
    }
    CN_TRY(is ? wait_for(o, SMALL) : CN_OK);
    if (is)
        return cn_segw_add_stub(w, &key, &leaf, &stub);
    CN_TRY(cn_seg_doc_full(x->seg, doc, a, &d));
    CN_TRY(wait_for(o, size_of(&d, cn_seg_dim(x->seg))));
    return cn_segw_add_leaf(w, &d, &leaf);
}

static cn_err copy_file(cn_segw *w, cn_surveyed *x, const cn_compact_opts *o, cn_arena *a) {
    roaring_uint32_iterator_t it;
    for (roaring_init_iterator(x->kept, &it); it.has_value; roaring_advance_uint32_iterator(&it)) {
        cn_arena_reset(a);
        CN_TRY(copy_doc(w, x, it.current_value, o, a));
    }
    return cn_seg_sound(x->seg); /* one cut short while it was read gave zeros */
}

/* From its beginning, for a killed compaction leaves it behind, with texts that may be erased after. Naming takes it out. */
static cn_err retire_it(void *ctx, const cn_catalog *c, MDB_txn *txn) { return cn_retire_files(c, txn, ctx, 1); }

static cn_err copy(const cn_survey *s, const cn_compact_opts *o, cn_rewrite *r) {
    cn_arena a;
    cn_segw *w;
    CN_TRY(cn_segw_new(s->t, cn_seg_dim(r->from[0]->seg), &w));
    r->part.id = cn_segw_id(w);
    cn_err e = cn_catalog_write(s->t, retire_it, &r->part.id);
    cn_arena_init(&a, 1 << 16, DOC_ARENA);
    for (uint32_t i = 0; e == CN_OK && i < r->n; i++) {
        r->base[i] = cn_segw_docs(w);
        e = copy_file(w, r->from[i], o, &a);
    }
    cn_arena_done(&a);
    if (e != CN_OK) {
        cn_segw_abort(w);
        return e;
    }
    e = cn_segw_seal_held(w, &r->part.digest, &r->lock);
    if (e != CN_OK)
        cn_seg_files_unlink(s->t, &r->part.id);
    return e;
}

typedef struct paced {
    const cn_compact_opts *o;
    bool stopped;
} paced;

static bool pace(void *ctx, uint64_t bytes) {
    paced *p = ctx;
    p->stopped = wait_for(p->o, bytes) != CN_OK;
    return !p->stopped;
}

/* What is derived is made on first use where it is not there, and without cells or a FAISS index there is the scan: it must not keep the bytes of erased documents in the old files. */
static void go_on_without(const cn_survey *s, const cn_seg *seg, const char *kind, cn_err e) {
    char path[CN_PATH_MAX] = "";
    if (e == CN_OK)
        return;
    (void)cn_seg_path(s->t, cn_seg_get_id(seg), kind, path, sizeof path);
    cn_log(CN_LOG_WARN, "compact.underived", "path=%s %s", path, cn_error_detail());
}

static cn_err build_postings(const cn_survey *s, const cn_compact_opts *o, cn_rewrite *r) {
    paced p = {o, false};
    cn_err e = cn_version_postings(r->seg, &r->from[0]->version->recipe, pace, &p);
    if (p.stopped)
        return stopped();
    go_on_without(s, r->seg, CN_POSTINGS_KIND, e);
    return CN_OK;
}

static void build_kind(const cn_survey *s, cn_seg *seg, const cn_space *space, const cn_compact_opts *o, bool *ret_made) {
    *ret_made = false;
    if (s->ix.set.faiss.n && !o->erased) /* which may take long, and cannot be stopped: an erasure does not wait for it */
        go_on_without(s, seg, CN_FAISS_KIND, cn_seg_build_faiss(seg, space, s->ix.set.faiss, o->pace ? 1 : cn_cpus(), ret_made));
    if (s->ix.set.cells)
        go_on_without(s, seg, CN_CELLS_KIND, cn_seg_build_cells(seg, space, o->pace ? 1 : cn_cpus(), ret_made));
}

static cn_err build_derived(const cn_survey *s, const cn_compact_opts *o, cn_rewrite *r) {
    cn_space space;
    bool made;
    CN_TRY(build_postings(s, o, r));
    if (cn_seg_dim(r->seg) == 0 || cn_seg_rows(r->seg) == 0)
        return CN_OK;
    const cn_recipe *recipe = &r->from[0]->version->recipe;
    cn_err e = cn_version_space(s->t, s->ix.id, recipe, s->a, &space);
    if (e != CN_OK)
        return e == CN_NOT_FOUND ? CN_OK : e;
    CN_TRY(cn_space_for(s->t, &s->ix, recipe, r->seg, s->a, &space)); /* small files may become one that is large enough for a mean */
    go_on_without(s, r->seg, CN_FLAT_KIND, cn_seg_build_flat(r->seg, &space, o->pace ? 1 : cn_cpus()));
    build_kind(s, r->seg, &space, o, &made);
    return CN_OK;
}

cn_err cn_compact_kind(const cn_survey *s, const cn_surveyed *x, const cn_compact_opts *o, bool *ret_made) {
    cn_space space;
    *ret_made = false;
    if ((!s->ix.set.cells && !s->ix.set.faiss.n) || cn_seg_dim(x->seg) == 0 || cn_seg_rows(x->seg) == 0)
        return CN_OK;
    cn_err e = cn_version_space(s->t, s->ix.id, &x->version->recipe, s->a, &space);
    if (e != CN_OK)
        return e == CN_NOT_FOUND ? CN_OK : e;
    build_kind(s, x->seg, &space, o, ret_made);
    return CN_OK;
}

cn_err cn_rewrite_make(const cn_survey *s, cn_surveyed *const *from, uint32_t n, const cn_compact_opts *o, cn_rewrite *ret) {
    cn_rewrite r = {.from = from, .n = n, .lock = -1, .base = cn_arena_zalloc(s->a, n + 1u, sizeof *r.base)};
    if (!r.base)
        return cn_fail_memory();
    CN_TRY(copy(s, o, &r));
    cn_err e = cn_seg_open(s->t, &r.part.id, &r.part.digest, &r.seg);
    if (e == CN_OK)
        e = build_derived(s, o, &r);
    if (e != CN_OK)
        cn_rewrite_done(&r, s->t, true);
    else
        *ret = r;
    return e;
}

bool cn_rewrite_place(const cn_rewrite *r, uint32_t i, uint32_t doc, uint32_t *ret) {
    if (!roaring_bitmap_contains(r->from[i]->kept, doc))
        return false;
    *ret = r->base[i] + (uint32_t)roaring_bitmap_rank(r->from[i]->kept, doc) - 1;
    return true;
}

void cn_rewrite_done(cn_rewrite *r, cn_tenant *t, bool unlink_file) {
    if (!r->base)
        return;
    if (r->seg)
        cn_seg_close(r->seg);
    if (unlink_file)
        cn_seg_files_unlink(t, &r->part.id);
    if (r->lock >= 0)
        close(r->lock);
    *r = (cn_rewrite){.lock = -1};
}
