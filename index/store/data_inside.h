/* data_inside.h -- the data directory and its tenants, for their own files only: data.c (the directory, tenants that are open),
 * tenants.c (the list of tenants: made, dropped, told).
 *
 * Owns:    as data.h says.
 * Thread:  as data.h says; what a lock protects stands below it.
 * Limits:  none of its own. */
#pragma once
#include <pthread.h>

#include "index/store/data.h"

struct cn_tenant {
    cn_tenant *next;
    cn_data *data;
    unsigned refs;
    uint64_t used;          /* when its last user left, in the order of leaving */
    uint8_t uid[CN_UID_BYTES]; /* tells a tenant from a later one of the same name */
    bool bound;             /* control.mdb says whose it is; changed by its writer */
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

/* control.mdb says whose it is, so that no other's directory is served in its place: a record in "meta". */
cn_err cn_tenant_owner_put(MDB_txn *txn, MDB_dbi meta, cn_str name, const uint8_t uid[CN_UID_BYTES]);
/* CN_DAMAGED: it is another's. One made before there was such a record has none until it is first written to. */
cn_err cn_tenant_owner_check(cn_tenant *t);
/* What a tenant's record in the host's list says. CN_DAMAGED names the tenant. */
cn_err cn_tenant_record(cn_str name, cn_str v, uint8_t uid[CN_UID_BYTES], int64_t *made);
