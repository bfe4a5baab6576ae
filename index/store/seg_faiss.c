/* The FAISS index of a segment: in <id>.faiss.mdb, beside the codes of seg_flat.c. */
#include "engine/base/log.h"
#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "index/store/seg_inside.h"

/* One for each open cn_flat and factory string; those that were given out stay until the segment closes. FAISS has its bytes in
 * memory, so the file is closed again. */
typedef struct faiss_view {
    cn_seg_made made;
    const cn_flat *flat;
    char factory[CN_FAISS_FACTORY_MAX + 1];
    cn_faiss *_Atomic faiss; /* NULL: it could not be opened at tried_ns */
    _Atomic uint64_t tried_ns;
} faiss_view;

#define AGAIN_NS 1000000000ull  /* between two attempts to open one */
static pthread_mutex_t opening = PTHREAD_MUTEX_INITIALIZER; /* one at a time: each may be large. Before a segment's lock */

static void free_faiss(cn_seg_made *m) {
    faiss_view *v = (faiss_view *)m;
    cn_faiss_close(v->faiss);
    cn_free(v);
}

static cn_faiss *open_faiss(cn_seg *s, const cn_space *space, const cn_flat *flat, cn_str factory) {
    cn_digest digest = cn_seg_space_digest(space, CN_FAISS_FORMAT);
    cn_derived *d;
    cn_faiss *x = NULL;
    if (!cn_seg_space_derived(s, CN_FAISS_KIND, &digest, &d))
        return NULL;
    if (cn_faiss_open(flat, factory, cn_derived_get, d, &x) != CN_OK)
        cn_log(CN_LOG_WARN, "faiss.unusable", "path=%s %s", cn_env_path(s->env), cn_error_detail());
    cn_derived_close(d);
    return x;
}

/* ---------- building ---------- */

typedef struct faiss_build {
    const cn_flat *flat;
    const cn_digest *digest;
    cn_str factory;
    unsigned threads;
} faiss_build;

static cn_err build(void *ctx, cn_put_array *put, void *put_ctx) {
    const faiss_build *b = ctx;
    CN_TRY(put(put_ctx, CN_SPACE_ARRAY, 0, b->digest, sizeof *b->digest));
    return cn_faiss_build(b->flat, b->factory, b->threads, put, put_ctx);
}

cn_err cn_seg_build_faiss(cn_seg *s, const cn_space *space, cn_str factory, unsigned threads, bool *ret_made) {
    cn_digest digest = cn_seg_space_digest(space, CN_FAISS_FORMAT);
    cn_flat *flat;
    bool coded;
    *ret_made = false;
    if (cn_seg_rows(s) < cn_cells_from() || cn_seg_dim(s) == 0)
        return CN_OK;
    cn_err e = cn_faiss_check(factory, space->metric, space->dim);
    if (e == CN_UNAVAILABLE) { /* a job does not fail for it: searches are exact */
        cn_log(CN_LOG_WARN, "faiss.not_built", "path=%s %s", cn_env_path(s->env), cn_error_detail());
        return CN_OK;
    }
    CN_TRY(e);
    CN_TRY(cn_seg_flat(s, space, &flat, &coded));
    if (!coded)
        return CN_OK;
    cn_faiss *there = open_faiss(s, space, flat, factory);
    if (there) {
        cn_faiss_close(there);
        return CN_OK;
    }
    CN_TRY(cn_derived_build(s, CN_FAISS_KIND, build, &(faiss_build){flat, &digest, factory, threads}));
    *ret_made = true;
    return CN_OK;
}

/* ---------- views ---------- */

static faiss_view *view_of(const cn_seg *s, const cn_flat *flat, cn_str factory) { /* under its lock */
    for (cn_seg_made *m = s->made; m; m = m->next)
        if (m->done == free_faiss && ((faiss_view *)m)->flat == flat && cn_str_is(factory, ((faiss_view *)m)->factory))
            return (faiss_view *)m;
    return NULL;
}

static faiss_view *look(cn_seg *s, const cn_flat *flat, cn_str factory) {
    pthread_mutex_lock(&s->lock);
    faiss_view *v = view_of(s, flat, factory);
    pthread_mutex_unlock(&s->lock);
    return v;
}

static bool is_settled(const faiss_view *v) { return v && (v->faiss || cn_mono_ns() - v->tried_ns < AGAIN_NS); }

static faiss_view *new_view(cn_seg *s, const cn_flat *flat, cn_str factory) {
    faiss_view *v = factory.n <= CN_FAISS_FACTORY_MAX ? cn_calloc(1, sizeof *v) : NULL;
    if (!v)
        return NULL;
    v->made = (cn_seg_made){.done = free_faiss};
    v->flat = flat;
    memcpy(v->factory, factory.p, factory.n);
    pthread_mutex_lock(&s->lock);
    cn_seg_keep(s, &v->made);
    pthread_mutex_unlock(&s->lock);
    return v;
}

/* Opened without the segment's lock, for others search meanwhile. */
cn_faiss *cn_seg_faiss(cn_seg *s, const cn_space *space, const cn_flat *flat, cn_str factory) {
    if (cn_seg_rows(s) < cn_cells_from())
        return NULL;
    faiss_view *v = look(s, flat, factory);
    if (is_settled(v))
        return v->faiss;
    pthread_mutex_lock(&opening);
    v = look(s, flat, factory);
    if (!v)
        v = new_view(s, flat, factory);
    if (v && !is_settled(v)) {
        v->faiss = open_faiss(s, space, flat, factory);
        v->tried_ns = cn_mono_ns();
    }
    pthread_mutex_unlock(&opening);
    return v ? v->faiss : NULL;
}
