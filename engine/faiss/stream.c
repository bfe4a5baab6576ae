/* FAISS's bytes as a stream over the blocks of an array. */
#include <omp.h>

#include "engine/base/blas.h"
#include "engine/base/mem.h"
#include "engine/faiss/inside.h"

/* ---------- writing ---------- */

typedef struct out {
    cn_put_array *put;
    void *ctx;
    char *chunk;
    size_t n;
    uint32_t blocks;
    uint64_t bytes;
    cn_sha256 sha;
    cn_err err;
} out;

static void put_chunk(out *o) {
    if (o->err == CN_OK && o->n)
        o->err = o->put(o->ctx, CN_FAISS_ARRAY_BYTES, o->blocks, o->chunk, o->n);
    cn_sha256_add(&o->sha, o->chunk, o->n);
    o->bytes += o->n;
    o->blocks += o->n != 0;
    o->n = 0;
}

static ssize_t take(void *cookie, const char *p, size_t n) {
    out *o = cookie;
    for (size_t done = 0; done < n;) {
        size_t more = n - done < CN_FAISS_CHUNK - o->n ? n - done : CN_FAISS_CHUNK - o->n;
        memcpy(o->chunk + o->n, p + done, more);
        o->n += more;
        done += more;
        if (o->n == CN_FAISS_CHUNK)
            put_chunk(o);
    }
    return o->err == CN_OK ? (ssize_t)n : 0;
}

static cn_err write_to(cn_faiss *x, out *o) {
    FILE *f = fopencookie(o, "w", (cookie_io_functions_t){.write = take});
    if (!f)
        return cn_fail_memory();
    int rc = faiss_write_index(x->index, f);
    cn_err e = rc ? cn_faiss_failed(CN_INTERNAL, "writing a FAISS index") : CN_OK;
    if (fclose(f) != 0 && e == CN_OK)
        e = cn_fail(CN_INTERNAL, "writing a FAISS index failed");
    put_chunk(o);
    return o->err != CN_OK ? o->err : e;
}

cn_err cn_faiss_write(cn_faiss *x, cn_put_array *put, void *ctx) {
    CN_AUTO_FREE char *chunk = cn_alloc(CN_FAISS_CHUNK);
    out o = {.put = put, .ctx = ctx, .chunk = chunk, .err = CN_OK};
    if (!chunk)
        return cn_fail_memory();
    cn_sha256_begin(&o.sha);
    cn_err e = write_to(x, &o);
    if (e == CN_OK) {
        x->head.digest = cn_sha256_get(&o.sha);
        x->head.bytes = o.bytes;
    }
    cn_sha256_end(&o.sha);
    return e;
}

/* ---------- reading ---------- */

typedef struct in {
    cn_get_array *get;
    void *ctx;
    uint64_t bytes, at;
} in;

static cn_err block_at(const in *i, const char **ret, size_t *ret_n) {
    uint32_t block = (uint32_t)(i->at / CN_FAISS_CHUNK);
    uint64_t left = i->bytes - (uint64_t)block * CN_FAISS_CHUNK;
    size_t n = left < CN_FAISS_CHUNK ? (size_t)left : CN_FAISS_CHUNK, from = i->at % CN_FAISS_CHUNK;
    const void *p;
    CN_TRY(cn_get_sized(i->get, i->ctx, "FAISS index", CN_FAISS_ARRAY_BYTES, block, n, &p));
    *ret = (const char *)p + from;
    *ret_n = n - from;
    return CN_OK;
}

static ssize_t give(void *cookie, char *to, size_t n) {
    in *i = cookie;
    const char *p;
    size_t have;
    if (i->at == i->bytes)
        return 0;
    if (block_at(i, &p, &have) != CN_OK)
        return -1;
    n = n < have ? n : have;
    memcpy(to, p, n);
    i->at += n;
    return (ssize_t)n;
}

static cn_err verify(in *i, const cn_digest *want) {
    cn_sha256 sha;
    const char *p;
    size_t n;
    cn_err e = CN_OK;
    cn_sha256_begin(&sha);
    for (i->at = 0; e == CN_OK && i->at < i->bytes; i->at += n) {
        n = 0;
        e = block_at(i, &p, &n);
        if (e == CN_OK)
            cn_sha256_add(&sha, p, n);
    }
    i->at = 0;
    cn_digest is = cn_sha256_get(&sha);
    cn_sha256_end(&sha);
    CN_TRY(e);
    return cn_digest_eq(&is, want) ? CN_OK : cn_fail(CN_DAMAGED, "the bytes of the FAISS index are not those that were written; it will be made anew");
}

cn_err cn_faiss_read(cn_faiss *x, cn_get_array *get, void *ctx) {
    const cn_blas *blas;
    in i = {.get = get, .ctx = ctx, .bytes = x->head.bytes};
    CN_TRY(verify(&i, &x->head.digest));
    CN_TRY(cn_blas_get(&blas)); /* what FAISS makes of PQ's tables needs it */
    omp_set_num_threads(1);
    FILE *f = fopencookie(&i, "r", (cookie_io_functions_t){.read = give});
    if (!f)
        return cn_fail_memory();
    int rc = faiss_read_index(f, 0, &x->index);
    fclose(f);
    if (rc) {
        x->index = NULL;
        return cn_faiss_failed(CN_DAMAGED, "reading a FAISS index");
    }
    return CN_OK;
}
