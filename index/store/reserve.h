/* reserve.h -- DATA/reserve: a file whose blocks are given up on a full disk, so that denial, hiding, erasure, the ways back,
 * modes and audit records can still be committed.
 *
 * Its blocks are really there (never a hole). It is given up a quarter at a time, and half of what is freed goes to the file
 * that failed at once, before a job that writes beside can take it. Of one document each, 256 KiB carry some hundred commits,
 * and the whole tens of thousands; a thousand documents at once take 2 MiB. How large it shall be stands in the host's
 * settings; it is made again when a data directory is opened, and by a server now and then, as many quarters as fit into half
 * of what it and the free space are: on a small disk it is smaller. Jobs never use it.
 * Owns:    nothing; several processes may make it and give it up at once.
 * Thread:  any.
 * Limits:  CN_RESERVE_MAX. */
#pragma once
#include "index/store/data.h"

#define CN_RESERVE_DEFAULT ((uint64_t)8 << 20)
#define CN_RESERVE_MAX ((uint64_t)1 << 30)

typedef struct cn_reserve_state {
    uint64_t wanted, there; /* bytes */
} cn_reserve_state;
cn_err cn_reserve_look(cn_data *d, cn_reserve_state *ret);
/* Notes how large it shall be, when that is new, and makes it so; 0: none. */
cn_err cn_reserve_set(cn_data *d, uint64_t bytes);
/* Makes what is missing of it. CN_OK also while there is no room. */
cn_err cn_reserve_make(cn_data *d);
/* After a write to e failed on this thread: true when that was for lack of space and some was freed, so that another try may do. */
bool cn_reserve_give_up(cn_data *d, cn_env *e);
