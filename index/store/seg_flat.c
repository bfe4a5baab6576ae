/* The exact-search view of a segment: codes in <id>.flat.mdb, or the plain scan while there are none. */
#include "engine/base/log.h"
#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "index/store/seg_inside.h"

#define KIND CN_FLAT_KIND
#define SPACE_ARRAY UINT32_MAX   /* array number under which the digest of the space is kept */
#define CODED_FROM 4096          /* rows; fewer are scanned as fast without codes */
#define AGAIN_NS 1000000000ull   /* between two attempts to get codes */

/* All views ever given out stay until the segment closes: callers borrow them. */
struct cn_seg_flats {
    cn_seg_flats *next;
    cn_digest space;
    float *mean;
    cn_vecs vecs;
    cn_derived *derived;
    cn_flat *flat;
    bool coded, building;
    uint64_t tried_ns;
};

static cn_digest space_digest(const cn_space *sp) {
    cn_sha256 s;
    cn_sha256_begin(&s);
    cn_sha256_u64(&s, CN_FLAT_FORMAT);
    cn_sha256_u64(&s, (uint64_t)sp->metric);
    cn_sha256_u64(&s, sp->dim);
    cn_sha256_u64(&s, sp->seed);
    if (sp->mean)
        cn_sha256_add(&s, sp->mean, sp->dim * sizeof *sp->mean);
    cn_digest d = cn_sha256_get(&s);
    cn_sha256_end(&s);
    return d;
}

static void free_flat(cn_seg_flats *f) {
    cn_flat_close(f->flat);
    cn_derived_close(f->derived);
    cn_free(f->mean);
    cn_free(f);
}

static void free_all(cn_seg_flats *f) {
    while (f) {
        cn_seg_flats *next = f->next;
        free_flat(f);
        f = next;
    }
}

/* ---------- building ---------- */

typedef struct flat_build {
    const cn_vecs *vecs;
    const cn_space *space;
    const cn_digest *digest;
    unsigned threads;
} flat_build;

static cn_err build(void *ctx, cn_put_array *put, void *put_ctx) {
    const flat_build *b = ctx;
    CN_TRY(put(put_ctx, SPACE_ARRAY, 0, b->digest, sizeof *b->digest));
    return cn_flat_build(b->vecs, b->space, b->threads, put, put_ctx);
}

static bool has_codes(cn_seg *s, const cn_digest *space, cn_derived **ret) {
    cn_derived *d;
    const void *p;
    size_t n;
    if (cn_derived_open(s, KIND, &d) != CN_OK)
        return false;
    if (cn_derived_get(d, SPACE_ARRAY, 0, &p, &n) == CN_OK && n == sizeof *space && memcmp(p, space, n) == 0) {
        *ret = d;
        return true;
    }
    cn_derived_close(d);
    return false;
}

static cn_err build_codes(cn_seg *s, const cn_vecs *v, const cn_space *space, const cn_digest *digest, unsigned threads) {
    flat_build b = {v, space, digest, threads};
    return cn_derived_build(s, KIND, build, &b);
}

cn_err cn_seg_build_flat(cn_seg *s, const cn_space *space, unsigned threads) {
    cn_vecs v;
    cn_derived *d = NULL;
    if (cn_seg_rows(s) < CODED_FROM || cn_seg_dim(s) == 0)
        return CN_OK;
    CN_TRY(cn_seg_vecs(s, &v));
    cn_digest digest = space_digest(space);
    if (has_codes(s, &digest, &d)) {
        cn_derived_close(d);
        return CN_OK;
    }
    return build_codes(s, &v, space, &digest, threads);
}

/* ---------- views ---------- */

/* A view of the space; with codes where there are any that can be opened. */
static cn_err new_view(cn_seg *s, const cn_space *space, const cn_digest *digest, cn_derived *codes, cn_seg_flats **ret) {
    size_t bytes = space->dim * sizeof(float);
    cn_seg_flats *f = cn_calloc(1, sizeof *f);
    cn_space own = *space;
    cn_err e = f ? cn_seg_vecs(s, &f->vecs) : cn_fail_memory();
    if (e == CN_OK && space->mean) {
        own.mean = f->mean = cn_alloc(bytes);
        if (f->mean)
            memcpy(f->mean, space->mean, bytes);
        else
            e = cn_fail_memory();
    }
    if (e == CN_OK)
        e = cn_flat_open(&f->vecs, &own, codes ? cn_derived_get : NULL, codes, &f->flat);
    if (e != CN_OK) {
        if (f)
            free_flat(f);
        return e;
    }
    f->space = *digest;
    f->derived = codes;
    f->coded = codes != NULL;
    f->tried_ns = cn_mono_ns();
    *ret = f;
    return CN_OK;
}

static cn_seg_flats *newest(const cn_seg *s, const cn_digest *digest) {
    cn_seg_flats *f = s->flats;
    while (f && !cn_digest_eq(&f->space, digest))
        f = f->next;
    return f;
}

static cn_err all_sound(const cn_seg_flats *f) {
    for (; f; f = f->next)
        if (f->derived)
            CN_TRY(cn_derived_sound(f->derived));
    return CN_OK;
}

static void keep(cn_seg *s, cn_seg_flats *f) {
    f->next = s->flats;
    s->flats = f;
    s->flats_done = free_all;
    s->flats_sound = all_sound;
}

/* Opens codes, building them first if need be. Without the lock: others scan plainly meanwhile. */
static bool get_codes(cn_seg *s, const cn_space *space, const cn_digest *digest, cn_derived **ret) {
    cn_vecs v;
    if (has_codes(s, digest, ret))
        return true;
    cn_err e = cn_seg_vecs(s, &v);
    if (e == CN_OK)
        e = build_codes(s, &v, space, digest, cn_cpus());
    if (e == CN_OK)
        return has_codes(s, digest, ret);
    cn_log(CN_LOG_INFO, "flat.uncoded", "path=%s %s", cn_env_path(s->env), cn_error_detail());
    return false;
}

/* Has the caller to try for codes? One thread at a time, once a second. */
static bool must_try(cn_seg *s, cn_seg_flats *plain) {
    if (plain->coded || plain->building || cn_seg_rows(s) < CODED_FROM || (plain->tried_ns && cn_mono_ns() - plain->tried_ns < AGAIN_NS))
        return false;
    return plain->building = true;
}

static cn_err plain_view(cn_seg *s, const cn_space *space, const cn_digest *digest, cn_seg_flats **ret) {
    *ret = newest(s, digest);
    if (*ret)
        return CN_OK;
    CN_TRY(new_view(s, space, digest, NULL, ret));
    (*ret)->tried_ns = 0;
    keep(s, *ret);
    return CN_OK;
}

/* The codes that were there are damaged: made anew, once. */
static cn_seg_flats *rebuilt_view(cn_seg *s, const cn_space *space, const cn_digest *digest) {
    cn_derived *codes = NULL;
    cn_seg_flats *f = NULL;
    cn_vecs v;
    if (cn_seg_vecs(s, &v) != CN_OK || build_codes(s, &v, space, digest, cn_cpus()) != CN_OK || !has_codes(s, digest, &codes))
        return NULL;
    if (new_view(s, space, digest, codes, &f) == CN_OK)
        return f;
    cn_derived_close(codes);
    return NULL;
}

static cn_seg_flats *coded_view(cn_seg *s, const cn_space *space, const cn_digest *digest) {
    cn_derived *codes = NULL;
    cn_seg_flats *f = NULL;
    if (!get_codes(s, space, digest, &codes))
        return NULL;
    if (new_view(s, space, digest, codes, &f) == CN_OK)
        return f;
    cn_log(CN_LOG_WARN, "flat.damaged", "path=%s %s", cn_env_path(s->env), cn_error_detail());
    cn_derived_close(codes);
    return rebuilt_view(s, space, digest);
}

cn_err cn_seg_flat(cn_seg *s, const cn_space *space, cn_flat **ret, bool *ret_coded) {
    cn_digest digest = space_digest(space);
    cn_seg_flats *f = NULL;
    pthread_mutex_lock(&s->lock);
    cn_err e = plain_view(s, space, &digest, &f);
    bool try = e == CN_OK && must_try(s, f);
    pthread_mutex_unlock(&s->lock);
    CN_TRY(e);
    if (try) {
        cn_seg_flats *coded = coded_view(s, space, &digest);
        pthread_mutex_lock(&s->lock);
        f->building = false;
        f->tried_ns = cn_mono_ns();
        if (coded)
            keep(s, f = coded);
        pthread_mutex_unlock(&s->lock);
    }
    *ret = f->flat;
    *ret_coded = f->coded;
    return CN_OK;
}
