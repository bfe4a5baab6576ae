#include "index/store/damage.h"

#include <stdio.h>

#include "engine/base/os.h"
#include "index/store/fields.h"

#define KEY_BYTES (CN_NAME_MAX + 1 + CN_DAMAGED_FILE)

/* ---------- which file ---------- */
static void take_name(char *to, size_t room, cn_str name) {
    if (name.n < room)
        snprintf(to, room, CN_STR_FMT, CN_STR_ARG(name));
}

static const char *after(const char *path, const char *prefix) {
    size_t n = strlen(prefix);
    return strncmp(path, prefix, n) == 0 ? path + n : NULL;
}

cn_damaged cn_damaged_of(const cn_data *d, cn_str tenant, cn_str index) {
    cn_damaged x = {.at_us = cn_wall_us()};
    const char *path = after(cn_error_file(), cn_data_dir(d)), *within = path ? after(path, "/tenants/") : NULL, *name;
    if (within) {
        tenant = (cn_str){within, strcspn(within, "/")};
        name = strrchr(within, '/') + 1;
    } else if (path && *path == '/') {
        tenant = index = (cn_str){NULL, 0};
        name = path + 1;
    } else {
        name = tenant.n ? "control.mdb" : "cairn.mdb";
    }
    take_name(x.tenant, sizeof x.tenant, tenant);
    take_name(x.index, sizeof x.index, strcmp(name, "control.mdb") == 0 ? (cn_str){NULL, 0} : index);
    snprintf(x.file, sizeof x.file, "%s", name);
    return x;
}

bool cn_damaged_same(const cn_damaged *a, const cn_damaged *b) { return strcmp(a->tenant, b->tenant) == 0 && strcmp(a->file, b->file) == 0; }

/* ---------- records ---------- */
#define DAMAGED_FIELDS 3
typedef struct record {
    cn_str index;
    uint64_t version;
    int64_t at_us;
} record;

static void fields_of(record *r, cn_field f[DAMAGED_FIELDS]) {
    const cn_field all[DAMAGED_FIELDS] = {{"at", CN_F_I64, &r->at_us, 0}, {"index", CN_F_STR, &r->index, 0}, {"version", CN_F_U64, &r->version, 0}};
    memcpy(f, all, sizeof all);
}

static cn_str key_of(const cn_damaged *x, char key[KEY_BYTES]) {
    int n = snprintf(key, KEY_BYTES, "%s%c%s", x->tenant, 0, x->file);
    return (cn_str){key, n > 0 && n < KEY_BYTES ? (size_t)n : 0};
}

static cn_err put(MDB_txn *txn, MDB_dbi dbi, const cn_damaged *x) {
    char key[KEY_BYTES];
    record r = {cn_str_of(x->index), x->version, x->at_us}, was;
    cn_field f[DAMAGED_FIELDS];
    cn_str v;
    fields_of(&was, f);
    if (cn_db_get(txn, dbi, key_of(x, key), &v) == CN_OK && cn_fields_read(v, "a damaged file's record", NULL, f, DAMAGED_FIELDS) == CN_OK)
        r.at_us = was.at_us;
    fields_of(&r, f);
    return cn_fields_put(txn, dbi, key_of(x, key), f, DAMAGED_FIELDS);
}

static cn_err drop(MDB_txn *txn, MDB_dbi dbi, const cn_damaged *x) {
    char key[KEY_BYTES];
    return cn_db_del(txn, dbi, key_of(x, key));
}

static cn_err change(cn_data *d, const cn_damaged *x, cn_err (*fn)(MDB_txn *txn, MDB_dbi dbi, const cn_damaged *x)) {
    cn_env *host = cn_data_host(d);
    MDB_dbi dbi;
    MDB_txn *txn;
    CN_TRY(cn_env_dbi(host, "damaged", true, &dbi));
    CN_TRY(cn_txn_write(host, &txn));
    cn_err err = fn(txn, dbi, x);
    if (err == CN_OK)
        return cn_txn_commit(host, txn);
    cn_txn_abort(host, txn);
    return err;
}

cn_err cn_damaged_put(cn_data *d, const cn_damaged *x) { return change(d, x, put); }
cn_err cn_damaged_drop(cn_data *d, const cn_damaged *x) { return change(d, x, drop); }

/* ---------- the list ---------- */
typedef struct listing {
    cn_damaged *v;
    uint32_t n;
} listing;

/* What cannot be read says still that there was something. */
static cn_err add(void *ctx, cn_str key, cn_str value, bool *stop) {
    listing *l = ctx;
    record r = {.at_us = CN_NO_TIME};
    cn_field f[DAMAGED_FIELDS];
    const char *end = key.n ? memchr(key.p, 0, key.n) : NULL;
    *stop = l->n == CN_DAMAGED_MAX;
    if (*stop || !end)
        return CN_OK;
    cn_damaged *x = &l->v[l->n++];
    *x = (cn_damaged){.at_us = CN_NO_TIME};
    size_t n = (size_t)(end - key.p);
    take_name(x->tenant, sizeof x->tenant, (cn_str){key.p, n});
    take_name(x->file, sizeof x->file, (cn_str){end + 1, key.n - n - 1});
    fields_of(&r, f);
    if (cn_fields_read(value, "a damaged file's record", NULL, f, DAMAGED_FIELDS) != CN_OK)
        return CN_OK;
    take_name(x->index, sizeof x->index, r.index);
    x->version = r.version;
    x->at_us = r.at_us;
    return CN_OK;
}

cn_err cn_damaged_list(cn_data *d, cn_arena *a, cn_damaged **ret, uint32_t *ret_n) {
    cn_env *host = cn_data_host(d);
    listing l = {.v = cn_arena_zalloc(a, CN_DAMAGED_MAX, sizeof *l.v)};
    MDB_dbi dbi;
    MDB_txn *txn;
    if (!l.v)
        return cn_fail_memory();
    cn_err err = cn_env_dbi(host, "damaged", false, &dbi);
    if (err == CN_OK)
        err = cn_txn_read(host, &txn);
    if (err == CN_OK) {
        err = cn_db_each(txn, dbi, (cn_str){NULL, 0}, add, &l);
        cn_txn_abort(host, txn);
    }
    if (err != CN_OK && err != CN_NOT_FOUND) /* nothing was ever found */
        return err;
    *ret = l.v;
    *ret_n = l.n;
    return CN_OK;
}
