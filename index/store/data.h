/* data.h -- the data directory: its layout (DESIGN.md section 4), its checks, and open tenants.
 *
 *   DATA/cairn.mdb                       host: tenants, keys, settings, format
 *   DATA/tenants/<tenant>/control.mdb    work.mdb   trace.mdb
 *   DATA/tenants/<tenant>/segments/<id>.mdb   <id>.<kind>.mdb
 *   DATA/tenants/<tenant>/jobs/<job>.lock     compact.lock   merge.lock   held by flock while a job or a compaction works
 *   DATA/models/<name>/
 *   DATA/reserve                         reserve.h
 *   DATA/recording/                      index/trace/run.h
 * Beside each .mdb that several processes write stand LMDB's `-lock` and our `-writer` (env.h).
 * Owns:    cn_data owns the host environment and its tenants; a cn_tenant is shared and counted.
 * Thread:  any.
 * Limits:  a directory of another format, on a network file system, or not ours is refused at open. */
#pragma once
#include "index/store/env.h"

#define CN_DATA_FORMAT 2

typedef struct cn_data cn_data;
typedef struct cn_tenant cn_tenant;

cn_err cn_data_init(const char *dir);                 /* makes an empty one; CN_CONFLICT when there is one already */
cn_err cn_data_open(const char *dir, cn_data **ret);
void cn_data_close(cn_data *d);                       /* closes idle tenants too; all cn_tenant must be unref'd before */
const char *cn_data_dir(const cn_data *d);
cn_env *cn_data_host(cn_data *d);
/* A text for people as callers elsewhere may have it: "DATA" for the directory, no process's number. False: it says neither. */
bool cn_data_hide(const cn_data *d, const char *text, char *out, size_t size);

/* Tenants come into being and go by the host's list; opening costs nothing until it is asked for. */
cn_err cn_tenant_create(cn_data *d, cn_str name, const cn_actor *who);
/* From the list first, then its files. leaving (NULL: nothing) runs in the transaction that takes it off the list, and may refuse. */
typedef cn_err cn_tenant_leaving_fn(void *ctx, MDB_txn *host);
cn_err cn_tenant_drop(cn_data *d, cn_str name, cn_tenant_leaving_fn *leaving, void *ctx, const cn_actor *who);
/* Takes away what drops and creations that were cut short have left. Both do so too, of all others; a server when it starts. */
cn_err cn_tenants_tidy(cn_data *d);
bool cn_tenant_listed(cn_data *d, MDB_txn *host, cn_str name);         /* in a transaction of the host's; false too when that cannot be read */
cn_err cn_tenant_open(cn_data *d, cn_str name, cn_tenant **ret);       /* CN_NOT_FOUND */
/* CN_NOT_FOUND once it was dropped: its directory may be that of another one of its name. CN_DAMAGED where another directory was put
 * in the place of its own: what is written to the one that is open nobody finds again. */
cn_err cn_tenant_still(const cn_tenant *t);
cn_tenant *cn_tenant_ref(cn_tenant *t);
void cn_tenant_unref(cn_tenant *t);
cn_err cn_tenant_list(cn_data *d, cn_err (*fn)(void *ctx, cn_str name, int64_t made_us), void *ctx);

/* What a new tenant's control.mdb and a new cairn.mdb begin with, by those who keep it (index/control/init.c); called here. */
cn_err cn_control_init(cn_env *control);
cn_err cn_host_init(cn_env *host, MDB_txn *txn);
/* As they are opened: CN_DAMAGED where the name of a database, or the key of a record on whose absence answers hang, is not what was
 * written (index/control/place.c); called here. */
cn_err cn_control_check(cn_env *control);
cn_err cn_host_check(cn_env *host);
cn_err cn_work_check(cn_env *work);

cn_err cn_tenant_bind(cn_tenant *t, MDB_txn *txn, MDB_dbi meta); /* whoever writes to control.mdb has it say whose it is, if it does not yet */

#define CN_UID_BYTES 16
const uint8_t *cn_tenant_uid(const cn_tenant *t); /* CN_UID_BYTES: tells it from a later one of the same name */
const char *cn_tenant_name(const cn_tenant *t);
const char *cn_tenant_dir(const cn_tenant *t);
cn_data *cn_tenant_data(cn_tenant *t);
cn_env *cn_tenant_control(cn_tenant *t);
cn_err cn_tenant_work(cn_tenant *t, cn_env **ret); /* opened at first use; CN_DAMAGED says how to begin it anew */

/* A place where higher layers keep something for an open tenant: made once, under the tenant's lock, at the first use;
 * done() runs, highest slot first, when the tenant really closes, before its environments do. make() must not ask for a
 * slot of the same or a higher number. A warm call is one atomic load. */
enum { CN_SLOT_TRACE, CN_SLOT_POLICY, CN_SLOT_MEMBERS, CN_SLOT_VIEWS, CN_SLOT_REFUSALS, CN_SLOTS };
cn_err cn_tenant_slot(cn_tenant *t, unsigned slot, cn_err (*make)(cn_tenant *t, void **ret), void (*done)(void *p), void **ret);
/* Calls fn with what each open tenant keeps in this slot, if it does; the tenant stays open meanwhile. */
void cn_tenant_each_slot(cn_data *d, unsigned slot, void (*fn)(void *p));
