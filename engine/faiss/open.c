/* A segment's FAISS index found and checked. */
#include "engine/base/mem.h"
#include "engine/faiss/inside.h"

static bool same_aim(const cn_faiss_head *h, const cn_faiss_form *form, const cn_faiss_aim *a) {
    return a->depth <= CN_FAISS_DEPTH_MAX && a->rows <= h->rows && a->recall >= 0 && a->recall <= 1 && (a->depth == 0 || (a->probe >= 1 && a->probe <= (form->lists ? form->lists : 1)));
}

static bool same_head(const cn_faiss *x, cn_str factory) {
    const cn_faiss_head *h = &x->head;
    const cn_flat *f = x->flat;
    if (memcmp(h->magic, "cnfaiss1", 8) != 0 || h->dim != f->v.dim || h->rows != f->v.n || h->metric != (uint32_t)f->space.metric || factory.n > CN_FAISS_FACTORY_MAX ||
        memcmp(h->factory, factory.p, factory.n) != 0 || h->factory[factory.n] || (h->bytes != 0) != (f->rotation.signs && h->rows >= x->form.least))
        return false;
    for (uint32_t i = 0; i < CN_FAISS_KS; i++)
        for (uint32_t j = 0; j < CN_FAISS_RECALLS; j++)
            if (!same_aim(h, &x->form, &h->aims[i][j]))
                return false;
    return true;
}

static cn_err open_all(cn_faiss *x, cn_str factory, cn_get_array *get, void *ctx) {
    const void *p;
    CN_TRY(cn_faiss_form_read(factory, &x->form));
    CN_TRY(cn_get_sized(get, ctx, "FAISS index", CN_FAISS_ARRAY_HEAD, 0, sizeof x->head, &p));
    memcpy(&x->head, p, sizeof x->head);
    if (!same_head(x, factory))
        return cn_fail(CN_DAMAGED, "the head of the FAISS index does not fit the segment's rows or the kind asked for; it will be made anew");
    if (!x->head.bytes)
        return CN_OK;
    CN_TRY(cn_faiss_read(x, get, ctx));
    if (faiss_Index_d(x->index) != (int)x->head.dim || faiss_Index_ntotal(x->index) != (int64_t)x->head.rows || !faiss_Index_is_trained(x->index) ||
        faiss_Index_metric_type(x->index) != cn_faiss_metric(x->flat->space.metric))
        return cn_fail(CN_DAMAGED, "the FAISS index is one of other rows; it will be made anew");
    return CN_OK;
}

cn_err cn_faiss_open(const cn_flat *f, cn_str factory, cn_get_array *get, void *ctx, cn_faiss **ret) {
    cn_faiss *x = cn_calloc(1, sizeof *x);
    if (!x)
        return cn_fail_memory();
    x->flat = f;
    cn_err e = open_all(x, factory, get, ctx);
    if (e != CN_OK) {
        cn_faiss_close(x);
        return e;
    }
    *ret = x;
    return CN_OK;
}

void cn_faiss_close(cn_faiss *x) {
    if (x && x->index)
        faiss_Index_free(x->index);
    cn_free(x);
}
