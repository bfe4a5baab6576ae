#include <jansson.h>

#include "ingest/embed/model.h"

typedef struct json_t json;

static void json_done(json **j) { json_decref(*j); }
#define AUTO_JSON __attribute__((cleanup(json_done)))

static cn_err parse(const char *name, cn_str bytes, json **ret) {
    json_error_t why;
    json *j = json_loadb(bytes.p, bytes.n, JSON_REJECT_DUPLICATES, &why);
    if (!j)
        return cn_fail(CN_INVALID, "%s, line %d: %s", name, why.line, why.text);
    *ret = j;
    return CN_OK;
}

static cn_err parse_part(const cn_model_dir *d, cn_model_part k, json **ret) {
    if (!d->part[k].name[0])
        return CN_OK; /* no such file: every key has its default */
    CN_TRY(parse(d->part[k].name, d->part[k].bytes, ret));
    if (!json_is_object(*ret))
        return cn_fail(CN_INVALID, "%s holds no JSON object", d->part[k].name);
    return CN_OK;
}

static cn_err get_number(const json *j, const char *key, uint32_t least, uint32_t most, uint32_t *ret) {
    const json *v = json_object_get(j, key);
    if (!json_is_integer(v) || json_integer_value(v) < least || json_integer_value(v) > most)
        return cn_fail(CN_INVALID, "config.json: %s must be a whole number from %u to %u", key, least, most);
    *ret = (uint32_t)json_integer_value(v);
    return CN_OK;
}

/* The key, if it is there, must say what this encoder does. */
static cn_err must_be(const json *j, const char *key, const char *value) {
    const json *v = json_object_get(j, key);
    if (v && !(json_is_string(v) && strcmp(json_string_value(v), value) == 0))
        return cn_fail(CN_INVALID, "config.json: %s is \"%.60s\"; only \"%s\" can be run", key, json_is_string(v) ? json_string_value(v) : "?", value);
    return CN_OK;
}

static bool get_bool(const json *j, const char *key, bool otherwise) {
    const json *v = json_object_get(j, key);
    return json_is_boolean(v) ? json_is_true(v) : otherwise;
}

static cn_err read_sizes(const json *j, cn_bert_config *c) {
    CN_TRY(get_number(j, "hidden_size", 1, CN_MODEL_HIDDEN_MAX, &c->hidden));
    CN_TRY(get_number(j, "num_hidden_layers", 1, CN_MODEL_LAYERS_MAX, &c->layers));
    CN_TRY(get_number(j, "num_attention_heads", 1, CN_MODEL_HIDDEN_MAX, &c->heads));
    CN_TRY(get_number(j, "intermediate_size", 1, 8 * CN_MODEL_HIDDEN_MAX, &c->inner));
    CN_TRY(get_number(j, "vocab_size", 4, CN_VOCAB_MAX, &c->words));
    CN_TRY(get_number(j, "max_position_embeddings", 3, 1u << 20, &c->positions));
    CN_TRY(get_number(j, "type_vocab_size", 1, 1024, &c->types));
    if (c->hidden % c->heads)
        return cn_fail(CN_INVALID, "config.json: hidden_size %u cannot be shared by num_attention_heads %u", c->hidden, c->heads);
    return CN_OK;
}

static cn_err read_config(const cn_model_dir *d, cn_bert_config *c) {
    AUTO_JSON json *j = NULL;
    CN_TRY(parse_part(d, CN_PART_CONFIG, &j));
    CN_TRY(must_be(j, "model_type", "bert"));
    CN_TRY(must_be(j, "hidden_act", "gelu"));
    CN_TRY(must_be(j, "position_embedding_type", "absolute"));
    CN_TRY(read_sizes(j, c));
    const json *eps = json_object_get(j, "layer_norm_eps");
    double v = eps ? json_number_value(eps) : 1e-12;
    if (!((float)v > 0 && v < 1)) /* in single precision, as it is used */
        return cn_fail(CN_INVALID, "config.json: layer_norm_eps must lie between 0 and 1");
    c->eps = (float)v;
    return CN_OK;
}

/* sentence-transformers' limit; without it the number of positions. */
static cn_err read_limit(const cn_model_dir *d, cn_bert_config *c) {
    AUTO_JSON json *j = NULL;
    CN_TRY(parse_part(d, CN_PART_SBERT, &j));
    const json *v = json_object_get(j, "max_seq_length");
    json_int_t most = c->positions < CN_MODEL_TOKENS_MAX ? c->positions : CN_MODEL_TOKENS_MAX;
    if (!v || json_is_null(v)) {
        c->max_tokens = (uint32_t)most;
        return CN_OK;
    }
    if (!json_is_integer(v) || json_integer_value(v) < 3 || json_integer_value(v) > most)
        return cn_fail(CN_INVALID, "sentence_bert_config.json: max_seq_length must be a whole number from 3 to %d", (int)most);
    c->max_tokens = (uint32_t)json_integer_value(v);
    if (get_bool(j, "do_lower_case", false) && !c->pieces.lower)
        return cn_fail(CN_INVALID, "sentence_bert_config.json: do_lower_case is true, but tokenizer_config.json says false");
    return CN_OK;
}

static cn_err read_tokenizer(const cn_model_dir *d, cn_bert_config *c) {
    AUTO_JSON json *j = NULL;
    CN_TRY(parse_part(d, CN_PART_TOKENIZER, &j));
    c->pieces.lower = get_bool(j, "do_lower_case", true);
    c->pieces.strip_accents = get_bool(j, "strip_accents", c->pieces.lower);
    c->pieces.cjk = get_bool(j, "tokenize_chinese_chars", true);
    return CN_OK;
}

static cn_err read_pooling(const cn_model_dir *d, cn_bert_config *c) {
    static const char *const others[] = {"pooling_mode_max_tokens", "pooling_mode_mean_sqrt_len_tokens", "pooling_mode_weightedmean_tokens", "pooling_mode_lasttoken"};
    AUTO_JSON json *j = NULL;
    CN_TRY(parse_part(d, CN_PART_POOLING, &j));
    bool mean = get_bool(j, "pooling_mode_mean_tokens", false), other = false;
    c->cls = get_bool(j, "pooling_mode_cls_token", false);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        other = other || get_bool(j, others[i], false);
    if (other || mean == c->cls)
        return cn_fail(CN_INVALID, "%s: pooling must be either mean or cls, and no other", d->part[CN_PART_POOLING].name);
    const json *dim = json_object_get(j, "word_embedding_dimension");
    if (dim && json_integer_value(dim) != c->hidden)
        return cn_fail(CN_INVALID, "%s: word_embedding_dimension is not hidden_size, %u", d->part[CN_PART_POOLING].name, c->hidden);
    return CN_OK;
}

/* A prompt put before each text by default would change every vector. */
static cn_err read_prompts(const cn_model_dir *d) {
    AUTO_JSON json *j = NULL;
    CN_TRY(parse_part(d, CN_PART_PROMPTS, &j));
    if (json_is_string(json_object_get(j, "default_prompt_name")))
        return cn_fail(CN_INVALID, "config_sentence_transformers.json: default_prompt_name is set; models with a default prompt cannot be run");
    return CN_OK;
}

cn_err cn_model_config(const cn_model_dir *d, cn_bert_config *ret) {
    cn_bert_config c = {0};
    char where[64];
    CN_TRY(read_config(d, &c));
    CN_TRY(read_tokenizer(d, &c));
    CN_TRY(read_limit(d, &c));
    CN_TRY(cn_model_pooling_path(d->part[CN_PART_MODULES].bytes, where, &c.normalise));
    CN_TRY(read_pooling(d, &c));
    CN_TRY(read_prompts(d));
    *ret = c;
    return CN_OK;
}

/* --- modules.json --- */

static bool plain_name(const char *s) {
    size_t n = strlen(s);
    return n > 0 && n < 64 && s[0] != '.' && strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-") == n;
}

static const char *class_of(const json *module) {
    const char *type = json_string_value(json_object_get(module, "type"));
    const char *dot = type ? strrchr(type, '.') : NULL;
    return dot ? dot + 1 : "";
}

static cn_err read_module(const json *m, size_t i, char where[64], bool *normalise) {
    static const char *const order[] = {"Transformer", "Pooling", "Normalize"};
    const char *path = json_string_value(json_object_get(m, "path"));
    if (i > 2 || strcmp(class_of(m), order[i]) != 0 || !path)
        return cn_fail(CN_INVALID, "modules.json: module %zu is \"%.60s\"; only Transformer, Pooling and then at most Normalize can be run", i, class_of(m));
    if (i == 0 && path[0])
        return cn_fail(CN_INVALID, "modules.json: the Transformer must lie in the folder itself, not in \"%.60s\"", path);
    if (i == 1 && !plain_name(path))
        return cn_fail(CN_INVALID, "modules.json: the path of Pooling must be the plain name of a folder");
    if (i == 1)
        memcpy(where, path, strlen(path) + 1);
    *normalise = i == 2;
    return CN_OK;
}

cn_err cn_model_pooling_path(cn_str modules, char ret[64], bool *ret_normalise) {
    AUTO_JSON json *j = NULL;
    char where[64];
    bool normalise = false;
    CN_TRY(parse("modules.json", modules, &j));
    if (json_array_size(j) < 2)
        return cn_fail(CN_INVALID, "modules.json must list a Transformer and a Pooling");
    for (size_t i = 0; i < json_array_size(j); i++)
        CN_TRY(read_module(json_array_get(j, i), i, where, &normalise));
    memcpy(ret, where, sizeof where);
    *ret_normalise = normalise;
    return CN_OK;
}
