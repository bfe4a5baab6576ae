#include "server/service/models.h"

#include <pthread.h>
#include <stdio.h>

#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "engine/base/utf8.h"
#include "ingest/embed/kept.h"
#include "server/service/vector_cache.h"

typedef struct slot {
    char name[CN_NAME_MAX + 1], precision[16];
    cn_embedder *e;
    cn_scale scale;
    bool measured;
    uint64_t asked_ns;         /* for it, last */
    pthread_mutex_t measuring; /* by one at a time; what comes of it is written under the other lock */
} slot;

struct cn_models {
    char *data_dir;
    pthread_mutex_t lock; /* of which slots there are; nothing is read or computed under it */
    slot slots[CN_MODELS_MAX];
    unsigned n;
    cn_vector_cache *cache;
};

cn_err cn_models_new(const char *data_dir, cn_models **ret) {
    cn_models *m = cn_calloc(1, sizeof *m);
    if (!m)
        return cn_fail_memory();
    pthread_mutex_init(&m->lock, NULL);
    for (unsigned i = 0; i < CN_MODELS_MAX; i++)
        pthread_mutex_init(&m->slots[i].measuring, NULL);
    m->data_dir = cn_strdup_n(data_dir, strlen(data_dir));
    cn_err err = m->data_dir ? cn_vector_cache_new(CN_QUESTIONS_KEPT, &m->cache) : cn_fail_memory();
    if (err != CN_OK) {
        cn_models_free(m);
        return err;
    }
    *ret = m;
    return CN_OK;
}

void cn_models_free(cn_models *m) {
    if (!m)
        return;
    for (unsigned i = 0; i < m->n; i++)
        cn_embedder_unref(m->slots[i].e);
    for (unsigned i = 0; i < CN_MODELS_MAX; i++)
        pthread_mutex_destroy(&m->slots[i].measuring);
    cn_vector_cache_free(m->cache);
    pthread_mutex_destroy(&m->lock);
    cn_free(m->data_dir);
    cn_free(m);
}

static slot *find(cn_models *m, const cn_recipe *r, cn_digest digest) {
    for (unsigned i = 0; i < m->n; i++) {
        cn_digest its = cn_embedder_digest(m->slots[i].e);
        if (cn_str_is(r->embedder, m->slots[i].name) && cn_str_is(r->precision, m->slots[i].precision) && cn_digest_eq(&its, &digest))
            return &m->slots[i];
    }
    return NULL;
}

/* The next that is free, or else the one that was asked for longest ago: of a model that was replaced, say. */
static slot *slot_for(cn_models *m) {
    if (m->n < CN_MODELS_MAX)
        return &m->slots[m->n++];
    slot *old = &m->slots[0];
    for (unsigned i = 1; i < m->n; i++)
        if (m->slots[i].asked_ns < old->asked_ns)
            old = &m->slots[i];
    return old;
}

static void put_in(slot *s, cn_embedder *e) {
    cn_embedder_unref(s->e); /* who still asks with it has it counted */
    s->e = cn_embedder_ref(e);
    s->asked_ns = cn_mono_ns();
}

static cn_err keep_locked(cn_models *m, const cn_recipe *r, cn_embedder *e) {
    slot *s = find(m, r, cn_embedder_digest(e));
    if (!s) {
        if (r->embedder.n >= sizeof s->name || r->precision.n >= sizeof s->precision)
            return cn_fail(CN_DAMAGED, "the version's recipe names a model no cairn can have");
        s = slot_for(m);
        snprintf(s->name, sizeof s->name, CN_STR_FMT, CN_STR_ARG(r->embedder));
        snprintf(s->precision, sizeof s->precision, CN_STR_FMT, CN_STR_ARG(r->precision));
        s->measured = false;
    }
    put_in(s, e);
    return CN_OK;
}

static cn_err open_model(cn_models *m, const cn_recipe *r, cn_embedder **ret) {
    cn_embedder *e;
    cn_err err = cn_embedder_open(m->data_dir, r->embedder, r->precision, &e);
    if (err != CN_OK)
        return cn_wrap(err == CN_NOT_FOUND ? CN_UNAVAILABLE : err, "the model \"" CN_STR_FMT "\" of this version", CN_STR_ARG(r->embedder));
    pthread_mutex_lock(&m->lock);
    err = keep_locked(m, r, e);
    pthread_mutex_unlock(&m->lock);
    if (err == CN_OK)
        *ret = e;
    else
        cn_embedder_unref(e);
    return err;
}

static cn_embedder *at_hand(cn_models *m, const cn_recipe *r) {
    pthread_mutex_lock(&m->lock);
    slot *s = find(m, r, r->embedder_digest);
    cn_embedder *e = s ? cn_embedder_ref(s->e) : NULL;
    if (s)
        s->asked_ns = cn_mono_ns();
    pthread_mutex_unlock(&m->lock);
    return e;
}

/* Opened outside the lock: it may take seconds, and others ask with other models meanwhile. What is in memory answers, whatever
 * stands in its folder now; but of a service elsewhere the description that is there counts. */
static cn_err take(cn_models *m, const cn_recipe *r, cn_embedder **ret) {
    cn_embedder *e = at_hand(m, r);
    if (e && (!cn_embedder_is_remote(e) || cn_embedder_is_current(e))) {
        *ret = e;
        return CN_OK;
    }
    cn_embedder_unref(e);
    return open_model(m, r, ret);
}

cn_err cn_models_get(cn_models *m, const cn_recipe *recipe, cn_embedder **ret) {
    if (cn_str_is(recipe->embedder, "none"))
        return cn_fail(CN_INVALID, "this index has no embedder, its vectors come with the rows: give `vector` instead of `text`");
    cn_embedder *e;
    CN_TRY(take(m, recipe, &e));
    cn_err err = cn_embedder_fits(e, recipe);
    if (err == CN_OK)
        *ret = e;
    else
        cn_embedder_unref(e);
    return err;
}

/* NULL: another one has its place by now. */
static slot *slot_of(cn_models *m, const cn_embedder *e) {
    slot *s = NULL;
    pthread_mutex_lock(&m->lock);
    for (unsigned i = 0; i < m->n && !s; i++)
        s = m->slots[i].e == e ? &m->slots[i] : NULL;
    pthread_mutex_unlock(&m->lock);
    return s;
}

static bool is_known(cn_models *m, const slot *s, const cn_embedder *e, cn_scale *ret) {
    pthread_mutex_lock(&m->lock);
    bool known = s->e == e && s->measured;
    if (known)
        *ret = s->scale;
    pthread_mutex_unlock(&m->lock);
    return known;
}

static void know(cn_models *m, slot *s, const cn_embedder *e, cn_scale scale) {
    pthread_mutex_lock(&m->lock);
    if (s->e == e) {
        s->scale = scale;
        s->measured = true;
    }
    pthread_mutex_unlock(&m->lock);
}

cn_scale cn_models_scale(cn_models *m, cn_embedder *e, unsigned threads) {
    cn_scale ret;
    if (cn_embedder_is_remote(e))
        return CN_SCALE_USUAL;
    slot *s = slot_of(m, e);
    if (!s)
        return cn_scale_of(e, threads);
    pthread_mutex_lock(&s->measuring);
    if (!is_known(m, s, e, &ret)) {
        ret = cn_scale_of(e, threads);
        know(m, s, e, ret);
    }
    pthread_mutex_unlock(&s->measuring);
    return ret;
}

/* By tenant: how soon an answer comes must not tell that another asked the same. */
static cn_digest key_of(cn_str tenant, cn_embedder *e, cn_str text) {
    cn_sha256 s;
    cn_digest model = cn_embedder_digest(e);
    cn_sha256_begin(&s);
    cn_sha256_field(&s, tenant);
    cn_sha256_add(&s, model.b, sizeof model.b);
    cn_sha256_add(&s, text.p, text.n);
    cn_digest key = cn_sha256_get(&s);
    cn_sha256_end(&s);
    return key;
}

cn_err cn_models_check_text(cn_str text) {
    size_t ok = cn_utf8_valid_to(text), i = 0;
    if (text.n > CN_QUESTION_BYTES)
        return cn_fail(CN_INVALID, "the text has %zu bytes; a question has at most %d", text.n, CN_QUESTION_BYTES);
    if (ok != text.n)
        return cn_fail(CN_INVALID, "the text is not UTF-8 at byte %zu", ok);
    while (i < text.n && (unsigned char)text.p[i] <= ' ')
        i++;
    return i == text.n ? cn_fail(CN_INVALID, "the text is empty") : CN_OK;
}

/* Several at once: the embedder spreads texts over threads, but says only how many were cut; then each is asked alone. */
static cn_err embed_missing(cn_embedder *e, cn_question_text **q, uint32_t n, unsigned threads, const cn_embed_wait *w, cn_arena *a) {
    uint32_t dim = cn_embedder_dim(e), cut, one;
    cn_embed_cost cost;
    float *out = cn_arena_alloc(a, (size_t)n * dim * sizeof *out);
    cn_str *texts = cn_arena_alloc(a, n * sizeof *texts);
    if (!out || !texts)
        return cn_fail_memory();
    for (uint32_t i = 0; i < n; i++)
        texts[i] = q[i]->text;
    CN_TRY(cn_embed_told(e, texts, n, threads, w, out, &cost));
    cut = cost.cut;
    for (uint32_t i = 0; i < n; i++) {
        memcpy(q[i]->vector, out + (size_t)i * dim, dim * sizeof *out);
        q[i]->cut = cut == n;
    }
    for (uint32_t i = 0; cut > 0 && cut < n && i < n; i++) {
        CN_TRY(cn_embed(e, &texts[i], 1, 1, out, &one));
        q[i]->cut = one > 0;
    }
    return CN_OK;
}

cn_err cn_models_embed(cn_models *m, cn_str tenant, cn_embedder *e, cn_question_text *q, uint32_t n, unsigned threads, const cn_embed_wait *w, cn_arena *a) {
    uint32_t dim = cn_embedder_dim(e), missing = 0;
    cn_question_text **miss = cn_arena_alloc(a, n * sizeof *miss);
    cn_digest *keys = cn_arena_alloc(a, n * sizeof *keys);
    if (!miss || !keys)
        return cn_fail_memory();
    for (uint32_t i = 0; i < n; i++) {
        cn_digest key = key_of(tenant, e, q[i].text);
        if (cn_vector_cache_get(m->cache, &key, q[i].vector, dim, &q[i].cut))
            continue;
        keys[missing] = key;
        miss[missing++] = &q[i];
    }
    if (missing == 0)
        return CN_OK;
    CN_TRY(embed_missing(e, miss, missing, threads, w, a));
    for (uint32_t i = 0; i < missing; i++)
        cn_vector_cache_put(m->cache, &keys[i], miss[i]->vector, dim, miss[i]->cut);
    return CN_OK;
}
