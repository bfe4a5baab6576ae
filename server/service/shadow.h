/* shadow.h -- recall while it serves: one thread of a server searches a share of the questions again, exactly, over the version and
 * the permitted set that their answers were made of (index/search/again.h), and keeps what came of it (index/catalog/recall.h).
 *
 * recall_sample of 1000 questions that dense or hybrid mode answered are drawn. Each is copied once it was answered, and waits in a
 * short queue; the thread has a low priority, gives way while requests wait, and after each rests so long that it takes recall_cpu
 * percent of one processor. What does not fit into the queue, or waited for CN_SHADOW_WAIT_MS, is dropped and counted.
 * Steering: of each version and recall asked for, the shares since the last change are looked at when there are CN_SHADOW_FIRST of
 * them, twice as many, and so on to CN_SHADOW_LAST, when they begin anew: so few looks, so that chance alone seldom speaks. Does
 * the whole interval lie under the recall asked for, questions aim at the next recall from then on, by cells, by the scan, at last
 * exactly (`recall.raised` in the log; the gate has it as recall_live). While that is so, each drawn question is also searched
 * as it asked; once CN_SHADOW_BACK of these and more reach the recall again on average, the effort ends (`recall.recovered`).
 * Owns:    its thread, a searcher, the queue with its references to tenants and views, counts of CN_SHADOW_WATCHED versions.
 * Thread:  any may draw, push, look and set.
 * Limits:  CN_SHADOW_QUEUE questions wait, of one tenant a quarter of them; k up to CN_AGAIN_K. Counts not yet written, CN_SHADOW_WRITE_MS
 *          of them, are lost with a process that is killed. */
#pragma once
#include "index/search/again.h"
#include "server/service/service.h"

#define CN_SHADOW_QUEUE 64
#define CN_SHADOW_WAIT_MS 60000
#define CN_SHADOW_WRITE_MS 60000
#define CN_SHADOW_WATCHED 256
#define CN_SHADOW_FIRST 32
#define CN_SHADOW_LAST 1024
#define CN_SHADOW_BACK 256

typedef struct cn_shadow cn_shadow; /* NULL wherever it is taken: nothing is measured */
cn_err cn_shadow_new(cn_service *s, const cn_upkeep_opts *o, cn_shadow **ret);
void cn_shadow_set(cn_shadow *h, const cn_upkeep_opts *o); /* from the next question on */
void cn_shadow_leave(cn_shadow *h); /* it ends soon */
void cn_shadow_free(cn_shadow *h);  /* the same, and waits until its counts are written */

bool cn_shadow_draws(cn_shadow *h); /* is the question at hand one of the share? */
void cn_shadow_push(cn_shadow *h, cn_tenant *t, cn_again *a); /* takes a; never waits */
/* The recall that a question of this version which asks for that one is to be searched with: it, or more. */
double cn_shadow_aim(cn_shadow *h, const cn_tenant *t, uint64_t index_id, uint64_t version, double asked);

typedef struct cn_shadow_counts {
    uint64_t searched, dropped, failed; /* failed: could not be read, or took too long */
    uint32_t raised;                    /* versions that are searched with more effort */
} cn_shadow_counts;
cn_shadow_counts cn_shadow_count(cn_shadow *h);
/* Versions of an index that have counts not yet written, or more effort; returns how many. at_us of each: this hour. */
uint32_t cn_shadow_pending(cn_shadow *h, const cn_tenant *t, uint64_t index_id, cn_recall_hour *v, uint32_t most);
