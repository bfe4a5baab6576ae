/* keeper.h -- a thread of a server that does by itself what no request asks for (upkeep.h, compactor.h, merger.h, shadow.h): it rests until a time or
 * until it is told something, goes from tenant to tenant, and gives way while requests wait.
 *
 * Owns:    its thread, and a lock, which guards what the thread's owner shares with others too.
 * Thread:  tell and leave: any; rest, give_way and visit: its own thread. The thread has a low priority, and so have those that
 *          it starts.
 * Limits:  none. */
#pragma once
#include "server/service/busy.h"

#define CN_KEEPER_MS 1000000ull /* in ns */
#define CN_KEEPER_S 1000000000ull

typedef struct cn_keeper {
    cn_busy *busy;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool told, stop; /* under the lock */
    const char *name;
    void *(*run)(void *arg);
    void *arg;
} cn_keeper;

void cn_keeper_init(cn_keeper *k, cn_busy *busy);
/* what: "to look after files", for the text of a failure; name: of the thread. */
cn_err cn_keeper_start(cn_keeper *k, const char *name, const char *what, void *(*run)(void *arg), void *arg);
void cn_keeper_tell(cn_keeper *k);
void cn_keeper_leave(cn_keeper *k); /* it ends soon */
void cn_keeper_end(cn_keeper *k);   /* the same, and waits for it */
void cn_keeper_done(cn_keeper *k);  /* of one that ended, or was never started */

/* Until that time (cn_mono_ns()), and unless deaf no longer than until it is told something; false: it is to end. */
bool cn_keeper_rest(cn_keeper *k, uint64_t until_ns, bool deaf);
bool cn_keeper_was_told(cn_keeper *k); /* since this was asked last */
/* Requests go first, but no longer than most_ms, in moments of CN_GIVE_WAY_MS. rest: its owner's; false: to end. */
bool cn_keeper_give_way(cn_keeper *k, uint64_t most_ms, bool (*rest)(void *ctx, uint64_t until_ns), void *ctx);
/* When a tenant's catalog was written last, by the wall's clock. 0: not known, or just now, so that a later write may bear the same time. */
int64_t cn_keeper_changed_ns(const cn_data *d, cn_str tenant);
/* A tenant, opened for as long as fn runs; one that is dropped meanwhile is passed over. */
cn_err cn_keeper_visit(cn_data *d, cn_str name, cn_err (*fn)(void *ctx, cn_tenant *t), void *ctx);
