#include "ingest/embed/bert.h"

#include <stdio.h>

#include "engine/base/mem.h"
#include "ingest/embed/bert_int8.h"
#include "ingest/embed/safetensors.h"

typedef struct dense {
    cn_bert_dense floats;
    cn_bert_dense8 ints; /* instead, in 8-bit integers */
    float *peaks;        /* [k] the largest of each input so far; NULL: not looked at */
} dense;

typedef struct layer {
    dense qkv;     /* query, key and value in one: 3 hidden from hidden */
    dense out;     /* hidden from hidden */
    dense up;      /* inner from hidden */
    dense down;    /* hidden from inner */
    const float *norm[2][2]; /* after out and after down: gamma, beta */
} layer;

struct cn_bert {
    cn_bert_config c;
    const cn_bert_ops *ops;
    const cn_bert_int8 *int8; /* NULL: single precision */
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
    uint32_t *ints;   /* a product's inputs, rounded; NULL in single precision */
    cn_lanes8 *lanes; /* [b][2] */
};

/* --- weights --- */

typedef struct loader {
    cn_bert *b;
    cn_safetensors st;
    const char *prefix; /* "" or "bert." */
    bool all;
    bool keep;          /* the model outlives the weights that it is loaded from */
    const cn_bert *seen; /* for int8: the same model in floats, that looked at its inputs */
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

static void *own(cn_bert *b, uint64_t words) { /* of 4 bytes */
    void *p = cn_alloc_aligned(64, words * 4);
    if (p)
        b->owned[b->n_owned++] = p;
    return p;
}

/* Read in place where it is aligned floats and need not be kept, else as a copy. */
static cn_err load(const loader *l, const char *name, uint32_t rows, uint32_t cols, bool keep, const float **ret) {
    const cn_tensor *t = find_tensor(l, name, rows, cols);
    if (!t)
        return CN_INVALID;
    uint64_t n = (uint64_t)(rows ? rows : 1) * cols;
    const void *place = l->st.data + t->from;
    const float *v = place;
    if (keep || t->type != CN_ST_F32 || (uintptr_t)place % sizeof(float)) {
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

static cn_err load_in(const loader *l, uint32_t k, const char *name, uint32_t rows, uint32_t cols, bool keep, const float **ret) {
    char full[128];
    snprintf(full, sizeof full, "encoder.layer.%u.%s", k, name);
    return load(l, full, rows, cols, keep, ret);
}

/* Room for a product of n rows from k inputs; weights of one matrix are read in place where no table wants them packed. */
static cn_err make_floats(cn_bert *b, uint32_t n, uint32_t k, bool copy, cn_bert_dense *ret) {
    size_t floats = (size_t)cn_bert_panels(n) * CN_PANEL * k;
    float *w = copy ? own(b, floats) : NULL, *bias = own(b, n);
    if ((copy && !w) || !bias)
        return cn_fail_memory();
    if (w && n % CN_PANEL)
        memset(w, 0, floats * sizeof *w);
    *ret = (cn_bert_dense){.w = w, .bias = bias, .n = n, .k = k};
    return CN_OK;
}

static cn_err make_ints(cn_bert *b, uint32_t n, uint32_t k, cn_bert_dense8 *ret) {
    size_t words = cn_int8_weight_words(b->int8, n, k);
    *ret = (cn_bert_dense8){.w = own(b, words), .order = own(b, k), .scale = {own(b, n), own(b, n)}, .sum = {own(b, n), own(b, n)}, .bias = own(b, n),
                            .n = n, .k = k, .large = cn_int8_large(k)};
    if (!ret->w || !ret->order || !ret->scale[0] || !ret->scale[1] || !ret->sum[0] || !ret->sum[1] || !ret->bias)
        return cn_fail_memory();
    memset(ret->w, 0, words * sizeof *ret->w);
    return CN_OK;
}

/* Rows [at, at + rows) of a product. */
static void put_rows(const cn_bert *b, const float *w, const float *bias, uint32_t rows, uint32_t at, dense *d) {
    cn_bert_dense *f = &d->floats;
    if (b->int8) {
        cn_bert_int8_pack(b->int8, w, bias, rows, at, &d->ints);
        return;
    }
    float *own_w = (float *)(uintptr_t)f->w;
    if (!f->w)
        f->w = w;
    else if (b->ops->packed)
        cn_bert_pack(w, rows, f->k, at, f->n, own_w);
    else
        memcpy(own_w + (size_t)at * f->k, w, (size_t)rows * f->k * sizeof *w);
    memcpy((float *)(uintptr_t)f->bias + at, bias, rows * sizeof *bias);
}

/* A stack of n matrices [rows][k], one under the other, each with its bias, as one product. */
static cn_err load_dense(const loader *l, uint32_t at, const char *const *names, uint32_t n, uint32_t rows, uint32_t k, const float *peaks, dense *ret) {
    cn_bert *b = l->b;
    CN_TRY(b->int8 ? make_ints(b, n * rows, k, &ret->ints) : make_floats(b, n * rows, k, b->ops->packed || n > 1 || l->keep, &ret->floats));
    if (b->int8)
        cn_bert_int8_order(peaks, &ret->ints);
    for (uint32_t i = 0; i < n; i++) {
        char name[80];
        const float *w, *bias;
        snprintf(name, sizeof name, "%s.weight", names[i]);
        CN_TRY(load_in(l, at, name, rows, k, false, &w));
        snprintf(name, sizeof name, "%s.bias", names[i]);
        CN_TRY(load_in(l, at, name, 0, rows, false, &bias));
        put_rows(b, w, bias, rows, i * rows, ret);
    }
    return CN_OK;
}

static cn_err load_layer(const loader *l, uint32_t k, layer *y) {
    static const char *const qkv[] = {"attention.self.query", "attention.self.key", "attention.self.value"};
    static const char *const one[] = {"attention.output.dense", "intermediate.dense", "output.dense"};
    uint32_t h = l->b->c.hidden, inner = l->b->c.inner;
    static const layer none;
    const layer *seen = l->seen ? &l->seen->layers[k] : &none;
    CN_TRY(load_dense(l, k, qkv, 3, h, h, seen->qkv.peaks, &y->qkv));
    CN_TRY(load_dense(l, k, &one[0], 1, h, h, seen->out.peaks, &y->out));
    CN_TRY(load_dense(l, k, &one[1], 1, inner, h, seen->up.peaks, &y->up));
    CN_TRY(load_dense(l, k, &one[2], 1, h, inner, seen->down.peaks, &y->down));
    CN_TRY(load_in(l, k, "attention.output.LayerNorm.weight", 0, h, l->keep, &y->norm[0][0]));
    CN_TRY(load_in(l, k, "attention.output.LayerNorm.bias", 0, h, l->keep, &y->norm[0][1]));
    CN_TRY(load_in(l, k, "output.LayerNorm.weight", 0, h, l->keep, &y->norm[1][0]));
    return load_in(l, k, "output.LayerNorm.bias", 0, h, l->keep, &y->norm[1][1]);
}

static cn_err load_all(const loader *l) {
    cn_bert *b = l->b;
    const cn_bert_config *c = &b->c;
    CN_TRY(load(l, "embeddings.word_embeddings.weight", c->words, c->hidden, l->keep, &b->words));
    CN_TRY(load(l, "embeddings.position_embeddings.weight", c->positions, c->hidden, l->keep, &b->positions));
    CN_TRY(load(l, "embeddings.token_type_embeddings.weight", c->types, c->hidden, l->keep, &b->types));
    CN_TRY(load(l, "embeddings.LayerNorm.weight", 0, c->hidden, l->keep, &b->norm[0]));
    CN_TRY(load(l, "embeddings.LayerNorm.bias", 0, c->hidden, l->keep, &b->norm[1]));
    for (uint32_t k = 0; k < c->layers; k++)
        CN_TRY(load_layer(l, k, &b->layers[k]));
    return CN_OK;
}

static cn_err bert_load(cn_bert *b, cn_str weights, bool all, bool keep, const cn_bert *seen) {
    loader l = {.b = b, .prefix = "", .all = all, .keep = keep, .seen = seen};
    CN_TRY(cn_safetensors_parse(weights, &l.st));
    if (cn_safetensors_find(&l.st, CN_STR("bert.embeddings.word_embeddings.weight")))
        l.prefix = "bert.";
    cn_err err = load_all(&l);
    cn_safetensors_done(&l.st);
    return err;
}

static cn_err bert_new(const cn_bert_config *c, cn_bert **ret) {
    cn_bert *b = cn_calloc(1, sizeof *b);
    if (!b)
        return cn_fail_memory();
    b->c = *c;
    b->layers = cn_calloc(c->layers, sizeof *b->layers);
    b->owned = cn_calloc((size_t)c->layers * 64 + 32, sizeof *b->owned);
    if (!b->layers || !b->owned) {
        cn_bert_free(b);
        return cn_fail_memory();
    }
    *ret = b;
    return CN_OK;
}

static cn_err keep_or_free(cn_err err, cn_bert *b, cn_bert **ret) {
    if (err == CN_OK)
        *ret = b;
    else
        cn_bert_free(b);
    return err;
}

/* --- which inputs are large --- */

#define PEAK_WORDS CN_LANES /* so many words show them; others show the same */

static cn_err watch_peaks(cn_bert *b) {
    uint32_t h = b->c.hidden;
    for (uint32_t k = 0; k < b->c.layers; k++) {
        layer *y = &b->layers[k];
        y->qkv.peaks = own(b, h), y->out.peaks = own(b, h), y->up.peaks = own(b, h), y->down.peaks = own(b, b->c.inner);
        if (!y->qkv.peaks || !y->out.peaks || !y->up.peaks || !y->down.peaks)
            return cn_fail_memory();
        memset(y->qkv.peaks, 0, h * sizeof(float)), memset(y->out.peaks, 0, h * sizeof(float));
        memset(y->up.peaks, 0, h * sizeof(float)), memset(y->down.peaks, 0, b->c.inner * sizeof(float));
    }
    return CN_OK;
}

/* Words from all over the vocabulary, through the model in floats. */
static cn_err look_at_inputs(cn_bert *b) {
    uint32_t n = b->c.max_tokens < PEAK_WORDS ? b->c.max_tokens : PEAK_WORDS, ids[PEAK_WORDS];
    cn_bert_work *w;
    float *out = own(b, b->c.hidden);
    CN_TRY(out ? watch_peaks(b) : cn_fail_memory());
    CN_TRY(cn_bert_work_new(b, &w));
    for (uint32_t i = 0; i < n; i++)
        ids[i] = (uint32_t)((uint64_t)(2 * i + 1) * b->c.words / (2 * n));
    cn_bert_run(b, w, ids, n, out);
    cn_bert_work_free(w);
    return CN_OK;
}

static void note_peaks(const dense *d, const float *x, uint32_t k, uint32_t tokens) {
    for (uint32_t i = 0; i < k; i++)
        for (uint32_t t = 0; t < tokens; t++) {
            float v = __builtin_fabsf(x[(size_t)i * CN_LANES + t]);
            d->peaks[i] = v > d->peaks[i] ? v : d->peaks[i];
        }
}

/* --- the whole --- */

static cn_err float_new(const cn_bert_config *c, cn_str weights, bool all, bool keep, const cn_bert_ops *ops, cn_bert **ret) {
    cn_bert *b;
    CN_TRY(bert_new(c, &b));
    b->ops = ops;
    return keep_or_free(bert_load(b, weights, all, keep, NULL), b, ret);
}

static cn_err int8_new(const cn_bert_config *c, cn_str weights, bool all, cn_bert **ret) {
    const cn_bert_int8 *int8;
    const cn_bert_ops *ops;
    cn_bert *b, *floats;
    if (c->hidden > CN_INT8_INPUTS_MAX || c->inner > CN_INT8_INPUTS_MAX)
        return cn_fail(CN_INVALID, "precision int8 takes layers of at most %d inputs; use fp32", CN_INT8_INPUTS_MAX);
    cn_bert_int8_get(&int8, &ops);
    CN_TRY(float_new(c, weights, all, false, ops, &floats));
    cn_err err = look_at_inputs(floats);
    if (err == CN_OK && (err = bert_new(c, &b)) == CN_OK) {
        b->ops = ops;
        b->int8 = int8;
        err = keep_or_free(bert_load(b, weights, false, true, floats), b, ret);
    }
    cn_bert_free(floats);
    return err;
}

cn_err cn_bert_new(const cn_bert_config *c, cn_str weights, bool int8, bool all, cn_bert **ret) {
    const cn_bert_ops *ops;
    if (int8)
        return int8_new(c, weights, all, ret);
    CN_TRY(cn_bert_ops_get(&ops));
    return float_new(c, weights, all, true, ops, ret);
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

void cn_bert_text(const cn_bert *b, char text[256]) {
    if (b->int8)
        snprintf(text, 256, "int8/1");
    else
        cn_bert_ops_text(b->ops, text);
}

/* --- one text --- */

static uint32_t blocks_of(uint32_t n) { return (n + CN_LANES - 1) / CN_LANES; }

#define HEAD 128
_Static_assert(sizeof(cn_bert_work) <= HEAD, "the arrays begin whole cache lines after the struct");
cn_err cn_bert_work_new(const cn_bert *b, cn_bert_work **ret) {
    size_t t = (size_t)blocks_of(b->c.max_tokens) * CN_LANES, h = b->c.hidden;
    /* A head's last panel of rows may reach past its own. */
    size_t floats[6] = {t * h, t * h, t * h * 3 + CN_PANEL * CN_LANES, t * h, t * t, t * b->c.inner}, n = 0;
    size_t blocks = t / CN_LANES, k = h > b->c.inner ? h : b->c.inner, ints = b->int8 ? blocks * cn_int8_words(b->int8, (uint32_t)k) : 0;
    for (int i = 0; i < 6; i++)
        n += floats[i];
    cn_bert_work *w = cn_alloc_aligned(64, HEAD + (n + ints) * sizeof(float) + (ints ? 2 * blocks * sizeof *w->lanes : 0));
    if (!w)
        return cn_fail_memory();
    float *p = (float *)(void *)((char *)w + HEAD);
    float **const at[6] = {&w->x, &w->y, &w->qkv, &w->context, &w->scores, &w->inner};
    for (int i = 0; i < 6; i++) {
        *at[i] = p;
        p += floats[i];
    }
    w->ints = ints ? (uint32_t *)(void *)p : NULL;
    w->lanes = ints ? (cn_lanes8 *)(void *)(p + ints) : NULL;
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

static void product(const cn_bert *b, const cn_bert_work *w, const dense *d, const float *x, uint32_t n, float *out) {
    uint32_t blocks = blocks_of(n);
    if (d->peaks)
        note_peaks(d, x, d->floats.k, n);
    if (!b->int8) {
        b->ops->dense(&d->floats, x, blocks, out);
        return;
    }
    b->int8->quantise(&d->ints, x, blocks, w->ints, w->lanes);
    b->int8->dense(&d->ints, w->ints, w->lanes, blocks, out);
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
        product(b, w, &y->qkv, w->x, n, w->qkv);
        attend(b, w, n);
        product(b, w, &y->out, w->context, n, w->y);
        ops->add_norm(w->x, w->y, y->norm[0][0], y->norm[0][1], b->c.eps, h, blocks);
        product(b, w, &y->up, w->x, n, w->inner);
        ops->gelu(w->inner, (size_t)blocks * b->c.inner * CN_LANES);
        product(b, w, &y->down, w->inner, n, w->y);
        ops->add_norm(w->x, w->y, y->norm[1][0], y->norm[1][1], b->c.eps, h, blocks);
    }
    pool(b, w, n, out);
}
