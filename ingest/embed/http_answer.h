/* http_answer.h -- what goes to a service for embeddings and what comes back, as JSON. No socket here.
 *
 * Owns:    nothing.
 * Thread:  any.
 * Limits:  CN_HTTP_BATCH_MAX texts; nothing in an answer is trusted. */
#pragma once
#include "ingest/embed/http_config.h"

/* {"model", "input": [...], "dimensions" where it is to be sent}; bytes that are no UTF-8 become U+FFFD. */
void cn_http_body(const cn_http_config *c, const cn_str *texts, uint32_t n, cn_buf *out);
/* The most bytes that n vectors can take; dim 0: not known. */
size_t cn_http_answer_most(uint32_t n, uint32_t dim);
/* An answer to n texts: each index once, each vector of dim finite numbers, none of zero or too short a length. out: n x dim,
 * in the order of the texts. *ret_tokens: as the service counts them; 0 where it does not say. CN_UNAVAILABLE says what is
 * wrong with it. */
cn_err cn_http_answer(cn_str json, uint32_t n, uint32_t dim, float *out, uint64_t *ret_tokens);
/* How many numbers the vector of an answer to one text has. */
cn_err cn_http_answer_dim(cn_str json, uint32_t *ret);
/* What an answer that is an error says about it, short and printable; "" when it says nothing. */
void cn_http_answer_why(cn_str json, cn_str key, char text[256]);
