#include "ingest/embed/http_answer.h"

#include <jansson.h>
#include <math.h>

#include "engine/base/json.h"
#include "engine/flat/flat.h"
#include "ingest/embed/model.h"

#define NUMBER_BYTES 32u /* of a number with what stands around it, written at length */
#define TOKENS_MOST ((json_int_t)1 << 40)

typedef struct json_t json;

static void json_done(json **j) { json_decref(*j); }
#define AUTO_JSON __attribute__((cleanup(json_done)))

void cn_http_body(const cn_http_config *c, const cn_str *texts, uint32_t n, cn_buf *out) {
    cn_buf_puts(out, "{\"model\":");
    cn_json_write_str(out, cn_str_of(c->model));
    if (c->send_dim)
        cn_buf_printf(out, ",\"dimensions\":%u", c->dim);
    cn_buf_puts(out, ",\"input\":[");
    for (uint32_t i = 0; i < n; i++) {
        if (i)
            cn_buf_putc(out, ',');
        cn_json_write_str(out, texts[i]);
    }
    cn_buf_puts(out, "]}");
}

size_t cn_http_answer_most(uint32_t n, uint32_t dim) {
    return 65536 + (size_t)n * (1024 + (size_t)NUMBER_BYTES * (dim ? dim : CN_MODEL_HIDDEN_MAX));
}

static cn_err parse(cn_str text, json **ret, const json **ret_data) {
    json_error_t why;
    json *j = json_loadb(text.p ? text.p : "", text.n, JSON_REJECT_DUPLICATES, &why);
    if (!j)
        return cn_fail(CN_UNAVAILABLE, "what it answers is no JSON (line %d, column %d)", why.line, why.column);
    *ret = j;
    *ret_data = json_object_get(j, "data");
    if (!json_is_array(*ret_data))
        return cn_fail(CN_UNAVAILABLE, "what it answers is JSON without a list \"data\"; is this the address of embeddings?");
    return CN_OK;
}

static cn_err read_vector(const json *v, uint32_t at, uint32_t dim, float *out) {
    if (!json_is_array(v))
        return cn_fail(CN_UNAVAILABLE, "the embedding of text %u in its answer is no list of numbers", at);
    if (json_array_size(v) != dim)
        return cn_fail(CN_UNAVAILABLE, "its vectors have %zu dimensions, and this model was added with %u; add it under another name with those it has", json_array_size(v), dim);
    for (uint32_t i = 0; i < dim; i++) {
        const json *x = json_array_get(v, i);
        float f = json_is_number(x) ? (float)json_number_value(x) : NAN;
        if (!isfinite(f))
            return cn_fail(CN_UNAVAILABLE, "number %u of the embedding of text %u in its answer is no finite number", i, at);
        out[i] = f;
    }
    if (cn_vec_check(out, dim, CN_COSINE) != CN_OK)
        return cn_wrap(CN_UNAVAILABLE, "the embedding of text %u in its answer", at);
    return CN_OK;
}

static cn_err read_all(const json *data, uint32_t n, uint32_t dim, float *out) {
    bool seen[CN_HTTP_BATCH_MAX] = {false};
    for (uint32_t i = 0; i < n; i++) {
        const json *one = json_array_get(data, i), *index = json_object_get(one, "index");
        json_int_t at = json_is_integer(index) ? json_integer_value(index) : -1;
        if (at < 0 || at >= n || seen[at])
            return cn_fail(CN_UNAVAILABLE, "entry %u of its answer has an \"index\" that is missing, twice there, or of no text that was sent", i);
        seen[at] = true;
        CN_TRY(read_vector(json_object_get(one, "embedding"), (uint32_t)at, dim, out + (size_t)at * dim));
    }
    return CN_OK;
}

static uint64_t read_tokens(const json *j) {
    const json *usage = json_object_get(j, "usage"), *v = json_object_get(usage, "total_tokens");
    if (!json_is_integer(v))
        v = json_object_get(usage, "prompt_tokens");
    json_int_t n = json_is_integer(v) ? json_integer_value(v) : 0;
    return n > 0 && n <= TOKENS_MOST ? (uint64_t)n : 0;
}

cn_err cn_http_answer(cn_str text, uint32_t n, uint32_t dim, float *out, uint64_t *ret_tokens) {
    AUTO_JSON json *j = NULL;
    const json *data;
    CN_ASSERT(n <= CN_HTTP_BATCH_MAX);
    CN_TRY(parse(text, &j, &data));
    if (json_array_size(data) != n)
        return cn_fail(CN_UNAVAILABLE, "it answers %zu vectors to %u texts", json_array_size(data), n);
    CN_TRY(read_all(data, n, dim, out));
    *ret_tokens = read_tokens(j);
    return CN_OK;
}

cn_err cn_http_answer_dim(cn_str text, uint32_t *ret) {
    AUTO_JSON json *j = NULL;
    const json *data;
    CN_TRY(parse(text, &j, &data));
    size_t n = json_array_size(json_object_get(json_array_get(data, 0), "embedding"));
    if (n < 1 || n > CN_MODEL_HIDDEN_MAX)
        return cn_fail(CN_UNAVAILABLE, "it answers a vector of %zu dimensions; 1 to %d can be kept", n, CN_MODEL_HIDDEN_MAX);
    *ret = (uint32_t)n;
    return CN_OK;
}

/* --- errors of the service --- */

/* A service may say the key that it was given. */
static void without(char *text, cn_str key) {
    char *at;
    while (key.n && (at = memmem(text, strlen(text), key.p, key.n)))
        memset(at, '*', key.n);
}

void cn_http_answer_why(cn_str text, cn_str key, char ret[256]) {
    AUTO_JSON json *j = json_loadb(text.p ? text.p : "", text.n, 0, NULL);
    const json *error = json_object_get(j, "error"), *said = json_is_object(error) ? json_object_get(error, "message") : error;
    if (!json_is_string(said))
        said = json_object_get(j, "message");
    const char *from = json_is_string(said) ? json_string_value(said) : "";
    CN_AUTO_BUF cn_buf whole;
    cn_buf_init(&whole, 65536);
    cn_buf_add(&whole, from, strnlen(from, 32768) + 1);
    ret[0] = 0;
    if (whole.failed)
        return;
    whole.p[whole.n - 1] = 0;
    without(whole.p, key);
    size_t n = strnlen(whole.p, 255);
    for (size_t i = 0; i < n; i++)
        ret[i] = (unsigned char)whole.p[i] >= ' ' && (unsigned char)whole.p[i] < 0x7f ? whole.p[i] : ' ';
    ret[n] = 0;
}
