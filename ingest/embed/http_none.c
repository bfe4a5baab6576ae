/* The face of http_post.h in a build without libcurl. */
#include "ingest/embed/http_post.h"

static cn_err none(void) { return cn_fail(CN_UNAVAILABLE, "this cairn was built without libcurl, and asks no embedder over http; install libcurl4-openssl-dev and build again"); }

cn_err cn_http_client_new(cn_http_client **ret) {
    (void)ret;
    return none();
}

void cn_http_client_free(cn_http_client *c) { (void)c; }

cn_err cn_http_post_run(cn_http_client *c, const cn_http_post *p, cn_http_reply *io) {
    (void)c, (void)p, (void)io;
    return none();
}
