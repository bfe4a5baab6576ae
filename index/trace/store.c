/* store.c -- trace.mdb opened, and set aside when it is damaged. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/log.h"
#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "index/store/dir.h"
#include "index/trace/inside.h"

typedef struct holder { /* of an open tenant */
    pthread_mutex_t lock;
    cn_env *env;        /* NULL: not open */
    dev_t dev;
    ino_t ino;
    off_t size;         /* the file never was larger: what is shorter now was cut */
    cn_buf room;        /* of the write transaction under way */
} holder;

static cn_err make_holder(cn_tenant *t, void **ret) {
    (void)t;
    holder *h = cn_calloc(1, sizeof *h);
    if (!h)
        return cn_fail_memory();
    pthread_mutex_init(&h->lock, NULL);
    cn_buf_init(&h->room, CN_TRACE_MAP + CN_RECORD_HEAD);
    *ret = h;
    return CN_OK;
}

static void free_holder(void *p) {
    holder *h = p;
    cn_env_close(h->env);
    cn_buf_done(&h->room);
    pthread_mutex_destroy(&h->lock);
    cn_free(h);
}

static cn_err path_of(const cn_tenant *t, const char *suffix, char path[CN_PATH_MAX]) {
    return cn_path(path, CN_PATH_MAX, "%s/trace.mdb%s", cn_tenant_dir(t), suffix);
}

/* ---------- setting aside ---------- */
static void move_aside(const cn_tenant *t, const char *suffix) {
    char from[CN_PATH_MAX], to[CN_PATH_MAX], end[64];
    snprintf(end, sizeof end, ".damaged%s", suffix);
    if (path_of(t, suffix, from) == CN_OK && path_of(t, end, to) == CN_OK && rename(from, to) < 0 && errno != ENOENT)
        cn_log(CN_LOG_WARN, "trace.damaged", "tenant=%s %s could not be renamed: %s", cn_tenant_name(t), from, strerror(errno));
}

/* Whoever holds the damaged file's lock moves it, with its lock files, and only if it still is the one of that name: so
 * that of two processes the second does not move the new one. */
static bool set_aside(const cn_tenant *t, bool sure) {
    char path[CN_PATH_MAX];
    struct stat mine, named;
    if (path_of(t, "", path) != CN_OK)
        return false;
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return false;
    bool same = flock(fd, LOCK_EX) == 0 && fstat(fd, &mine) == 0 && stat(path, &named) == 0 && mine.st_dev == named.st_dev && mine.st_ino == named.st_ino;
    bool moved = same && (sure || cn_env_check(path) == CN_DAMAGED);
    if (moved) {
        move_aside(t, "-lock");
        move_aside(t, "-writer");
        move_aside(t, "");
        cn_log(CN_LOG_WARN, "trace.damaged", "tenant=%s the request records in %s cannot be read: they were set aside as trace.mdb.damaged, and new ones are begun",
               cn_tenant_name(t), path);
    }
    close(fd);
    return same;
}

/* ---------- opening ---------- */
static bool still_there(const cn_tenant *t, holder *h) {
    char path[CN_PATH_MAX];
    struct stat st;
    bool same = path_of(t, "", path) == CN_OK && stat(path, &st) == 0 && st.st_dev == h->dev && st.st_ino == h->ino;
    if (!same || st.st_size < h->size)
        return false;
    h->size = st.st_size;
    return true;
}

static cn_err open_file(cn_tenant *t, holder *h, bool create) {
    char path[CN_PATH_MAX];
    struct stat st;
    CN_TRY(path_of(t, "", path));
    if (!create && stat(path, &st) < 0 && errno == ENOENT)
        return CN_NOT_FOUND;
    cn_err e = cn_env_open(path, CN_ENV_TRACE, true, &h->env);
    if (e == CN_DAMAGED && set_aside(t, false))
        e = create ? cn_env_open(path, CN_ENV_TRACE, true, &h->env) : CN_NOT_FOUND;
    if (e != CN_OK) {
        h->env = NULL;
        return e;
    }
    if (stat(path, &st) < 0)
        return cn_fail_errno(errno, "%s", path);
    h->dev = st.st_dev;
    h->ino = st.st_ino;
    h->size = st.st_size;
    return CN_OK;
}

static cn_err open_tables(cn_trace_store *s) {
    CN_TRY(cn_env_dbi(s->env, "requests", true, &s->requests));
    CN_TRY(cn_env_dbi(s->env, "ids", true, &s->ids));
    return cn_env_dbi(s->env, "state", true, &s->state);
}

static cn_err open_env(cn_tenant *t, holder *h, bool create, cn_trace_store *ret) {
    if (h->env && !still_there(t, h)) {
        cn_log(CN_LOG_WARN, "trace.lost", "tenant=%s trace.mdb was removed or cut short while it was in use", cn_tenant_name(t));
        cn_env_close(h->env);
        h->env = NULL;
    }
    if (!h->env)
        CN_TRY(open_file(t, h, create));
    ret->env = cn_env_ref(h->env);
    ret->room = &h->room;
    return CN_OK;
}

static bool is_aside(const cn_tenant *t) {
    char path[CN_PATH_MAX];
    return path_of(t, ".damaged", path) == CN_OK && access(path, F_OK) == 0;
}

static cn_err has_state(const cn_trace_store *s, bool write, MDB_txn **ret_txn) {
    cn_str v;
    CN_TRY(write ? cn_txn_write(s->env, ret_txn) : cn_txn_read(s->env, ret_txn));
    return cn_db_get(*ret_txn, s->state, CN_STR("state"), &v);
}

/* A store that is new because the one before was lost begins with a gap, which says so. */
static cn_err put_first(cn_tenant *t, const cn_trace_store *s, MDB_txn *txn) {
    cn_buf *b = s->room;
    cn_trace_state st = {.from_us = cn_wall_us(), .limits = {CN_TRACE_BYTES, CN_TRACE_KEEP_US}};
    cn_trace_bytes key = cn_trace_request_key(&(cn_trace_key){.at_us = st.from_us});
    if (is_aside(t)) {
        cn_buf_reset(b);
        size_t at = cn_record_open(b, CN_TRACE_FORMAT);
        cn_trace_gap_pack(b, "damaged", 0);
        cn_record_close(b, at);
        CN_TRY(cn_buf_check(b));
        CN_TRY(cn_db_put(txn, s->requests, CN_TRACE_REQUEST_KEY(&key), cn_buf_str(b)));
    }
    return cn_trace_state_put(s, txn, &st);
}

static cn_err begin(cn_tenant *t, const cn_trace_store *s) {
    MDB_txn *txn = NULL;
    cn_err e = has_state(s, false, &txn);
    cn_txn_abort(s->env, txn);
    if (e != CN_NOT_FOUND)
        return e;
    txn = NULL;
    e = has_state(s, true, &txn); /* another process may have been quicker */
    if (e == CN_NOT_FOUND && (e = put_first(t, s, txn)) == CN_OK)
        return cn_txn_commit(s->env, txn);
    cn_txn_abort(s->env, txn);
    return e;
}

static cn_err open_whole(cn_tenant *t, holder *h, bool create, cn_trace_store *ret) {
    CN_TRY(open_env(t, h, create, ret));
    CN_TRY(open_tables(ret));
    return begin(t, ret);
}

cn_err cn_trace_open(cn_tenant *t, bool create, cn_trace_store *ret) {
    CN_AUTO_TRACE cn_trace_store s = {0};
    void *slot;
    CN_TRY(cn_tenant_slot(t, CN_SLOT_TRACE, make_holder, free_holder, &slot));
    holder *h = slot;
    pthread_mutex_lock(&h->lock);
    cn_err e = open_whole(t, h, create, &s);
    pthread_mutex_unlock(&h->lock);
    if (e == CN_DAMAGED && s.env)
        cn_trace_broken(t, &s);
    CN_TRY(e);
    *ret = s;
    s = (cn_trace_store){0};
    return CN_OK;
}

void cn_trace_grown(cn_tenant *t) {
    void *slot;
    if (cn_tenant_slot(t, CN_SLOT_TRACE, make_holder, free_holder, &slot) != CN_OK)
        return;
    holder *h = slot;
    pthread_mutex_lock(&h->lock);
    if (h->env)
        (void)still_there(t, h);
    pthread_mutex_unlock(&h->lock);
}

void cn_trace_done(cn_trace_store *s) {
    cn_env_close(s->env);
    s->env = NULL;
}

void cn_trace_broken(cn_tenant *t, cn_trace_store *s) {
    void *slot;
    char why[CN_ERROR_TEXT];
    snprintf(why, sizeof why, "%s", cn_error_detail());
    if (cn_tenant_slot(t, CN_SLOT_TRACE, make_holder, free_holder, &slot) == CN_OK) {
        holder *h = slot;
        pthread_mutex_lock(&h->lock);
        if (h->env == s->env) {
            set_aside(t, true);
            cn_env_close(h->env);
            h->env = NULL;
        }
        pthread_mutex_unlock(&h->lock);
    }
    cn_fail(CN_DAMAGED, "%s", why);
}

/* ---------- state ---------- */
cn_err cn_trace_state_get(const cn_trace_store *s, MDB_txn *txn, cn_trace_state *ret) {
    CN_AUTO_UNPACKED cn_unpacked u = {0};
    cn_trace_state st = {0};
    cn_str v;
    CN_TRY(cn_db_get(txn, s->state, CN_STR("state"), &v));
    CN_TRY(cn_record_read(&u, v, CN_TRACE_FORMAT, "the state of the request records"));
    CN_TRY(cn_get_uint(&u.o, "records", 0, UINT64_MAX, &st.records));
    CN_TRY(cn_get_uint(&u.o, "bytes", 0, UINT64_MAX, &st.bytes));
    CN_TRY(cn_get_int(&u.o, "from", &st.from_us));
    CN_TRY(cn_get_uint(&u.o, "max_bytes", 0, UINT64_MAX, &st.limits.bytes));
    CN_TRY(cn_get_uint(&u.o, "keep_us", 0, UINT64_MAX, &st.limits.keep_us));
    *ret = st;
    return CN_OK;
}

cn_err cn_trace_state_put(const cn_trace_store *s, MDB_txn *txn, const cn_trace_state *st) {
    cn_buf *room = s->room;
    cn_buf_reset(room);
    size_t at = cn_record_open(room, CN_TRACE_FORMAT);
    cn_pack_map(room, 5);
    cn_pack_cstr(room, "records"), cn_pack_uint(room, st->records);
    cn_pack_cstr(room, "bytes"), cn_pack_uint(room, st->bytes);
    cn_pack_cstr(room, "from"), cn_pack_int(room, st->from_us);
    cn_pack_cstr(room, "max_bytes"), cn_pack_uint(room, st->limits.bytes);
    cn_pack_cstr(room, "keep_us"), cn_pack_uint(room, st->limits.keep_us);
    cn_record_close(room, at);
    CN_TRY(cn_buf_check(room));
    return cn_db_put(txn, s->state, CN_STR("state"), cn_buf_str(room));
}

cn_err cn_trace_look(cn_tenant *t, cn_trace_state *ret) {
    CN_AUTO_TRACE cn_trace_store s = {0};
    MDB_txn *txn;
    cn_trace_state st = {.from_us = CN_NO_TIME};
    cn_err e = cn_trace_open(t, false, &s);
    if (e == CN_OK) {
        CN_TRY(cn_txn_read(s.env, &txn));
        e = cn_trace_state_get(&s, txn, &st);
        cn_txn_abort(s.env, txn);
    }
    if (e != CN_NOT_FOUND)
        CN_TRY(e);
    st.aside = is_aside(t);
    *ret = st;
    return CN_OK;
}
