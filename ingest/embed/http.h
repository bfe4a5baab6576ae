/* http.h -- an embedder behind HTTP: any service that speaks OpenAI's /v1/embeddings.
 *
 * Texts go in batches. A request that fails in a way that may pass (no connection, a time that ran out, 408, 425, 429, 5xx)
 * is sent again after Retry-After and a little more by chance, or else after a pause that doubles, half of it by chance; a job
 * tries for minutes, a question twice within query_timeout_ms. After some failures in a row nothing is sent for a while
 * (breaker.h): a question is refused at once, a job waits. What else fails is not sent again. A question whose own time ran
 * out before query_timeout_ms is no failure.
 * Owns:    its connections and the breaker.
 * Thread:  any; each call sends one request after the other, calls run side by side.
 * Limits:  those of http_config.h; CN_HTTP_BODY_TEXT bytes of text a request (a longer text goes alone). */
#pragma once
#include "ingest/embed/embed.h"
#include "ingest/embed/http_config.h"

#define CN_HTTP_BODY_TEXT ((size_t)1 << 20)

typedef struct cn_http cn_http;
cn_err cn_http_new(const char *name, const cn_http_config *c, cn_http **ret);
void cn_http_free(cn_http *h);
/* As cn_embed_told(). CN_UNAVAILABLE: the service is down, or answers what cannot be used; CN_DEADLINE: w's time is over;
 * CN_END: w's stop() said so. */
cn_err cn_http_embed(cn_http *h, const cn_str *texts, uint32_t n, const cn_embed_wait *w, float *out, cn_embed_cost *ret);
/* How long to wait after so many tries; chance, any number, keeps apart those who failed together: it makes half of the pause,
 * or a tenth more of Retry-After. */
uint64_t cn_http_pause_ms(uint32_t tries, uint64_t retry_after_ms, uint32_t chance);
/* Asks once for a vector, to learn how many dimensions it has. */
cn_err cn_http_learn_dim(const char *name, cn_http_config *io);
