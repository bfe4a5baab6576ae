/* recall.h -- what was measured of a version's recall while it served: counts by hour, and how its searches are steered by them.
 *
 * A question that was answered within a recall is searched again exactly (index/search/again.h); its share of the exact hits goes
 * into the bucket of its plan, of how much of the version it might read, and of the recall it asked for. Nothing else of it is
 * kept: no text, vector, id or label.
 * work.mdb, database "recall": key = index id, version and hour since 1970 (three u64, big-endian): record (pack.h) format 1
 * {counts: [[plan, selectivity, aim, questions, hits wanted, sum of shares, sum of their squares], ...], dropped, effort: an aim
 * for each aim}. Whoever adds does so in one transaction, so that several servers' counts are all there.
 * Owns:    strings and arrays live in the arena given.
 * Thread:  any; adding takes the writer of work.mdb.
 * Limits:  CN_RECALL_HOURS hours are kept, of dropped versions and indexes too. */
#pragma once
#include "engine/base/tally.h"
#include "index/catalog/version.h"

#define CN_RECALL_HOURS (31 * 24)
#define CN_RECALL_HOUR_US ((int64_t)3600 * 1000000)

#define CN_RECALL_PLANS 4         /* of vectors: */
enum cn_recall_plan { CN_PLAN_SCAN, CN_PLAN_CELLS, CN_PLAN_ABANDONED /* some of either, for the scan */, CN_PLAN_FAISS };
#define CN_SELECTIVITIES 4        /* of the version's passages, so many could be read: */
enum cn_selectivity { CN_SELECTS_ALL, CN_SELECTS_TENTH /* or more */, CN_SELECTS_HUNDREDTH, CN_SELECTS_LESS };
#define CN_AIMS 6                 /* recalls that are aimed at: those that cells are measured for, the scan by codes, and exact */
extern const char *const cn_recall_plans[CN_RECALL_PLANS], *const cn_selectivities[CN_SELECTIVITIES];
extern const double cn_recall_aims[CN_AIMS];
uint32_t cn_recall_aim(double recall); /* the least aim that is enough */

typedef struct cn_recall_counts {
    cn_tally v[CN_RECALL_PLANS][CN_SELECTIVITIES][CN_AIMS]; /* by the aim asked for, whatever the effort */
    uint64_t dropped;             /* questions drawn that could not be searched again */
} cn_recall_counts;
typedef struct cn_recall_effort { /* how a question that asks for an aim is searched: that one, or one further on */
    uint8_t aim[CN_AIMS];
} cn_recall_effort;

cn_recall_effort cn_recall_usual(void);
cn_tally cn_recall_total(const cn_recall_counts *c);
void cn_recall_join(cn_recall_counts *io, const cn_recall_counts *more);

/* To those of now, and what is too old goes; effort: as it is now. */
cn_err cn_recall_add(cn_tenant *t, uint64_t index_id, uint64_t version, const cn_recall_counts *more, const cn_recall_effort *effort);
/* What is kept of an index, by version and hour. */
typedef struct cn_recall_hour {
    uint64_t version;
    int64_t at_us;                /* when the hour began */
    cn_recall_counts counts;
    cn_recall_effort effort;      /* at its end */
} cn_recall_hour;
typedef cn_err cn_recall_fn(void *ctx, const cn_recall_hour *h);
cn_err cn_recall_each(cn_tenant *t, uint64_t index_id, uint64_t version, cn_recall_fn *fn, void *ctx); /* version 0: all */
