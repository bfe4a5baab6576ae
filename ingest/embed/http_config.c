#include "ingest/embed/http_config.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <unistd.h>

#include "engine/base/json.h"
#include "ingest/embed/model.h"

#define AT(field) offsetof(cn_http_config, field)

static const struct number {
    const char *name;
    size_t at;
    uint32_t least, most, preset;
} numbers[] = {
    {"dimensions", AT(dim), 1, CN_MODEL_HIDDEN_MAX, 0},
    {"max_tokens", AT(max_tokens), 16, CN_HTTP_TOKENS_MAX, 512},
    {"max_batch", AT(max_batch), 1, CN_HTTP_BATCH_MAX, 64},
    {"connect_ms", AT(connect_ms), 1, 600000, 5000},
    {"timeout_ms", AT(timeout_ms), 1, 600000, 60000},
    {"query_timeout_ms", AT(query_timeout_ms), 1, 600000, 5000},
    {"tries", AT(tries), 1, 100, 6},
    {"retry_ms", AT(retry_ms), 0, 3600000, 120000},
    {"breaker_failures", AT(breaker_failures), 1, 1000, 5},
    {"breaker_ms", AT(breaker_ms), 1, 3600000, 10000},
};
#define NUMBERS (sizeof numbers / sizeof *numbers)

static uint32_t *number_at(cn_http_config *c, size_t at) { return (uint32_t *)(void *)((char *)c + at); }

void cn_http_config_default(cn_http_config *c) {
    memset(c, 0, sizeof *c);
    for (size_t i = 0; i < NUMBERS; i++)
        *number_at(c, numbers[i].at) = numbers[i].preset;
}

cn_err cn_http_config_number(cn_http_config *c, const char *name, const char *what, uint64_t value) {
    for (size_t i = 0; i < NUMBERS; i++) {
        const struct number *k = &numbers[i];
        if (strcmp(k->name, name) != 0)
            continue;
        if (value < k->least || value > k->most)
            return cn_fail(CN_INVALID, "%s is %llu; it must be %u to %u", what, (unsigned long long)value, k->least, k->most);
        *number_at(c, k->at) = (uint32_t)value;
        return CN_OK;
    }
    return cn_fail(CN_INVALID, "%s is no number of an http embedder", what);
}

/* --- the address --- */

static bool plain(cn_str s) {
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] <= ' ' || (unsigned char)s.p[i] >= 0x7f)
            return false;
    return true;
}

static bool is_loopback(cn_str host) {
    return (host.n == 9 && strncasecmp(host.p, "localhost", 9) == 0) || cn_str_is(host, "[::1]") ||
           (host.n > 4 && memcmp(host.p, "127.", 4) == 0 && strspn(host.p, "0123456789.") >= host.n);
}

/* The name between "//" and a port or path. */
static cn_str host_of(const char *rest) {
    size_t n = rest[0] == '[' ? strcspn(rest, "]") + 1 : strcspn(rest, ":/");
    size_t all = strlen(rest);
    return (cn_str){rest, n < all ? n : all};
}

static cn_err check_url(const cn_http_config *c) {
    bool tls = strncmp(c->url, "https://", 8) == 0;
    if (!tls && strncmp(c->url, "http://", 7) != 0)
        return cn_fail(CN_INVALID, "the address of an embedder begins with https:// or http://");
    const char *rest = c->url + (tls ? 8 : 7);
    cn_str host = host_of(rest);
    if (!plain(cn_str_of(c->url)) || host.n == 0)
        return cn_fail(CN_INVALID, "the address of an embedder is no URL; write it like https://host:8080/v1");
    if (strpbrk(c->url, "@?#")) /* an address stands in errors and listings */
        return cn_fail(CN_INVALID, "the address of an embedder has no @, ? or #: a key goes into a file or the environment (key_file, key_env)");
    if (!tls && !is_loopback(host) && !c->insecure)
        return cn_fail(CN_INVALID, "http:// to " CN_STR_FMT " would send texts and key in the clear; use https://, or --insecure on a network that you trust", CN_STR_ARG(host));
    return CN_OK;
}

static cn_err whole_url(cn_http_config *c) {
    static const char tail[] = "/embeddings";
    size_t n = strlen(c->url);
    while (n && c->url[n - 1] == '/')
        c->url[--n] = 0;
    if (n >= sizeof tail - 1 && strcmp(c->url + n - (sizeof tail - 1), tail) == 0)
        return CN_OK;
    if (n + sizeof tail > sizeof c->url)
        return cn_fail(CN_INVALID, "the address of an embedder has at most %zu bytes", sizeof c->url - sizeof tail);
    memcpy(c->url + n, tail, sizeof tail);
    return CN_OK;
}

cn_err cn_http_config_settle(cn_http_config *c) {
    CN_TRY(check_url(c));
    CN_TRY(whole_url(c));
    if (!c->model[0])
        return cn_fail(CN_INVALID, "an http embedder needs the name that its service gives the model");
    if (c->key_file[0] && c->key_env[0])
        return cn_fail(CN_INVALID, "the key is in a file or in a variable of the environment, not in both");
    if (c->key_file[0] && c->key_file[0] != '/')
        return cn_fail(CN_INVALID, "the path of the file with the key begins with /");
    if (!isfinite(c->price) || c->price < 0)
        return cn_fail(CN_INVALID, "the price of a million tokens is a number from 0");
    return CN_OK;
}

/* --- JSON --- */

static cn_err take_text(const msgpack_object *o, const char *key, char *to, size_t room) {
    cn_str s = {NULL, 0};
    CN_TRY(cn_get_str(o, key, &s));
    if (s.n >= room || memchr(s.n ? s.p : "", 0, s.n))
        return cn_fail(CN_INVALID, "field \"%s\" has over %zu bytes, or a NUL", key, room - 1);
    if (s.n)
        memcpy(to, s.p, s.n);
    return CN_OK;
}

static cn_err take_numbers(const msgpack_object *o, cn_http_config *c) {
    for (size_t i = 0; i < NUMBERS; i++) {
        uint64_t v = numbers[i].preset;
        CN_TRY(cn_get_uint(o, numbers[i].name, numbers[i].least, numbers[i].most, &v));
        *number_at(c, numbers[i].at) = (uint32_t)v;
    }
    CN_TRY(cn_get_bool(o, "send_dimensions", &c->send_dim));
    CN_TRY(cn_get_bool(o, "insecure", &c->insecure));
    return cn_get_f64(o, "price_per_million", &c->price);
}

static cn_err check_names(const msgpack_object *o) {
    const char *names[NUMBERS + 8] = {"url", "model", "key_file", "key_env", "send_dimensions", "insecure", "price_per_million"};
    for (size_t i = 0; i < NUMBERS; i++)
        names[7 + i] = numbers[i].name;
    return cn_only_fields(o, names);
}

cn_err cn_http_config_read(cn_str json, cn_http_config *ret) {
    CN_AUTO_BUF cn_buf b;
    CN_AUTO_UNPACKED cn_unpacked u = {0};
    cn_http_config c;
    cn_buf_init(&b, 2 * CN_HTTP_FILE_MAX);
    cn_http_config_default(&c);
    if (json.n > CN_HTTP_FILE_MAX)
        return cn_fail(CN_INVALID, "over %d bytes", CN_HTTP_FILE_MAX);
    CN_TRY(cn_json_parse(json, &b));
    CN_TRY(cn_unpack(&u, b.p, b.n));
    if (u.o.type != MSGPACK_OBJECT_MAP)
        return cn_fail(CN_INVALID, "no JSON object");
    CN_TRY(check_names(&u.o));
    CN_TRY(take_text(&u.o, "url", c.url, sizeof c.url));
    CN_TRY(take_text(&u.o, "model", c.model, sizeof c.model));
    CN_TRY(take_text(&u.o, "key_file", c.key_file, sizeof c.key_file));
    CN_TRY(take_text(&u.o, "key_env", c.key_env, sizeof c.key_env));
    CN_TRY(take_numbers(&u.o, &c));
    CN_TRY(cn_http_config_settle(&c));
    if (!c.dim)
        return cn_fail(CN_INVALID, "field \"dimensions\" is missing");
    *ret = c;
    return CN_OK;
}

static void put_text(cn_buf *out, const char *key, const char *text) {
    if (!text[0])
        return;
    cn_buf_printf(out, "\"%s\": ", key);
    cn_json_write_str(out, cn_str_of(text));
    cn_buf_puts(out, ",\n ");
}

void cn_http_config_write(const cn_http_config *c, cn_buf *out) {
    cn_http_config copy = *c;
    cn_buf_putc(out, '{');
    put_text(out, "url", c->url);
    put_text(out, "model", c->model);
    put_text(out, "key_file", c->key_file);
    put_text(out, "key_env", c->key_env);
    for (size_t i = 0; i < NUMBERS; i++)
        cn_buf_printf(out, "\"%s\": %u,\n ", numbers[i].name, *number_at(&copy, numbers[i].at));
    cn_buf_printf(out, "\"send_dimensions\": %s,\n \"insecure\": %s,\n \"price_per_million\": %.17g}\n", c->send_dim ? "true" : "false",
                  c->insecure ? "true" : "false", c->price);
}

cn_digest cn_http_config_digest(const cn_http_config *c) {
    cn_sha256 s;
    cn_sha256_begin(&s);
    cn_sha256_field(&s, CN_STR("cairn embedder http/1"));
    cn_sha256_field(&s, cn_str_of(c->url));
    cn_sha256_field(&s, cn_str_of(c->model));
    cn_sha256_u64(&s, c->dim);
    cn_digest d = cn_sha256_get(&s);
    cn_sha256_end(&s);
    return d;
}

/* --- the key --- */

static cn_err key_unread(const char *path, int why) {
    cn_fail_errno(why, "the file with its key, %s", path);
    return CN_UNAVAILABLE; /* for whoever asks it is as if the service were down */
}

static cn_err key_from_file(const char *path, char ret[CN_HTTP_KEY_MAX], size_t *ret_n) {
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return key_unread(path, errno);
    ssize_t n = read(fd, ret, CN_HTTP_KEY_MAX);
    int why = errno;
    close(fd);
    if (n < 0)
        return key_unread(path, why);
    *ret_n = (size_t)n;
    return CN_OK;
}

static cn_err key_from_env(const char *name, char ret[CN_HTTP_KEY_MAX], size_t *ret_n) {
    const char *v = getenv(name);
    if (!v || !*v)
        return cn_fail(CN_UNAVAILABLE, "the variable %s, which should hold the embedder's key, is not set for this process", name);
    size_t n = strlen(v);
    *ret_n = n < CN_HTTP_KEY_MAX ? n : CN_HTTP_KEY_MAX;
    memcpy(ret, v, *ret_n);
    return CN_OK;
}

cn_err cn_http_config_key(const cn_http_config *c, char ret[CN_HTTP_KEY_MAX], size_t *ret_n) {
    size_t n = 0;
    if (c->key_file[0])
        CN_TRY(key_from_file(c->key_file, ret, &n));
    else if (c->key_env[0])
        CN_TRY(key_from_env(c->key_env, ret, &n));
    while (n && (unsigned char)ret[n - 1] <= ' ')
        n--;
    bool wanted = c->key_file[0] || c->key_env[0];
    if (wanted && (n == 0 || n >= CN_HTTP_KEY_MAX || !plain((cn_str){ret, n})))
        return cn_fail(CN_UNAVAILABLE, "what %s %s holds is no key: one line of at most %d plain characters is", c->key_file[0] ? "the file" : "the variable",
                       c->key_file[0] ? c->key_file : c->key_env, CN_HTTP_KEY_MAX - 1);
    *ret_n = n;
    return CN_OK;
}
