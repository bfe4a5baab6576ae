/* refusals.h -- how often refused attempts are written to the audit chain: nobody can fill it, or the disk, with what is refused.
 *
 * Who works on the files is written each time. Of who comes over a connection, each caller's attempts at each action are a
 * series: the first CN_REFUSALS_AT_ONCE are written as they come, the rest of the minute is counted, and goes into the chain as
 * one record with the number once the minute is over. While it goes on, the next minute is two, then four, up to an hour, of
 * which every attempt is only counted. So is one that could not be written. Counts are written, all of a tenant at once, by its
 * next refused attempt, by whoever settles them now and then (a server does), or when the tenant closes. None of these waits
 * for another writer: while one is at work the counts stay, and are lost only with a process that is killed, or a tenant that
 * is closed just then.
 * Owns:    an open tenant's series, in its slot.
 * Thread:  any, outside of the control write transaction.
 * Limits:  CN_REFUSALS series a tenant; the attempts beyond them are one series, without names. */
#pragma once
#include "index/store/data.h"

#define CN_REFUSALS 256
#define CN_REFUSALS_AT_ONCE 8
#define CN_REFUSALS_FIRST_US ((uint64_t)60 * 1000000)
#define CN_REFUSALS_MOST_US ((uint64_t)3600 * 1000000)
#define CN_REFUSALS_RETRY_US ((uint64_t)10 * 1000000) /* after counts could not be written */

/* A refused attempt: *ret_write is whether it is to be written by itself. action: lives for ever. */
cn_err cn_refusals_note(cn_tenant *t, const cn_actor *who, const char *action, bool *ret_write);
/* One that was to be written by itself and could not be: it is counted. */
void cn_refusals_unwritten(cn_tenant *t, const cn_actor *who, const char *action);
/* Writes, of each open tenant, the counts of series that are over. What cannot be written stays counted. */
void cn_refusals_settle(cn_data *d);
