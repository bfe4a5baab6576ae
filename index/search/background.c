/* background.c -- how near a question is to passages that have nothing to do with it, so that its best one can be judged. */
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "engine/base/mem.h"
#include "index/search/searcher.h"

/* ---------- which rows ---------- */
/* Rows of the permitted documents whose keys come first. Keys are digests, so this is a fair sample, and the same one whatever
 * segments the documents lie in. */
struct cn_sample {
    uint32_t n;
    struct cn_sampled {
        cn_key key;
        uint32_t part, row;
    } v[CN_BACKGROUND];
};

typedef struct picking {
    const cn_view_part *p;
    const uint64_t *bits;
    uint32_t part;
    cn_sample *sample;
} picking;

/* CN_END: neither this one nor a later one of this segment comes in. */
static cn_err pick(void *ctx, const cn_key *key, const cn_digest *leaf, uint32_t doc) {
    const picking *k = ctx;
    cn_sample *s = k->sample;
    const uint32_t *doc_row = cn_seg_doc_row(k->p->seg);
    uint32_t first = doc_row[doc], rows = doc_row[doc + 1] - first, at = s->n;
    (void)leaf;
    if (rows == 0 || !(k->bits[first / 64] >> (first % 64) & 1))
        return CN_OK;
    if (s->n == CN_BACKGROUND && memcmp(key->b, s->v[s->n - 1].key.b, sizeof key->b) > 0)
        return CN_END;
    s->n += s->n < CN_BACKGROUND;
    at = at < CN_BACKGROUND ? at : CN_BACKGROUND - 1;
    for (; at > 0 && memcmp(key->b, s->v[at - 1].key.b, sizeof key->b) < 0; at--)
        s->v[at] = s->v[at - 1];
    s->v[at] = (struct cn_sampled){*key, k->part, first + key->b[sizeof key->b - 1] % rows};
    return CN_OK;
}

#define FEW 4096 /* permitted rows; so few are looked up one by one, for most keys would be passed over */

static cn_err pick_few(picking *k) {
    const uint32_t *row_doc = cn_seg_row_doc(k->p->seg), *doc_row = cn_seg_doc_row(k->p->seg);
    cn_key key;
    cn_digest leaf;
    for (uint32_t w = 0; w < (cn_seg_rows(k->p->seg) + 63) / 64; w++)
        for (uint64_t left = k->bits[w]; left; left &= left - 1) {
            uint32_t row = w * 64 + (uint32_t)__builtin_ctzll(left), doc = row_doc[row];
            if (doc_row[doc] != row) /* a document comes in once */
                continue;
            CN_TRY(cn_seg_leaf(k->p->seg, doc, &key, &leaf));
            cn_err e = pick(k, &key, &leaf, doc);
            if (e != CN_OK && e != CN_END)
                return e;
        }
    return CN_OK;
}

static cn_err make_sample(const cn_view *v, const cn_permit *p, cn_sample **ret) {
    cn_sample *s = cn_calloc(1, sizeof *s);
    if (!s)
        return cn_fail_memory();
    for (uint32_t i = 0; i < v->n_parts; i++) {
        picking k = {&v->parts[i], p->rows[i], i, s};
        if (p->n_rows[i] == 0)
            continue;
        cn_err e = p->n_rows[i] <= FEW ? pick_few(&k) : cn_seg_bucket(k.p->seg, 0, 0, pick, &k);
        if (e != CN_OK && e != CN_END) {
            cn_free(s);
            return e;
        }
    }
    *ret = s;
    return CN_OK;
}

static cn_err sample_of(const cn_view *v, cn_permit *p, const cn_sample **ret) {
    cn_sample *none = NULL, *s = atomic_load(&p->sample);
    if (!s) {
        CN_TRY(make_sample(v, p, &s));
        if (!atomic_compare_exchange_strong(&p->sample, &none, s)) {
            cn_free(s);
            s = none;
        }
    }
    *ret = s;
    return CN_OK;
}

/* ---------- how near they are ---------- */
static int by_value(const void *a, const void *b) {
    const float *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

float cn_hit_cosine(const cn_hit *hit, const float *vector) {
    cn_vecs vecs;
    if (cn_seg_vecs(hit->seg, &vecs) != CN_OK)
        return 0;
    float c = cn_score(CN_COSINE, vector, cn_vec(&vecs, hit->row), vecs.dim);
    return isfinite(c) ? c : 0; /* a vector of zeros, where the metric allows that */
}

cn_err cn_background_of(cn_view *v, const cn_query *q, cn_background *ret) {
    const cn_sample *s = NULL;
    cn_permit *p;
    float near[CN_BACKGROUND];
    CN_TRY(cn_permit_get(v, &q->who, NULL, q->deadline_ns, &p));
    cn_err e = sample_of(v, p, &s);
    for (uint32_t i = 0; e == CN_OK && i < s->n; i++) {
        near[i] = cn_hit_cosine(&(cn_hit){.seg = v->parts[s->v[i].part].seg, .row = s->v[i].row}, q->vector);
        e = cn_seg_sound(v->parts[s->v[i].part].seg);
    }
    if (e == CN_OK) {
        qsort(near, s->n, sizeof *near, by_value);
        *ret = (cn_background){.n = s->n};
        if (s->n) { /* the lower half tells the spread: the upper one may hold what the question is about */
            ret->middle = near[s->n / 2];
            ret->spread = near[s->n / 2] - near[s->n * 4 / 25];
        }
    }
    cn_permit_unref(p);
    return e;
}
