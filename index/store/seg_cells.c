/* The cells of a segment: in <id>.cells.mdb, over the codes of seg_flat.c. */
#include "engine/base/log.h"
#include "engine/base/mem.h"
#include "index/store/seg_inside.h"

#define KIND CN_CELLS_KIND

/* One for each open cn_flat; those that were given out stay until the segment closes. */
typedef struct cells_view {
    cn_seg_made made;
    const cn_flat *flat;
    cn_derived *derived;
    cn_cells *cells;
} cells_view;

static void free_cells(cn_seg_made *m) {
    cells_view *v = (cells_view *)m;
    cn_cells_close(v->cells);
    cn_derived_close(v->derived);
    cn_free(v);
}

static cn_err sound_cells(const cn_seg_made *m) {
    const cells_view *v = (const cells_view *)m;
    return cn_derived_sound(v->derived);
}

static bool open_cells(cn_seg *s, const cn_flat *flat, const cn_digest *digest, cn_derived **ret_derived, cn_cells **ret) {
    if (!cn_seg_space_derived(s, KIND, digest, ret_derived))
        return false;
    if (cn_cells_open(flat, cn_derived_get, *ret_derived, ret) == CN_OK)
        return true;
    cn_log(CN_LOG_WARN, "cells.damaged", "path=%s %s", cn_env_path(s->env), cn_error_detail());
    cn_derived_close(*ret_derived);
    return false;
}

/* ---------- building ---------- */

typedef struct cells_build {
    const cn_flat *flat;
    const cn_digest *digest;
    unsigned threads;
} cells_build;

static cn_err build(void *ctx, cn_put_array *put, void *put_ctx) {
    const cells_build *b = ctx;
    CN_TRY(put(put_ctx, CN_SPACE_ARRAY, 0, b->digest, sizeof *b->digest));
    return cn_cells_build(b->flat, b->threads, put, put_ctx);
}

static bool has_cells(cn_seg *s, const cn_flat *flat, const cn_digest *digest) {
    cn_derived *d;
    cn_cells *c;
    if (!open_cells(s, flat, digest, &d, &c))
        return false;
    cn_cells_close(c);
    cn_derived_close(d);
    return true;
}

cn_err cn_seg_build_cells(cn_seg *s, const cn_space *space, unsigned threads, bool *ret_made) {
    cn_digest digest = cn_seg_space_digest(space, CN_CELLS_FORMAT);
    cn_flat *flat;
    bool coded;
    *ret_made = false;
    if (cn_seg_rows(s) < cn_cells_from() || cn_seg_dim(s) == 0)
        return CN_OK;
    CN_TRY(cn_seg_flat(s, space, &flat, &coded));
    if (!coded || has_cells(s, flat, &digest))
        return CN_OK;
    CN_TRY(cn_derived_build(s, KIND, build, &(cells_build){flat, &digest, threads}));
    *ret_made = true;
    return CN_OK;
}

/* ---------- views ---------- */

static cells_view *view_of(const cn_seg *s, const cn_flat *flat) { /* under its lock */
    for (cn_seg_made *m = s->made; m; m = m->next)
        if (m->done == free_cells && ((cells_view *)m)->flat == flat)
            return (cells_view *)m;
    return NULL;
}

static cells_view *new_view(cn_seg *s, const cn_space *space, const cn_flat *flat) {
    cn_digest digest = cn_seg_space_digest(space, CN_CELLS_FORMAT);
    cells_view *v = cn_calloc(1, sizeof *v);
    if (!v || !open_cells(s, flat, &digest, &v->derived, &v->cells)) {
        cn_free(v);
        return NULL;
    }
    v->made = (cn_seg_made){.done = free_cells, .sound = sound_cells};
    v->flat = flat;
    return v;
}

/* Opened without the lock, for others search meanwhile: who comes second takes the first one's. */
cn_cells *cn_seg_cells(cn_seg *s, const cn_space *space, const cn_flat *flat) {
    if (cn_seg_rows(s) < cn_cells_from())
        return NULL;
    pthread_mutex_lock(&s->lock);
    cells_view *first = view_of(s, flat);
    pthread_mutex_unlock(&s->lock);
    if (first)
        return first->cells;
    cells_view *v = new_view(s, space, flat);
    if (!v)
        return NULL;
    pthread_mutex_lock(&s->lock);
    first = view_of(s, flat);
    if (!first)
        cn_seg_keep(s, &v->made);
    pthread_mutex_unlock(&s->lock);
    if (!first)
        return v->cells;
    free_cells(&v->made);
    return first->cells;
}
