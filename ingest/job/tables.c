#include <errno.h>

#include "ingest/job/tables.h"

#include "engine/base/arena.h"
#include "engine/base/buf.h"

static cn_err open_tables(cn_tenant *t, cn_tables *w) {
    cn_err err = cn_tenant_work(t, &w->env);
    if (err != CN_OK)
        return cn_wrap(err, "the job table cannot be opened");
    CN_TRY(cn_env_dbi(w->env, "jobs", true, &w->jobs));
    CN_TRY(cn_env_dbi(w->env, "job_running", true, &w->running));
    return cn_env_dbi(w->env, "job_rejects", true, &w->rejects);
}

cn_err cn_tables_read(cn_tenant *t, cn_tables *ret) {
    CN_TRY(open_tables(t, ret));
    return cn_txn_read(ret->env, &ret->txn);
}

cn_err cn_tables_write(cn_tenant *t, cn_tables *ret) {
    CN_TRY(open_tables(t, ret));
    return cn_txn_write(ret->env, &ret->txn);
}

cn_err cn_tables_commit(cn_tables *w) {
    MDB_txn *txn = w->txn;
    w->txn = NULL;
    return cn_txn_commit(w->env, txn);
}

void cn_tables_abort(cn_tables *w) {
    if (w->txn)
        cn_txn_abort(w->env, w->txn);
    w->txn = NULL;
}

/* ---------- pruning: keys sort by time, so the first are the oldest ---------- */
#define PRUNE_MOST 64 /* at a time, so that no transaction grows long */

typedef struct in_use {
    const char *job;
    bool found;
} in_use;

static cn_err is_in_use(void *ctx, cn_str key, cn_str value, bool *stop) {
    in_use *u = ctx;
    (void)key;
    u->found = *stop = cn_str_is(value, u->job);
    return CN_OK;
}

typedef struct oldest {
    cn_tables *w;
    size_t excess;
    uint32_t n;
    char id[PRUNE_MOST][CN_JOB_ID_TEXT];
} oldest;

/* One that runs or can be resumed stays, and does not stand before those that came after it. */
static cn_err note_oldest(void *ctx, cn_str key, cn_str value, bool *stop) {
    oldest *o = ctx;
    (void)value;
    if (o->n == PRUNE_MOST || o->n == o->excess || key.n >= CN_JOB_ID_TEXT) {
        *stop = true;
        return CN_OK;
    }
    memcpy(o->id[o->n], key.p, key.n);
    o->id[o->n][key.n] = 0;
    in_use u = {.job = o->id[o->n]};
    CN_TRY(cn_db_each(o->w->txn, o->w->running, CN_STR(""), is_in_use, &u));
    o->n += !u.found;
    return CN_OK;
}

static cn_err remove_rejects(cn_tables *w, const char *job) {
    MDB_cursor *c;
    MDB_val key = {strlen(job) + 1, (void *)(uintptr_t)job}, value;
    CN_TRY(cn_mdb(cn_cursor_open(w->txn, w->rejects, &c), "job_rejects"));
    int rc = cn_cursor_get(c, &key, &value, MDB_SET_RANGE);
    while (rc == 0 && key.mv_size > strlen(job) && memcmp(key.mv_data, job, strlen(job) + 1) == 0) {
        rc = mdb_cursor_del(c, 0);
        if (rc == 0)
            rc = cn_cursor_get(c, &key, &value, MDB_GET_CURRENT);
        if (rc == EINVAL) /* the last entry was removed */
            rc = MDB_NOTFOUND;
    }
    mdb_cursor_close(c);
    return rc == 0 || rc == MDB_NOTFOUND ? CN_OK : cn_mdb(rc, "job_rejects");
}

cn_err cn_tables_prune(cn_tables *w, size_t keep) {
    uint64_t n;
    CN_TRY(cn_db_count(w->txn, w->jobs, &n));
    if (n <= keep)
        return CN_OK;
    oldest o = {.w = w, .excess = n - keep};
    CN_TRY(cn_db_each(w->txn, w->jobs, CN_STR(""), note_oldest, &o));
    for (uint32_t i = 0; i < o.n; i++) {
        CN_TRY(remove_rejects(w, o.id[i]));
        CN_TRY(cn_db_del(w->txn, w->jobs, cn_str_of(o.id[i])));
    }
    return CN_OK;
}
