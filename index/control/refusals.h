/* refusals.h -- how often refused attempts are written to the audit chain: nobody can fill it, or the disk, with what is refused.
 *
 * Who works on the files is written each time. Of who comes over a connection, each caller's attempts at each action are a
 * series: the first CN_REFUSALS_AT_ONCE are written as they come, the rest of the minute is counted, and goes into the chain as
 * one record with the number once the minute is over. While it goes on, the next minute is two, then four, up to an hour, of
 * which every attempt is only counted. A count is written by the tenant's next refused attempt, by whoever reads the chain, or
 * when the tenant closes; a process that is killed loses it.
 * Owns:    an open tenant's series, in its slot.
 * Thread:  any, outside of the control write transaction.
 * Limits:  CN_REFUSALS series a tenant; the attempts beyond them are one series, without names. */
#pragma once
#include "index/store/data.h"

#define CN_REFUSALS 256
#define CN_REFUSALS_AT_ONCE 8
#define CN_REFUSALS_FIRST_US ((uint64_t)60 * 1000000)
#define CN_REFUSALS_MOST_US ((uint64_t)3600 * 1000000)

/* A refused attempt: *ret_write is whether it is to be written by itself. action: lives for ever. */
cn_err cn_refusals_note(cn_tenant *t, const cn_actor *who, const char *action, bool *ret_write);
/* Writes the counts of series that are over. What cannot be written stays counted. */
void cn_refusals_settle(cn_tenant *t);
