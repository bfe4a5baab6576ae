/* The data directory, and its tenants that are open; the list of tenants is in tenants.c. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/buf.h"
#include "engine/base/log.h"
#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "index/store/data_inside.h"
#include "index/store/dir.h"
#include "index/store/fields.h"
#include "index/store/reserve.h"
#include "index/store/stripes.h"

#define IDLE_MAX 64 /* tenants kept open though no one uses them */

/* ---------- the directory ---------- */

static cn_err format_of(cn_env *host, MDB_dbi settings, unsigned long *ret) {
    MDB_txn *txn;
    cn_str v;
    CN_TRY(cn_txn_read(host, &txn));
    cn_err e = cn_db_get(txn, settings, CN_STR("format"), &v);
    char text[16] = {0};
    if (e == CN_OK && v.n < sizeof text)
        memcpy(text, v.p, v.n);
    cn_txn_abort(host, txn);
    *ret = strtoul(text, NULL, 10);
    return e;
}

static cn_err open_host(const char *dir, bool create, cn_env **ret, MDB_dbi *ret_tenants, MDB_dbi *ret_settings) {
    char path[CN_PATH_MAX];
    cn_env *host;
    MDB_dbi keys;
    CN_TRY(cn_path(path, sizeof path, "%s/cairn.mdb", dir));
    CN_TRY(cn_env_open(path, CN_ENV_CONTROL, create, &host));
    cn_err e = cn_env_dbi(host, "settings", create, ret_settings);
    if (e == CN_OK)
        e = cn_env_dbi(host, "tenants", create, ret_tenants);
    if (e == CN_OK)
        e = cn_env_dbi(host, "keys", create, &keys);
    if (e == CN_OK)
        e = cn_host_check(host);
    if (e != CN_OK) {
        cn_env_close(host);
        return e;
    }
    *ret = host;
    return CN_OK;
}

/* What an init that was cut short may have left is taken up again; anything else is somebody's. */
static cn_err only_ours(void *ctx, const char *name) {
    if (strcmp(name, "tenants") == 0 || strcmp(name, "models") == 0 || strncmp(name, "cairn.mdb", 9) == 0 || strcmp(name, "reserve") == 0 ||
        strcmp(name, "recording") == 0)
        return CN_OK;
    return cn_fail(CN_INVALID, "%s is not empty (it holds \"%s\"); name an empty directory, or one that does not exist", (const char *)ctx, name);
}

static cn_err write_format(const char *dir) {
    char text[16];
    cn_env *host;
    MDB_dbi tenants, settings;
    unsigned long format = 0;
    CN_TRY(open_host(dir, true, &host, &tenants, &settings));
    MDB_txn *txn = NULL;
    cn_err e = format_of(host, settings, &format);
    if (e == CN_OK)
        e = cn_fail(CN_CONFLICT, "%s is a data directory already", dir);
    else if (e == CN_NOT_FOUND)
        e = cn_txn_write(host, &txn);
    if (e == CN_OK) {
        snprintf(text, sizeof text, "%d", CN_DATA_FORMAT);
        e = cn_db_put(txn, settings, CN_STR("format"), cn_str_of(text));
        if (e == CN_OK)
            e = cn_host_init(host, txn);
        if (e == CN_OK)
            e = cn_txn_commit(host, txn);
        else
            cn_txn_abort(host, txn);
    }
    cn_env_close(host);
    return e;
}

cn_err cn_data_init(const char *dir) {
    char path[CN_PATH_MAX];
    CN_TRY(cn_dir_make(dir));
    CN_TRY(cn_dir_check_local(dir));
    CN_TRY(cn_dir_each(dir, only_ours, (void *)(uintptr_t)dir));
    CN_TRY(cn_path(path, sizeof path, "%s/tenants", dir));
    CN_TRY(cn_dir_make(path));
    CN_TRY(cn_path(path, sizeof path, "%s/models", dir));
    CN_TRY(cn_dir_make(path));
    CN_TRY(write_format(dir));
    CN_TRY(cn_dir_sync(dir));
    cn_data *d; /* which makes the reserve */
    CN_TRY(cn_data_open(dir, &d));
    cn_data_close(d);
    return CN_OK;
}

static cn_err check_dir(const char *dir) {
    char path[CN_PATH_MAX];
    struct stat st;
    if (stat(dir, &st) < 0)
        return errno == ENOENT ? cn_fail(CN_NOT_FOUND, "there is no data directory %s; check its path, or make it: `cairn --data %s init`", dir, dir)
                               : cn_fail_errno(errno, "the data directory %s", dir);
    if (!S_ISDIR(st.st_mode))
        return cn_fail(CN_INVALID, "%s is not a directory", dir);
    if (access(dir, R_OK | W_OK | X_OK) < 0)
        return errno == EACCES ? cn_fail(CN_DENIED, "this account may not read and write the data directory %s; run as its owner, or change its owner or mode", dir)
                               : cn_fail_errno(errno, "the data directory %s", dir);
    if (geteuid() == 0 && st.st_uid != 0) /* what root makes there the owner's server could not read, and would go on without */
        return cn_fail(CN_DENIED, "the data directory %s belongs to the account of number %u; run this as that account: runuser -u \"$(stat -c %%U %s)\" -- ...", dir,
                       (unsigned)st.st_uid, dir);
    CN_TRY(cn_dir_check_local(dir));
    CN_TRY(cn_path(path, sizeof path, "%s/cairn.mdb", dir));
    if (stat(path, &st) < 0 && errno == ENOENT)
        return cn_fail(CN_NOT_FOUND, "%s is not a data directory of cairn (it has no cairn.mdb); `cairn init` makes one", dir);
    return CN_OK;
}

static cn_err check_format(const cn_data *d) {
    unsigned long format = 0;
    cn_err e = format_of(d->host, d->settings, &format);
    if (e == CN_NOT_FOUND)
        return cn_fail(CN_DAMAGED, "%s was not made to the end, or has lost its format record; run `cairn init` again if it is new", d->dir);
    CN_TRY(e);
    if (format > CN_DATA_FORMAT)
        return cn_fail(CN_REFUSED, "%s has format %lu; this program knows format %d: use a newer cairn", d->dir, format, CN_DATA_FORMAT);
    if (format > 0 && format < CN_DATA_FORMAT)
        return cn_fail(CN_REFUSED, "%s has format %lu, of a build before the first release, which this program no longer reads; make a new directory and ingest again",
                       d->dir, format);
    return format > 0 ? CN_OK : cn_fail(CN_DAMAGED, "the format record of %s cannot be read", d->dir);
}

cn_err cn_data_open(const char *dir, cn_data **ret) {
    CN_TRY(check_dir(dir));
    cn_data *d = cn_calloc(1, sizeof *d);
    if (!d)
        return cn_fail_memory();
    pthread_mutex_init(&d->lock, NULL);
    d->dir = cn_strdup_n(dir, strlen(dir));
    cn_err e = d->dir ? open_host(dir, false, &d->host, &d->tenants, &d->settings) : cn_fail_memory();
    if (e == CN_NOT_FOUND)
        e = cn_fail(CN_DAMAGED, "%s/cairn.mdb lacks its tables; if the directory is new, run `cairn init` again", dir);
    if (e == CN_OK)
        e = check_format(d);
    if (e != CN_OK) {
        cn_data_close(d);
        return e;
    }
    if (cn_reserve_make(d) != CN_OK)
        cn_log(CN_LOG_WARN, "reserve.missing", "%s", cn_error_detail());
    *ret = d;
    return CN_OK;
}

/* ---------- tenants that are open ---------- */

static void free_tenant(cn_tenant *t) {
    for (unsigned i = CN_SLOTS; i-- > 0;)
        if (t->slots[i].p)
            t->slots[i].done(t->slots[i].p);
    cn_env_close(t->work);
    cn_env_close(t->control);
    pthread_mutex_destroy(&t->lock);
    cn_free(t->dir);
    cn_free(t);
}

void cn_data_close(cn_data *d) {
    if (!d)
        return;
    while (d->open) {
        cn_tenant *t = d->open;
        CN_ASSERT(t->refs == 0);
        d->open = t->next;
        free_tenant(t);
    }
    cn_env_close(d->host);
    pthread_mutex_destroy(&d->lock);
    cn_free(d->dir);
    cn_free(d);
}

const char *cn_data_dir(const cn_data *d) { return d->dir; }
cn_env *cn_data_host(cn_data *d) { return d->host; }

static void init_lock(pthread_mutex_t *m) {
    pthread_mutexattr_t a;
    pthread_mutexattr_init(&a);
    pthread_mutexattr_settype(&a, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(m, &a);
    pthread_mutexattr_destroy(&a);
}

static cn_stripes stripes = CN_STRIPES_INIT; /* of tenants, by uid */

/* A symbolic link may lead to another tenant's, which two would then write to. */
static cn_err check_own_dir(const cn_tenant *t) {
    struct stat st;
    if (lstat(t->dir, &st) != 0)
        return errno == ENOENT ? cn_fail(CN_DAMAGED, "tenant %s has lost %s; restore it from the backup that cairn.mdb is of", t->name, t->dir)
                               : cn_fail_errno(errno, "the directory %s", t->dir);
    return S_ISDIR(st.st_mode) ? CN_OK : cn_fail(CN_DAMAGED, "%s is not a directory of its own, so tenant %s is not opened; put its own there", t->dir, t->name);
}

static cn_err new_tenant(cn_data *d, cn_str name, const uint8_t uid[CN_UID_BYTES], cn_tenant **ret) {
    char path[CN_PATH_MAX];
    cn_tenant *t = cn_calloc(1, sizeof *t);
    if (!t)
        return cn_fail_memory();
    init_lock(&t->lock);
    t->data = d;
    t->refs = 1;
    memcpy(t->uid, uid, CN_UID_BYTES);
    memcpy(t->name, name.p, name.n);
    cn_err e = cn_path(path, sizeof path, "%s/tenants/%s", d->dir, t->name);
    if (e == CN_OK && !(t->dir = cn_strdup_n(path, strlen(path))))
        e = cn_fail_memory();
    if (e == CN_OK)
        e = check_own_dir(t);
    if (e == CN_OK)
        e = cn_path(path, sizeof path, "%s/control.mdb", t->dir);
    if (e == CN_OK)
        e = cn_env_open(path, CN_ENV_CONTROL, false, &t->control);
    if (e == CN_NOT_FOUND) /* the list knows it: its policy is gone, so nothing of it may be answered */
        e = cn_fail(CN_DAMAGED, "tenant %s has lost %s", t->name, path);
    if (e == CN_OK)
        e = cn_tenant_owner_check(t);
    if (e == CN_OK)
        e = cn_control_check(t->control);
    if (e != CN_OK) {
        free_tenant(t);
        return e;
    }
    *ret = t;
    return CN_OK;
}

static cn_err look_up(cn_data *d, cn_str name, uint8_t uid[CN_UID_BYTES], uint64_t *ret_stamp) {
    MDB_txn *txn;
    cn_str v;
    int64_t made;
    CN_TRY(cn_name_check(name, "tenant"));
    CN_TRY(cn_txn_read(d->host, &txn));
    cn_err e = cn_db_get(txn, d->tenants, name, &v);
    if (e == CN_OK)
        e = cn_tenant_record(name, v, uid, &made);
    *ret_stamp = mdb_txn_id(txn);
    cn_txn_abort(d->host, txn);
    return e == CN_NOT_FOUND ? cn_fail(CN_NOT_FOUND, "there is no tenant " CN_STR_FMT, CN_STR_ARG(name)) : e;
}

/* Open already: the one of this uid; or, where that is not looked up (NULL), the one of this name if the list of tenants is
 * still the one in which it was found. */
static cn_tenant *find_open(cn_data *d, cn_str name, const uint8_t *uid, uint64_t stamp) {
    pthread_mutex_lock(&d->lock);
    cn_tenant *t = d->open;
    while (t && !(uid ? memcmp(t->uid, uid, CN_UID_BYTES) == 0 : t->listed == stamp && cn_str_is(name, t->name)))
        t = t->next;
    if (t) {
        t->refs++;
        t->listed = stamp;
    }
    pthread_mutex_unlock(&d->lock);
    return t;
}

/* Under the tenant's stripe. */
static cn_err open_one(cn_data *d, cn_str name, const uint8_t uid[CN_UID_BYTES], uint64_t stamp, cn_tenant **ret) {
    cn_tenant *t = find_open(d, name, uid, stamp);
    if (!t) {
        CN_TRY(new_tenant(d, name, uid, &t));
        pthread_mutex_lock(&d->lock);
        t->listed = stamp;
        t->next = d->open;
        d->open = t;
        pthread_mutex_unlock(&d->lock);
    }
    *ret = t;
    return CN_OK;
}

/* A directory put back as a whole brings a lock file of its own, as a tenant made anew does: by the list they are told apart. It is
 * asked after the look, for a tenant is off it before its directory goes. */
static bool is_displaced(const cn_tenant *t) {
    uint64_t ignored;
    (void)cn_env_stamp(t->control, &ignored); /* looks; what else it finds whoever asks the tenant is told */
    return cn_env_displaced(t->control);
}

static cn_err open_still(cn_tenant *t, cn_tenant **ret) {
    cn_err e = is_displaced(t) ? cn_tenant_still(t) : CN_OK;
    if (e == CN_OK)
        *ret = t;
    else
        cn_tenant_unref(t);
    return e;
}

cn_err cn_tenant_open(cn_data *d, cn_str name, cn_tenant **ret) {
    uint64_t stamp;
    uint8_t uid[CN_UID_BYTES];
    CN_TRY(cn_env_stamp(d->host, &stamp));
    cn_tenant *t = find_open(d, name, NULL, stamp); /* nearly always */
    if (!t) {
        CN_TRY(look_up(d, name, uid, &stamp));
        t = find_open(d, name, uid, stamp);
    }
    if (t)
        return open_still(t, ret);
    pthread_mutex_t *stripe = cn_stripe(&stripes, uid, CN_UID_BYTES);
    pthread_mutex_lock(stripe);
    cn_err e = open_one(d, name, uid, stamp, ret);
    pthread_mutex_unlock(stripe);
    return e;
}

cn_err cn_tenant_still(const cn_tenant *t) {
    uint64_t stamp;
    uint8_t uid[CN_UID_BYTES];
    bool displaced = is_displaced(t);
    CN_TRY(look_up(t->data, cn_str_of(t->name), uid, &stamp));
    if (memcmp(uid, t->uid, sizeof uid) != 0)
        return cn_fail(CN_NOT_FOUND, "tenant %s was dropped while this ran, and is another one now", t->name);
    return displaced ? cn_env_give_up(t->control) : CN_OK;
}

cn_tenant *cn_tenant_ref(cn_tenant *t) {
    pthread_mutex_lock(&t->data->lock);
    t->refs++;
    pthread_mutex_unlock(&t->data->lock);
    return t;
}

/* The idle tenant that has been idle longest, taken out of the list when there are too many. */
static cn_tenant *take_idle(cn_data *d) {
    unsigned idle = 0;
    cn_tenant **oldest = NULL;
    for (cn_tenant **at = &d->open; *at; at = &(*at)->next)
        if ((*at)->refs == 0) {
            idle++;
            if (!oldest || (*at)->used < (*oldest)->used)
                oldest = at;
        }
    if (idle <= IDLE_MAX)
        return NULL;
    cn_tenant *t = *oldest;
    *oldest = t->next;
    return t;
}

void cn_tenant_unref(cn_tenant *t) {
    if (!t)
        return;
    cn_data *d = t->data;
    cn_tenant *idle = NULL;
    pthread_mutex_lock(&d->lock);
    if (--t->refs == 0) {
        t->used = ++d->clock;
        idle = take_idle(d);
    }
    pthread_mutex_unlock(&d->lock);
    if (idle)
        free_tenant(idle);
}

const uint8_t *cn_tenant_uid(const cn_tenant *t) { return t->uid; }
const char *cn_tenant_name(const cn_tenant *t) { return t->name; }
const char *cn_tenant_dir(const cn_tenant *t) { return t->dir; }
cn_data *cn_tenant_data(cn_tenant *t) { return t->data; }
cn_env *cn_tenant_control(cn_tenant *t) { return t->control; }

static cn_err open_work(cn_tenant *t) {
    char path[CN_PATH_MAX];
    CN_TRY(cn_tenant_still(t));
    CN_TRY(cn_path(path, sizeof path, "%s/work.mdb", t->dir));
    cn_err err = cn_env_open(path, CN_ENV_WORK, true, &t->work);
    if (err == CN_OK && (err = cn_work_check(t->work)) != CN_OK) {
        cn_env_close(t->work);
        t->work = NULL;
    }
    return err == CN_DAMAGED ? cn_fail(err, "%s; no document and no policy is in it: stop what uses this directory and move the file away, and jobs, frozen questions and records of recall begin anew", cn_error_detail()) : err;
}

cn_err cn_tenant_work(cn_tenant *t, cn_env **ret) {
    pthread_mutex_lock(&t->lock);
    cn_err err = t->work ? CN_OK : open_work(t);
    if (err == CN_OK)
        *ret = t->work;
    pthread_mutex_unlock(&t->lock);
    return err;
}

cn_err cn_tenant_slot(cn_tenant *t, unsigned slot, cn_err (*make)(cn_tenant *t, void **ret), void (*done)(void *p), void **ret) {
    CN_ASSERT(slot < CN_SLOTS);
    void *p = t->slots[slot].p;
    cn_err e = CN_OK;
    if (!p) {
        pthread_mutex_lock(&t->lock);
        p = t->slots[slot].p;
        if (!p && (e = make(t, &p)) == CN_OK) {
            t->slots[slot].done = done;
            t->slots[slot].p = p;
        }
        pthread_mutex_unlock(&t->lock);
    }
    if (e == CN_OK)
        *ret = p;
    return e;
}

/* The open tenant after this one (NULL: the first) that keeps something there, referenced. */
static cn_tenant *next_with(cn_data *d, const cn_tenant *t, unsigned slot) {
    pthread_mutex_lock(&d->lock);
    cn_tenant *next = t ? t->next : d->open;
    while (next && !next->slots[slot].p)
        next = next->next;
    if (next)
        next->refs++;
    pthread_mutex_unlock(&d->lock);
    return next;
}

void cn_tenant_each_slot(cn_data *d, unsigned slot, void (*fn)(void *p)) {
    cn_tenant *t = next_with(d, NULL, slot);
    while (t) {
        fn(t->slots[slot].p);
        cn_tenant *next = next_with(d, t, slot);
        cn_tenant_unref(t);
        t = next;
    }
}
