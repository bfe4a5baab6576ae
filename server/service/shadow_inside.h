/* shadow_inside.h -- a version whose recall is watched; for shadow*.c only.
 *
 * Owns:    nothing but itself.
 * Thread:  under the lock of whoever holds it.
 * Limits:  none. */
#pragma once
#include "server/service/shadow.h"

typedef struct cn_judged { /* of one aim, since the last change */
    cn_tally used, as_asked;
    uint32_t by_cells;
} cn_judged;

typedef struct cn_watch {
    char tenant[CN_NAME_MAX + 1], index[CN_NAME_MAX + 1]; /* as they are told of */
    uint8_t uid[CN_UID_BYTES]; /* of the tenant */
    uint64_t index_id, version;
    cn_recall_counts counts;  /* not yet written */
    cn_recall_effort effort;
    cn_judged judged[CN_AIMS];
    bool changed;             /* there is something to be written */
    uint64_t used_ns;
} cn_watch;

enum cn_steer { CN_STEER_NOT, CN_STEER_RAISED, CN_STEER_BACK };
typedef struct cn_steered {
    enum cn_steer did;
    uint32_t aim, to;         /* to: what it is searched with now */
    cn_interval is;           /* what was measured */
    double as_asked;          /* without more effort */
    uint64_t questions;
} cn_steered;

bool cn_watch_is(const cn_watch *w, const cn_tenant *t, uint64_t index_id, uint64_t version);
bool cn_watch_raised(const cn_watch *w);
/* One more question that asked for this aim. */
cn_steered cn_watch_add(cn_watch *w, enum cn_recall_plan plan, enum cn_selectivity selects, uint32_t aim, const cn_again_told *told);
