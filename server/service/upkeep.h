/* upkeep.h -- the one thread of a server that looks after its files while nobody asks: makes the reserve again (reserve.h)
 * once there is room for it, writes the counts of refused attempts (index/control/refusals.h), and reads every file anew,
 * slowly, so that damage is found before it is asked for. Before all that it takes away what a drop of a tenant that was cut
 * short left.
 *
 * A round reads of each tenant the catalog, and each file that a version names (index/catalog/scrub.h), no faster than
 * scrub_rate, and begins scrub_every after the one before. A damaged file is logged (`scrub.damaged`, in each round that finds
 * it), is refused from then on by this process, and stands in the list below; so does, from the moment on, what a request met
 * (`damage.met`). Both until a whole round that began afterwards finds it sound, or named by no version, and nobody met it
 * again. The list is kept in cairn.mdb too (index/store/damage.h): a server started anew knows it, and so does `cairn doctor`.
 * While requests wait for a thread no block is read; but each waits for CN_UPKEEP_WAIT_MS at most, so that a server that is
 * never idle is read too.
 * Owns:    its thread, and the list of damaged files.
 * Thread:  any may set, look and meet. The thread has a low priority; told to leave, it stops before its next block.
 * Limits:  it looks at the reserve every CN_UPKEEP_MS; CN_DAMAGED_MAX damaged files are listed. */
#pragma once
#include "index/store/damage.h"
#include "server/service/busy.h"

#define CN_UPKEEP_MS 5000
#define CN_UPKEEP_WAIT_MS 10000

typedef struct cn_upkeep_state {
    uint64_t rounds, bytes; /* whole rounds; bytes read */
    uint64_t waited_ms;     /* for requests that waited */
    int64_t round_us;       /* when the last whole one ended; CN_NO_TIME: none has */
    uint32_t n_damaged;
    cn_damaged damaged[CN_DAMAGED_MAX];
} cn_upkeep_state;

typedef struct cn_upkeep cn_upkeep;
cn_err cn_upkeep_new(cn_data *d, cn_busy *busy, const cn_upkeep_opts *o, cn_upkeep **ret);
void cn_upkeep_set(cn_upkeep *u, const cn_upkeep_opts *o); /* from its next step on; a round goes on at the new rate */
void cn_upkeep_look(cn_upkeep *u, cn_upkeep_state *ret);   /* u NULL: nothing was ever read */
bool cn_upkeep_found_damage(cn_upkeep *u);                 /* likewise; takes no lock */
/* A request met CN_DAMAGED in this file; the error's text stays as it is. */
void cn_upkeep_met(cn_upkeep *u, const cn_damaged *x);
void cn_upkeep_leave(cn_upkeep *u); /* it ends soon; NULL is fine */
void cn_upkeep_free(cn_upkeep *u);  /* the same, and waits for it */
