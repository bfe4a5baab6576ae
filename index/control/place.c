/* place.c -- what no checksum of a record covers: the names of the databases, and the keys that records lie under. A bit changed
 * there makes the record one that was never written: no mode during an incident, no gate, a version less. Looked at where a file
 * is opened. */
#include "index/control/records.h"

static const char *const of_control[] = {"meta", "index", "version", "audit", "inforce", "space", "retired", "erasing", "policy", "gate", "members", NULL};
static const char *const of_host[] = {"settings", "tenants", "keys", "damaged", NULL};
static const char *const of_work[] = {"jobs", "job_running", "job_rejects", "frozen", "recall", NULL};

typedef struct checked {
    const char *name;
    cn_db_each_fn *fn; /* of each record; NULL: looked up by another's */
    MDB_dbi dbi;
    bool there;
} checked;

typedef struct scan {
    MDB_txn *txn;
    const checked *v;
    uint64_t versions; /* the first so many are there */
} scan;

static cn_err in_place(void *ctx, cn_str key, cn_str value, bool *stop) {
    (void)ctx, (void)stop;
    return cn_fields_in_place(key, value, CN_FIELD_OF);
}

static cn_err is_meta(void *ctx, cn_str key, cn_str value, bool *stop) {
    static const char *const keys[] = {"epoch", "audit", "ids", "widened", "owner"};
    bool known = key.n == 4 + sizeof(uint64_t) && memcmp(key.p, "mode", 4) == 0;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        known |= cn_str_is(key, keys[i]);
    return known ? in_place(ctx, key, value, stop) : cn_fail(CN_DAMAGED, "a key that there is not");
}

static cn_err count_version(void *ctx, cn_str key, cn_str value, bool *stop) {
    scan *s = ctx;
    (void)value;
    *stop = key.n != sizeof(cn_catalog_key) || cn_be64(key.p + 8) != s->versions + 1;
    s->versions += !*stop;
    return CN_OK;
}

/* v[0] is the database of versions. A damaged record is its reader's to refuse: the other indexes answer. */
static cn_err has_all_versions(void *ctx, cn_str name, cn_str value, bool *stop) {
    CN_CATALOG_ARENA(a);
    scan s = {.txn = ((const scan *)ctx)->txn};
    const checked *versions = ((const scan *)ctx)->v;
    cn_index_info ix;
    (void)stop;
    CN_TRY(cn_fields_in_place(name, value, "name"));
    cn_err err = cn_index_read(name, value, &a, &ix);
    if (err != CN_OK)
        return err == CN_DAMAGED ? CN_OK : err;
    cn_catalog_key key = cn_key2(ix.id, 0);
    if (versions->there)
        CN_TRY(cn_db_each(s.txn, versions->dbi, (cn_str){(const char *)key.b, sizeof ix.id}, count_version, &s));
    return s.versions == ix.newest ? CN_OK : cn_fail(CN_DAMAGED, "index " CN_STR_FMT " lacks version %llu", CN_STR_ARG(ix.name), (unsigned long long)s.versions + 1);
}

/* What is not there yet holds nothing out of place. */
static cn_err open_all(cn_env *e, checked *v, size_t n) {
    for (size_t i = 0; i < n; i++) {
        cn_err err = cn_env_dbi(e, v[i].name, false, &v[i].dbi);
        v[i].there = err == CN_OK;
        if (err != CN_OK && err != CN_NOT_FOUND)
            return err;
    }
    return CN_OK;
}

static cn_err check(cn_env *e, const char *const *names, checked *v, size_t n) {
    scan s = {.v = v};
    CN_TRY(open_all(e, v, n));
    CN_TRY(cn_txn_read(e, &s.txn));
    cn_err err = cn_db_only(s.txn, names);
    for (size_t i = 0; err == CN_OK && i < n; i++)
        if (v[i].there && v[i].fn)
            err = cn_db_each(s.txn, v[i].dbi, (cn_str){0}, v[i].fn, &s);
    cn_txn_abort(e, s.txn);
    return err == CN_DAMAGED ? cn_wrap(err, "%s: its names and keys are not what was written; restore it from a backup", cn_env_path(e)) : err;
}

cn_err cn_control_check(cn_env *control) {
    checked v[] = {{.name = "version"}, {.name = "index", .fn = has_all_versions}, {.name = "meta", .fn = is_meta}, {.name = "gate", .fn = in_place}};
    return check(control, of_control, v, sizeof v / sizeof *v);
}

cn_err cn_host_check(cn_env *host) {
    checked v[] = {{.name = "settings", .fn = in_place}};
    return check(host, of_host, v, 1);
}

cn_err cn_work_check(cn_env *work) {
    checked v[] = {{.name = "jobs", .fn = in_place}, {.name = "recall", .fn = in_place}};
    return check(work, of_work, v, 2);
}
