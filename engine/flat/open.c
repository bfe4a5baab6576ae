/* A segment's codes found and checked, and the memory of searches. */
#include <math.h>
#include <string.h>

#include "engine/base/mem.h"
#include "engine/flat/inside.h"

static bool same_head(const cn_flat_head *h, const cn_vecs *v) {
    return memcmp(h->magic, "cnflat02", 8) == 0 && h->dim == v->dim && h->padded == cn_padded(v->dim) && h->rows == v->n &&
           (h->planes == 0 || h->planes == cn_planes_for(v->dim)) && h->norm >= 0 && isfinite(h->norm) && h->spread >= 0 &&
           isfinite(h->spread);
}

static cn_err open_head(cn_flat *f, cn_get_array *get, void *ctx) {
    const void *p;
    CN_TRY(cn_get_sized(get, ctx, "codes", CN_FLAT_ARRAY_HEAD, 0, sizeof f->head, &p));
    memcpy(&f->head, p, sizeof f->head);
    if (!same_head(&f->head, &f->v))
        return cn_fail(CN_DAMAGED, "the head of the codes does not fit the segment's vectors; they will be made anew");
    return CN_OK;
}

static cn_err open_chunk(cn_flat *f, uint32_t i, cn_get_array *get, void *ctx) {
    cn_flat_chunk *c = &f->chunk[i];
    uint32_t left = f->v.n - i * CN_CHUNK_ROWS, rows = left < CN_CHUNK_ROWS ? left : CN_CHUNK_ROWS;
    size_t room = (rows + CN_FASTSCAN_ROWS - 1) / CN_FASTSCAN_ROWS * CN_FASTSCAN_ROWS;
    const void *bits, *int8, *factors;
    CN_TRY(cn_get_sized(get, ctx, "codes", CN_FLAT_ARRAY_BITS, i, room / CN_FASTSCAN_ROWS * cn_code_block_bytes(&f->head), &bits));
    CN_TRY(cn_get_sized(get, ctx, "codes", CN_FLAT_ARRAY_INT8, i, room * f->head.padded, &int8));
    CN_TRY(cn_get_sized(get, ctx, "codes", CN_FLAT_ARRAY_FACTORS, i, room * 4 * sizeof(float), &factors));
    c->bits = bits;
    c->int8 = int8;
    c->scale = factors;
    c->add = c->scale + room;
    c->miss = c->add + room;
    c->size = c->miss + room;
    return CN_OK;
}

static cn_err open_codes(cn_flat *f, cn_get_array *get, void *ctx) {
    CN_TRY(open_head(f, get, ctx));
    if (f->head.planes == 0)
        return CN_OK;
    for (uint32_t i = 0; i < f->n_chunks; i++)
        CN_TRY(open_chunk(f, i, get, ctx));
    return cn_rotation_init(&f->rotation, f->v.dim, f->space.seed);
}

cn_err cn_flat_open(const cn_vecs *v, const cn_space *space, cn_get_array *get, void *ctx, cn_flat **ret) {
    CN_ASSERT(v->dim >= 1 && v->dim <= CN_DIM_MAX && v->dim == space->dim);
    uint32_t chunks = v->n / CN_CHUNK_ROWS + (v->n % CN_CHUNK_ROWS != 0);
    cn_flat *f = cn_calloc(1, sizeof *f + chunks * sizeof *f->chunk);
    if (!f)
        return cn_fail_memory();
    f->v = *v;
    f->space = *space;
    f->n_chunks = chunks;
    f->mean_norm = space->mean ? sqrtf(cn_norm2(space->mean, space->dim)) : 0;
    cn_err e = get ? open_codes(f, get, ctx) : CN_OK;
    if (e != CN_OK) {
        cn_flat_close(f);
        return e;
    }
    *ret = f;
    return CN_OK;
}

void cn_flat_close(cn_flat *f) {
    if (f)
        cn_rotation_done(&f->rotation);
    cn_free(f);
}

cn_err cn_scratch_new(cn_scratch **ret) {
    cn_scratch *s = cn_calloc(1, sizeof *s);
    if (!s)
        return cn_fail_memory();
    *ret = s;
    return CN_OK;
}

void cn_scratch_free(cn_scratch *s) {
    if (!s)
        return;
    cn_top_done(&s->top);
    cn_free(s->p);
    cn_free(s->p8);
    cn_free(s->lut);
    cn_free(s);
}
