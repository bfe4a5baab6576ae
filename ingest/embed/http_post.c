#include "ingest/embed/http_post.h"

#include <curl/curl.h>
#include <pthread.h>
#include <stdio.h>

#include "engine/base/mem.h"

struct cn_http_client {
    pthread_mutex_t lock;
    CURL *idle[CN_HTTP_IDLE];
    unsigned n;
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static CURLcode began;
static void begin(void) { began = curl_global_init(CURL_GLOBAL_DEFAULT); }

cn_err cn_http_client_new(cn_http_client **ret) {
    pthread_once(&once, begin);
    if (began != CURLE_OK)
        return cn_fail(CN_UNAVAILABLE, "libcurl cannot begin: %s", curl_easy_strerror(began));
    cn_http_client *c = cn_calloc(1, sizeof *c);
    if (!c)
        return cn_fail_memory();
    pthread_mutex_init(&c->lock, NULL);
    *ret = c;
    return CN_OK;
}

void cn_http_client_free(cn_http_client *c) {
    if (!c)
        return;
    while (c->n)
        curl_easy_cleanup(c->idle[--c->n]);
    pthread_mutex_destroy(&c->lock);
    cn_free(c);
}

static CURL *take(cn_http_client *c) {
    pthread_mutex_lock(&c->lock);
    CURL *h = c->n ? c->idle[--c->n] : NULL;
    pthread_mutex_unlock(&c->lock);
    return h ? h : curl_easy_init();
}

/* Its connection stays open; what was set for the last call, the key too, is forgotten. */
static void give(cn_http_client *c, CURL *h) {
    curl_easy_reset(h);
    pthread_mutex_lock(&c->lock);
    bool kept = c->n < CN_HTTP_IDLE;
    if (kept)
        c->idle[c->n++] = h;
    pthread_mutex_unlock(&c->lock);
    if (!kept)
        curl_easy_cleanup(h);
}

typedef struct transfer {
    const cn_http_post *p;
    cn_http_reply *io;
    bool stopped, too_much;
} transfer;

static size_t on_bytes(char *bytes, size_t size, size_t n, void *ctx) {
    transfer *t = ctx;
    if (n > t->p->most - t->io->body.n) {
        t->too_much = true;
        return 0;
    }
    cn_buf_add(&t->io->body, bytes, size * n);
    return t->io->body.failed ? 0 : n;
}

static int on_step(void *ctx, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d) {
    (void)a, (void)b, (void)c, (void)d;
    transfer *t = ctx;
    t->stopped = t->p->stop && t->p->stop(t->p->stop_ctx);
    return t->stopped;
}

static struct curl_slist *headers(cn_str key) {
    char line[9000];
    struct curl_slist *all = curl_slist_append(NULL, "Content-Type: application/json"), *more;
    snprintf(line, sizeof line, "Authorization: Bearer " CN_STR_FMT, CN_STR_ARG(key));
    const char *each[] = {"Accept: application/json", "Expect:", key.n ? line : NULL};
    for (size_t i = 0; all && i < 3 && each[i]; i++) {
        if (!(more = curl_slist_append(all, each[i]))) {
            curl_slist_free_all(all);
            all = NULL;
        } else {
            all = more;
        }
    }
    explicit_bzero(line, sizeof line);
    return all;
}

/* A proxy of the environment is for what leaves this host. */
static bool stays_here(const char *url) {
    return strncmp(url, "http://127.", 11) == 0 || strncmp(url, "http://localhost", 16) == 0 || strncmp(url, "http://[::1]", 12) == 0;
}

static void set_up(CURL *h, transfer *t, struct curl_slist *list) {
    const cn_http_post *p = t->p;
    curl_easy_setopt(h, CURLOPT_URL, p->url);
    curl_easy_setopt(h, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(h, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(h, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(h, CURLOPT_HTTPHEADER, list);
    curl_easy_setopt(h, CURLOPT_POST, 1L);
    curl_easy_setopt(h, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)p->body.n);
    curl_easy_setopt(h, CURLOPT_POSTFIELDS, p->body.p);
    curl_easy_setopt(h, CURLOPT_CONNECTTIMEOUT_MS, (long)p->connect_ms);
    curl_easy_setopt(h, CURLOPT_TIMEOUT_MS, (long)p->timeout_ms);
    curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, on_bytes);
    curl_easy_setopt(h, CURLOPT_WRITEDATA, t);
    curl_easy_setopt(h, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(h, CURLOPT_XFERINFOFUNCTION, on_step);
    curl_easy_setopt(h, CURLOPT_XFERINFODATA, t);
    curl_easy_setopt(h, CURLOPT_USERAGENT, "cairn/" CAIRN_VERSION);
    if (stays_here(p->url))
        curl_easy_setopt(h, CURLOPT_PROXY, "");
}

static cn_err failed(const transfer *t, CURLcode rc) {
    if (t->stopped)
        return cn_fail(CN_END, "told to stop");
    if (t->too_much)
        return cn_fail(CN_REFUSED, "its answer has over %zu bytes, more than so many vectors can take", t->p->most);
    if (t->io->body.failed || rc == CURLE_OUT_OF_MEMORY)
        return cn_fail_memory();
    if (rc == CURLE_OPERATION_TIMEDOUT)
        return cn_fail(CN_DEADLINE, "no answer within %llu ms", (unsigned long long)t->p->timeout_ms);
    if (rc == CURLE_PEER_FAILED_VERIFICATION)
        return cn_fail(CN_REFUSED, "its certificate is not one that this host trusts");
    return cn_fail(CN_UNAVAILABLE, "%s", curl_easy_strerror(rc));
}

static cn_err run(CURL *h, transfer *t) {
    struct curl_slist *list = headers(t->p->key);
    if (!list)
        return cn_fail_memory();
    set_up(h, t, list);
    CURLcode rc = curl_easy_perform(h);
    curl_off_t after = 0;
    curl_easy_getinfo(h, CURLINFO_RESPONSE_CODE, &t->io->status);
    curl_easy_getinfo(h, CURLINFO_RETRY_AFTER, &after);
    curl_slist_free_all(list);
    t->io->retry_after_ms = after <= 0 ? 0 : after > 86400 ? 86400000u : (uint64_t)after * 1000;
    return rc == CURLE_OK ? CN_OK : failed(t, rc);
}

cn_err cn_http_post_run(cn_http_client *c, const cn_http_post *p, cn_http_reply *io) {
    transfer t = {.p = p, .io = io};
    CURL *h = take(c);
    if (!h)
        return cn_fail_memory();
    io->status = 0;
    io->retry_after_ms = 0;
    cn_buf_reset(&io->body);
    cn_err err = run(h, &t);
    give(c, h);
    return err;
}
