/* http_config.h -- the description of an http embedder: DATA/models/<name>/http.json, written by `cairn model add`.
 *
 * One JSON object: url, model, dimensions, and as the host's operator wants it: send_dimensions, max_tokens, max_batch,
 * connect_ms, timeout_ms, query_timeout_ms, tries, retry_ms, breaker_failures, breaker_ms, key_file or key_env,
 * price_per_million, insecure. The key itself is never in it: it is read anew for each call.
 * Owns:    nothing.
 * Thread:  any.
 * Limits:  those of the table in http_config.c; a field of another name is refused. */
#pragma once
#include "engine/base/buf.h"
#include "engine/base/digest.h"

#define CN_HTTP_FILE "http.json"
#define CN_HTTP_FILE_MAX 65536
#define CN_HTTP_TOKENS_MAX 32768
#define CN_HTTP_BATCH_MAX 2048
#define CN_HTTP_KEY_MAX 8192
#define CN_HTTP_TOKEN_BYTES 4 /* its vocabulary is not here: so many bytes of a word count as a token, and any other sign */

typedef struct cn_http_config {
    char url[2048], model[256], key_file[4096], key_env[256]; /* "": none */
    uint32_t dim, max_tokens, max_batch;
    bool send_dim;              /* the service is asked for so many dimensions; else it gives what it gives, which must be dim */
    bool insecure;              /* http:// may leave this host */
    uint32_t connect_ms;        /* until there is a connection */
    uint32_t timeout_ms, query_timeout_ms; /* of one request as a whole, of a job and of a question */
    uint32_t tries, retry_ms;   /* of one request of a job: how often, and until when another try may begin */
    uint32_t breaker_failures, breaker_ms; /* after so many in a row nothing is asked for so long */
    double price;               /* of a million tokens, in whatever money; 0: not known */
} cn_http_config;

/* Every number as it is where nothing was said; url, model and dim are the caller's to fill. */
void cn_http_config_default(cn_http_config *c);
/* CN_INVALID says which number may be what. what: as in an error, "--tries". */
cn_err cn_http_config_number(cn_http_config *c, const char *name, const char *what, uint64_t value);
/* Looks at all of it, and puts /embeddings behind a URL that does not end so. dim 0 is fine: not known yet. */
cn_err cn_http_config_settle(cn_http_config *c);
cn_err cn_http_config_read(cn_str json, cn_http_config *ret);
void cn_http_config_write(const cn_http_config *c, cn_buf *out);
/* Covers what a vector depends on: url, model, dimensions. */
cn_digest cn_http_config_digest(const cn_http_config *c);
/* The key's place is looked into; *ret_n 0: there is none to send. Its bytes are in no error. */
cn_err cn_http_config_key(const cn_http_config *c, char ret[CN_HTTP_KEY_MAX], size_t *ret_n);
