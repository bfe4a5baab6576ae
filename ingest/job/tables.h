/* tables.h -- the job tables of work.mdb, opened together under one transaction.
 *
 * Owns:    the transaction, from read or write to commit or abort.
 * Thread:  one at a time.
 * Limits:  those of rows.h. */
#pragma once
#include "ingest/job/job.h"

typedef struct cn_tables {
    cn_env *env;
    MDB_txn *txn;
    MDB_dbi jobs, running, rejects;
} cn_tables;

cn_err cn_tables_read(cn_tenant *t, cn_tables *ret);
cn_err cn_tables_write(cn_tenant *t, cn_tables *ret);
cn_err cn_tables_commit(cn_tables *w);
void cn_tables_abort(cn_tables *w); /* after commit, or when nothing was begun, nothing */
/* Removes the oldest jobs and what they rejected until at most `keep` are left; none that is running. */
cn_err cn_tables_prune(cn_tables *w, size_t keep);
