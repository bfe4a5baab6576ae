/* http_post.h -- one POST of JSON: by libcurl, or, in a build without it, an error that says so (http_none.c).
 *
 * No redirect is followed, no cookie kept, nothing unpacked; only http and https are spoken, certificates are checked.
 * Owns:    cn_http_client keeps connections that may be used again.
 * Thread:  any; each post has a connection of its own.
 * Limits:  CN_HTTP_IDLE connections are kept; times and bytes are the caller's. */
#pragma once
#include "engine/base/buf.h"

#define CN_HTTP_IDLE 16

typedef struct cn_http_client cn_http_client;
/* CN_UNAVAILABLE: this build has no libcurl. */
cn_err cn_http_client_new(cn_http_client **ret);
void cn_http_client_free(cn_http_client *c);

typedef struct cn_http_post {
    const char *url;
    cn_str key, body;               /* key: sent as a bearer's token; empty: none */
    uint64_t connect_ms, timeout_ms; /* timeout: of all of it */
    size_t most;                    /* bytes of the answer */
    bool (*stop)(void *ctx);        /* NULL: never; asked about once a second */
    void *stop_ctx;
} cn_http_post;

typedef struct cn_http_reply {
    long status;
    uint64_t retry_after_ms; /* 0: not said */
    cn_buf body;             /* the caller's, begun before and ended after */
} cn_http_reply;

/* Whether trying again may help, beside the code: CN_UNAVAILABLE and CN_DEADLINE (a time ran out) may pass; CN_REFUSED (an
 * answer over `most`, a certificate) does not; CN_END: stop() said so. */
cn_err cn_http_post_run(cn_http_client *c, const cn_http_post *p, cn_http_reply *io);
