/* The cells of a segment: in <id>.cells.mdb, over the codes of seg_flat.c. */
#include "engine/base/log.h"
#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "index/store/seg_inside.h"

#define KIND CN_CELLS_KIND
#define AGAIN_NS 1000000000ull /* between two attempts to get cells */

/* One for each open cn_flat; those that were given out stay until the segment closes. */
typedef struct cells_view {
    cn_seg_made made;
    cn_flat *flat;
    cn_derived *derived;
    cn_cells *cells;     /* NULL: none yet */
    bool trying;
    uint64_t tried_ns;
} cells_view;

static void free_cells(cn_seg_made *m) {
    cells_view *v = (cells_view *)m;
    cn_cells_close(v->cells);
    cn_derived_close(v->derived);
    cn_free(v);
}

static cn_err sound_cells(const cn_seg_made *m) {
    const cells_view *v = (const cells_view *)m;
    return v->derived ? cn_derived_sound(v->derived) : CN_OK;
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

static cn_err build_over(cn_seg *s, const cn_flat *flat, const cn_digest *digest, unsigned threads) {
    return cn_derived_build(s, KIND, build, &(cells_build){flat, digest, threads});
}

cn_err cn_seg_build_cells(cn_seg *s, const cn_space *space, unsigned threads) {
    cn_digest digest = cn_seg_space_digest(space, CN_CELLS_FORMAT);
    cn_derived *d = NULL;
    cn_flat *flat;
    bool coded;
    if (cn_seg_rows(s) < CN_CELLS_FROM || cn_seg_dim(s) == 0)
        return CN_OK;
    if (cn_seg_space_derived(s, KIND, &digest, &d)) {
        cn_derived_close(d);
        return CN_OK;
    }
    CN_TRY(cn_seg_flat(s, space, &flat, &coded));
    return coded ? build_over(s, flat, &digest, threads) : CN_OK;
}

/* ---------- views ---------- */

static bool open_cells(cn_seg *s, const cn_flat *flat, const cn_digest *digest, cn_derived **ret_derived, cn_cells **ret) {
    if (!cn_seg_space_derived(s, KIND, digest, ret_derived))
        return false;
    if (cn_cells_open(flat, cn_derived_get, *ret_derived, ret) == CN_OK)
        return true;
    cn_log(CN_LOG_WARN, "cells.damaged", "path=%s %s", cn_env_path(s->env), cn_error_detail());
    cn_derived_close(*ret_derived);
    return false;
}

/* Those that are there; else they are made. Without the lock: others scan meanwhile. */
static bool get_cells(cn_seg *s, const cn_flat *flat, const cn_digest *digest, cn_derived **ret_derived, cn_cells **ret) {
    if (open_cells(s, flat, digest, ret_derived, ret))
        return true;
    if (build_over(s, flat, digest, cn_cpus()) == CN_OK && open_cells(s, flat, digest, ret_derived, ret))
        return true;
    cn_log(CN_LOG_INFO, "cells.none", "path=%s %s", cn_env_path(s->env), cn_error_detail());
    return false;
}

static cells_view *view_of(cn_seg *s, cn_flat *flat) {
    for (cn_seg_made *m = s->made; m; m = m->next)
        if (m->done == free_cells && ((cells_view *)m)->flat == flat)
            return (cells_view *)m;
    cells_view *v = cn_calloc(1, sizeof *v);
    if (!v)
        return NULL;
    v->made = (cn_seg_made){.done = free_cells, .sound = sound_cells};
    v->flat = flat;
    cn_seg_keep(s, &v->made);
    return v;
}

/* Has the caller to try for cells? One thread at a time, once a second. */
static bool must_try(cells_view *v) {
    if (!v || v->cells || v->trying || (v->tried_ns && cn_mono_ns() - v->tried_ns < AGAIN_NS))
        return false;
    return v->trying = true;
}

cn_cells *cn_seg_cells(cn_seg *s, const cn_space *space, cn_flat *flat) {
    cn_digest digest = cn_seg_space_digest(space, CN_CELLS_FORMAT);
    cn_derived *derived = NULL;
    cn_cells *cells = NULL;
    if (cn_seg_rows(s) < CN_CELLS_FROM)
        return NULL;
    pthread_mutex_lock(&s->lock);
    cells_view *v = view_of(s, flat);
    bool try = must_try(v);
    cn_cells *now = v ? v->cells : NULL;
    pthread_mutex_unlock(&s->lock);
    if (!try)
        return now;
    bool got = get_cells(s, flat, &digest, &derived, &cells);
    pthread_mutex_lock(&s->lock);
    v->trying = false;
    v->tried_ns = cn_mono_ns();
    v->derived = got ? derived : NULL;
    v->cells = got ? cells : NULL;
    pthread_mutex_unlock(&s->lock);
    return got ? cells : NULL;
}
