/* Rows to a FAISS index: train on some of them, add all, measure, and put. */
#include <omp.h>

#include "engine/base/blas.h"
#include "engine/base/mem.h"
#include "engine/base/sanitize.h"
#include "engine/faiss/inside.h"

#define TRAIN_LEAST 65536u
#define TRAIN_A_LIST 64u /* rows */
#define TRAIN_MOST 524288u
#define ADDED_TOGETHER 16384u

/* n rows, spread evenly from `from` on, to their own array. */
static cn_err gather(const cn_faiss *x, uint32_t from, uint32_t n, uint32_t of, float *to) {
    const cn_flat *f = x->flat;
    for (uint32_t i = 0; i < n; i++)
        cn_faiss_vector(&f->space, cn_vec(&f->v, from + (uint32_t)((uint64_t)i * of / n)), to + (size_t)i * f->v.dim);
    return CN_OK;
}

static cn_err train(cn_faiss *x) {
    const cn_blas *blas;
    uint32_t rows = x->head.rows, most = TRAIN_A_LIST * x->form.lists > TRAIN_LEAST ? TRAIN_A_LIST * x->form.lists : TRAIN_LEAST, n = rows < most ? rows : most;
    n = n < TRAIN_MOST ? n : TRAIN_MOST;
    if (faiss_Index_is_trained(x->index))
        return CN_OK;
    CN_TRY(cn_blas_get(&blas));
    CN_AUTO_FREE float *v = cn_alloc((size_t)n * x->head.dim * sizeof *v);
    if (!v)
        return cn_fail_memory();
    CN_TRY(gather(x, 0, n, rows, v));
    return faiss_Index_train(x->index, n, v) ? cn_faiss_failed(CN_INTERNAL, "training a FAISS index") : CN_OK;
}

static cn_err add(cn_faiss *x) {
    CN_AUTO_FREE float *v = cn_alloc((size_t)ADDED_TOGETHER * x->head.dim * sizeof *v);
    if (!v)
        return cn_fail_memory();
    for (uint32_t from = 0, n; from < x->head.rows; from += n) {
        n = x->head.rows - from < ADDED_TOGETHER ? x->head.rows - from : ADDED_TOGETHER;
        CN_TRY(gather(x, from, n, n, v));
        if (faiss_Index_add(x->index, n, v))
            return cn_faiss_failed(CN_INTERNAL, "adding to a FAISS index");
    }
    return CN_OK;
}

static cn_err make(cn_faiss *x, unsigned threads, cn_put_array *put, void *ctx) {
    CN_TRY(cn_faiss_index_new(cn_str_of(x->head.factory), &x->form, x->flat->space.metric, x->head.dim, &x->index));
    omp_set_num_threads(1); /* training is thousands of short loops: threads would spin for one another, and on a busy machine for long */
    CN_TRY(train(x));
    omp_set_num_threads(CN_SANITIZED ? 1 : (int)threads); /* a thread checker does not see what OpenMP waits for */
    cn_err e = add(x);
    omp_set_num_threads(1);
    CN_TRY(e);
    CN_TRY(cn_faiss_measure(x, threads));
    return cn_faiss_write(x, put, ctx);
}

cn_err cn_faiss_build(const cn_flat *f, cn_str factory, unsigned threads, cn_put_array *put, void *ctx) {
    cn_faiss x = {.flat = f};
    cn_faiss_head *h = &x.head;
    CN_TRY(cn_faiss_check(factory, f->space.metric, f->v.dim));
    CN_TRY(cn_faiss_form_read(factory, &x.form));
    memcpy(h->magic, "cnfaiss1", 8);
    memcpy(h->factory, factory.p, factory.n);
    h->dim = f->v.dim;
    h->rows = f->v.n;
    h->metric = (uint32_t)f->space.metric;
    cn_err e = f->rotation.signs && h->rows >= x.form.least ? make(&x, threads, put, ctx) : CN_OK;
    if (x.index)
        faiss_Index_free(x.index);
    return e == CN_OK ? put(ctx, CN_FAISS_ARRAY_HEAD, 0, h, sizeof *h) : e;
}
