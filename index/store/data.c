#include "index/store/data.h"

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
#include "index/store/dir.h"
#include "index/store/fields.h"
#include "index/store/reserve.h"
#include "index/store/stripes.h"

#define IDLE_MAX 64 /* tenants kept open though no one uses them */
#define UID_BYTES 16
#define DROPPED ".dropped-"
#define MAKING ".making-"
#define LIST_MAX ((size_t)1 << 30) /* bytes of the names of all tenants */
#define MAKING_S 3600 /* a tenant that took longer to make will not be made any more */

struct cn_tenant {
    cn_tenant *next;
    cn_data *data;
    unsigned refs;
    uint64_t used;          /* when its last user left, in the order of leaving */
    uint8_t uid[UID_BYTES]; /* tells a tenant from a later one of the same name */
    uint64_t listed;        /* the host's stamp under which it was last found in the list of tenants */
    char *dir;
    char name[CN_NAME_MAX + 1];
    cn_env *control;
    pthread_mutex_t lock;   /* of what follows; recursive, since making one slot may ask for a lower one */
    cn_env *work;
    struct {
        void *_Atomic p;
        void (*done)(void *p);
    } slots[CN_SLOTS];
};

struct cn_data {
    char *dir;
    cn_env *host;
    MDB_dbi tenants, settings;
    pthread_mutex_t lock;
    cn_tenant *open;
    uint64_t clock;
};

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
    if (e != CN_OK) {
        cn_env_close(host);
        return e;
    }
    *ret = host;
    return CN_OK;
}

/* What an init that was cut short may have left is taken up again; anything else is somebody's. */
static cn_err only_ours(void *ctx, const char *name) {
    if (strcmp(name, "tenants") == 0 || strcmp(name, "models") == 0 || strncmp(name, "cairn.mdb", 9) == 0 || strcmp(name, "reserve") == 0)
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

static cn_err new_tenant(cn_data *d, cn_str name, const uint8_t uid[UID_BYTES], cn_tenant **ret) {
    char path[CN_PATH_MAX];
    cn_tenant *t = cn_calloc(1, sizeof *t);
    if (!t)
        return cn_fail_memory();
    init_lock(&t->lock);
    t->data = d;
    t->refs = 1;
    memcpy(t->uid, uid, UID_BYTES);
    memcpy(t->name, name.p, name.n);
    cn_err e = cn_path(path, sizeof path, "%s/tenants/%s", d->dir, t->name);
    if (e == CN_OK && !(t->dir = cn_strdup_n(path, strlen(path))))
        e = cn_fail_memory();
    if (e == CN_OK)
        e = cn_path(path, sizeof path, "%s/control.mdb", t->dir);
    if (e == CN_OK)
        e = cn_env_open(path, CN_ENV_CONTROL, false, &t->control);
    if (e == CN_NOT_FOUND) /* the list knows it: its policy is gone, so nothing of it may be answered */
        e = cn_fail(CN_DAMAGED, "tenant %s has lost %s", t->name, path);
    if (e != CN_OK) {
        free_tenant(t);
        return e;
    }
    *ret = t;
    return CN_OK;
}

/* A tenant's record. */
typedef struct listed {
    cn_str by;
    int64_t made;
    uint8_t uid[UID_BYTES];
} listed;

#define LISTED_FIELDS 3
static void listed_fields(listed *x, cn_field f[LISTED_FIELDS]) {
    const cn_field all[LISTED_FIELDS] = {{"by", CN_F_STR, &x->by, 0}, {"made", CN_F_I64, &x->made, 0}, {"uid", CN_F_FIXED, x->uid, UID_BYTES}};
    memcpy(f, all, sizeof all);
}

static cn_err read_record(cn_str name, cn_str v, uint8_t uid[UID_BYTES], int64_t *made) {
    listed x = {.made = CN_NO_TIME};
    cn_field f[LISTED_FIELDS];
    listed_fields(&x, f);
    cn_err e = cn_fields_read(v, "its record", NULL, f, LISTED_FIELDS);
    if (e != CN_OK)
        return e == CN_DAMAGED ? cn_wrap(e, "tenant " CN_STR_FMT " is not opened; restore cairn.mdb from a backup", CN_STR_ARG(name)) : e;
    memcpy(uid, x.uid, UID_BYTES);
    *made = x.made;
    return CN_OK;
}

static cn_err look_up(cn_data *d, cn_str name, uint8_t uid[UID_BYTES], uint64_t *ret_stamp) {
    MDB_txn *txn;
    cn_str v;
    int64_t made;
    CN_TRY(cn_name_check(name, "tenant"));
    CN_TRY(cn_txn_read(d->host, &txn));
    cn_err e = cn_db_get(txn, d->tenants, name, &v);
    if (e == CN_OK)
        e = read_record(name, v, uid, &made);
    *ret_stamp = mdb_txn_id(txn);
    cn_txn_abort(d->host, txn);
    return e == CN_NOT_FOUND ? cn_fail(CN_NOT_FOUND, "there is no tenant " CN_STR_FMT, CN_STR_ARG(name)) : e;
}

/* Open already: the one of this uid; or, where that is not looked up (NULL), the one of this name if the list of tenants is
 * still the one in which it was found. */
static cn_tenant *find_open(cn_data *d, cn_str name, const uint8_t *uid, uint64_t stamp) {
    pthread_mutex_lock(&d->lock);
    cn_tenant *t = d->open;
    while (t && !(uid ? memcmp(t->uid, uid, UID_BYTES) == 0 : t->listed == stamp && cn_str_is(name, t->name)))
        t = t->next;
    if (t) {
        t->refs++;
        t->listed = stamp;
    }
    pthread_mutex_unlock(&d->lock);
    return t;
}

/* Under the tenant's stripe. */
static cn_err open_one(cn_data *d, cn_str name, const uint8_t uid[UID_BYTES], uint64_t stamp, cn_tenant **ret) {
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

cn_err cn_tenant_open(cn_data *d, cn_str name, cn_tenant **ret) {
    uint64_t stamp;
    uint8_t uid[UID_BYTES];
    CN_TRY(cn_env_stamp(d->host, &stamp));
    cn_tenant *t = find_open(d, name, NULL, stamp); /* nearly always */
    if (!t) {
        CN_TRY(look_up(d, name, uid, &stamp));
        t = find_open(d, name, uid, stamp);
    }
    if (t) {
        *ret = t;
        return CN_OK;
    }
    pthread_mutex_t *stripe = cn_stripe(&stripes, uid, UID_BYTES);
    pthread_mutex_lock(stripe);
    cn_err e = open_one(d, name, uid, stamp, ret);
    pthread_mutex_unlock(stripe);
    return e;
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

const char *cn_tenant_name(const cn_tenant *t) { return t->name; }
const char *cn_tenant_dir(const cn_tenant *t) { return t->dir; }
cn_data *cn_tenant_data(cn_tenant *t) { return t->data; }
cn_env *cn_tenant_control(cn_tenant *t) { return t->control; }

cn_env *cn_tenant_work(cn_tenant *t) {
    char path[CN_PATH_MAX];
    pthread_mutex_lock(&t->lock);
    if (!t->work && cn_path(path, sizeof path, "%s/work.mdb", t->dir) == CN_OK && cn_env_open(path, CN_ENV_WORK, true, &t->work) != CN_OK)
        t->work = NULL;
    cn_env *e = t->work;
    pthread_mutex_unlock(&t->lock);
    return e;
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

/* ---------- the list ---------- */

typedef struct sweep_ctx {
    const char *tenants;
} sweep_ctx;

static cn_err remove_dropped(void *ctx, const char *name) {
    char path[CN_PATH_MAX];
    const sweep_ctx *s = ctx;
    struct stat st;
    bool dropped = strncmp(name, DROPPED, sizeof DROPPED - 1) == 0, making = strncmp(name, MAKING, sizeof MAKING - 1) == 0;
    CN_TRY(cn_path(path, sizeof path, "%s/%s", s->tenants, name));
    if (making && stat(path, &st) == 0)
        dropped = cn_wall_us() / 1000000 - st.st_mtime > MAKING_S;
    return dropped ? cn_dir_remove(path) : CN_OK;
}

static cn_err path_beside(const cn_data *d, const char *prefix, const char *name, char path[CN_PATH_MAX]) {
    char hex[17];
    uint8_t salt[8];
    cn_random(salt, sizeof salt);
    cn_hex(salt, sizeof salt, hex);
    return cn_path(path, CN_PATH_MAX, "%s/tenants/%s%s-%s", d->dir, prefix, name, hex);
}

static cn_err move(const char *from, const char *to) { return rename(from, to) == 0 ? CN_OK : cn_fail_errno(errno, "renaming %s", from); }

/* Moves the tenant's directory out of the way, if there is one. */
static cn_err set_aside(const cn_data *d, const char *name) {
    char dir[CN_PATH_MAX], away[CN_PATH_MAX];
    CN_TRY(cn_path(dir, sizeof dir, "%s/tenants/%s", d->dir, name));
    CN_TRY(path_beside(d, DROPPED, name, away));
    cn_err e = move(dir, away);
    return e == CN_NOT_FOUND ? CN_OK : e;
}

/* All that was moved aside, now or earlier: without any lock, since it may be much. */
static cn_err remove_set_aside(const cn_data *d) {
    char tenants[CN_PATH_MAX];
    CN_TRY(cn_path(tenants, sizeof tenants, "%s/tenants", d->dir));
    sweep_ctx s = {tenants};
    CN_TRY(cn_dir_each(tenants, remove_dropped, &s));
    return cn_dir_sync(tenants);
}

static cn_err make_files(const char *dir) {
    char path[CN_PATH_MAX];
    cn_env *control;
    CN_TRY(cn_dir_make(dir));
    CN_TRY(cn_path(path, sizeof path, "%s/segments", dir));
    CN_TRY(cn_dir_make(path));
    CN_TRY(cn_path(path, sizeof path, "%s/control.mdb", dir));
    CN_TRY(cn_env_open(path, CN_ENV_CONTROL, true, &control));
    cn_err e = cn_control_init(control);
    if (e == CN_OK)
        e = cn_env_sync(control);
    cn_env_close(control);
    CN_TRY(e);
    return cn_dir_sync(dir);
}

static cn_err put_record(cn_data *d, MDB_txn *txn, cn_str name, const cn_actor *who) {
    listed x = {.by = who->who, .made = cn_wall_us()};
    cn_field f[LISTED_FIELDS];
    cn_random(x.uid, sizeof x.uid);
    listed_fields(&x, f);
    return cn_fields_put(txn, d->tenants, name, f, LISTED_FIELDS);
}

/* Files first, the list last: a tenant on the list is whole. What an attempt cut short left is moved away here. */
static cn_err create_in(cn_data *d, MDB_txn *txn, cn_str name, const char *name_z, const char *made, const cn_actor *who) {
    char dir[CN_PATH_MAX];
    cn_str v;
    cn_err e = cn_db_get(txn, d->tenants, name, &v);
    if (e == CN_OK)
        return cn_fail(CN_CONFLICT, "there is a tenant %s already", name_z);
    if (e != CN_NOT_FOUND)
        return e;
    CN_TRY(set_aside(d, name_z));
    CN_TRY(cn_path(dir, sizeof dir, "%s/tenants/%s", d->dir, name_z));
    CN_TRY(move(made, dir));
    CN_TRY(cn_path(dir, sizeof dir, "%s/tenants", d->dir));
    CN_TRY(cn_dir_sync(dir));
    return put_record(d, txn, name, who);
}

static cn_err list(cn_data *d, cn_str name, const char *name_z, const char *made, const cn_actor *who) {
    MDB_txn *txn;
    CN_TRY(cn_txn_write(d->host, &txn));
    cn_err e = create_in(d, txn, name, name_z, made, who);
    if (e == CN_OK)
        return cn_txn_commit(d->host, txn);
    cn_txn_abort(d->host, txn);
    return e;
}

/* Its files are made under a name of their own, since that takes a while, and the host's one writer is for all tenants. */
cn_err cn_tenant_create(cn_data *d, cn_str name, const cn_actor *who) {
    char name_z[CN_NAME_MAX + 1] = {0}, made[CN_PATH_MAX], why[CN_REASON_LOGGED];
    CN_TRY(cn_name_check(name, "tenant"));
    memcpy(name_z, name.p, name.n);
    CN_TRY(path_beside(d, MAKING, name_z, made));
    cn_err e = make_files(made);
    if (e == CN_OK)
        e = list(d, name, name_z, made, who);
    if (e != CN_OK) {
        cn_dir_remove(made);
        return e;
    }
    cn_log(CN_LOG_INFO, "tenant.created", "tenant=%s by=" CN_STR_FMT " reason=%s", name_z, CN_STR_ARG(who->who), cn_reason_logged(who, why));
    if (remove_set_aside(d) != CN_OK) /* of other tenants: the next one tries again */
        cn_log(CN_LOG_WARN, "tenant.leftovers", "%s", cn_error_detail());
    return CN_OK;
}

bool cn_tenant_listed(cn_data *d, MDB_txn *host, cn_str name) {
    cn_str v;
    return cn_db_get(host, d->tenants, name, &v) == CN_OK;
}

static cn_err unlist(cn_data *d, cn_str name, cn_tenant_leaving_fn *leaving, void *ctx) {
    MDB_txn *txn;
    cn_str v;
    CN_TRY(cn_txn_write(d->host, &txn));
    cn_err e = cn_db_get(txn, d->tenants, name, &v);
    if (e == CN_NOT_FOUND)
        e = cn_fail(CN_NOT_FOUND, "there is no tenant " CN_STR_FMT, CN_STR_ARG(name));
    if (e == CN_OK && leaving)
        e = leaving(ctx, txn);
    if (e == CN_OK)
        e = cn_db_del(txn, d->tenants, name);
    if (e == CN_OK)
        return cn_txn_commit(d->host, txn);
    cn_txn_abort(d->host, txn);
    return e;
}

cn_err cn_tenant_drop(cn_data *d, cn_str name, cn_tenant_leaving_fn *leaving, void *ctx, const cn_actor *who) {
    char name_z[CN_NAME_MAX + 1] = {0}, why[CN_REASON_LOGGED];
    MDB_txn *txn;
    cn_str v;
    CN_TRY(cn_name_check(name, "tenant"));
    memcpy(name_z, name.p, name.n);
    CN_TRY(unlist(d, name, leaving, ctx));
    cn_log(CN_LOG_INFO, "tenant.dropped", "tenant=%s by=" CN_STR_FMT " reason=%s", name_z, CN_STR_ARG(who->who), cn_reason_logged(who, why));
    CN_TRY(cn_txn_write(d->host, &txn)); /* so that no one makes a tenant of this name anew meanwhile */
    cn_err e = cn_db_get(txn, d->tenants, name, &v);
    e = e == CN_NOT_FOUND ? set_aside(d, name_z) : e;
    cn_txn_abort(d->host, txn);
    return e == CN_OK ? remove_set_aside(d) : e;
}

typedef struct named {
    int64_t made;
    char name[CN_NAME_MAX + 1];
} named;

static cn_err list_one(void *ctx, cn_str key, cn_str value, bool *stop) {
    (void)stop;
    uint8_t uid[UID_BYTES];
    named x = {.made = CN_NO_TIME};
    CN_TRY(read_record(key, value, uid, &x.made));
    snprintf(x.name, sizeof x.name, CN_STR_FMT, CN_STR_ARG(key));
    cn_buf_add(ctx, &x, sizeof x);
    return CN_OK;
}

/* As of one moment; fn may take as long as it likes, and no transaction is open meanwhile. */
cn_err cn_tenant_list(cn_data *d, cn_err (*fn)(void *ctx, cn_str name, int64_t made_us), void *ctx) {
    CN_AUTO_BUF cn_buf all;
    MDB_txn *txn;
    named x;
    cn_buf_init(&all, LIST_MAX);
    CN_TRY(cn_txn_read(d->host, &txn));
    cn_err e = cn_db_each(txn, d->tenants, (cn_str){NULL, 0}, list_one, &all);
    cn_txn_abort(d->host, txn);
    if (e == CN_OK)
        e = cn_buf_check(&all);
    for (size_t at = 0; e == CN_OK && at < all.n; at += sizeof x) {
        memcpy(&x, all.p + at, sizeof x);
        e = fn(ctx, cn_str_of(x.name), x.made);
    }
    return e;
}
