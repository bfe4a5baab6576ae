/* The exact-search view of a segment: codes in <id>.flat.mdb, or the plain scan while there are none. */
#include "engine/base/log.h"
#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "index/store/seg_inside.h"

#define KIND CN_FLAT_KIND
#define AGAIN_NS 1000000000ull   /* between two attempts to get codes */

/* All views ever given out stay until the segment closes: callers borrow them. */
typedef struct flat_view {
    cn_seg_made made;
    cn_digest space;
    float *mean;
    cn_vecs vecs;
    cn_derived *derived;
    cn_flat *flat;
    bool coded, building;
    uint64_t tried_ns;
} flat_view;

cn_digest cn_seg_space_digest(const cn_space *sp, uint32_t format) {
    cn_sha256 s;
    cn_sha256_begin(&s);
    cn_sha256_u64(&s, format);
    cn_sha256_u64(&s, (uint64_t)sp->metric);
    cn_sha256_u64(&s, sp->dim);
    cn_sha256_u64(&s, sp->seed);
    if (sp->mean)
        cn_sha256_add(&s, sp->mean, sp->dim * sizeof *sp->mean);
    cn_digest d = cn_sha256_get(&s);
    cn_sha256_end(&s);
    return d;
}

static void free_flat(cn_seg_made *m) {
    flat_view *f = (flat_view *)m;
    cn_flat_close(f->flat);
    cn_derived_close(f->derived);
    cn_free(f->mean);
    cn_free(f);
}

static cn_err sound_flat(const cn_seg_made *m) {
    const flat_view *f = (const flat_view *)m;
    return f->derived ? cn_derived_sound(f->derived) : CN_OK;
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
    CN_TRY(put(put_ctx, CN_SPACE_ARRAY, 0, b->digest, sizeof *b->digest));
    return cn_flat_build(b->vecs, b->space, b->threads, put, put_ctx);
}

bool cn_seg_space_derived(cn_seg *s, const char *kind, const cn_digest *space, cn_derived **ret) {
    cn_derived *d;
    const void *p;
    size_t n;
    if (cn_derived_open(s, kind, &d) != CN_OK)
        return false;
    if (cn_derived_get(d, CN_SPACE_ARRAY, 0, &p, &n) == CN_OK && n == sizeof *space && memcmp(p, space, n) == 0) {
        *ret = d;
        return true;
    }
    cn_derived_close(d);
    return false;
}

static bool has_codes(cn_seg *s, const cn_digest *space, cn_derived **ret) { return cn_seg_space_derived(s, KIND, space, ret); }

static cn_err build_codes(cn_seg *s, const cn_vecs *v, const cn_space *space, const cn_digest *digest, unsigned threads) {
    flat_build b = {v, space, digest, threads};
    return cn_derived_build(s, KIND, build, &b);
}

cn_err cn_seg_build_flat(cn_seg *s, const cn_space *space, unsigned threads) {
    cn_vecs v;
    cn_derived *d = NULL;
    if (cn_seg_rows(s) < CN_CODED_FROM || cn_seg_dim(s) == 0)
        return CN_OK;
    CN_TRY(cn_seg_vecs(s, &v));
    cn_digest digest = cn_seg_space_digest(space, CN_FLAT_FORMAT);
    if (has_codes(s, &digest, &d)) {
        cn_derived_close(d);
        return CN_OK;
    }
    return build_codes(s, &v, space, &digest, threads);
}

/* ---------- views ---------- */

/* A view of the space; with codes where there are any that can be opened. */
static cn_err new_view(cn_seg *s, const cn_space *space, const cn_digest *digest, cn_derived *codes, flat_view **ret) {
    size_t bytes = space->dim * sizeof(float);
    flat_view *f = cn_calloc(1, sizeof *f);
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
            free_flat(&f->made);
        return e;
    }
    f->made = (cn_seg_made){.done = free_flat, .sound = sound_flat};
    f->space = *digest;
    f->derived = codes;
    f->coded = codes != NULL;
    f->tried_ns = cn_mono_ns();
    *ret = f;
    return CN_OK;
}

static flat_view *newest(const cn_seg *s, const cn_digest *digest) {
    for (cn_seg_made *m = s->made; m; m = m->next)
        if (m->done == free_flat && cn_digest_eq(&((flat_view *)m)->space, digest))
            return (flat_view *)m;
    return NULL;
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
static bool must_try(cn_seg *s, flat_view *plain) {
    if (plain->coded || plain->building || cn_seg_rows(s) < CN_CODED_FROM || (plain->tried_ns && cn_mono_ns() - plain->tried_ns < AGAIN_NS))
        return false;
    return plain->building = true;
}

static cn_err plain_view(cn_seg *s, const cn_space *space, const cn_digest *digest, flat_view **ret) {
    *ret = newest(s, digest);
    if (*ret)
        return CN_OK;
    CN_TRY(new_view(s, space, digest, NULL, ret));
    (*ret)->tried_ns = 0;
    cn_seg_keep(s, &(*ret)->made);
    return CN_OK;
}

/* The codes that were there are damaged: made anew, once. */
static flat_view *rebuilt_view(cn_seg *s, const cn_space *space, const cn_digest *digest) {
    cn_derived *codes = NULL;
    flat_view *f = NULL;
    cn_vecs v;
    if (cn_seg_vecs(s, &v) != CN_OK || build_codes(s, &v, space, digest, cn_cpus()) != CN_OK || !has_codes(s, digest, &codes))
        return NULL;
    if (new_view(s, space, digest, codes, &f) == CN_OK)
        return f;
    cn_derived_close(codes);
    return NULL;
}

static flat_view *coded_view(cn_seg *s, const cn_space *space, const cn_digest *digest) {
    cn_derived *codes = NULL;
    flat_view *f = NULL;
    if (!get_codes(s, space, digest, &codes))
        return NULL;
    if (new_view(s, space, digest, codes, &f) == CN_OK)
        return f;
    cn_log(CN_LOG_WARN, "flat.damaged", "path=%s %s", cn_env_path(s->env), cn_error_detail());
    cn_derived_close(codes);
    return rebuilt_view(s, space, digest);
}

cn_err cn_seg_flat(cn_seg *s, const cn_space *space, cn_flat **ret, bool *ret_coded) {
    cn_digest digest = cn_seg_space_digest(space, CN_FLAT_FORMAT);
    flat_view *f = NULL;
    pthread_mutex_lock(&s->lock);
    cn_err e = plain_view(s, space, &digest, &f);
    bool try = e == CN_OK && must_try(s, f);
    pthread_mutex_unlock(&s->lock);
    CN_TRY(e);
    if (try) {
        flat_view *coded = coded_view(s, space, &digest);
        pthread_mutex_lock(&s->lock);
        f->building = false;
        f->tried_ns = cn_mono_ns();
        if (coded)
            cn_seg_keep(s, &(f = coded)->made);
        pthread_mutex_unlock(&s->lock);
    }
    *ret = f->flat;
    *ret_coded = f->coded;
    return CN_OK;
}
