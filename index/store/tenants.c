/* The list of tenants in cairn.mdb: made, dropped, told, and their directories with them. */
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#include "engine/base/buf.h"
#include "engine/base/log.h"
#include "engine/base/os.h"
#include "index/store/data_inside.h"
#include "index/store/dir.h"
#include "index/store/fields.h"

#define OWNER CN_STR("owner")
/* In the host's "settings", of a tenant that is off the list and whose directory may still lie in its place: DROPPING name -> its uid
 * (or "", by an earlier build, or where its record was damaged). By it alone what is not on the list is taken away: an older cairn.mdb that was brought back must not cost anybody a tenant. */
#define DROPPING "dropping "
#define DROPPED ".dropped-"
#define MAKING ".making-"
#define LIST_MAX ((size_t)1 << 30) /* bytes of the names of all tenants */
#define MAKING_S 3600 /* a tenant that took longer to make will not be made any more */

/* A tenant's record. */
typedef struct listed {
    cn_str by;
    int64_t made;
    uint8_t uid[CN_UID_BYTES];
} listed;

#define LISTED_FIELDS 3
static void listed_fields(listed *x, cn_field f[LISTED_FIELDS]) {
    const cn_field all[LISTED_FIELDS] = {{"by", CN_F_STR, &x->by, 0}, {"made", CN_F_I64, &x->made, 0}, {"uid", CN_F_FIXED, x->uid, CN_UID_BYTES}};
    memcpy(f, all, sizeof all);
}

cn_err cn_tenant_record(cn_str name, cn_str v, uint8_t uid[CN_UID_BYTES], int64_t *made) {
    listed x = {.made = CN_NO_TIME};
    cn_field f[LISTED_FIELDS];
    listed_fields(&x, f);
    cn_err e = cn_fields_read(v, "its record", NULL, f, LISTED_FIELDS);
    if (e != CN_OK)
        return e == CN_DAMAGED ? cn_wrap(e, "tenant " CN_STR_FMT " is not opened; restore cairn.mdb from a backup", CN_STR_ARG(name)) : e;
    memcpy(uid, x.uid, CN_UID_BYTES);
    *made = x.made;
    return CN_OK;
}

/* ---------- whose a directory is ---------- */

#define OWNER_FIELDS 2
static void owner_fields(cn_str *name, uint8_t uid[CN_UID_BYTES], cn_field f[OWNER_FIELDS]) {
    const cn_field all[OWNER_FIELDS] = {{"tenant", CN_F_STR, name, 0}, {"uid", CN_F_FIXED, uid, CN_UID_BYTES}};
    memcpy(f, all, sizeof all);
}

cn_err cn_tenant_owner_put(MDB_txn *txn, MDB_dbi meta, cn_str name, const uint8_t uid[CN_UID_BYTES]) {
    uint8_t copy[CN_UID_BYTES];
    cn_field f[OWNER_FIELDS];
    memcpy(copy, uid, CN_UID_BYTES);
    owner_fields(&name, copy, f);
    return cn_fields_put(txn, meta, OWNER, f, OWNER_FIELDS);
}

/* Who asks may be a key of this tenant, and the other's name is none of its business. */
static cn_err compare_owner(cn_tenant *t, cn_str value) {
    cn_str name;
    uint8_t uid[CN_UID_BYTES];
    cn_field f[OWNER_FIELDS];
    owner_fields(&name, uid, f);
    CN_TRY(cn_fields_read(value, "the record of whose a directory is", NULL, f, OWNER_FIELDS));
    bool named = cn_str_is(name, t->name);
    t->bound = named && memcmp(uid, t->uid, CN_UID_BYTES) == 0;
    if (t->bound)
        return CN_OK;
    cn_log(CN_LOG_ERROR, "tenant.foreign", "tenant=%s directory_of=" CN_STR_FMT, t->name, CN_STR_ARG(name));
    return cn_fail(CN_DAMAGED, "%s is the directory of another tenant%s, so tenant %s is not opened; put its own there, from the backup that cairn.mdb is of", t->dir,
                   named ? " that had this name" : "", t->name);
}

cn_err cn_tenant_owner_check(cn_tenant *t) {
    MDB_dbi meta;
    MDB_txn *txn;
    cn_str value;
    CN_TRY(cn_env_dbi(t->control, "meta", true, &meta));
    CN_TRY(cn_txn_read(t->control, &txn));
    cn_err e = cn_db_get(txn, meta, OWNER, &value);
    e = e == CN_OK ? compare_owner(t, value) : e == CN_NOT_FOUND ? CN_OK : e;
    cn_txn_abort(t->control, txn);
    return e;
}

/* Bound only when it has been found there, since this transaction may yet fail. */
cn_err cn_tenant_bind(cn_tenant *t, MDB_txn *txn, MDB_dbi meta) {
    cn_str value;
    if (t->bound)
        return CN_OK;
    cn_err e = cn_db_get(txn, meta, OWNER, &value);
    t->bound = e == CN_OK;
    return e == CN_NOT_FOUND ? cn_tenant_owner_put(txn, meta, cn_str_of(t->name), t->uid) : e;
}

/* ---------- directories ---------- */

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
        dropped = cn_is_due((int64_t)st.st_mtime * 1000000, MAKING_S * (int64_t)1000000);
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

/* ---------- what was dropped ---------- */
static cn_str dropping_key(cn_str name, char room[sizeof DROPPING + CN_NAME_MAX]) {
    return (cn_str){room, (size_t)snprintf(room, sizeof DROPPING + CN_NAME_MAX, DROPPING CN_STR_FMT, CN_STR_ARG(name))};
}

typedef struct dropping {
    cn_data *d;
    MDB_txn *txn;
    char name[CN_NAME_MAX + 1]; /* at which it is: those before it in order are done */
    uint8_t uid[CN_UID_BYTES];
    bool any, has_uid;
} dropping;

static cn_err take_next(void *ctx, cn_str key, cn_str value, bool *stop) {
    dropping *x = ctx;
    char name[CN_NAME_MAX + 1];
    snprintf(name, sizeof name, "%.*s", (int)(key.n - (sizeof DROPPING - 1)), key.p + sizeof DROPPING - 1);
    if (strcmp(name, x->name) <= 0)
        return CN_OK;
    memcpy(x->name, name, sizeof name);
    x->has_uid = value.n == CN_UID_BYTES;
    if (x->has_uid)
        memcpy(x->uid, value.p, CN_UID_BYTES);
    *stop = x->any = true;
    return CN_OK;
}

static cn_err read_owner(cn_env *control, uint8_t uid[CN_UID_BYTES]) {
    MDB_dbi meta;
    MDB_txn *txn;
    cn_str value, name;
    cn_field f[OWNER_FIELDS];
    CN_TRY(cn_env_dbi(control, "meta", false, &meta));
    CN_TRY(cn_txn_read(control, &txn));
    owner_fields(&name, uid, f);
    cn_err e = cn_db_get(txn, meta, OWNER, &value);
    e = e == CN_OK ? cn_fields_read(value, "the record of whose a directory is", NULL, f, OWNER_FIELDS) : e;
    cn_txn_abort(control, txn);
    return e;
}

/* Made anew since the cairn.mdb was written that says so, which is an older one brought back. One that cannot be read is what was
 * dropped: a tenant may go for being damaged. */
static cn_err lies_there_anew(const dropping *x, bool *ret) {
    char path[CN_PATH_MAX];
    uint8_t uid[CN_UID_BYTES];
    cn_env *control;
    *ret = false;
    if (!x->has_uid)
        return CN_OK;
    CN_TRY(cn_path(path, sizeof path, "%s/tenants/%s/control.mdb", x->d->dir, x->name));
    cn_err err = cn_env_open(path, CN_ENV_CONTROL, false, &control);
    if (err == CN_OK) {
        err = read_owner(control, uid);
        cn_env_close(control);
    }
    *ret = err == CN_OK && memcmp(uid, x->uid, CN_UID_BYTES) != 0;
    return err == CN_NOT_FOUND || err == CN_DAMAGED ? CN_OK : err;
}

/* One of that name may have been made anew. Of one that cannot be looked at now the note stays, for the next time: the others go. */
static cn_err end_one(dropping *x) {
    char room[sizeof DROPPING + CN_NAME_MAX];
    cn_str v, name = cn_str_of(x->name);
    bool anew = false;
    cn_err e = cn_db_get(x->txn, x->d->tenants, name, &v);
    if (e != CN_OK && e != CN_NOT_FOUND)
        return e;
    if (e == CN_NOT_FOUND && (e = lies_there_anew(x, &anew)) == CN_OK && !anew)
        e = set_aside(x->d, x->name);
    if (e != CN_OK) {
        cn_log(CN_LOG_WARN, "tenant.leftovers", "tenant=%s its files stay until this is mended, then they go at the next start or drop: %s", x->name, cn_error_detail());
        return CN_OK;
    }
    return cn_db_del(x->txn, x->d->settings, dropping_key(name, room));
}

/* Under the host's one writer, so that no one makes a tenant of such a name meanwhile. */
static cn_err set_aside_in(void *ctx) {
    dropping *x = ctx;
    do {
        x->any = false;
        CN_TRY(cn_db_each(x->txn, x->d->settings, CN_STR(DROPPING), take_next, x));
        CN_TRY(x->any ? end_one(x) : CN_OK);
    } while (x->any);
    return CN_OK;
}

static cn_err set_aside_dropped(cn_data *d, const char *tenants) {
    dropping x = {.d = d};
    CN_TRY(cn_txn_write(d->host, &x.txn));
    cn_err e = set_aside_in(&x);
    if (e == CN_OK)
        e = cn_dir_sync(tenants); /* first: what is forgotten must be done */
    if (e == CN_OK)
        return cn_txn_commit(d->host, x.txn);
    cn_txn_abort(d->host, x.txn);
    return e;
}

/* What was moved aside, now or earlier, is removed without any lock, since it may be much. */
cn_err cn_tenants_tidy(cn_data *d) {
    char tenants[CN_PATH_MAX];
    CN_TRY(cn_path(tenants, sizeof tenants, "%s/tenants", d->dir));
    CN_TRY(set_aside_dropped(d, tenants));
    sweep_ctx s = {tenants};
    CN_TRY(cn_dir_each(tenants, remove_dropped, &s));
    return cn_dir_sync(tenants);
}

/* Of tenants that are off the list: where it fails the next one tries again. */
static void tidy(cn_data *d) {
    if (cn_tenants_tidy(d) != CN_OK)
        cn_log(CN_LOG_WARN, "tenant.leftovers", "%s", cn_error_detail());
}

typedef struct newborn { /* a tenant that is being made */
    char name[CN_NAME_MAX + 1], made[CN_PATH_MAX]; /* made: its directory, until it is listed */
    uint8_t uid[CN_UID_BYTES];
} newborn;

static cn_err put_owner(cn_env *control, const newborn *n) {
    MDB_dbi meta;
    MDB_txn *txn;
    CN_TRY(cn_env_dbi(control, "meta", true, &meta));
    CN_TRY(cn_txn_write(control, &txn));
    cn_err e = cn_tenant_owner_put(txn, meta, cn_str_of(n->name), n->uid);
    if (e == CN_OK)
        return cn_txn_commit(control, txn);
    cn_txn_abort(control, txn);
    return e;
}

static cn_err make_files(const newborn *n) {
    const char *dir = n->made;
    char path[CN_PATH_MAX];
    cn_env *control;
    CN_TRY(cn_dir_make(dir));
    CN_TRY(cn_path(path, sizeof path, "%s/segments", dir));
    CN_TRY(cn_dir_make(path));
    CN_TRY(cn_path(path, sizeof path, "%s/control.mdb", dir));
    CN_TRY(cn_env_open(path, CN_ENV_CONTROL, true, &control));
    cn_err e = cn_control_init(control);
    if (e == CN_OK)
        e = put_owner(control, n);
    if (e == CN_OK)
        e = cn_env_sync(control);
    cn_env_close(control);
    CN_TRY(e);
    return cn_dir_sync(dir);
}

static cn_err put_record(cn_data *d, MDB_txn *txn, const newborn *n, const cn_actor *who) {
    listed x = {.by = who->who, .made = cn_wall_us()};
    cn_field f[LISTED_FIELDS];
    memcpy(x.uid, n->uid, CN_UID_BYTES);
    listed_fields(&x, f);
    return cn_fields_put(txn, d->tenants, cn_str_of(n->name), f, LISTED_FIELDS);
}

/* Files first, the list last: a tenant on the list is whole. What an attempt cut short left is moved away here. */
static cn_err create_in(cn_data *d, MDB_txn *txn, const newborn *n, const cn_actor *who) {
    char dir[CN_PATH_MAX];
    cn_str v;
    cn_err e = cn_db_get(txn, d->tenants, cn_str_of(n->name), &v);
    if (e == CN_OK)
        return cn_fail(CN_CONFLICT, "there is a tenant %s already", n->name);
    if (e != CN_NOT_FOUND)
        return e;
    CN_TRY(set_aside(d, n->name));
    CN_TRY(cn_path(dir, sizeof dir, "%s/tenants/%s", d->dir, n->name));
    CN_TRY(move(n->made, dir));
    CN_TRY(cn_path(dir, sizeof dir, "%s/tenants", d->dir));
    CN_TRY(cn_dir_sync(dir));
    return put_record(d, txn, n, who);
}

static cn_err list(cn_data *d, const newborn *n, const cn_actor *who) {
    MDB_txn *txn;
    CN_TRY(cn_txn_write(d->host, &txn));
    cn_err e = create_in(d, txn, n, who);
    if (e == CN_OK)
        return cn_txn_commit(d->host, txn);
    cn_txn_abort(d->host, txn);
    return e;
}

/* Its files are made under a name of their own, since that takes a while, and the host's one writer is for all tenants. */
cn_err cn_tenant_create(cn_data *d, cn_str name, const cn_actor *who) {
    newborn n = {0};
    char why[CN_REASON_LOGGED];
    CN_TRY(cn_name_check(name, "tenant"));
    memcpy(n.name, name.p, name.n);
    cn_random(n.uid, sizeof n.uid);
    CN_TRY(path_beside(d, MAKING, n.name, n.made));
    cn_err e = make_files(&n);
    if (e == CN_OK)
        e = list(d, &n, who);
    if (e != CN_OK) {
        cn_dir_remove(n.made);
        return e;
    }
    cn_log(CN_LOG_INFO, "tenant.created", "tenant=%s by=" CN_STR_FMT " reason=%s", n.name, CN_STR_ARG(who->who), cn_reason_logged(who, why));
    tidy(d);
    return CN_OK;
}

bool cn_tenant_listed(cn_data *d, MDB_txn *host, cn_str name) {
    cn_str v;
    return cn_db_get(host, d->tenants, name, &v) == CN_OK;
}

static cn_err unlist(cn_data *d, cn_str name, cn_tenant_leaving_fn *leaving, void *ctx) {
    char room[sizeof DROPPING + CN_NAME_MAX];
    uint8_t uid[CN_UID_BYTES];
    int64_t made;
    MDB_txn *txn;
    cn_str v;
    CN_TRY(cn_txn_write(d->host, &txn));
    cn_err e = cn_db_get(txn, d->tenants, name, &v);
    bool known = e == CN_OK && cn_tenant_record(name, v, uid, &made) == CN_OK;
    if (e == CN_NOT_FOUND)
        e = cn_fail(CN_NOT_FOUND, "there is no tenant " CN_STR_FMT, CN_STR_ARG(name));
    if (e == CN_OK && leaving)
        e = leaving(ctx, txn);
    if (e == CN_OK)
        e = cn_db_del(txn, d->tenants, name);
    if (e == CN_OK)
        e = cn_db_put(txn, d->settings, dropping_key(name, room), known ? (cn_str){(const char *)uid, CN_UID_BYTES} : CN_STR(""));
    if (e == CN_OK)
        return cn_txn_commit(d->host, txn);
    cn_txn_abort(d->host, txn);
    return e;
}

cn_err cn_tenant_drop(cn_data *d, cn_str name, cn_tenant_leaving_fn *leaving, void *ctx, const cn_actor *who) {
    char why[CN_REASON_LOGGED];
    CN_TRY(cn_name_check(name, "tenant"));
    CN_TRY(unlist(d, name, leaving, ctx));
    cn_log(CN_LOG_INFO, "tenant.dropped", "tenant=" CN_STR_FMT " by=" CN_STR_FMT " reason=%s", CN_STR_ARG(name), CN_STR_ARG(who->who), cn_reason_logged(who, why));
    tidy(d);
    return CN_OK;
}

typedef struct named {
    int64_t made;
    char name[CN_NAME_MAX + 1];
} named;

static cn_err list_one(void *ctx, cn_str key, cn_str value, bool *stop) {
    (void)stop;
    uint8_t uid[CN_UID_BYTES];
    named x = {.made = CN_NO_TIME};
    CN_TRY(cn_tenant_record(key, value, uid, &x.made));
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
