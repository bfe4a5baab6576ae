#include "ingest/embed/embed.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "engine/base/spread.h"
#include "ingest/embed/bert.h"
#include "ingest/embed/http.h"
#include "ingest/embed/static.h"
#include "ingest/embed/store.h"
#include "ingest/embed/words.h"

#define DATA_MAX 4096

/* A thread's workspace: made once, kept with the embedder for the next call. */
typedef struct space {
    struct space *next;
    cn_bert_work *work;
    cn_tokens tokens;
    uint32_t *ids;
    int32_t *sums; /* static: instead of work and ids */
} space;

struct cn_embedder {
    cn_embedder *next; /* in the registry */
    unsigned refs;
    char data_dir[DATA_MAX], name[CN_NAME_MAX + 1], precision[8];
    cn_digest digest, weights;
    cn_bert_config c;
    cn_model_dir dir;
    cn_wordpiece *pieces;
    cn_bert *bert;
    cn_token_table table; /* its rows, instead of bert; rows NULL: another kind */
    cn_http *http;  /* instead of weights; price: of a million tokens */
    double price;
    cn_file_mark described; /* of its manifest, or description, as it was before it was read */
    bool opening;   /* by one thread; others wait for `opened` */
    pthread_mutex_t lock; /* over `free` */
    space *free;
};

static pthread_mutex_t registry_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t opened = PTHREAD_COND_INITIALIZER;
static cn_embedder *registry;

/* --- opening --- */

/* Everything that a vector's bytes depend on. */
static cn_digest digest_of(const cn_embedder *e, const cn_manifest *m) {
    cn_sha256 s;
    char arithmetic[256];
    cn_bert_text(e->bert, arithmetic);
    cn_sha256_begin(&s);
    cn_sha256_field(&s, CN_STR("cairn embedder bert/2"));
    cn_sha256_field(&s, (cn_str){(const char *)m->digest.b, sizeof m->digest.b});
    cn_sha256_field(&s, cn_str_of(e->precision));
    cn_sha256_field(&s, cn_str_of(arithmetic));
    cn_digest d = cn_sha256_get(&s);
    cn_sha256_end(&s);
    return d;
}

static void space_free(space *s) {
    if (!s)
        return;
    cn_bert_work_free(s->work);
    cn_tokens_done(&s->tokens);
    cn_free(s->ids);
    cn_free(s->sums);
    cn_free(s);
}

static void embedder_free(cn_embedder *e) {
    while (e->free) {
        space *s = e->free;
        e->free = s->next;
        space_free(s);
    }
    cn_http_free(e->http);
    cn_bert_free(e->bert);
    cn_wordpiece_free(e->pieces);
    cn_model_dir_done(&e->dir);
    pthread_mutex_destroy(&e->lock);
    cn_free(e);
}

static cn_err load_http(cn_embedder *e) {
    cn_http_config c;
    if (strcmp(e->precision, "fp32") != 0)
        return cn_fail(CN_INVALID, "model \"%s\" is a service elsewhere, whose precision is not ours to choose; leave out the precision", e->name);
    e->described = cn_model_mark(e->data_dir, cn_str_of(e->name), CN_HTTP_FILE);
    CN_TRY(cn_model_open_http(e->data_dir, cn_str_of(e->name), &c));
    e->c.hidden = c.dim;
    e->c.max_tokens = c.max_tokens;
    e->price = c.price;
    e->digest = cn_http_config_digest(&c);
    return cn_http_new(e->name, &c, &e->http);
}

static cn_err load_bert(cn_embedder *e) {
    cn_manifest m;
    CN_TRY(cn_model_open(e->data_dir, cn_str_of(e->name), &m, &e->dir));
    CN_TRY(cn_model_config(&e->dir, &e->c));
    CN_TRY(cn_wordpiece_new(e->dir.part[CN_PART_VOCAB].bytes, &e->c.pieces, &e->pieces));
    if (cn_wordpiece_size(e->pieces) > e->c.words)
        return cn_fail(CN_DAMAGED, "model \"%s\": vocab.txt has more lines than the model has words", e->name);
    CN_TRY(cn_bert_new(&e->c, e->dir.part[CN_PART_WEIGHTS].bytes, strcmp(e->precision, "int8") == 0, false, &e->bert));
    cn_model_dir_drop(&e->dir, CN_PART_WEIGHTS); /* it has its own, in the form that it computes with */
    e->digest = digest_of(e, &m);
    e->weights = m.digest;
    return CN_OK;
}

static cn_digest static_digest(const cn_manifest *m) {
    cn_sha256 s;
    cn_sha256_begin(&s);
    cn_sha256_field(&s, CN_STR("cairn embedder static/1"));
    cn_sha256_field(&s, (cn_str){(const char *)m->digest.b, sizeof m->digest.b});
    cn_digest digest = cn_sha256_get(&s);
    cn_sha256_end(&s);
    return digest;
}

static cn_err load_static(cn_embedder *e) {
    cn_manifest m;
    if (strcmp(e->precision, "fp32") != 0)
        return cn_fail(CN_INVALID, "model \"%s\" is static, a table of whole numbers as it is; leave out the precision", e->name);
    CN_TRY(cn_model_open(e->data_dir, cn_str_of(e->name), &m, &e->dir));
    cn_err err = cn_table_validate(e->dir.part[CN_PART_WEIGHTS].bytes, &e->table);
    if (err == CN_OK)
        err = cn_wordpiece_new(e->dir.part[CN_PART_VOCAB].bytes, &e->table.pieces, &e->pieces);
    if (err == CN_OK)
        err = cn_static_check(&e->table, e->pieces);
    if (err == CN_INVALID)
        return cn_wrap(CN_DAMAGED, "model \"%s\"; remove it (`cairn model remove`) and distill it again", e->name);
    CN_TRY(err);
    e->c.hidden = e->table.dim;
    e->c.max_tokens = m.max_tokens;
    e->digest = static_digest(&m);
    return CN_OK;
}

static cn_err load(cn_embedder *e) {
    cn_manifest m;
    e->described = cn_model_mark(e->data_dir, cn_str_of(e->name), CN_MANIFEST_FILE);
    CN_TRY(cn_model_manifest(e->data_dir, cn_str_of(e->name), &m));
    return strcmp(m.kind, "http") == 0 ? load_http(e) : strcmp(m.kind, "static") == 0 ? load_static(e) : load_bert(e);
}

static cn_embedder *embedder_new(const char *data_dir, cn_str name, cn_str precision) {
    cn_embedder *e = cn_calloc(1, sizeof *e);
    if (!e)
        return NULL;
    pthread_mutex_init(&e->lock, NULL);
    e->refs = 1;
    e->opening = true;
    snprintf(e->data_dir, sizeof e->data_dir, "%s", data_dir);
    snprintf(e->name, sizeof e->name, CN_STR_FMT, CN_STR_ARG(name));
    snprintf(e->precision, sizeof e->precision, CN_STR_FMT, CN_STR_ARG(precision));
    return e;
}

/* What a kind is best used with: of bert's two, the one that is three times as fast and loses nothing that a ranking shows
 * (benchmarks/results/embed-int8.json). */
static cn_err default_precision(const char *data_dir, cn_str name, cn_str *ret) {
    cn_manifest m;
    CN_TRY(cn_model_manifest(data_dir, name, &m));
    *ret = strcmp(m.kind, "bert") == 0 ? CN_STR("int8") : CN_STR("fp32");
    return CN_OK;
}

bool cn_embedder_is_current(const cn_embedder *e) {
    cn_file_mark now = cn_model_mark(e->data_dir, cn_str_of(e->name), e->http ? CN_HTTP_FILE : CN_MANIFEST_FILE);
    return now.inode == 0 || memcmp(&now, &e->described, sizeof now) == 0; /* what is gone changes nothing */
}

/* --- the registry: one that is being opened stands in it, so that its lock is held for moments only --- */

static cn_embedder *find_locked(const char *data_dir, cn_str name, cn_str precision) {
    cn_embedder *e = registry;
    while (e && (strcmp(e->data_dir, data_dir) != 0 || !cn_str_is(name, e->name) || !cn_str_is(precision, e->precision) || (!e->opening && !cn_embedder_is_current(e))))
        e = e->next;
    return e;
}

static void unlink_locked(const cn_embedder *e) {
    cn_embedder **p = &registry;
    while (*p != e)
        p = &(*p)->next;
    *p = e->next;
}

/* NULL: no memory. *ret_fresh: it is new, and the caller's to open. */
static cn_embedder *take_or_add(const char *data_dir, cn_str name, cn_str precision, bool *ret_fresh) {
    cn_embedder *e;
    pthread_mutex_lock(&registry_lock);
    while ((e = find_locked(data_dir, name, precision)) && e->opening)
        pthread_cond_wait(&opened, &registry_lock);
    *ret_fresh = !e;
    if (e) {
        e->refs++;
    } else if ((e = embedder_new(data_dir, name, precision))) {
        e->next = registry;
        registry = e;
    }
    pthread_mutex_unlock(&registry_lock);
    return e;
}

/* Where it fails, who waited tries it again by itself. */
static cn_err open_for_all(cn_embedder *e) {
    cn_err err = load(e);
    pthread_mutex_lock(&registry_lock);
    e->opening = false;
    if (err != CN_OK)
        unlink_locked(e);
    pthread_cond_broadcast(&opened);
    pthread_mutex_unlock(&registry_lock);
    if (err != CN_OK)
        embedder_free(e);
    return err;
}

cn_err cn_embedder_open(const char *data_dir, cn_str name, cn_str precision, cn_embedder **ret) {
    CN_TRY(cn_name_check(name, "model"));
    if (!precision.n)
        CN_TRY(default_precision(data_dir, name, &precision));
    if (!cn_str_is(precision, "fp32") && !cn_str_is(precision, "int8"))
        return cn_fail(CN_INVALID, "precision \"" CN_STR_FMT "\" is not known; int8 and fp32 are", CN_STR_ARG(precision));
    if (strlen(data_dir) >= DATA_MAX)
        return cn_fail(CN_INVALID, "the path of the data directory is too long");
    bool fresh;
    cn_embedder *e = take_or_add(data_dir, name, precision, &fresh);
    if (!e)
        return cn_fail_memory();
    if (fresh)
        CN_TRY(open_for_all(e));
    *ret = e;
    return CN_OK;
}

cn_embedder *cn_embedder_ref(cn_embedder *e) {
    pthread_mutex_lock(&registry_lock);
    e->refs++;
    pthread_mutex_unlock(&registry_lock);
    return e;
}

void cn_embedder_unref(cn_embedder *e) {
    if (!e)
        return;
    pthread_mutex_lock(&registry_lock);
    bool last = --e->refs == 0;
    if (last)
        unlink_locked(e);
    pthread_mutex_unlock(&registry_lock);
    if (last)
        embedder_free(e);
}

cn_str cn_embedder_name(const cn_embedder *e) { return cn_str_of(e->name); }
cn_str cn_embedder_precision(const cn_embedder *e) { return strcmp(e->precision, "int8") == 0 ? CN_STR("int8") : CN_STR("fp32"); }
cn_digest cn_embedder_digest(const cn_embedder *e) { return e->digest; }
cn_digest cn_embedder_weights(const cn_embedder *e) { return e->weights; }
uint32_t cn_embedder_dim(const cn_embedder *e) { return e->c.hidden; }
bool cn_embedder_is_remote(const cn_embedder *e) { return e->http != NULL; }

cn_err cn_embedder_local_only(const cn_embedder *e) {
    return e->http ? cn_fail(CN_REFUSED, "the index is set to local_only, and embedder \"%s\" is a service elsewhere: `cairn index set` with --no-local-only permits it, `cairn rebuild` takes another one", e->name)
                   : CN_OK;
}

double cn_embedder_price(const cn_embedder *e) { return e->price; }
uint32_t cn_embedder_max_tokens(const cn_embedder *e) { return e->c.max_tokens; }
uint32_t cn_embedder_text_tokens(const cn_embedder *e) { return e->c.max_tokens - 2; }

/* --- embedding --- */

static cn_err space_new(const cn_embedder *e, space **ret) {
    space *s = cn_calloc(1, sizeof *s);
    if (!s)
        return cn_fail_memory();
    cn_err err = e->bert ? cn_bert_work_new(e->bert, &s->work) : CN_OK;
    if (e->bert)
        s->ids = cn_alloc(e->c.max_tokens * sizeof *s->ids);
    else
        s->sums = cn_alloc(cn_static_room(e->table.dim) * sizeof *s->sums);
    s->tokens.max = cn_embedder_text_tokens(e);
    if (err == CN_OK && !s->ids && !s->sums)
        err = cn_fail_memory();
    if (err == CN_OK)
        *ret = s;
    else
        space_free(s);
    return err;
}

static cn_err space_take(cn_embedder *e, space **ret) {
    pthread_mutex_lock(&e->lock);
    space *s = e->free;
    if (s)
        e->free = s->next;
    pthread_mutex_unlock(&e->lock);
    if (!s)
        return space_new(e, ret);
    *ret = s;
    return CN_OK;
}

static void space_give(cn_embedder *e, space *s) {
    pthread_mutex_lock(&e->lock);
    s->next = e->free;
    e->free = s;
    pthread_mutex_unlock(&e->lock);
}

typedef struct call {
    cn_embedder *e;
    const cn_str *texts; /* NULL: pieces of the vocabulary, `first` and those after it */
    uint32_t first;
    uint32_t n;
    float *out;
    _Atomic uint32_t cut, done;
    _Atomic uint64_t tokens, cpu_ns;
} call;

static void run_bert(cn_embedder *e, space *s, float *out) {
    uint32_t n = 0;
    s->ids[n++] = cn_wordpiece_cls(e->pieces);
    for (uint32_t k = 0; k < s->tokens.n; k++)
        s->ids[n++] = s->tokens.v[k].id;
    s->ids[n++] = cn_wordpiece_sep(e->pieces);
    cn_bert_run(e->bert, s->work, s->ids, n, out);
}

static cn_err one_text(call *c, space *s, uint32_t i) {
    cn_embedder *e = c->e;
    float *out = c->out + (size_t)i * e->c.hidden;
    s->tokens.n = 0;
    s->tokens.full = false;
    if (c->texts)
        CN_TRY(cn_wordpiece_run(e->pieces, c->texts[i], &s->tokens));
    else
        CN_TRY(cn_tokens_add(&s->tokens, c->first + i, 0, 0));
    if (e->bert)
        run_bert(e, s, out);
    else
        cn_static_run(&e->table, cn_wordpiece_cls(e->pieces), s->tokens.v, s->tokens.n, s->sums, out);
    atomic_fetch_add(&c->tokens, s->tokens.n + 2);
    if (s->tokens.full)
        atomic_fetch_add(&c->cut, 1);
    atomic_fetch_add(&c->done, 1);
    return CN_OK;
}

/* A thread that gets no workspace leaves its share to the others. */
static void work(void *ctx, cn_shares *shares) {
    call *c = ctx;
    space *s;
    uint64_t start = cn_thread_cpu_ns();
    cn_err err = space_take(c->e, &s);
    if (err != CN_OK)
        return;
    for (uint32_t i, to; err == CN_OK && cn_shares_next(shares, &i, &to);)
        err = one_text(c, s, i);
    if (err != CN_OK)
        cn_shares_end(shares);
    space_give(c->e, s);
    atomic_fetch_add(&c->cpu_ns, cn_thread_cpu_ns() - start);
}

/* Out of memory is the only way in which a text of a checked length fails. */
static cn_err run(call *c, unsigned threads) {
    cn_spread(threads, c->n, 1, work, c);
    return atomic_load(&c->done) == c->n ? CN_OK : cn_fail_memory();
}

cn_err cn_embed_told(cn_embedder *e, const cn_str *texts, uint32_t n, unsigned threads, const cn_embed_wait *w, float *out, cn_embed_cost *ret) {
    if (n > CN_EMBED_BATCH)
        return cn_fail(CN_INVALID, "%u texts in one call; at most %u", n, CN_EMBED_BATCH);
    if (e->http)
        return cn_http_embed(e->http, texts, n, w, out, ret);
    call c = {.e = e, .texts = texts, .n = n, .out = out};
    CN_TRY(run(&c, threads));
    *ret = (cn_embed_cost){.cut = atomic_load(&c.cut), .tokens = atomic_load(&c.tokens), .cpu_ns = atomic_load(&c.cpu_ns)};
    return CN_OK;
}

cn_err cn_embed(cn_embedder *e, const cn_str *texts, uint32_t n, unsigned threads, float *out, uint32_t *ret_cut) {
    cn_embed_cost cost;
    CN_TRY(cn_embed_told(e, texts, n, threads, NULL, out, &cost));
    if (ret_cut)
        *ret_cut = cost.cut;
    return CN_OK;
}

static cn_err only_bert(const cn_embedder *e) {
    return e->bert ? CN_OK : cn_fail(CN_INVALID, "model \"%s\" is %s; only a model of kind bert can be distilled", e->name, e->http ? "a service elsewhere" : "static itself");
}

cn_err cn_embed_pieces(cn_embedder *e, uint32_t first, uint32_t n, unsigned threads, float *out) {
    CN_TRY(only_bert(e));
    CN_ASSERT(n <= CN_EMBED_BATCH && first <= e->c.words && n <= e->c.words - first);
    call c = {.e = e, .first = first, .n = n, .out = out};
    return run(&c, threads);
}

cn_err cn_embedder_vocab(const cn_embedder *e, cn_str *ret_vocab, cn_wordpiece_opts *ret_opts) {
    CN_TRY(only_bert(e));
    *ret_vocab = e->dir.part[CN_PART_VOCAB].bytes;
    *ret_opts = e->c.pieces;
    return CN_OK;
}

/* --- tokens --- */

cn_err cn_tokenize(cn_embedder *e, cn_str text, cn_arena *a, cn_token **ret, uint32_t *ret_n) {
    cn_tokens t = {.max = UINT32_MAX};
    bool guess = e && e->http;
    cn_err err = e && !guess ? cn_wordpiece_run(e->pieces, text, &t) : cn_words_run(text, guess ? CN_HTTP_TOKEN_BYTES : CN_WORD_BYTES, &t);
    cn_token *v = err == CN_OK ? cn_arena_alloc(a, (size_t)t.n * sizeof *v) : NULL;
    if (err == CN_OK && !v)
        err = cn_fail_memory();
    if (err == CN_OK) {
        if (t.n)
            memcpy(v, t.v, (size_t)t.n * sizeof *v);
        *ret = v;
        *ret_n = t.n;
    }
    cn_tokens_done(&t);
    return err;
}

cn_err cn_count_tokens(cn_embedder *e, cn_str text, uint32_t *ret) {
    cn_tokens t = {.max = UINT32_MAX};
    cn_err err = e && !e->http ? cn_wordpiece_run(e->pieces, text, &t) : cn_words_run(text, CN_HTTP_TOKEN_BYTES, &t);
    if (err == CN_OK)
        *ret = t.n;
    cn_tokens_done(&t);
    return err;
}
