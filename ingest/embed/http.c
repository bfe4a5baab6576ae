#include "ingest/embed/http.h"

#include <pthread.h>
#include <stdio.h>
#include <time.h>

#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "ingest/embed/breaker.h"
#include "ingest/embed/http_answer.h"
#include "ingest/embed/http_post.h"

#define MS 1000000u
#define PAUSE_FIRST_MS 500u
#define PAUSE_MOST_MS 30000u
#define STEP_NS 50000000u   /* between two looks at stop() */
#define QUESTION_TRIES 2
#define REASON 256

struct cn_http {
    cn_http_config c;
    char name[CN_NAME_MAX + 1];
    cn_http_client *client;
    cn_breaker breaker;
    pthread_mutex_t lock; /* over last */
    char last[REASON];    /* why the last request failed */
};

static cn_err http_new(const char *name, const cn_http_config *c, cn_http **ret) {
    cn_http *h = cn_calloc(1, sizeof *h);
    if (!h)
        return cn_fail_memory();
    cn_err err = cn_http_client_new(&h->client);
    if (err != CN_OK) {
        cn_free(h);
        return err;
    }
    h->c = *c;
    snprintf(h->name, sizeof h->name, "%s", name);
    cn_breaker_init(&h->breaker, c->breaker_failures, (uint64_t)c->breaker_ms * MS);
    pthread_mutex_init(&h->lock, NULL);
    *ret = h;
    return CN_OK;
}

cn_err cn_http_new(const char *name, const cn_http_config *c, cn_http **ret) {
    CN_ASSERT(c->dim >= 1);
    cn_err err = http_new(name, c, ret);
    return err == CN_OK ? err : cn_wrap(err, "embedder \"%s\"", name);
}

void cn_http_free(cn_http *h) {
    if (!h)
        return;
    cn_http_client_free(h->client);
    cn_breaker_done(&h->breaker);
    pthread_mutex_destroy(&h->lock);
    cn_free(h);
}

/* --- one request --- */

typedef enum outcome { GOOD, AGAIN, NEVER, TEXTS, STOPPED } outcome; /* TEXTS: the service is well, but takes these not */

typedef struct ask {
    cn_http *h;
    const cn_embed_wait *w;
    cn_http_post post;
    cn_http_reply reply;
    char key[CN_HTTP_KEY_MAX];
    uint32_t n;              /* texts; their vectors go to out, or the vector's dimension to *dim */
    float *out;
    uint32_t *dim;
    uint64_t tokens, until_ns; /* until: no try begins later */
    uint32_t tries, most;
} ask;

static bool stop_asked(const cn_embed_wait *w) { return w && w->stop && w->stop(w->stop_ctx); }

/* A text of the service, where it is about what was sent and not about who sent it. */
static cn_err told(const ask *a, const char *what) {
    char why[256] = "";
    if (a->reply.status != 401 && a->reply.status != 403)
        cn_http_answer_why(cn_buf_str(&a->reply.body), a->post.key, why);
    return cn_fail(CN_UNAVAILABLE, "it answers %ld%s%s%s", a->reply.status, what, why[0] ? ": " : "", why);
}

static cn_err by_status(const ask *a, outcome *ret) {
    long s = a->reply.status;
    bool may_pass = s == 408 || s == 425 || s == 429 || (s >= 500 && s != 501 && s != 505);
    *ret = may_pass ? AGAIN : s == 400 || s == 413 || s == 422 ? TEXTS : NEVER;
    if (s >= 300 && s < 400)
        return cn_fail(CN_UNAVAILABLE, "it answers with a redirect (%ld), which is not followed; add the embedder with the address it has now", s);
    if (s == 401 || s == 403)
        return told(a, a->post.key.n ? ", it does not take this key" : ", it wants a key (--api-key-file, --api-key-env)");
    return told(a, s == 404 ? ", there is nothing at this address, or no such model" : s == 429 ? ", too many requests or a quota used up" : "");
}

static cn_err by_answer(ask *a, outcome *ret) {
    cn_str body = cn_buf_str(&a->reply.body);
    cn_err err = a->dim ? cn_http_answer_dim(body, a->dim) : cn_http_answer(body, a->n, a->h->c.dim, a->out, &a->tokens);
    *ret = err == CN_OK ? GOOD : NEVER;
    return err;
}

static cn_err try_once(ask *a, outcome *ret) {
    uint64_t now = cn_mono_ns(), left = a->until_ns > now ? (a->until_ns - now) / MS + 1 : 1;
    bool hurry = a->w && a->w->hurry;
    a->post.timeout_ms = !hurry ? a->h->c.timeout_ms : left;
    cn_err err = cn_http_post_run(a->h->client, &a->post, &a->reply);
    if (err == CN_OK)
        return a->reply.status == 200 ? by_answer(a, ret) : by_status(a, ret);
    *ret = err == CN_END ? STOPPED : err == CN_UNAVAILABLE || err == CN_DEADLINE ? AGAIN : NEVER;
    return err;
}

/* --- again and again --- */

static cn_err pause_for(const ask *a, uint64_t ns) {
    uint64_t end = cn_mono_ns() + ns;
    for (uint64_t now; (now = cn_mono_ns()) < end;) {
        if (stop_asked(a->w))
            return cn_fail(CN_END, "told to stop");
        uint64_t step = end - now < STEP_NS ? end - now : STEP_NS;
        nanosleep(&(struct timespec){.tv_nsec = (long)step}, NULL);
    }
    return CN_OK;
}

uint64_t cn_http_pause_ms(uint32_t tries, uint64_t retry_after_ms, uint32_t chance) {
    uint64_t ms = PAUSE_FIRST_MS;
    for (uint32_t i = 1; i < tries && ms < PAUSE_MOST_MS; i++)
        ms *= 2;
    ms = ms / 2 + chance % (ms / 2 + 1);
    return retry_after_ms > ms ? retry_after_ms + chance % (retry_after_ms / 10 + 1) : ms;
}

static bool fits(const ask *a, uint64_t ns) { return cn_mono_ns() + ns < a->until_ns; }

static bool late(const ask *a) { return a->w && a->w->until_ns && cn_mono_ns() >= a->w->until_ns; }

static cn_err give_up(const ask *a, cn_err err) {
    if (err == CN_END || err == CN_OVERLOADED)
        return err;
    cn_err code = late(a) ? CN_DEADLINE : CN_UNAVAILABLE;
    return a->tries > 1 ? cn_fail(code, "%s (the last of %u tries)", cn_error_detail(), a->tries) : code;
}

static void remember(cn_http *h) {
    pthread_mutex_lock(&h->lock);
    snprintf(h->last, sizeof h->last, "%s", cn_error_detail());
    pthread_mutex_unlock(&h->lock);
}

static cn_err taken_for_down(cn_http *h, uint64_t wait_ns) {
    char last[REASON];
    pthread_mutex_lock(&h->lock);
    memcpy(last, h->last, sizeof last);
    pthread_mutex_unlock(&h->lock);
    return cn_fail(CN_UNAVAILABLE, "it failed %u times in a row and is not asked for another %llu ms; the last time: %s", h->c.breaker_failures,
                   (unsigned long long)(wait_ns / MS + 1), last);
}

/* A question is refused while the service is taken for down; a job waits, if that is short enough. */
static cn_err enter(const ask *a, bool *ret_probe) {
    uint64_t wait;
    while (!cn_breaker_enter(&a->h->breaker, cn_mono_ns(), ret_probe, &wait)) {
        if ((a->w && a->w->hurry) || !fits(a, wait))
            return taken_for_down(a->h, wait);
        CN_TRY(pause_for(a, wait));
    }
    return CN_OK;
}

/* A caller who stopped, or had less time than the service is given, says nothing of the service. */
static cn_err try_guarded(ask *a, outcome *ret) {
    bool probe;
    *ret = NEVER;
    CN_TRY(enter(a, &probe));
    a->tries++;
    cn_err err = try_once(a, ret);
    bool well = *ret == GOOD || *ret == TEXTS, left = *ret == STOPPED || (err == CN_DEADLINE && late(a));
    if (!well && !left)
        remember(a->h);
    cn_breaker_leave(&a->h->breaker, cn_mono_ns(), probe, well ? CN_BREAKER_WELL : left ? CN_BREAKER_NOTHING : CN_BREAKER_FAILED);
    return err;
}

static cn_err ask_on(ask *a) {
    outcome how;
    for (;;) {
        cn_err err = try_guarded(a, &how);
        if (err == CN_OK || how != AGAIN || a->tries >= a->most)
            return err == CN_OK ? err : give_up(a, err);
        uint32_t chance;
        uint64_t after = a->reply.retry_after_ms;
        cn_random(&chance, sizeof chance);
        uint64_t ms = cn_http_pause_ms(a->tries, after, chance);
        if (!fits(a, ms * MS))
            return after && !fits(a, after * MS) ? cn_wrap(give_up(a, err), "it wants to be asked again only in %llu s", (unsigned long long)(after / 1000)) : give_up(a, err);
        CN_TRY(pause_for(a, ms * MS));
    }
}

/* --- a call: some requests --- */

static void limits_of(ask *a) {
    const cn_http_config *c = &a->h->c;
    bool hurry = a->w && a->w->hurry;
    a->most = hurry && c->tries > QUESTION_TRIES ? QUESTION_TRIES : c->tries;
    a->until_ns = cn_mono_ns() + (uint64_t)(hurry ? c->query_timeout_ms : c->retry_ms) * MS;
    if (a->w && a->w->until_ns && a->w->until_ns < a->until_ns)
        a->until_ns = a->w->until_ns;
}

static cn_err send(cn_http *h, const cn_embed_wait *w, const cn_str *texts, uint32_t n, float *out, uint32_t *dim, uint64_t *ret_tokens) {
    ask a = {.h = h, .w = w, .n = n, .out = out, .dim = dim};
    CN_AUTO_BUF cn_buf body;
    size_t n_key = 0;
    cn_buf_init(&body, (size_t)6 * CN_TEXT_MAX);
    cn_http_body(&h->c, texts, n, &body);
    CN_TRY(cn_buf_check(&body));
    CN_TRY(cn_http_config_key(&h->c, a.key, &n_key));
    size_t most = cn_http_answer_most(n, h->c.dim);
    a.post = (cn_http_post){.url = h->c.url, .key = {a.key, n_key}, .body = cn_buf_str(&body), .connect_ms = h->c.connect_ms, .most = most};
    a.post.stop = w ? w->stop : NULL;
    a.post.stop_ctx = w ? w->stop_ctx : NULL;
    cn_buf_init(&a.reply.body, most + 1);
    limits_of(&a);
    cn_err err = ask_on(&a);
    cn_buf_done(&a.reply.body);
    explicit_bzero(a.key, sizeof a.key);
    *ret_tokens = a.tokens;
    return err;
}

/* How many of the texts go into the next request. */
static uint32_t next_piece(const cn_http *h, const cn_str *texts, uint32_t n) {
    size_t bytes = 0;
    uint32_t i = 0;
    while (i < n && i < h->c.max_batch && (i == 0 || bytes + texts[i].n <= CN_HTTP_BODY_TEXT))
        bytes += texts[i++].n;
    return i;
}

static uint64_t about_tokens(const cn_str *texts, uint32_t n) {
    uint64_t all = 0;
    for (uint32_t i = 0; i < n; i++)
        all += (texts[i].n + CN_HTTP_TOKEN_BYTES - 1) / CN_HTTP_TOKEN_BYTES;
    return all;
}

static cn_err named(const cn_http *h, cn_err err) { return err == CN_OK || err == CN_END ? err : cn_wrap(err, "embedder \"%s\" at %s", h->name, h->c.url); }

cn_err cn_http_embed(cn_http *h, const cn_str *texts, uint32_t n, const cn_embed_wait *w, float *out, cn_embed_cost *ret) {
    cn_embed_cost cost = {0};
    uint64_t cpu = cn_thread_cpu_ns(), wall = cn_mono_ns();
    for (uint32_t at = 0, many; at < n; at += many) {
        uint64_t tokens = 0;
        many = next_piece(h, texts + at, n - at);
        CN_TRY(named(h, send(h, w, texts + at, many, out + (size_t)at * h->c.dim, NULL, &tokens)));
        cost.tokens += tokens ? tokens : about_tokens(texts + at, many);
    }
    cost.cpu_ns = cn_thread_cpu_ns() - cpu;
    wall = cn_mono_ns() - wall;
    cost.wait_ns = wall > cost.cpu_ns ? wall - cost.cpu_ns : 0;
    *ret = cost;
    return CN_OK;
}

cn_err cn_http_learn_dim(const char *name, cn_http_config *io) {
    cn_http *h;
    cn_str text = CN_STR("cairn");
    cn_embed_wait once = {.hurry = true};
    uint64_t tokens;
    uint32_t dim = 0;
    CN_TRY(http_new(name, io, &h));
    cn_err err = named(h, send(h, &once, &text, 1, NULL, &dim, &tokens));
    cn_http_free(h);
    if (err == CN_OK)
        io->dim = dim;
    return err;
}
