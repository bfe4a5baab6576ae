#include "ingest/embed/bert.h"

#include <stdio.h>

#include "engine/base/mem.h"
#include "ingest/embed/bert_ops.h"
#include "ingest/embed/safetensors.h"

typedef struct layer {
    cn_bert_dense qkv;     /* query, key and value in one: 3 hidden from hidden */
    cn_bert_dense out;     /* hidden from hidden */
    cn_bert_dense up;      /* inner from hidden */
    cn_bert_dense down;    /* hidden from inner */
    const float *norm[2][2]; /* after out and after down: gamma, beta */
} layer;

struct cn_bert {
    cn_bert_config c;
    const cn_bert_ops *ops;
    const float *words, *positions, *types; /* [rows][hidden] each */
    const float *norm[2];
    layer *layers;
    void **owned;
    uint32_t n_owned;
};

struct cn_bert_work { /* b: the blocks of 16 that a text's tokens take */
    float *x, *y;     /* [b][hidden][16]: the tokens; the result of a product */
    float *qkv;       /* [b][3 hidden][16] */
    float *context;   /* [b][hidden][16] */
    float *scores;    /* [b][16 b][16] */
    float *inner;     /* [b][inner][16] */
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

/* A stack of n matrices [rows][k], one under the other, each with its bias, as one product. */
static cn_err load_dense(const loader *l, uint32_t at, const char *const *names, uint32_t n, uint32_t rows, uint32_t k, cn_bert_dense *ret) {
    cn_bert *b = l->b;
    uint32_t all = n * rows;
    size_t floats = (size_t)cn_bert_panels(all) * CN_PANEL * k;
    float *w = b->ops->packed || n > 1 ? own(b, floats) : NULL, *bias = own(b, all);
    if ((!w && (b->ops->packed || n > 1)) || !bias)
        return cn_fail_memory();
    if (w && all % CN_PANEL)
        memset(w, 0, floats * sizeof *w);
    *ret = (cn_bert_dense){.w = w, .bias = bias, .n = all, .k = k};
    for (uint32_t i = 0; i < n; i++) {
        char name[80];
        const float *v;
        snprintf(name, sizeof name, "%s.weight", names[i]);
        CN_TRY(load_in(l, at, name, rows, k, &v));
        if (!w)
            ret->w = v;
        else if (b->ops->packed)
            cn_bert_pack(v, rows, k, i * rows, all, w);
        else
            memcpy(w + (size_t)i * rows * k, v, (size_t)rows * k * sizeof *w);
        snprintf(name, sizeof name, "%s.bias", names[i]);
        CN_TRY(load_in(l, at, name, 0, rows, &v));
        memcpy(bias + (size_t)i * rows, v, rows * sizeof *bias);
    }
    return CN_OK;
}

static cn_err load_layer(const loader *l, uint32_t k, layer *y) {
    static const char *const qkv[] = {"attention.self.query", "attention.self.key", "attention.self.value"};
    static const char *const one[] = {"attention.output.dense", "intermediate.dense", "output.dense"};
    uint32_t h = l->b->c.hidden, inner = l->b->c.inner;
    CN_TRY(load_dense(l, k, qkv, 3, h, h, &y->qkv));
    CN_TRY(load_dense(l, k, &one[0], 1, h, h, &y->out));
    CN_TRY(load_dense(l, k, &one[1], 1, inner, h, &y->up));
    CN_TRY(load_dense(l, k, &one[2], 1, h, inner, &y->down));
    CN_TRY(load_in(l, k, "attention.output.LayerNorm.weight", 0, h, &y->norm[0][0]));
    CN_TRY(load_in(l, k, "attention.output.LayerNorm.bias", 0, h, &y->norm[0][1]));
    CN_TRY(load_in(l, k, "output.LayerNorm.weight", 0, h, &y->norm[1][0]));
    return load_in(l, k, "output.LayerNorm.bias", 0, h, &y->norm[1][1]);
}

static cn_err load_all(const loader *l) {
    cn_bert *b = l->b;
    const cn_bert_config *c = &b->c;
    CN_TRY(load(l, "embeddings.word_embeddings.weight", c->words, c->hidden, &b->words));
    CN_TRY(load(l, "embeddings.position_embeddings.weight", c->positions, c->hidden, &b->positions));
    CN_TRY(load(l, "embeddings.token_type_embeddings.weight", c->types, c->hidden, &b->types));
    CN_TRY(load(l, "embeddings.LayerNorm.weight", 0, c->hidden, &b->norm[0]));
    CN_TRY(load(l, "embeddings.LayerNorm.bias", 0, c->hidden, &b->norm[1]));
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
    b->layers = cn_calloc(c->layers, sizeof *b->layers);
    b->owned = cn_calloc((size_t)c->layers * 32 + 16, sizeof *b->owned);
    cn_err err = b->layers && b->owned ? cn_bert_ops_get(&b->ops) : cn_fail_memory();
    if (err == CN_OK)
        err = bert_load(b, weights, all);
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

void cn_bert_text(const cn_bert *b, char text[256]) { cn_bert_ops_text(b->ops, text); }

/* --- one text --- */

static uint32_t blocks_of(uint32_t n) { return (n + CN_LANES - 1) / CN_LANES; }

cn_err cn_bert_work_new(const cn_bert *b, cn_bert_work **ret) {
    size_t t = (size_t)blocks_of(b->c.max_tokens) * CN_LANES, h = b->c.hidden;
    /* A head's last panel of rows may reach past its own. */
    size_t floats[6] = {t * h, t * h, t * h * 3 + CN_PANEL * CN_LANES, t * h, t * t, t * b->c.inner}, n = 0;
    for (int i = 0; i < 6; i++)
        n += floats[i];
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
    memset(w->qkv, 0, floats[2] * sizeof(float));
    *ret = w;
    return CN_OK;
}

void cn_bert_work_free(cn_bert_work *w) { cn_free(w); }

/* The lanes past the text begin as zeros. Whatever becomes of them, they are no keys and are not pooled. One text is all of
 * type 0. */
static void begin(const cn_bert *b, cn_bert_work *w, const uint32_t *ids, uint32_t n) {
    uint32_t h = b->c.hidden, blocks = blocks_of(n);
    memset(w->x + (size_t)(blocks - 1) * h * CN_LANES, 0, (size_t)h * CN_LANES * sizeof(float));
    memset(w->y, 0, (size_t)blocks * h * CN_LANES * sizeof(float));
    for (uint32_t r = 0; r < n; r++) {
        const float *word = b->words + (size_t)ids[r] * h, *position = b->positions + (size_t)r * h;
        float *x = w->x + (size_t)(r / CN_LANES) * h * CN_LANES + r % CN_LANES;
        for (uint32_t f = 0; f < h; f++)
            x[(size_t)f * CN_LANES] = word[f] + position[f] + b->types[f];
    }
    b->ops->add_norm(w->x, w->y, b->norm[0], b->norm[1], b->c.eps, h, blocks);
}

/* softmax(query key^T / sqrt(d)) value, head by head. */
static void attend(const cn_bert *b, cn_bert_work *w, uint32_t n) {
    uint32_t h = b->c.hidden, d = h / b->c.heads;
    size_t row = (size_t)h * CN_LANES;
    float scale = 1.0f / __builtin_sqrtf((float)d);
    for (uint32_t k = 0; k < b->c.heads; k++) {
        const float *query = w->qkv + (size_t)k * d * CN_LANES;
        b->ops->scores(query, query + row, 3 * row, d, n, w->scores);
        b->ops->softmax(w->scores, scale, n);
        b->ops->context(query + 2 * row, 3 * row, w->scores, d, n, w->context + (size_t)k * d * CN_LANES, row);
    }
}

static void pool(const cn_bert *b, const cn_bert_work *w, uint32_t n, float *out) {
    uint32_t h = b->c.hidden;
    if (b->c.cls)
        for (uint32_t f = 0; f < h; f++)
            out[f] = w->x[(size_t)f * CN_LANES];
    else
        b->ops->mean(w->x, h, n, out);
    if (b->c.normalise)
        b->ops->normalise(out, h);
}

void cn_bert_run(const cn_bert *b, cn_bert_work *w, const uint32_t *ids, uint32_t n, float *out) {
    const cn_bert_ops *ops = b->ops;
    uint32_t h = b->c.hidden, blocks = blocks_of(n);
    CN_ASSERT(n >= 1 && n <= b->c.max_tokens);
    begin(b, w, ids, n);
    for (uint32_t k = 0; k < b->c.layers; k++) {
        const layer *y = &b->layers[k];
        ops->dense(&y->qkv, w->x, blocks, w->qkv);
        attend(b, w, n);
        ops->dense(&y->out, w->context, blocks, w->y);
        ops->add_norm(w->x, w->y, y->norm[0][0], y->norm[0][1], b->c.eps, h, blocks);
        ops->dense(&y->up, w->x, blocks, w->inner);
        ops->gelu(w->inner, (size_t)blocks * b->c.inner * CN_LANES);
        ops->dense(&y->down, w->inner, blocks, w->y);
        ops->add_norm(w->x, w->y, y->norm[1][0], y->norm[1][1], b->c.eps, h, blocks);
    }
    pool(b, w, n, out);
}
