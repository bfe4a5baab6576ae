#include "ingest/embed/bert.h"

#include <cblas.h>
#include <stdio.h>

#include "engine/base/mem.h"
#include "ingest/embed/bert_ops.h"
#include "ingest/embed/safetensors.h"

#define ROWS 16 /* a text's tokens are padded to a multiple of it */

typedef struct layer {
    const float *qkv, *qkv_bias;      /* [3 hidden][hidden], [3 hidden]: query, key and value in one */
    const float *out, *out_norm[3];   /* [hidden][hidden]; bias, gamma, beta: [hidden] each */
    const float *up, *up_bias;        /* [inner][hidden], [inner] */
    const float *down, *down_norm[3]; /* [hidden][inner]; bias, gamma, beta */
} layer;

struct cn_bert {
    cn_bert_config c;
    const cn_bert_ops *ops;
    const float *words, *positions, *types; /* [rows][hidden] each */
    const float *norm[3];                   /* none, gamma, beta */
    layer *layers;
    void **owned;
    uint32_t n_owned;
};

struct cn_bert_work { /* T: max_tokens rounded up to ROWS */
    float *x, *y;     /* [T][hidden]: the tokens; the result of a block */
    float *qkv;       /* [T][3 hidden] */
    float *context;   /* [T][hidden] */
    float *scores;    /* [T][T] */
    float *inner;     /* [T][inner] */
};

/* --- weights --- */

typedef struct loader {
    cn_bert *b;
    cn_safetensors st;
    const char *prefix; /* "" or "bert." */
    bool all;
} loader;

static cn_err check_numbers(const char *name, const float *v, uint64_t n) {
    uint32_t bad = 0;
    for (uint64_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, v + i, sizeof bits);
        bad |= (bits & 0x7f800000u) == 0x7f800000u;
    }
    return bad ? cn_fail(CN_INVALID, "model.safetensors: tensor \"%s\" holds a NaN or an infinity", name) : CN_OK;
}

static const cn_tensor *wrong(cn_err code) {
    (void)code; /* CN_INVALID; its text stands */
    return NULL;
}

/* The tensor of this name with shape [rows][cols], or [cols] when rows is 0; NULL after a CN_INVALID. */
static const cn_tensor *find_tensor(const loader *l, const char *name, uint32_t rows, uint32_t cols) {
    char full[160], shape[48];
    snprintf(full, sizeof full, "%s%s", l->prefix, name);
    const cn_tensor *t = cn_safetensors_find(&l->st, cn_str_of(full));
    if (!t)
        return wrong(cn_fail(CN_INVALID, "model.safetensors has no tensor \"%s\"; is it a BERT encoder?", full));
    if (t->type == CN_ST_OTHER)
        return wrong(cn_fail(CN_INVALID, "model.safetensors: tensor \"%s\" must be F32, F16 or BF16", full));
    if (rows ? t->dims == 2 && t->shape[0] == rows && t->shape[1] == cols : t->dims == 1 && t->shape[0] == cols)
        return t;
    if (rows)
        snprintf(shape, sizeof shape, "[%u, %u]", rows, cols);
    else
        snprintf(shape, sizeof shape, "[%u]", cols);
    return wrong(cn_fail(CN_INVALID, "model.safetensors: tensor \"%s\" must have the shape %s that config.json gives", full, shape));
}

static float *own(cn_bert *b, uint64_t floats) {
    float *p = cn_alloc_aligned(64, floats * sizeof *p);
    if (p)
        b->owned[b->n_owned++] = p;
    return p;
}

/* Read in place where it is aligned floats, else as a copy. */
static cn_err load(const loader *l, const char *name, uint32_t rows, uint32_t cols, const float **ret) {
    const cn_tensor *t = find_tensor(l, name, rows, cols);
    if (!t)
        return CN_INVALID;
    uint64_t n = (uint64_t)(rows ? rows : 1) * cols;
    const void *place = l->st.data + t->from;
    const float *v = place;
    if (t->type != CN_ST_F32 || (uintptr_t)place % sizeof(float)) {
        float *copy = own(l->b, n);
        if (!copy)
            return cn_fail_memory();
        cn_safetensors_read(&l->st, t, 0, n, copy);
        v = copy;
    }
    if (l->all)
        CN_TRY(check_numbers(name, v, n));
    *ret = v;
    return CN_OK;
}

static cn_err load_in(const loader *l, uint32_t k, const char *name, uint32_t rows, uint32_t cols, const float **ret) {
    char full[128];
    snprintf(full, sizeof full, "encoder.layer.%u.%s", k, name);
    return load(l, full, rows, cols, ret);
}

/* Query, key and value one under the other, so that one product gives all three. */
static cn_err load_qkv(const loader *l, uint32_t k, layer *y) {
    static const char *const names[] = {"query", "key", "value"};
    uint32_t h = l->b->c.hidden;
    float *all = own(l->b, (uint64_t)3 * h * h), *bias = own(l->b, (uint64_t)3 * h);
    if (!all || !bias)
        return cn_fail_memory();
    for (uint32_t i = 0; i < 3; i++) {
        char name[64];
        const float *v;
        snprintf(name, sizeof name, "attention.self.%s.weight", names[i]);
        CN_TRY(load_in(l, k, name, h, h, &v));
        memcpy(all + (size_t)i * h * h, v, (size_t)h * h * sizeof *v);
        snprintf(name, sizeof name, "attention.self.%s.bias", names[i]);
        CN_TRY(load_in(l, k, name, 0, h, &v));
        memcpy(bias + (size_t)i * h, v, h * sizeof *v);
    }
    y->qkv = all;
    y->qkv_bias = bias;
    return CN_OK;
}

static cn_err load_layer(const loader *l, uint32_t k, layer *y) {
    uint32_t h = l->b->c.hidden, inner = l->b->c.inner;
    CN_TRY(load_qkv(l, k, y));
    CN_TRY(load_in(l, k, "attention.output.dense.weight", h, h, &y->out));
    CN_TRY(load_in(l, k, "attention.output.dense.bias", 0, h, &y->out_norm[0]));
    CN_TRY(load_in(l, k, "attention.output.LayerNorm.weight", 0, h, &y->out_norm[1]));
    CN_TRY(load_in(l, k, "attention.output.LayerNorm.bias", 0, h, &y->out_norm[2]));
    CN_TRY(load_in(l, k, "intermediate.dense.weight", inner, h, &y->up));
    CN_TRY(load_in(l, k, "intermediate.dense.bias", 0, inner, &y->up_bias));
    CN_TRY(load_in(l, k, "output.dense.weight", h, inner, &y->down));
    CN_TRY(load_in(l, k, "output.dense.bias", 0, h, &y->down_norm[0]));
    CN_TRY(load_in(l, k, "output.LayerNorm.weight", 0, h, &y->down_norm[1]));
    return load_in(l, k, "output.LayerNorm.bias", 0, h, &y->down_norm[2]);
}

static cn_err load_all(const loader *l) {
    cn_bert *b = l->b;
    const cn_bert_config *c = &b->c;
    CN_TRY(load(l, "embeddings.word_embeddings.weight", c->words, c->hidden, &b->words));
    CN_TRY(load(l, "embeddings.position_embeddings.weight", c->positions, c->hidden, &b->positions));
    CN_TRY(load(l, "embeddings.token_type_embeddings.weight", c->types, c->hidden, &b->types));
    CN_TRY(load(l, "embeddings.LayerNorm.weight", 0, c->hidden, &b->norm[1]));
    CN_TRY(load(l, "embeddings.LayerNorm.bias", 0, c->hidden, &b->norm[2]));
    for (uint32_t k = 0; k < c->layers; k++)
        CN_TRY(load_layer(l, k, &b->layers[k]));
    return CN_OK;
}

static cn_err bert_load(cn_bert *b, cn_str weights, bool all) {
    loader l = {.b = b, .prefix = "", .all = all};
    CN_TRY(cn_safetensors_parse(weights, &l.st));
    if (cn_safetensors_find(&l.st, CN_STR("bert.embeddings.word_embeddings.weight")))
        l.prefix = "bert.";
    cn_err err = load_all(&l);
    cn_safetensors_done(&l.st);
    return err;
}

cn_err cn_bert_new(const cn_bert_config *c, cn_str weights, bool all, cn_bert **ret) {
    cn_bert *b = cn_calloc(1, sizeof *b);
    if (!b)
        return cn_fail_memory();
    b->c = *c;
    b->ops = cn_bert_ops_get();
    b->layers = cn_calloc(c->layers, sizeof *b->layers);
    b->owned = cn_calloc((size_t)c->layers * 24 + 16, sizeof *b->owned);
    cn_err err = b->layers && b->owned ? bert_load(b, weights, all) : cn_fail_memory();
    if (err == CN_OK)
        *ret = b;
    else
        cn_bert_free(b);
    return err;
}

void cn_bert_free(cn_bert *b) {
    if (!b)
        return;
    for (uint32_t i = 0; i < b->n_owned; i++)
        cn_free(b->owned[i]);
    cn_free(b->owned);
    cn_free(b->layers);
    cn_free(b);
}

/* --- one text --- */

static uint32_t padded(uint32_t n) { return (n + ROWS - 1) / ROWS * ROWS; }

cn_err cn_bert_work_new(const cn_bert *b, cn_bert_work **ret) {
    size_t t = padded(b->c.max_tokens), h = b->c.hidden;
    size_t floats[6] = {t * h, t * h, t * h * 3, t * h, t * t, t * b->c.inner}, n = 0;
    for (int i = 0; i < 6; i++)
        n += floats[i] = (floats[i] + 15) / 16 * 16;
    cn_bert_work *w = cn_alloc_aligned(64, sizeof *w + 64 + n * sizeof(float));
    if (!w)
        return cn_fail_memory();
    float *p = (float *)(void *)((char *)w + 64);
    _Static_assert(sizeof *w <= 64, "the arrays begin one cache line after the struct");
    float **const at[6] = {&w->x, &w->y, &w->qkv, &w->context, &w->scores, &w->inner};
    for (int i = 0; i < 6; i++) {
        *at[i] = p;
        p += floats[i];
    }
    *ret = w;
    return CN_OK;
}

void cn_bert_work_free(cn_bert_work *w) { cn_free(w); }

/* out[rows][n] = a[rows][k] times the transpose of w[n][k]. */
static void product(const float *a, const float *w, uint32_t rows, uint32_t n, uint32_t k, float *out) {
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)rows, (int)n, (int)k, 1.0f, a, (int)k, w, (int)k, 0.0f, out, (int)n);
}

/* The rows past the text stay zero through every layer: they are added to by nothing, and a product of zeros is zero. */
static void begin(const cn_bert *b, cn_bert_work *w, const uint32_t *ids, uint32_t n, uint32_t rows) {
    size_t h = b->c.hidden;
    for (uint32_t r = 0; r < n; r++) {
        memcpy(w->x + r * h, b->words + ids[r] * h, h * sizeof(float));
        b->ops->add_bias(w->x + r * h, b->positions + r * h, 1, (uint32_t)h);
    }
    b->ops->add_bias(w->x, b->types, n, (uint32_t)h);
    b->ops->add_norm(w->x, NULL, b->norm, b->c.eps, n, (uint32_t)h);
    memset(w->x + n * h, 0, (rows - n) * h * sizeof(float));
}

static void attend(const cn_bert *b, cn_bert_work *w, uint32_t n, uint32_t rows) {
    uint32_t h = b->c.hidden, d = h / b->c.heads;
    float scale = 1.0f / __builtin_sqrtf((float)d);
    for (uint32_t k = 0; k < b->c.heads; k++) {
        const float *q = w->qkv + k * d, *key = q + h, *value = key + h;
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)rows, (int)rows, (int)d, scale, q, (int)(3 * h), key, (int)(3 * h), 0.0f, w->scores, (int)rows);
        b->ops->softmax(w->scores, n, n, rows);
        memset(w->scores + (size_t)n * rows, 0, (size_t)(rows - n) * rows * sizeof(float));
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)rows, (int)d, (int)rows, 1.0f, w->scores, (int)rows, value, (int)(3 * h), 0.0f, w->context + k * d, (int)h);
    }
}

void cn_bert_run(const cn_bert *b, cn_bert_work *w, const uint32_t *ids, uint32_t n, float *out) {
    uint32_t h = b->c.hidden, rows = padded(n);
    CN_ASSERT(n >= 1 && n <= b->c.max_tokens);
    begin(b, w, ids, n, rows);
    for (uint32_t k = 0; k < b->c.layers; k++) {
        const layer *y = &b->layers[k];
        product(w->x, y->qkv, rows, 3 * h, h, w->qkv);
        b->ops->add_bias(w->qkv, y->qkv_bias, n, 3 * h);
        attend(b, w, n, rows);
        product(w->context, y->out, rows, h, h, w->y);
        b->ops->add_norm(w->x, w->y, y->out_norm, b->c.eps, n, h);
        product(w->x, y->up, rows, b->c.inner, h, w->inner);
        b->ops->gelu(w->inner, y->up_bias, n, b->c.inner);
        product(w->inner, y->down, rows, h, b->c.inner, w->y);
        b->ops->add_norm(w->x, w->y, y->down_norm, b->c.eps, n, h);
    }
    if (b->c.cls)
        memcpy(out, w->x, h * sizeof *out);
    else
        b->ops->mean(w->x, n, h, out);
    if (b->c.normalise)
        b->ops->normalise(out, h);
}
