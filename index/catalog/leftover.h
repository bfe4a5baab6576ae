/* leftover.h -- files that no version names and nobody builds any more, and what they hold of erased documents: a killed job's,
 * which it may be resumed with, and those of killed sealings and compactions, which the sweep leaves for an hour; and those
 * whose last version was let go, or whose index was dropped. An erasure has to reach them too.
 *
 * Owns:    everything lies in the arena given.
 * Thread:  any; one at a time lets go, as compactions do.
 * Limits:  reads the keys of each such file; nothing where nothing was ever erased. */
#pragma once
#include "index/policy/policy.h"

typedef struct cn_leftover {
    cn_seg_id id;
    uint64_t documents; /* erased, that it holds */
    bool unread;        /* it cannot be read, nor gone on with */
    bool stays;         /* nor let go: why it cannot be read is no damage, and may pass */
    bool unfinished;    /* begun before an erasure, and may hold of it what it does not count */
} cn_leftover;

typedef struct cn_leftovers {
    cn_leftover *v;     /* those of which anything is true */
    uint32_t n, room;
    uint64_t documents; /* at least */
    int64_t since_us;   /* the first erasure that concerns one; CN_NO_TIME: there is none, or not known */
    uint32_t building;  /* files under way, which nobody else can read */
} cn_leftovers;
cn_err cn_leftovers_find(cn_tenant *t, const cn_policy *p, cn_arena *a, cn_leftovers *ret);
/* The policy by which files are looked through; NULL where it cannot be loaded, but tells of nothing that was ever erased. */
cn_err cn_leftovers_policy(cn_tenant *t, cn_policy **ret);
/* How many each of these files holds by that policy; 0 also of one that cannot be read, or that somebody has taken up. Stops after a
 * tenth of a second: *ret_n says how many files it has looked at, at least one. */
cn_err cn_leftovers_in(cn_tenant *t, const cn_policy *p, cn_arena *a, const cn_seg_id *v, uint32_t n, uint64_t *ret, uint32_t *ret_n);
/* Those that hold any, or are damaged, go with the next sweep, which tells of it in the chain under this index; from the
 * others what they do not count is taken out. */
cn_err cn_leftovers_let_go(cn_tenant *t, cn_str index, const cn_policy *p, const cn_actor *who);
