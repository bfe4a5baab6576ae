/* remote.c -- one call, through a server: libcairn, with a second connection that watches a long job. */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine/base/mem.h"
#include "server/client/cairn.h"
#include "server/service/methods.h"
#include "tools/cairn/local.h"

#define KEY_MAX 4096
#define NO_LIMIT UINT32_MAX /* a job takes as long as it takes */
#define LIMIT_MS 60000      /* any other call */
#define WATCH_MS 400

static _Thread_local cairn_client *client;
static _Thread_local uint32_t client_limit;
static char key[KEY_MAX];
static atomic_bool unreachable;

bool cmd_is_remote(void) { return cmd_the_env.server != NULL; }
bool cmd_was_unreachable(void) { return unreachable; }

/* ---------- the key ---------- */
static cn_err read_key_file(const char *path) {
    FILE *f = fopen(path, "re");
    if (!f)
        return cn_fail_errno(errno, "cannot open the key file %s", path);
    size_t n = fread(key, 1, sizeof key - 1, f);
    int err = ferror(f) ? errno : 0;
    fclose(f);
    if (err)
        return cn_fail_errno(err, "cannot read the key file %s", path);
    n = strcspn((key[n] = 0, key), "\r\n");
    key[n] = 0;
    return n ? CN_OK : cn_fail(CN_INVALID, "the key file %s is empty", path);
}

static cn_err find_key(void) {
    if (key[0]) /* another thread's connection has it already */
        return CN_OK;
    if (cmd_the_env.key_file)
        return read_key_file(cmd_the_env.key_file);
    if (!cmd_the_env.key)
        return CN_OK;
    size_t n = strlen(cmd_the_env.key);
    if (n >= sizeof key)
        return cn_fail(CN_INVALID, "the key is over %d bytes", KEY_MAX - 1);
    memcpy(key, cmd_the_env.key, n + 1);
    return CN_OK;
}

/* ---------- connections and errors ---------- */
/* "CODE: text" of the client as an error of this process. */
static cn_err failed(cairn_code code, const char *text) {
    const char *colon = strstr(text, ": ");
    const char *what = colon ? colon + 2 : text;
    size_t n = strlen(cmd_the_env.server);
    bool lost = code == CAIRN_UNREACHABLE || code == CAIRN_TIMEOUT;
    unreachable = lost;
    if (strncmp(what, cmd_the_env.server, n) == 0 && strncmp(what + n, ": ", 2) == 0)
        what += n + 2;
    if (code == CAIRN_TIMEOUT)
        return cn_fail(CN_UNAVAILABLE, "%s: %s; on its host the same command works on the files, with --data", cmd_the_env.server, what);
    if (lost)
        return cn_fail(CN_UNAVAILABLE, "%s: %s; is cairnd running, and is that its address?", cmd_the_env.server, what);
    if (code == CAIRN_UNAUTHENTICATED && !key[0])
        return cn_fail(CN_UNAUTHENTICATED, "%s answers nobody without a key: give --key-file FILE, or set CAIRN_KEY", cmd_the_env.server);
    cn_err e = cmd_error_named(cn_str_of(cairn_code_name(code)));
    return e != CN_OK ? cn_fail(e, "%s", what) : cn_fail(CN_UNAVAILABLE, "%s: %s", cmd_the_env.server, what);
}

static cn_err connect_new(uint32_t limit_ms, cairn_client **ret) {
    cairn_options o = {.timeout_ms = limit_ms, .max_answer_bytes = (size_t)1 << 30};
    cairn_client *c;
    cairn_code code = cairn_connect(cmd_the_env.server, &o, &c);
    if (code != CAIRN_OK)
        return failed(code, cairn_connect_error());
    if (key[0] && (code = cairn_auth(c, key)) != CAIRN_OK) {
        cn_err err = failed(code, cairn_error(c));
        cairn_close(c);
        return err;
    }
    *ret = c;
    return CN_OK;
}

static uint32_t limit_of(const char *method) {
    const cn_method *m = cn_method_find(cn_str_of(method));
    return m && !(m->flags & CN_METHOD_DEAR) ? LIMIT_MS : NO_LIMIT;
}

static cn_err connect_once(uint32_t limit_ms) {
    if (client && client_limit == limit_ms)
        return CN_OK;
    cmd_remote_close();
    CN_TRY(find_key());
    client_limit = limit_ms;
    return connect_new(limit_ms, &client);
}

void cmd_remote_close(void) {
    cairn_close(client);
    client = NULL;
}

/* ---------- watching a job ---------- */
typedef struct watch {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t over_changed;
    bool on, over;
    cn_str params; /* of the call that runs the job */
} watch;

/* The newest running job of the index, if it is told. */
static const msgpack_object *our_job(const msgpack_object *answer, cn_str index) {
    const msgpack_object *jobs = cn_get(answer, "jobs");
    for (uint32_t i = 0; jobs && jobs->type == MSGPACK_OBJECT_ARRAY && i < jobs->via.array.size; i++) {
        const msgpack_object *job = &jobs->via.array.ptr[i];
        if (cn_str_eq(cn_obj_str(cn_get(job, "index")), index) && cn_str_is(cn_obj_str(cn_get(job, "state")), "running"))
            return job;
    }
    return NULL;
}

static void show_job(cairn_client *c, const msgpack_object *params) {
    CN_AUTO_BUF cn_buf ask = {.cap = 4096};
    CN_AUTO_UNPACKED cn_unpacked u = {0};
    cairn_answer a = {0};
    cn_pack_map(&ask, 1);
    cn_pack_cstr(&ask, "tenant");
    cn_pack_str(&ask, cn_obj_str(cn_get(params, "tenant")));
    if (cairn_call(c, "ingest.list", ask.p, ask.n, &a) == CAIRN_OK && cn_unpack(&u, a.data, a.size) == CN_OK) {
        const msgpack_object *job = our_job(&u.o, cn_obj_str(cn_get(params, "index")));
        CN_AUTO_BUF cn_buf one = {.cap = 65536};
        if (job && (cn_pack_object(&one, job), !one.failed))
            cmd_progress(NULL, cn_buf_str(&one));
    }
    cairn_answer_free(&a);
}

static bool wait_a_moment(watch *w) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += WATCH_MS * 1000000L;
    until.tv_sec += until.tv_nsec / 1000000000L;
    until.tv_nsec %= 1000000000L;
    pthread_mutex_lock(&w->lock);
    if (!w->over)
        pthread_cond_timedwait(&w->over_changed, &w->lock, &until);
    bool over = w->over;
    pthread_mutex_unlock(&w->lock);
    return !over;
}

static void *watch_job(void *arg) {
    watch *w = arg;
    CN_AUTO_UNPACKED cn_unpacked u = {0};
    cairn_client *c;
    if (cn_unpack(&u, w->params.p, w->params.n) != CN_OK || connect_new(LIMIT_MS, &c) != CN_OK)
        return NULL;
    while (wait_a_moment(w))
        show_job(c, &u.o);
    cairn_close(c);
    return NULL;
}

static void watch_begin(watch *w, const char *method, cn_str params) {
    *w = (watch){.lock = PTHREAD_MUTEX_INITIALIZER, .over_changed = PTHREAD_COND_INITIALIZER, .params = params};
    w->on = cmd_is_job(method) && pthread_create(&w->thread, NULL, watch_job, w) == 0;
}

static void watch_end(watch *w) {
    if (!w->on)
        return;
    pthread_mutex_lock(&w->lock);
    w->over = true;
    pthread_cond_signal(&w->over_changed);
    pthread_mutex_unlock(&w->lock);
    pthread_join(w->thread, NULL);
}

/* ---------- calls ---------- */
/* A job is asked for with `wait`: its answer is its result, as on files. */
static cn_err with_wait(const char *method, cn_str params, cn_buf *ret) {
    CN_AUTO_UNPACKED cn_unpacked u = {0};
    CN_TRY(cn_unpack(&u, params.p, params.n));
    bool job = cmd_is_job(method);
    cn_pack_map(ret, u.o.via.map.size + job);
    for (uint32_t i = 0; i < u.o.via.map.size; i++) {
        cn_pack_object(ret, &u.o.via.map.ptr[i].key);
        cn_pack_object(ret, &u.o.via.map.ptr[i].val);
    }
    if (job) {
        cn_pack_cstr(ret, "wait");
        cn_pack_bool(ret, true);
    }
    return cn_buf_check(ret);
}

cn_err cmd_call_remote(const char *method, cn_str params, cn_buf *out) {
    CN_AUTO_BUF cn_buf ask = {.cap = params.n + 64};
    cairn_answer a = {0};
    watch w;
    CN_TRY(with_wait(method, params, &ask));
    CN_TRY(connect_once(limit_of(method)));
    watch_begin(&w, method, cn_buf_str(&ask));
    cairn_code code = cairn_call(client, method, ask.p, ask.n, &a);
    watch_end(&w);
    if (code != CAIRN_OK)
        return failed(code, cairn_error(client));
    cn_buf_init(out, a.size + 1);
    cn_buf_add(out, a.data, a.size);
    cairn_answer_free(&a);
    return cn_buf_check(out);
}
